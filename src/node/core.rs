//! The class that JavaScript calls, one instance for each of its threads.
//!
//! A method that answers later returns a request number; the answer comes through the [`Port`] with that number.
//! What can be expected to fail never throws: it comes as an error answer.

#![expect(clippy::needless_pass_by_value, reason = "napi hands arguments over by value")]

use std::convert::identity;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use napi::bindgen_prelude::{Buffer, BufferSlice, Function};
use napi_derive::napi;
use serde_json::json;

use super::port::{Payload, Port};
use super::source;
use super::thread::{SessionHandle, Thread};
use crate::answer::Answer;
use crate::backend::Fence;
use crate::config::{self, SessionConfig};
use crate::error::{Error, Kind, Result};
use crate::record::{Patch, frame};
use crate::session::{Lookup, OpenOptions};
use crate::stores::{OpenRequest, StoreHandle};

/// The core, as one thread of JavaScript sees it.
#[napi]
pub struct Core {
    pub(super) thread: Arc<Thread>,
}

#[napi]
impl Core {
    /// `onCompletions` gets batches of answers, framed as `port.rs` says. It does not keep the process alive.
    #[napi(constructor, catch_unwind)]
    pub fn new(on_completions: Function<'_, Buffer, ()>) -> napi::Result<Self> {
        Ok(Self {
            thread: Arc::new(Thread::new(Port::new(&on_completions)?)),
        })
    }

    /// Request: opens a store. JSON `{ store, warnings }`.
    #[napi(catch_unwind)]
    pub fn open_store(
        &self,
        config: String,
        master_key: Option<Buffer>,
        previous_master_keys: Vec<Buffer>,
    ) -> u32 {
        let thread = self.thread.clone();
        let previous: Vec<&[u8]> = previous_master_keys.iter().map(|key| &**key).collect();
        self.numbered(identity, |opening, answer| {
            match OpenRequest::parse(&config, master_key.as_deref(), &previous) {
                Ok(request) => {
                    request.worker().clone().spawn(async move {
                        answer.give(thread.open_store(opening, request).await);
                    });
                }
                Err(error) => answer.give(Err(error)),
            }
        })
    }

    /// Request: opens a session. JSON `{ session, version, updatedAt, token, exists }`.
    #[napi(catch_unwind)]
    pub fn open_session(&self, store: u32, options: String) -> u32 {
        self.in_store(store, move |thread, store| async move {
            let config: SessionConfig = config::parse(&options)?;
            let options = OpenOptions {
                open_timeout: config::ms(config.open_timeout),
                client_token: config.fencing_token,
                ..store.options.clone()
            };
            let vault = store.vault().clone();
            let session = vault
                .open_when_reachable(&config.session_id.into(), &options)
                .await?;
            let head = session.head();
            let token = match session.fence() {
                Fence::Owner(token) => Some(token),
                Fence::Shared => None,
            };
            let number = thread.next_handle();
            let handle = SessionHandle { session, vault };
            thread.sessions.lock().insert(number, handle);
            Ok(Payload::Json(json!({
                "session": number,
                "version": head.version,
                "updatedAt": head.updated_at,
                "token": token,
                "exists": head.version > 0,
            })))
        })
    }

    /// Request: queues the patch in `frame[..length]`, in the order of the calls, before this returns. Committed.
    #[napi(catch_unwind)]
    pub fn set(&self, session: u32, frame: &[u8], length: u32, expected_version: f64) -> u32 {
        self.queue(session, decode(frame, length), expected_version)
    }

    /// Request: [`Core::set`] with a note that is kept beyond the session's deletion. Committed.
    #[napi(catch_unwind)]
    pub fn store_import(
        &self,
        session: u32,
        frame: &[u8],
        length: u32,
        expected_version: f64,
        note: String,
    ) -> u32 {
        let patch = decode(frame, length).map(|mut patch| {
            patch.set_note(note.into());
            patch
        });
        self.queue(session, patch, expected_version)
    }

    /// Reads the records asked for in `frame[..length]`. A positive result is the length of the answer, now in
    /// `frame`, plus one; a negative one is a request number, negated: the answer comes later.
    #[napi(catch_unwind)]
    pub fn get(&self, session: u32, mut frame: BufferSlice<'_>, length: u32) -> i64 {
        let asked = self.thread.session(session).and_then(|handle| {
            let keys = frame::decode_keys(part(&frame, length)?)?;
            let found = handle.vault.lookup(&handle.session, &keys)?;
            Ok((handle, keys, found))
        });
        let (handle, keys, found) = match asked {
            Ok(asked) => asked,
            Err(error) => return self.answered(Err(error)),
        };
        if let Lookup::Found(records) = found {
            return match frame::write_answer(&mut frame, numbered(&records)) {
                Some(written) => i64::try_from(written).unwrap_or(i64::MAX - 1) + 1,
                None => self.answered(Ok(Payload::Answer(answer(&records)))),
            };
        }
        let request = self.request(identity, |owed| {
            handle.vault.worker().clone().spawn(async move {
                let outcome = handle.vault.read(&handle.session, &keys).await;
                owed.give(outcome.map(|records| Payload::Answer(answer(&records))));
            });
        });
        -i64::from(request)
    }

    /// Request: waits for queued patches and gives the handle back; the last one releases the session.
    #[napi(catch_unwind)]
    pub fn close_session(&self, session: u32) -> u32 {
        let handle = self.thread.sessions.lock().remove(&session);
        self.request(identity, |answer| match handle {
            Some(handle) => {
                handle.vault.worker().clone().spawn(async move {
                    handle.vault.close_session(&handle.session).await;
                    answer.give(Ok(Payload::None));
                });
            }
            None => answer.give(Ok(Payload::None)),
        })
    }

    /// `{ version, updatedAt, token, leaseHeld }` as JSON; `null` for a closed handle.
    #[napi(catch_unwind)]
    pub fn session_info(&self, session: u32) -> String {
        let Ok(handle) = self.thread.session(session) else {
            return "null".to_owned();
        };
        let head = handle.session.head();
        let token = match handle.session.fence() {
            Fence::Owner(token) => Some(token),
            Fence::Shared => None,
        };
        let held =
            token.is_some() && handle.session.terminal_error().is_none() && handle.session.is_trusted();
        json!({ "version": head.version, "updatedAt": head.updated_at, "token": token, "leaseHeld": held })
            .to_string()
    }

    /// Request: gives a store back; its last user closes it.
    #[napi(catch_unwind)]
    pub fn close_store(&self, store: u32) -> u32 {
        let store = self.thread.stores.lock().remove(&store);
        self.request(identity, |answer| match store {
            Some(store) => {
                store.vault().worker().clone().spawn(async move {
                    answer.give(store.close().await.map(|()| Payload::None));
                });
            }
            None => answer.give(Ok(Payload::None)),
        })
    }

    /// Numbers a request and has `work` see to its answer, now or later. A panic is an answer too.
    pub(super) fn request<T: 'static>(
        &self,
        payload: impl FnOnce(T) -> Payload + Send + 'static,
        work: impl FnOnce(Answer<T>),
    ) -> u32 {
        self.numbered(payload, |_, answer| work(answer))
    }

    /// The same for work that needs the request's number.
    fn numbered<T: 'static>(
        &self,
        payload: impl FnOnce(T) -> Payload + Send + 'static,
        work: impl FnOnce(u32, Answer<T>),
    ) -> u32 {
        let thread = self.thread.clone();
        let request = thread.next_request();
        let answer = Answer::new(move |outcome: Result<T>| {
            thread.port.answer(request, outcome.map(payload));
        });
        // Whatever panics drops the answer, which then says so.
        let _ = catch_unwind(AssertUnwindSafe(|| work(request, answer)));
        request
    }

    fn queue(&self, session: u32, patch: Result<Patch>, expected_version: f64) -> u32 {
        self.request(Payload::Committed, |answer| {
            let handle = self.thread.session(session);
            match handle.and_then(|handle| Ok((handle, patch?))) {
                Ok((handle, patch)) => {
                    handle
                        .vault
                        .commit(&handle.session, patch, version(expected_version), answer);
                }
                Err(error) => answer.give(Err(error)),
            }
        })
    }

    fn answered(&self, outcome: Result<Payload>) -> i64 {
        -i64::from(self.request(identity, |answer| answer.give(outcome)))
    }

    pub(super) fn in_store<F>(&self, store: u32, work: impl FnOnce(Arc<Thread>, Arc<StoreHandle>) -> F) -> u32
    where
        F: Future<Output = Result<Payload>> + Send + 'static,
    {
        self.request(identity, |answer| {
            let open = |store: Arc<StoreHandle>| store.vault().ensure_open().map(|()| store);
            match self.thread.store(store).and_then(open) {
                Ok(store) => {
                    let worker = store.vault().worker().clone();
                    let work = work(self.thread.clone(), store);
                    worker.spawn(async move { answer.give(work.await) });
                }
                Err(error) => answer.give(Err(error)),
            }
        })
    }

    pub(super) fn in_session<F>(&self, session: u32, work: impl FnOnce(SessionHandle) -> F) -> u32
    where
        F: Future<Output = Result<Payload>> + Send + 'static,
    {
        self.request(identity, |answer| match self.thread.session(session) {
            Ok(handle) => {
                let worker = handle.vault.worker().clone();
                let work = work(handle);
                worker.spawn(async move { answer.give(work.await) });
            }
            Err(error) => answer.give(Err(error)),
        })
    }
}

impl Drop for Core {
    /// The thread ends, closed in order or not: what it had open is given back, so that others need not wait.
    fn drop(&mut self) {
        let sessions: Vec<_> = self.thread.sessions.lock().drain().collect();
        for (_, SessionHandle { session, vault }) in sessions {
            vault
                .worker()
                .clone()
                .spawn(async move { vault.close_session(&session).await });
        }
        let stores: Vec<_> = self.thread.stores.lock().drain().collect();
        for (_, store) in stores {
            let worker = store.vault().worker().clone();
            worker.spawn(async move { store.close().await });
        }
        source::close(self.thread.sources.lock().drain().map(|(_, source)| source));
    }
}

pub(super) fn part(frame: &[u8], length: u32) -> Result<&[u8]> {
    let short = || {
        Error::new(
            Kind::InvalidValue,
            "session",
            "the frame is shorter than its length",
        )
    };
    usize::try_from(length)
        .ok()
        .and_then(|length| frame.get(..length))
        .ok_or_else(short)
}

pub(super) fn decode(frame: &[u8], length: u32) -> Result<Patch> {
    frame::decode_patch(part(frame, length)?)
}

/// A number that JavaScript passes as -1 when there is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked, and below 2^53"
)]
pub(super) fn version(number: f64) -> Option<u64> {
    (number >= 0.0).then_some(number as u64)
}

fn numbered(records: &[Option<Bytes>]) -> impl Iterator<Item = (u32, &[u8])> + Clone {
    (0..)
        .zip(records)
        .filter_map(|(index, record)| record.as_deref().map(|record| (index, record)))
}

fn answer(records: &[Option<Bytes>]) -> Vec<u8> {
    let mut bytes = vec![0; frame::answer_len(numbered(records).map(|(_, record)| record))];
    // The Buffer was measured for exactly this.
    let _ = frame::write_answer(&mut bytes, numbered(records));
    bytes
}
