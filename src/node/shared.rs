//! What one thread of JavaScript has open, and what reaches it unasked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use napi::bindgen_prelude::Buffer;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::oneshot;

use super::agreed::Agreed;
use super::port::{Payload, Port, describe};
use super::queue::{Added, Jobs, Taker};
use super::stores::{self, Extras, Share};
use crate::backend;
use crate::config::{self, StoreConfig};
use crate::error::{Error, Kind, Result};
use crate::hybrid::Job;
use crate::record::{KeyRing, MasterKey, SealOptions};
use crate::resilience::breaker::Position;
use crate::runtime::Lane;
use crate::session::vault::Listener;
use crate::session::{Event, OpenOptions, Session, Vault, cache};

pub(super) struct Shared {
    pub(super) port: Port,
    pub(super) last_request: AtomicU32,
    pub(super) last_handle: AtomicU32,
    pub(super) stores: Mutex<HashMap<u32, Arc<Store>>>,
    pub(super) sessions: Mutex<HashMap<u32, Handle>>,
    pub(super) jobs: Jobs,
}

pub(super) struct Store {
    pub(super) share: Mutex<Option<Share>>,
    pub(super) vault: Arc<Vault>,
    pub(super) extras: Arc<Extras>,
    pub(super) options: OpenOptions,
}

#[derive(Clone)]
pub(super) struct Handle {
    pub(super) session: Arc<Session>,
    pub(super) vault: Arc<Vault>,
}

impl Shared {
    pub(super) fn next_request(&self) -> u32 {
        self.last_request.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1) + 1
    }

    pub(super) fn store(&self, number: u32) -> Result<Arc<Store>> {
        let closed = || Error::new(Kind::Closed, "store", "the store is closed");
        self.stores.lock().get(&number).cloned().ok_or_else(closed)
    }

    pub(super) fn handle(&self, number: u32) -> Result<Handle> {
        let closed = || Error::new(Kind::Closed, "session", "the session is closed");
        self.sessions.lock().get(&number).cloned().ok_or_else(closed)
    }

    /// Has the store's logger say something.
    pub(super) fn log(&self, level: &str, message: &str, fields: &serde_json::Value) {
        self.port
            .event(&json!({ "event": "log", "level": level, "message": message, "fields": fields }));
    }

    pub(super) async fn open_store(
        self: &Arc<Self>,
        request: u32,
        Prepared {
            config,
            agreed,
            options,
            lane,
            location,
        }: Prepared,
    ) -> Result<Payload> {
        let tell = |error: &Error| {
            let message =
                format!("the store cannot be opened yet, and is tried again until openTimeout: {error}");
            let fields = json!({ "layer": error.layer(), "code": error.kind().code() });
            self.port.event(&json!({
                "event": "log", "opening": request, "level": "warn", "message": message, "fields": fields,
            }));
        };
        let share = stores::open(&config, agreed, lane, location, tell).await?;
        if let Some(bytes) = config.cache_bytes {
            cache::set_budget(bytes);
        }
        let vault = share.vault.clone();
        let listener: Arc<dyn Listener> = self.clone();
        vault.listen(Arc::downgrade(&listener));
        let (warnings, extras) = (share.warnings.clone(), share.extras.clone());
        let number = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        self.stores.lock().insert(
            number,
            Arc::new(Store {
                share: Mutex::new(Some(share)),
                vault,
                extras: extras.clone(),
                options,
            }),
        );
        let queue = config.hybrid.as_ref().is_some_and(|hybrid| hybrid.queue);
        if let Some(relay) = extras.queue.as_ref().filter(|_| queue) {
            let taker: Arc<dyn Taker> = self.clone();
            relay.join(Arc::downgrade(&taker), number);
        }
        Ok(Payload::Json(json!({ "store": number, "warnings": warnings })))
    }
}

impl Taker for Shared {
    fn take(&self, store: u32, job: &Job) -> Option<oneshot::Receiver<Added>> {
        self.store(store).ok()?;
        let (request, added) = self.jobs.begin();
        self.port.event(&json!({
            "event": "queue",
            "store": store,
            "request": request,
            "jobName": "persist",
            "sessionId": *job.session,
            "version": job.version,
            "timestamp": backend::now_millis(),
            "payloadBase64": BASE64_STANDARD.encode(&job.entry),
        }));
        Some(added)
    }
}

impl Listener for Shared {
    fn notice(&self, event: &Event) {
        let (id, fence, error) = match event {
            Event::Lost(id, fence, error) => (id, *fence, error),
            Event::Breaker(layer, position, last) => {
                let last = last.as_ref().map(ToString::to_string);
                let (level, message) = match position {
                    Position::Open => {
                        let text = "the storage keeps failing and is left alone for a while";
                        let reason = last.iter().map(|last| format!("; last: {last}"));
                        ("warn", std::iter::once(text.to_owned()).chain(reason).collect())
                    }
                    Position::HalfOpen => ("info", "trying whether the storage works again".to_owned()),
                    Position::Closed => ("info", "the storage works again".to_owned()),
                };
                let fields = json!({ "layer": layer, "circuit": position, "cause": last });
                self.log(level, &message, &fields);
                return;
            }
        };
        let lost: Vec<u32> = {
            let sessions = self.sessions.lock();
            let ours = |session: &Session| {
                session.id() == id && session.fence() == fence && session.terminal_error().is_some()
            };
            sessions
                .iter()
                .filter(|(_, handle)| ours(&handle.session))
                .map(|(number, _)| *number)
                .collect()
        };
        for session in lost {
            self.port.event(&json!({
                "event": "leaseLost", "session": session, "sessionId": **id, "error": describe(error),
            }));
        }
    }
}

/// What a store is to be opened with.
pub(super) struct Prepared {
    config: StoreConfig,
    agreed: Agreed,
    options: OpenOptions,
    pub(super) lane: Lane,
    location: String,
}

pub(super) fn prepare(json: &str, master_key: Option<&[u8]>, previous: &[Buffer]) -> Result<Prepared> {
    let config: StoreConfig = config::parse(json)?;
    config.check()?;
    let active = master_key
        .map(|key| MasterKey::from_bytes("masterKey", key))
        .transpose()?;
    let previous: Result<Vec<_>> = previous
        .iter()
        .map(|key| MasterKey::from_bytes("previousMasterKeys", key))
        .collect();
    let options = OpenOptions {
        ring: Arc::new(KeyRing::new(active, previous?)),
        seal: SealOptions::from(&config.security),
        exclusive: config.exclusive,
        open_timeout: config::ms(config.open_timeout),
        claim: None,
        ttl: config.ttl.map(Duration::from_secs),
    };
    let (lane, location) = stores::locate(&config)?;
    Ok(Prepared {
        agreed: Agreed::of(json),
        config,
        options,
        lane,
        location,
    })
}
