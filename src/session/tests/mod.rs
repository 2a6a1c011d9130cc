//! Sessions over a backend that fails on demand. Everything runs on one thread, so that "meanwhile" is exact.

mod bulk;
mod doubts;
mod ends;
mod ownership;
mod panics;
mod queue;
mod renewals;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Session;
use super::access::waiting;
use super::vault::{OpenOptions, Settings, Vault};
use crate::backend::contract::{acquire, key};
use crate::backend::memory::Memory;
use crate::backend::{Acquire, Acquired, Backend, Fence, Head};
use crate::error::{Error, Kind, Result};
use crate::record::{Algorithm, KeyRing, MasterKey, Patch, SealOptions, Sealer};
use crate::runtime::WorkerThread;

const ID: &str = "s";
/// Long enough that nothing ever happens by the clock.
const LEASE: Duration = Duration::from_secs(600);

struct Bench {
    memory: Arc<Memory>,
    vault: Arc<Vault>,
    losses: Arc<Mutex<Vec<Kind>>>,
}

fn options() -> OpenOptions {
    OpenOptions {
        ring: ring(&[7]),
        seal: SealOptions {
            encryption: Some(Algorithm::SecretBox),
            compression: None,
            accept_plain: false,
        },
        exclusive: true,
        open_timeout: Duration::ZERO,
        client_token: None,
        ttl: None,
    }
}

/// The first key is the active one.
fn ring(keys: &[u8]) -> Arc<KeyRing> {
    let mut keys = keys
        .iter()
        .map(|byte| MasterKey::from_bytes("masterKey", &[*byte; 32]).unwrap());
    Arc::new(KeyRing::new(keys.next(), keys.collect()))
}

fn patch(records: &[(&str, &str)]) -> Patch {
    let mut patch = Patch::default();
    for (id, value) in records {
        let value = (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes()));
        patch.set(key("session", id), value);
    }
    patch
}

impl Bench {
    fn new() -> Self {
        Self::over(Arc::new(Memory::default()))
    }

    fn over(memory: Arc<Memory>) -> Self {
        Self::of(memory, LEASE)
    }

    fn with_lease(lease: Duration) -> Self {
        Self::of(Arc::new(Memory::default()), lease)
    }

    fn of(memory: Arc<Memory>, lease: Duration) -> Self {
        let settings = Settings {
            lost: Arc::default(),
            lease,
            operation_timeout: Duration::from_secs(600),
        };
        let losses: Arc<Mutex<Vec<Kind>>> = Arc::default();
        let heard = losses.clone();
        let on_lost = move |_: &Session, reason: &Error| heard.lock().push(reason.kind());
        let vault = Vault::new(memory.clone(), WorkerThread::current(), settings, on_lost);
        Self {
            memory,
            vault,
            losses,
        }
    }

    async fn open(&self) -> Arc<Session> {
        self.vault.open(&ID.into(), &options()).await.unwrap()
    }

    /// Queues at once; the future is the outcome.
    fn set(
        &self,
        session: &Arc<Session>,
        records: &[(&str, &str)],
    ) -> impl Future<Output = Result<Head>> + use<> {
        self.set_expecting(session, records, None)
    }

    fn set_expecting(
        &self,
        session: &Arc<Session>,
        records: &[(&str, &str)],
        expected: Option<u64>,
    ) -> impl Future<Output = Result<Head>> + use<> {
        let (reply, outcome) = waiting();
        self.vault.commit(session, patch(records), expected, reply);
        outcome
    }

    async fn get(&self, session: &Arc<Session>, id: &str) -> Option<String> {
        let found = self.vault.read(session, &[key("session", id)]).await.unwrap();
        found[0]
            .as_ref()
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    /// What the storage holds, opened with the first ring that can.
    fn stored(&self, id: &str) -> Option<String> {
        let key = key("session", id);
        let sealed = self.memory.stored(ID, &key)?;
        let sealer = Sealer::new(ring(&[8, 7]), options().seal, &ID.into()).unwrap();
        Some(String::from_utf8(sealer.open(&key, &sealed).unwrap().to_vec()).unwrap())
    }

    async fn another_owner(&self) -> Fence {
        let mut request = acquire(&ID.into());
        loop {
            match self.memory.acquire(request.clone()).await.unwrap() {
                Acquired::Granted(grant) => return Fence::Owner(grant.token),
                Acquired::Held(holder) => {
                    request = Acquire {
                        preempt: Some(holder.token),
                        ..request
                    }
                }
            }
        }
    }

    fn losses(&self) -> Vec<Kind> {
        self.losses.lock().clone()
    }
}

/// Lets every task that can run do so.
async fn others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> Kind {
    outcome.unwrap_err().kind()
}
