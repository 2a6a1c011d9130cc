//! What one thread of JavaScript has open, and what reaches it unasked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

use super::port::{Payload, Port, describe};
use super::source::Source;
use crate::backend::{session_closed, store_closed};
use crate::error::{Error, Result};
use crate::hybrid::Job;
use crate::resilience::breaker::Position;
use crate::session::{Session, Vault};
use crate::stores::queue::{Added, JobSink, PendingJobs};
use crate::stores::{Event, Listener, OpenRequest, StoreHandle, registry};
use crate::time::unix_millis;

/// One thread of JavaScript.
pub(super) struct Thread {
    pub(super) port: Port,
    last_request: AtomicU32,
    last_handle: AtomicU32,
    pub(super) stores: Mutex<HashMap<u32, Arc<StoreHandle>>>,
    pub(super) sessions: Mutex<HashMap<u32, SessionHandle>>,
    pub(super) sources: Mutex<HashMap<u32, Source>>,
    pub(super) jobs: PendingJobs,
}

/// A session that the thread has open, once for each time that it opened it.
#[derive(Clone)]
pub(super) struct SessionHandle {
    pub(super) session: Arc<Session>,
    pub(super) vault: Arc<Vault>,
}

impl Thread {
    pub(super) fn new(port: Port) -> Self {
        Self {
            port,
            last_request: AtomicU32::new(0),
            last_handle: AtomicU32::new(0),
            stores: Mutex::default(),
            sessions: Mutex::default(),
            sources: Mutex::default(),
            jobs: PendingJobs::default(),
        }
    }

    pub(super) fn next_request(&self) -> u32 {
        self.last_request.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1) + 1
    }

    pub(super) fn next_handle(&self) -> u32 {
        self.last_handle.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn store(&self, number: u32) -> Result<Arc<StoreHandle>> {
        let closed = || store_closed("store");
        self.stores.lock().get(&number).cloned().ok_or_else(closed)
    }

    pub(super) fn session(&self, number: u32) -> Result<SessionHandle> {
        self.sessions
            .lock()
            .get(&number)
            .cloned()
            .ok_or_else(session_closed)
    }

    /// Has the store's logger say something.
    pub(super) fn log(&self, level: &str, message: &str, fields: &serde_json::Value) {
        self.port
            .event(&json!({ "event": "log", "level": level, "message": message, "fields": fields }));
    }

    pub(super) async fn open_store(self: &Arc<Self>, opening: u32, request: OpenRequest) -> Result<Payload> {
        let tell = |error: &Error| {
            let message =
                format!("the store cannot be opened yet, and is tried again until openTimeout: {error}");
            let fields = json!({ "layer": error.layer(), "code": error.kind().code() });
            self.port.event(&json!({
                "event": "log", "opening": opening, "level": "warn", "message": message, "fields": fields,
            }));
        };
        let wants_jobs = request.wants_jobs();
        let (handle, warnings) = registry::open(request, tell).await?;
        let handle = Arc::new(handle);
        let listener: Arc<dyn Listener> = self.clone();
        handle.listen(Arc::downgrade(&listener));
        let number = self.next_handle();
        self.stores.lock().insert(number, handle.clone());
        if wants_jobs {
            let sink: Arc<dyn JobSink> = self.clone();
            handle.hand_jobs_to(Arc::downgrade(&sink), number);
        }
        Ok(Payload::Json(json!({ "store": number, "warnings": warnings })))
    }
}

impl JobSink for Thread {
    fn push(&self, store: u32, job: &Job) -> Option<oneshot::Receiver<Added>> {
        self.store(store).ok()?;
        let (request, added) = self.jobs.begin();
        self.port.event(&json!({
            "event": "queue",
            "store": store,
            "request": request,
            "jobName": "persist",
            "sessionId": *job.session,
            "version": job.version,
            "timestamp": unix_millis(),
            "payloadBase64": BASE64_STANDARD.encode(&job.entry),
        }));
        Some(added)
    }
}

impl Listener for Thread {
    fn notice(&self, event: &Event) {
        match event {
            Event::SessionLost(id, fence, reason) => {
                let ours = |session: &Session| {
                    session.id() == id && session.fence() == *fence && session.terminal_error().is_some()
                };
                let sessions = self.sessions.lock();
                let lost = sessions.iter().filter(|(_, handle)| ours(&handle.session));
                let lost: Vec<u32> = lost.map(|(number, _)| *number).collect();
                drop(sessions);
                for session in lost {
                    self.port.event(&json!({
                        "event": "leaseLost", "session": session, "sessionId": **id, "error": describe(reason),
                    }));
                }
            }
            Event::BreakerMoved(layer, position, last) => {
                let last = last.as_ref().map(ToString::to_string);
                let (level, message) = say(*position, last.as_deref());
                let fields = json!({ "layer": layer, "circuit": position, "cause": last });
                self.log(level, &message, &fields);
            }
        }
    }
}

/// What the log says of a circuit breaker that moved.
fn say(position: Position, last: Option<&str>) -> (&'static str, String) {
    match position {
        Position::Open => {
            let last = last.map_or_else(String::new, |last| format!("; last: {last}"));
            (
                "warn",
                format!("the circuit breaker is open: the storage keeps failing{last}"),
            )
        }
        Position::HalfOpen => (
            "info",
            "the circuit breaker is half-open: one call finds out whether the storage works again".to_owned(),
        ),
        Position::Closed => (
            "info",
            "the circuit breaker is closed: the storage works again".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_the_position_of_the_breaker_and_why_it_is_open() {
        let of = |position| say(position, Some("redis: the connection failed"));
        let (level, text) = of(Position::Open);
        assert_eq!(level, "warn");
        assert!(text.starts_with("the circuit breaker is open"), "{text}");
        assert!(text.ends_with("; last: redis: the connection failed"), "{text}");
        assert!(say(Position::Open, None).1.ends_with("keeps failing"));
        for (position, name) in [(Position::HalfOpen, "half-open"), (Position::Closed, "closed")] {
            let (level, text) = of(position);
            assert_eq!(level, "info");
            assert!(
                text.starts_with(&format!("the circuit breaker is {name}")),
                "{text}"
            );
        }
    }
}
