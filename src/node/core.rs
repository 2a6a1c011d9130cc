//! The class that JavaScript calls, one instance for each of its threads.
//!
//! A method that answers later returns a request number; the answer comes through the [`Port`] with that number.
//! What can be expected to fail never throws: it comes as an error answer.

#![expect(clippy::needless_pass_by_value, reason = "napi hands arguments over by value")]

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use napi::bindgen_prelude::{Buffer, BufferSlice, Function};
use napi_derive::napi;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::port::{Payload, Port, describe};
use super::queue::{Added, Jobs, Taker};
use super::stores::{self, Extras, Share};
use crate::backend::Fence;
use crate::backend::hybrid::Job;
use crate::config::{self, SessionConfig, StoreConfig};
use crate::error::{Error, Kind, Result};
use crate::observe::{self, text, text::ProcessGauge};
use crate::record::{KeyRing, MasterKey, SealOptions, frame};
use crate::resilience::breaker::Position;
use crate::runtime::Lane;
use crate::session::vault::Listener;
use crate::session::{Event, Lookup, OpenOptions, Session, Vault, cache, whole};

/// The core, as one thread of JavaScript sees it.
#[napi]
pub struct Core {
    shared: Arc<Shared>,
}

struct Shared {
    port: Port,
    last_request: AtomicU32,
    last_handle: AtomicU32,
    stores: Mutex<HashMap<u32, Arc<Store>>>,
    sessions: Mutex<HashMap<u32, Handle>>,
    jobs: Jobs,
}

struct Store {
    share: Mutex<Option<Share>>,
    vault: Arc<Vault>,
    extras: Arc<Extras>,
    options: OpenOptions,
}

#[derive(Clone)]
struct Handle {
    session: Arc<Session>,
    vault: Arc<Vault>,
}

#[napi]
impl Core {
    /// `onCompletions` gets batches of answers, framed as `port.rs` says. It does not keep the process alive.
    #[napi(constructor, catch_unwind)]
    pub fn new(on_completions: Function<'_, Buffer, ()>) -> napi::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                port: Port::new(&on_completions)?,
                last_request: AtomicU32::new(0),
                last_handle: AtomicU32::new(0),
                stores: Mutex::default(),
                sessions: Mutex::default(),
                jobs: Jobs::default(),
            }),
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
        let shared = self.shared.clone();
        let prepared = prepare(&config, master_key.as_deref(), &previous_master_keys);
        let request = shared.next_request();
        match prepared {
            Ok((config, options, lane, location)) => {
                lane.clone().spawn(async move {
                    let outcome = shared.open_store(&config, options, lane, location).await;
                    shared.port.answer(request, outcome);
                });
            }
            Err(error) => shared.port.answer(request, Err(error)),
        }
        request
    }

    /// Request: opens a session. JSON `{ session, version, updatedAt, token, exists }`.
    #[napi(catch_unwind)]
    pub fn open_session(&self, store: u32, options: String) -> u32 {
        self.in_store(store, move |shared, store| async move {
            let config: SessionConfig = config::parse(&options)?;
            let options = OpenOptions {
                open_timeout: config::ms(config.open_timeout),
                claim: config.fencing_token,
                ..store.options.clone()
            };
            let session = store.vault.open(&config.session_id.into(), &options).await?;
            let head = session.head();
            let token = match session.fence() {
                Fence::Owner(token) => Some(token),
                Fence::Shared => None,
            };
            let number = shared.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
            shared.sessions.lock().insert(
                number,
                Handle {
                    session,
                    vault: store.vault.clone(),
                },
            );
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
        let shared = &self.shared;
        let request = shared.next_request();
        match shared
            .handle(session)
            .and_then(|handle| Ok((handle, decode(frame, length)?)))
        {
            Ok((handle, patch)) => {
                let reply = shared.clone();
                handle.vault.commit(
                    &handle.session,
                    patch,
                    version(expected_version),
                    Box::new(move |outcome| reply.port.answer(request, outcome.map(Payload::Committed))),
                );
            }
            Err(error) => shared.port.answer(request, Err(error)),
        }
        request
    }

    /// Request: [`Core::set`], but only if nothing was ever stored in the session. Committed.
    #[napi(catch_unwind)]
    pub fn store_import(&self, session: u32, frame: &[u8], length: u32) -> u32 {
        self.set(session, frame, length, 0.0)
    }

    /// Reads the records asked for in `frame[..length]`. A positive result is the length of the answer, now in
    /// `frame`, plus one; a negative one is a request number, negated: the answer comes later.
    #[napi(catch_unwind)]
    pub fn get(&self, session: u32, mut frame: BufferSlice<'_>, length: u32) -> i64 {
        let shared = &self.shared;
        let asked = shared.handle(session).and_then(|handle| {
            let keys = frame::decode_keys(part(&frame, length)?)?;
            let found = handle.session.lookup(&keys)?;
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
        let request = shared.next_request();
        let shared = shared.clone();
        handle.vault.lane().clone().spawn(async move {
            let outcome = handle.vault.read(&handle.session, &keys).await;
            shared
                .port
                .answer(request, outcome.map(|records| Payload::Answer(answer(&records))));
        });
        -i64::from(request)
    }

    /// Request: waits for queued patches and gives the handle back; the last one releases the session.
    #[napi(catch_unwind)]
    pub fn close_session(&self, session: u32) -> u32 {
        let shared = self.shared.clone();
        let request = shared.next_request();
        let handle = shared.sessions.lock().remove(&session);
        match handle {
            Some(handle) => {
                handle.vault.lane().clone().spawn(async move {
                    handle.vault.close_session(&handle.session).await;
                    shared.port.answer(request, Ok(Payload::None));
                });
            }
            None => shared.port.answer(request, Ok(Payload::None)),
        }
        request
    }

    /// `{ version, updatedAt, token, leaseHeld }` as JSON; `null` for a closed handle.
    #[napi(catch_unwind)]
    pub fn session_info(&self, session: u32) -> String {
        let Ok(handle) = self.shared.handle(session) else {
            return "null".to_owned();
        };
        let head = handle.session.head();
        let token = match handle.session.fence() {
            Fence::Owner(token) => Some(token),
            Fence::Shared => None,
        };
        let held = token.is_some() && handle.session.refusal().is_none() && handle.session.is_trusted();
        json!({ "version": head.version, "updatedAt": head.updated_at, "token": token, "leaseHeld": held })
            .to_string()
    }

    /// Request: everything a session holds. Snapshot, or JSON `null` if it does not exist.
    #[napi(catch_unwind)]
    pub fn store_get(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            let found = whole::snapshot(&store.vault, &session_id.into(), &store.options).await?;
            let Some(snapshot) = found else {
                return Ok(Payload::Json(Value::Null));
            };
            let head = json!({ "version": snapshot.head.version, "updatedAt": snapshot.head.updated_at });
            Ok(Payload::Snapshot(
                head,
                frame::encode_records(snapshot.records.iter())?,
            ))
        })
    }

    /// Request: commits a patch to any session, opened for it if it is not open here. Committed.
    #[napi(catch_unwind)]
    pub fn store_set(
        &self,
        store: u32,
        session_id: String,
        frame: &[u8],
        length: u32,
        expected_version: f64,
        fencing_token: f64,
    ) -> u32 {
        let patch = decode(frame, length);
        self.in_store(store, move |_, store| async move {
            let patch = patch?;
            let options = OpenOptions {
                claim: version(fencing_token),
                ..store.options.clone()
            };
            let session = store.vault.open(&session_id.into(), &options).await?;
            let outcome = store
                .vault
                .committed(&session, patch, version(expected_version))
                .await;
            store.vault.close_session(&session).await;
            outcome.map(Payload::Committed)
        })
    }

    /// Request: deletes a session. JSON: whether there was one.
    #[napi(catch_unwind)]
    pub fn store_delete(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            store
                .vault
                .delete(&session_id.into(), &store.options)
                .await
                .map(|existed| Payload::Json(existed.into()))
        })
    }

    /// Request: makes a session live on for `ttlSeconds` (-1: the configured time). JSON: whether there is one.
    #[napi(catch_unwind)]
    pub fn store_touch(&self, store: u32, session_id: String, ttl_seconds: f64) -> u32 {
        self.in_store(store, move |_, store| async move {
            let ttl = version(ttl_seconds)
                .map(Duration::from_secs)
                .or(store.options.ttl);
            store
                .vault
                .touch(&session_id.into(), ttl)
                .await
                .map(|exists| Payload::Json(exists.into()))
        })
    }

    /// Request: whether a session exists. JSON.
    #[napi(catch_unwind)]
    pub fn store_exists(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            let id = session_id.into();
            let head = store
                .vault
                .backend()
                .head(&id)
                .await
                .map_err(|error| error.in_session(&id))?;
            Ok(Payload::Json((head.version > 0).into()))
        })
    }

    /// Request: the ids of all sessions. JSON.
    #[napi(catch_unwind)]
    pub fn store_list(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let ids = store.vault.list().await?;
            Ok(Payload::Json(
                ids.iter().map(|id| &**id).collect::<Vec<_>>().into(),
            ))
        })
    }

    /// Request: the ids of a session's records of one type. JSON.
    #[napi(catch_unwind)]
    pub fn store_list_ids(&self, session: u32, kind: String) -> u32 {
        self.in_session(session, move |handle| async move {
            whole::list_ids(&handle.vault, &handle.session, &kind)
                .await
                .map(|ids| Payload::Json(ids.into()))
        })
    }

    /// Request: deletes every record of a session but its creds. Committed.
    #[napi(catch_unwind)]
    pub fn store_clear(&self, session: u32) -> u32 {
        self.in_session(session, move |handle| async move {
            whole::clear(&handle.vault, &handle.session)
                .await
                .map(Payload::Committed)
        })
    }

    /// Request: seals a session's records anew where they are not sealed with the active key.
    /// JSON `{ resealed, total }`.
    #[napi(catch_unwind)]
    pub fn rotate_key(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            let session = store.vault.open(&session_id.into(), &store.options).await?;
            let outcome = whole::rotate(&store.vault, &session).await;
            store.vault.close_session(&session).await;
            outcome.map(|rotation| Payload::Json(json!(rotation)))
        })
    }

    /// Request: answers once the storage does.
    #[napi(catch_unwind)]
    pub fn store_ping(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            store.vault.backend().ping().await.map(|()| Payload::None)
        })
    }

    /// Figures of a store and of the process' memory, as JSON; `null` for a closed store.
    #[napi(catch_unwind)]
    pub fn store_stats(&self, store: u32) -> String {
        let Ok(store) = self.shared.store(store) else {
            return "null".to_owned();
        };
        let memory = cache::usage();
        let backend = store.vault.backend().name();
        let figures = store.extras.outbox.as_ref().map(|outbox| outbox.figures());
        json!({
            "backend": backend,
            "openSessions": store.vault.open_sessions(),
            "cache": { "bytes": memory.bytes, "budget": memory.budget, "entries": memory.entries },
            "breakers": store.extras.breakers(),
            "outbox": store.extras.outbox.as_ref().map(|outbox| outbox.stats()),
            "metrics": figures.unwrap_or_else(|| observe::of(backend).to_json()),
        })
        .to_string()
    }

    /// Figures of the whole process in the text format of Prometheus.
    #[napi(catch_unwind)]
    pub fn metrics_text(&self) -> String {
        let memory = cache::usage();
        let gauge = |name, help, value: usize| ProcessGauge {
            name,
            help,
            value: value as u64,
        };
        text::render(&[
            gauge(
                "cache_bytes",
                "Bytes of records in the owner's memory.",
                memory.bytes,
            ),
            gauge(
                "cache_budget_bytes",
                "Bytes that records in memory may take.",
                memory.budget,
            ),
            gauge("cache_entries", "Records in the owner's memory.", memory.entries),
        ])
    }

    /// Request: figures of the store's circuit breakers, by the storage behind each. JSON object.
    #[napi(catch_unwind)]
    pub fn breaker_stats(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            Ok(Payload::Json(store.extras.breakers()))
        })
    }

    /// Request: progress of the outbox. JSON; `null` for a store without one.
    #[napi(catch_unwind)]
    pub fn outbox_stats(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            Ok(Payload::Json(
                store
                    .extras
                    .outbox
                    .as_ref()
                    .map_or(Value::Null, |outbox| outbox.stats()),
            ))
        })
    }

    /// Request: outbox entries that can never be applied. JSON array; `null` for a store without an outbox.
    #[napi(catch_unwind)]
    pub fn dead_letters(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let Some(outbox) = &store.extras.outbox else {
                return Ok(Payload::Json(Value::Null));
            };
            outbox.dead_letters().await.map(Payload::Json)
        })
    }

    /// Request: applies what waits in the outbox now. JSON: the outbox' figures afterwards; `null` for a store
    /// without one.
    #[napi(catch_unwind)]
    pub fn reconcile_outbox(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let Some(outbox) = &store.extras.outbox else {
                return Ok(Payload::Json(Value::Null));
            };
            outbox.reconcile().await.map(|()| Payload::Json(outbox.stats()))
        })
    }

    /// How adding a job to the program's queue ended: `error` is null, or says why it failed.
    #[napi(catch_unwind)]
    pub fn queue_done(&self, request: u32, error: Option<String>) {
        self.shared.jobs.done(request, error.map_or(Ok(()), Err));
    }

    /// Request: gives a store back; its last user closes it.
    #[napi(catch_unwind)]
    pub fn close_store(&self, store: u32) -> u32 {
        let shared = self.shared.clone();
        let request = shared.next_request();
        let share = shared
            .stores
            .lock()
            .remove(&store)
            .and_then(|store| store.share.lock().take());
        match share {
            Some(share) => {
                share.vault.lane().clone().spawn(async move {
                    let outcome = share.close().await;
                    shared.port.answer(request, outcome.map(|()| Payload::None));
                });
            }
            None => shared.port.answer(request, Ok(Payload::None)),
        }
        request
    }

    fn answered(&self, outcome: Result<Payload>) -> i64 {
        let request = self.shared.next_request();
        self.shared.port.answer(request, outcome);
        -i64::from(request)
    }

    fn in_store<F>(&self, store: u32, work: impl FnOnce(Arc<Shared>, Arc<Store>) -> F) -> u32
    where
        F: Future<Output = Result<Payload>> + Send + 'static,
    {
        let shared = self.shared.clone();
        let request = shared.next_request();
        match shared.store(store) {
            Ok(store) => {
                let lane = store.vault.lane().clone();
                let work = work(shared.clone(), store);
                lane.spawn(async move { shared.port.answer(request, work.await) });
            }
            Err(error) => shared.port.answer(request, Err(error)),
        }
        request
    }

    fn in_session<F>(&self, session: u32, work: impl FnOnce(Handle) -> F) -> u32
    where
        F: Future<Output = Result<Payload>> + Send + 'static,
    {
        let shared = self.shared.clone();
        let request = shared.next_request();
        match shared.handle(session) {
            Ok(handle) => {
                let lane = handle.vault.lane().clone();
                let work = work(handle);
                lane.spawn(async move { shared.port.answer(request, work.await) });
            }
            Err(error) => shared.port.answer(request, Err(error)),
        }
        request
    }
}

impl Drop for Core {
    /// The thread ends, closed in order or not: what it had open is given back, so that others need not wait.
    fn drop(&mut self) {
        let sessions: Vec<_> = self.shared.sessions.lock().drain().collect();
        for (_, Handle { session, vault }) in sessions {
            vault
                .lane()
                .clone()
                .spawn(async move { vault.close_session(&session).await });
        }
        let stores: Vec<_> = self.shared.stores.lock().drain().collect();
        for (_, store) in stores {
            if let Some(share) = store.share.lock().take() {
                share.vault.lane().clone().spawn(share.close());
            }
        }
    }
}

impl Shared {
    fn next_request(&self) -> u32 {
        self.last_request.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1) + 1
    }

    fn store(&self, number: u32) -> Result<Arc<Store>> {
        let closed = || Error::new(Kind::Closed, "store", "the store is closed");
        self.stores.lock().get(&number).cloned().ok_or_else(closed)
    }

    fn handle(&self, number: u32) -> Result<Handle> {
        let closed = || Error::new(Kind::Closed, "session", "the session is closed");
        self.sessions.lock().get(&number).cloned().ok_or_else(closed)
    }

    async fn open_store(
        self: &Arc<Self>,
        config: &StoreConfig,
        options: OpenOptions,
        lane: Lane,
        location: String,
    ) -> Result<Payload> {
        let share = stores::open(config, lane, location).await?;
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
            "timestamp": now_millis(),
            "payloadBase64": BASE64_STANDARD.encode(&job.entry),
        }));
        Some(added)
    }
}

impl Listener for Shared {
    fn notice(&self, event: &Event) {
        let (id, fence, error) = match event {
            Event::Lost(id, fence, error) => (id, *fence, error),
            Event::Breaker(layer, position) => {
                let (level, message) = match position {
                    Position::Open => ("warn", "the storage keeps failing and is left alone for a while"),
                    Position::HalfOpen => ("info", "trying whether the storage works again"),
                    Position::Closed => ("info", "the storage works again"),
                };
                let fields = json!({ "layer": layer, "circuit": position });
                self.port
                    .event(&json!({ "event": "log", "level": level, "message": message, "fields": fields }));
                return;
            }
        };
        let lost: Vec<u32> = {
            let sessions = self.sessions.lock();
            let ours = |session: &Session| {
                session.id() == id && session.fence() == fence && session.refusal().is_some()
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

type Prepared = (StoreConfig, OpenOptions, Lane, String);

fn prepare(config: &str, master_key: Option<&[u8]>, previous: &[Buffer]) -> Result<Prepared> {
    let config: StoreConfig = config::parse(config)?;
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
    Ok((config, options, lane, location))
}

fn part(frame: &[u8], length: u32) -> Result<&[u8]> {
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

fn decode(frame: &[u8], length: u32) -> Result<crate::record::Patch> {
    frame::decode_patch(part(frame, length)?)
}

/// A number that JavaScript passes as -1 when there is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked, and below 2^53"
)]
fn version(number: f64) -> Option<u64> {
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

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
