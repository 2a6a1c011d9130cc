//! The cache in memory answers as the scripts do: the same calls, made at random, to it and to a server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::cache::{Keys, MemoryCache};
use super::network::Network;
use super::process::session;
use crate::backend::contract::{change, key};
use crate::backend::redis::testing::{Server, redis_server_found};
use crate::backend::redis::tests::{config, owner};
use crate::hybrid::cache::{Cache, HeldLease, Reserved, Revision};
use crate::hybrid::redis::RedisCache;

const ROUNDS: usize = 300;
const CALLS: usize = 40;
/// Longer than the test runs.
const LEASE: Duration = Duration::from_secs(600);

/// Small numbers, so that calls meet each other's traces.
#[derive(Clone)]
struct Draws(u64);

impl Draws {
    /// By xorshift: the same again from the same seed.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn revision(&mut self) -> Revision {
        let version = self.below(4);
        Revision {
            token: 1 + self.below(3),
            version,
            commit_id: if version == 0 { 0 } else { 1 + self.below(2) },
            updated_at: version,
        }
    }
}

/// One call, drawn by each of the two from equal numbers, to a cache that is at `at`; its answer as text.
async fn call(cache: &dyn Cache, draws: &mut Draws, at: Option<Revision>) -> String {
    let session = session();
    let kind = draws.below(17);
    let (revision, request_id, other) = (draws.revision(), 1 + draws.below(2), draws.below(5));
    let asks = owner(&request_id.to_string());
    match kind {
        0..=3 => {
            // Half of them where it is.
            let base = at.filter(|_| other.is_multiple_of(2)).unwrap_or(revision);
            let becomes = Revision {
                token: base.token,
                version: base.version + 1,
                commit_id: request_id,
                updated_at: other,
            };
            let changes = [
                change("r", "a", &other.to_string()),
                change("r", "b", if other > 2 { "1" } else { "" }),
            ];
            let entry = Bytes::from(format!("entry {other}"));
            let entry = (other > 0).then_some(&entry);
            let done = cache.commit(&session, base.version, becomes, &changes, entry, None);
            format!("{:?}", done.await)
        }
        4 => {
            let at = at.filter(|_| other > 0).unwrap_or(revision);
            let records = [
                (key("r", "a"), Bytes::from("warm")),
                (key("r", "c"), Bytes::from("warm")),
            ];
            let done = cache.warm(&session, at, &records, other > 2, None);
            format!("{:?}", done.await)
        }
        5 => format!(
            "{:?}",
            cache
                .read(&session, &[key("r", "a"), key("r", "b"), key("r", "c")])
                .await
        ),
        6 => format!("{:?}", cache.confirm_entry(&session, other).await),
        7 => format!("{:?}", cache.entries(&session).await),
        8 => format!(
            "{:?}",
            cache.trim(&session, revision.token, &[other, other + 1]).await
        ),
        9 | 10 => {
            let preempt = (other > 1).then_some(revision.token);
            let reserved = cache.reserve(&session, request_id, &asks, LEASE, preempt, other);
            match reserved.await {
                // All but how long it still lasts.
                Ok(Reserved::Held(holder)) => format!("held by {} {:?}", holder.token, holder.owner),
                answer => format!("{answer:?}"),
            }
        }
        11 => format!("{:?}", cache.cancel_reservation(&session, request_id).await),
        12 => format!("{:?}", cache.fence(&session, revision.token).await),
        13 => {
            let found = at.filter(|_| other.is_multiple_of(2));
            let installed = cache.install(&session, found, revision, &asks, request_id, LEASE);
            format!("{:?}", installed.await)
        }
        14 => {
            let held = HeldLease {
                session: &session,
                token: revision.token,
                request_id,
                version: other,
            };
            let renewed = cache.renew(&[held], &asks, LEASE).await;
            let held = cache.check_leases(&[(session.clone(), revision.token)]).await;
            format!("{renewed:?} {held:?}")
        }
        15 => {
            let seen = at.filter(|_| other > 1);
            format!("{:?}", cache.purge(&session, seen).await)
        }
        _ => format!("{:?}", cache.release(&session, revision.token).await),
    }
}

#[tokio::test]
async fn the_cache_in_memory_answers_as_the_scripts_do() {
    if !redis_server_found("the_cache_in_memory_answers_as_the_scripts_do") {
        return;
    }
    let server = Server::start(&[]);
    let redis = RedisCache::new(&config(&server.url()), "db").unwrap();
    let seed = getrandom::u64().unwrap() | 1;
    let mut draws = Draws(seed);
    for round in 0..ROUNDS {
        server.run::<()>("FLUSHALL");
        let memory = MemoryCache {
            network: Network::new(Vec::new()),
            process: 0,
            keys: Arc::new(parking_lot::Mutex::new(Keys::with(super::Mistake::None))),
        };
        for number in 0..CALLS {
            let at = redis.revision(&session()).await.unwrap();
            assert_eq!(
                memory.revision(&session()).await.unwrap(),
                at,
                "seed {seed}, {round}, {number}"
            );
            let mut same = draws.clone();
            let answer = call(&redis, &mut draws, at).await;
            let in_memory = call(&memory, &mut same, at).await;
            assert_eq!(in_memory, answer, "seed {seed}, {round}, {number}");
        }
    }
}
