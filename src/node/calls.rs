//! The calls that work on any session of a store, and on the store itself.

use napi_derive::napi;
use serde_json::{Value, json};

use super::core::{Core, decode, version};
use super::port::Payload;
use crate::backend::Owner;
use crate::hybrid::HybridBackend;
use crate::observe::{self, text, text::ProcessGauge};
use crate::record::{MasterKey, frame};
use crate::session::bulk::Rotation;
use crate::session::{Deletion, OpenOptions, bulk, cache};
use crate::time::millis;

#[napi]
impl Core {
    /// Request: everything a session holds. Snapshot, or JSON `null` if it does not exist.
    #[napi(catch_unwind)]
    pub fn store_get(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            let found = bulk::snapshot(store.vault(), &session_id.into(), &store.options).await?;
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
                client_token: version(fencing_token),
                ..store.options.clone()
            };
            let session = store
                .vault()
                .open_unless_lost(&session_id.into(), &options)
                .await?;
            let outcome = store
                .vault()
                .committed(&session, patch, version(expected_version))
                .await;
            store.vault().close_session(&session).await;
            outcome.map(Payload::Committed)
        })
    }

    /// Request: deletes a session, whether or not it can be read. JSON: whether there was one.
    #[napi(catch_unwind)]
    pub fn store_delete(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |thread, store| async move {
            let id = session_id.into();
            let Deletion { existed, unreadable } = store.vault().delete(&id, &store.options).await?;
            if let Some(reason) = unreadable {
                let fields = json!({ "sessionId": *id, "code": reason.kind().code() });
                thread.log("warn", "a session was deleted that could not be read", &fields);
            }
            Ok(Payload::Json(existed.into()))
        })
    }

    /// Request: makes a session live on for `ttlSeconds` (-1: the configured time). JSON: whether there is one.
    #[napi(catch_unwind)]
    pub fn store_touch(&self, store: u32, session_id: String, ttl_seconds: f64) -> u32 {
        self.in_store(store, move |_, store| async move {
            let own = store.ttl_of_touch(version(ttl_seconds))?;
            let ttl = own.or(store.options.ttl);
            let exists = store.vault().touch(&session_id.into(), ttl).await?;
            Ok(Payload::Json(exists.into()))
        })
    }

    /// Request: whether a session exists. JSON.
    #[napi(catch_unwind)]
    pub fn store_exists(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            let exists = store.vault().exists(&session_id.into()).await?;
            Ok(Payload::Json(exists.into()))
        })
    }

    /// Request: the ids of all sessions. JSON.
    #[napi(catch_unwind)]
    pub fn store_list(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let ids = store.vault().list().await?;
            Ok(Payload::Json(
                ids.iter().map(|id| &**id).collect::<Vec<_>>().into(),
            ))
        })
    }

    /// Request: the ids of a session's records of one type. JSON.
    #[napi(catch_unwind)]
    pub fn store_list_ids(&self, session: u32, kind: String) -> u32 {
        self.in_session(session, move |handle| async move {
            bulk::list_ids(&handle.vault, &handle.session, &kind)
                .await
                .map(|ids| Payload::Json(ids.into()))
        })
    }

    /// Request: the notes of a session, the oldest first. JSON array of strings.
    #[napi(catch_unwind)]
    pub fn store_notes(&self, session: u32) -> u32 {
        self.in_session(session, move |handle| async move {
            let notes = handle.vault.notes(handle.session.id()).await?;
            Ok(Payload::Json(notes.into()))
        })
    }

    /// Request: deletes every record of a session but its creds. Committed.
    #[napi(catch_unwind)]
    pub fn store_clear(&self, session: u32) -> u32 {
        self.in_session(session, move |handle| async move {
            bulk::clear(&handle.vault, &handle.session)
                .await
                .map(Payload::Committed)
        })
    }

    /// Request: seals some of a session's records anew, from `cursor` on (the first without one), where they are not
    /// sealed with the active key. JSON `{ resealed, total, next }`; `next` is the cursor of the next call, `null` after
    /// the last.
    #[napi(catch_unwind)]
    pub fn rotate_key(&self, store: u32, session_id: String, cursor: Option<String>) -> u32 {
        self.in_store(store, move |_, store| async move {
            let session = store
                .vault()
                .open_unless_lost(&session_id.into(), &store.options)
                .await?;
            let outcome = bulk::rotate(store.vault(), &session, cursor.map(Into::into)).await;
            store.vault().close_session(&session).await;
            outcome.map(
                |Rotation {
                     resealed,
                     total,
                     next,
                 }| {
                    Payload::Json(json!({ "resealed": resealed, "total": total, "next": next.as_deref() }))
                },
            )
        })
    }

    /// Request: which keys seal a session's records, whoever has it open. JSON `{ records, stale, keys }`.
    #[napi(catch_unwind)]
    pub fn store_seals(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            bulk::seals(store.vault(), &session_id.into(), &store.options)
                .await
                .map(|seals| Payload::Json(json!(seals)))
        })
    }

    /// Request: who holds a session, as far as that is written down. JSON `{ host, pid, since, expiresInMs, isDead,
    /// isOurs }`, or `null`.
    #[napi(catch_unwind)]
    pub fn store_holder(&self, store: u32, session_id: String) -> u32 {
        self.in_store(store, move |_, store| async move {
            let holder = store.vault().holder(&session_id.into()).await?;
            Ok(Payload::Json(holder.map_or(Value::Null, |holder| {
                json!({
                    "host": holder.owner.host,
                    "pid": holder.owner.pid,
                    "since": holder.since(),
                    "expiresInMs": holder.expires_in.map(millis),
                    "isDead": holder.owner.is_known_dead(),
                    "isOurs": holder.owner.instance == Owner::current().instance,
                })
            })))
        })
    }

    /// Request: when the active master key was first seen in the storage, in milliseconds since 1970, by this call at
    /// the latest. JSON; `null` without a master key.
    #[napi(catch_unwind)]
    pub fn store_key_seen(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let Some(key) = store.options.ring.active().map(MasterKey::id) else {
                return Ok(Payload::Json(Value::Null));
            };
            let seen = store.vault().key_seen(key).await?;
            Ok(Payload::Json(seen.into()))
        })
    }

    /// Request: by how much the storage's clock is ahead of this machine's. JSON `{ skewMs, uncertainMs }`, or `null` if
    /// it has no clock of its own.
    #[napi(catch_unwind)]
    pub fn store_clock(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let skew = store.vault().clock_skew().await?;
            let skew = skew.map(|(skew, uncertain)| json!({ "skewMs": skew, "uncertainMs": uncertain }));
            Ok(Payload::Json(skew.unwrap_or(Value::Null)))
        })
    }

    /// Request: looks whether everything stored is sound and opens. JSON `{ sessions, records }`.
    #[napi(catch_unwind)]
    pub fn store_verify(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            bulk::verify(store.vault(), &store.options)
                .await
                .map(|verified| Payload::Json(json!(verified)))
        })
    }

    /// Request: answers once the storage does.
    #[napi(catch_unwind)]
    pub fn store_ping(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            store.vault().ping().await.map(|()| Payload::None)
        })
    }

    /// Metrics of a store and of the process' memory, as JSON; `null` for a closed store.
    #[napi(catch_unwind)]
    pub fn store_stats(&self, store: u32) -> String {
        let Ok(store) = self.thread.store(store) else {
            return "null".to_owned();
        };
        let memory = cache::usage();
        let backend = store.vault().backend_name();
        let breakers: Value = store
            .breakers()
            .iter()
            .map(|breaker| (breaker.layer().to_owned(), json!(breaker.stats())))
            .collect();
        let metrics = store
            .outbox()
            .map_or_else(|| observe::of(backend).to_json(), hybrid_metrics);
        json!({
            "backend": backend,
            "openSessions": store.vault().open_sessions(),
            "cache": { "bytes": memory.bytes, "budget": memory.budget, "entries": memory.entries },
            "breakers": breakers,
            "outbox": store.outbox().map(outbox_stats),
            "metrics": metrics,
        })
        .to_string()
    }

    /// Metrics of the whole process in the text format of Prometheus.
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

    /// Request: outbox entries that can never be applied. JSON array; `null` for a store without an outbox.
    #[napi(catch_unwind)]
    pub fn dead_letters(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let Some(outbox) = store.outbox() else {
                return Ok(Payload::Json(Value::Null));
            };
            let letters = outbox.dead_letters().await?;
            let letters = letters.iter().map(|letter| {
                json!({
                    "sessionId": *letter.session,
                    "version": letter.version,
                    "reason": letter.reason,
                    "at": letter.at,
                })
            });
            Ok(Payload::Json(letters.collect()))
        })
    }

    /// Request: applies what waits in the outbox now. JSON: the outbox' metrics afterwards; `null` for a store
    /// without one.
    #[napi(catch_unwind)]
    pub fn reconcile_outbox(&self, store: u32) -> u32 {
        self.in_store(store, move |_, store| async move {
            let Some(outbox) = store.outbox() else {
                return Ok(Payload::Json(Value::Null));
            };
            outbox.reconcile().await?;
            Ok(Payload::Json(outbox_stats(outbox)))
        })
    }

    /// How adding a job to the program's queue ended: `error` is null, or says why it failed.
    #[napi(catch_unwind)]
    pub fn queue_done(&self, request: u32, error: Option<String>) {
        self.thread.jobs.done(request, error.map_or(Ok(()), Err));
    }
}

/// How far the outbox is; null where it is not used.
fn outbox_stats(outbox: &HybridBackend) -> Value {
    if !outbox.has_outbox() {
        return Value::Null;
    }
    let stats = outbox.outbox_stats();
    json!({
        "pending": stats.pending,
        "pendingBytes": stats.pending_bytes,
        "totalProcessed": stats.total_processed,
        "totalCompleted": stats.total_completed,
        "totalFailed": stats.total_failed,
        "totalRetried": stats.total_retried,
        "avgLatency": stats.average_latency.as_secs_f64() * 1000.0,
        "lastRunAt": stats.last_run_at,
        "deadLetters": stats.dead_letters,
    })
}

/// The read and write path of hybrid mode.
fn hybrid_metrics(hybrid: &HybridBackend) -> Value {
    let metrics = hybrid.metrics();
    json!({
        "redisHits": metrics.redis_hits,
        "redisMisses": metrics.redis_misses,
        "mongoFallbacks": metrics.mongo_fallbacks,
        "queuePublishes": metrics.queue_publishes,
        "queueFailures": metrics.queue_failures,
        "directWrites": metrics.direct_writes,
    })
}
