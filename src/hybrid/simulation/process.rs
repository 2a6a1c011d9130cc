//! A process of a case: what it does to the session, as the layer above a store does it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use super::history::{History, RECORDS, Reached};
use super::primary::Document;
use crate::backend::contract::key;
use crate::backend::{
    Acquire, Acquired, Backend, Commit, Fence, Head, Owner, Renewal, Seen, SessionId, Token,
};
use crate::error::{Error, Kind, Result};
use crate::hybrid::HybridBackend;
use crate::hybrid::state::Core;
use crate::record::Change;

/// How long whoever calls a store waits, as the layer above does. A server may take longer.
const PATIENCE: Duration = Duration::from_millis(60);
/// How long a lease lasts.
const LEASE: Duration = Duration::from_millis(200);

/// The one session there is.
pub fn session() -> SessionId {
    "s".into()
}

/// What an owner knows of the session it holds, as the layer above does.
#[derive(Clone, Copy)]
struct Held {
    token: Token,
    version: u64,
    /// It got at least so far.
    floor: Reached,
    /// A commit or a deletion of unknown outcome came last.
    in_doubt: bool,
}

/// A process and its store.
#[derive(Clone)]
pub struct Process {
    pub number: usize,
    pub backend: HybridBackend,
    owner: Owner,
    /// Held while it writes: one commit at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    held: Arc<Mutex<Option<Held>>>,
}

/// The commit of that number.
pub fn commit(number: usize, token: Token, base: u64, changes: Vec<Change>) -> Commit {
    Commit {
        session: session(),
        fence: Fence::Owner(token),
        base,
        patches: 1,
        expected: false,
        // Never 0, which is no commit's.
        id: number as u64 + 1,
        changes,
        ttl: None,
        note: None,
    }
}

/// What an action tells of itself, and what only the case sees.
pub struct Watch {
    pub document: Arc<Mutex<Document>>,
    pub history: Arc<Mutex<History>>,
}

impl Watch {
    /// How often the session was deleted.
    fn incarnation(&self) -> usize {
        self.document.lock().deleted.len()
    }

    /// Where a session is that was said to be at `version` by somebody who was asked when it was the `earlier` one, if
    /// it still is that one.
    fn reached(&self, earlier: usize, version: u64) -> Option<Reached> {
        (self.incarnation() == earlier).then_some(Reached {
            incarnation: earlier,
            version,
        })
    }

    /// Whether nobody has taken the session over.
    fn owns(&self, token: Token) -> bool {
        self.document.lock().token == token
    }
}

async fn patiently<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Err(Error::new(Kind::Timeout, "simulation", "took too long"));
    timeout(PATIENCE, work).await.unwrap_or_else(|_| late())
}

fn leaves_doubt(error: &Error) -> bool {
    matches!(error.kind(), Kind::Timeout | Kind::Unavailable)
}

impl Process {
    pub fn new(number: usize, core: Core) -> Self {
        Self {
            number,
            backend: HybridBackend(Arc::new(core)),
            owner: Owner {
                host: "elsewhere".to_owned(),
                boot: String::new(),
                pid: 1,
                started: 1,
                instance: number.to_string(),
            },
            turn: Arc::default(),
            held: Arc::default(),
        }
    }

    pub fn request(&self, preempt: Option<Token>) -> Acquire {
        Acquire {
            session: session(),
            owner: self.owner.clone(),
            lease: LEASE,
            client_token: None,
            preempt,
            read: Vec::new(),
        }
    }

    pub async fn open(self, world: Watch, displaces: bool) {
        let _turn = self.turn.lock().await;
        let before = world.history.lock().all_acknowledged();
        let earlier = world.incarnation();
        let mut preempt = None;
        for _ in 0..3 {
            match patiently(self.backend.acquire(self.request(preempt))).await {
                Ok(Acquired::Granted(grant)) => {
                    let (token, version) = (grant.token, grant.head.version);
                    let reached = world.reached(earlier, version);
                    if let Some(reached) = reached {
                        world.history.lock().granted(token, reached, &before);
                    }
                    *self.held.lock() = Some(Held {
                        token,
                        version,
                        floor: reached.unwrap_or(Reached::first(earlier)),
                        in_doubt: false,
                    });
                    return;
                }
                Ok(Acquired::Held(holder)) if displaces => preempt = Some(holder.token),
                _ => return,
            }
        }
    }

    fn held(&self) -> Option<Held> {
        *self.held.lock()
    }

    /// It knows this of the session from now on.
    fn knows(&self, held: Held) {
        *self.held.lock() = Some(held);
    }

    pub async fn write(self, world: Watch) {
        let _turn = self.turn.lock().await;
        let Some(mut held) = self.held() else { return };
        if held.in_doubt {
            let Some(known) = self.head(held, &world).await else {
                return;
            };
            held = known;
        }
        let (number, changes) =
            world
                .history
                .lock()
                .begin(held.token, held.version + 1, held.floor.incarnation);
        let commit = commit(number, held.token, held.version, changes);
        // Before it is sent: the caller may be gone before the answer comes.
        held.in_doubt = true;
        self.knows(held);
        for _ in 0..2 {
            let answer = patiently(async {
                let mut answers = self.backend.commit(vec![commit.clone()]).await;
                answers.pop().expect("one answer for one commit")
            });
            match answer.await {
                Ok(Head { version, .. }) => {
                    world.history.lock().acknowledged(number);
                    self.knows(Held {
                        version,
                        floor: Reached {
                            version,
                            ..held.floor
                        },
                        in_doubt: false,
                        ..held
                    });
                    return;
                }
                Err(error) if leaves_doubt(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// Where the session is, as its owner is told after a commit of unknown outcome.
    async fn head(&self, held: Held, world: &Watch) -> Option<Held> {
        let (owns, earlier) = (world.owns(held.token), world.incarnation());
        let head = patiently(self.backend.head(&session())).await.ok()?;
        let reached = world.reached(earlier, head.version);
        if let Some(reached) = reached
            && owns
            && world.owns(held.token)
        {
            world.history.lock().head(reached, held.floor);
        }
        Some(Held {
            version: head.version,
            floor: reached.unwrap_or(held.floor),
            ..held
        })
    }

    pub async fn delete(self, world: Watch, owns: bool) {
        let _turn = self.turn.lock().await;
        let held = self.held();
        let fence = match held {
            Some(held) if owns => Fence::Owner(held.token),
            None if owns => return,
            _ => Fence::Shared,
        };
        if let Some(held) = held {
            // Before it is asked for: the caller may be gone before the answer comes.
            self.knows(Held {
                in_doubt: true,
                ..held
            });
        }
        let before = world.history.lock().all_acknowledged();
        if patiently(self.backend.delete(&session(), fence)).await.is_err() {
            return;
        }
        world.history.lock().deleted(before);
        if let Some(held) = held.filter(|_| owns) {
            self.knows(Held {
                version: 0,
                floor: Reached::first(world.incarnation()),
                in_doubt: false,
                ..held
            });
        }
    }

    pub async fn read(self, world: Watch, records: u8) {
        let Some(held) = self.held() else { return };
        let wanted: Vec<_> = (0..RECORDS.len()).filter(|at| records >> at & 1 == 1).collect();
        let keys: Vec<_> = wanted.iter().map(|at| key("r", RECORDS[*at])).collect();
        let owns = world.owns(held.token);
        let found = patiently(self.backend.read(&session(), &keys, Seen::NOTHING)).await;
        if let Ok(found) = found
            && owns
            && world.owns(held.token)
        {
            world
                .history
                .lock()
                .read(held.floor, wanted.into_iter().zip(found));
        }
    }

    pub async fn renew(self) {
        let Some(held) = self.held() else { return };
        let renewal = Renewal {
            session: session(),
            token: held.token,
            version: held.version,
        };
        let _ = timeout(PATIENCE, self.backend.renew(&[renewal], LEASE)).await;
    }

    pub async fn release(self) {
        let _turn = self.turn.lock().await;
        let held = self.held.lock().take();
        if let Some(held) = held {
            let _ = patiently(self.backend.release(&session(), held.token)).await;
        }
    }
}
