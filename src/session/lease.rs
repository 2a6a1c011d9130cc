//! Taking ownership.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::waiting::Waiting;
use crate::backend::{Acquire, Acquired, Backend, Grant, Holder, Owner, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::RecordKey;
use crate::time::{self, Backoff};

/// Pauses before a lease is asked for again that was found held although it seemed free.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(400));

/// So many holders that are dead are preempted one after the other without a pause.
const PREEMPTED_AT_ONCE: usize = 4;

/// Leases in use in this process. A lease in our name that is not among them was left behind (its release failed)
/// and may be taken over at once.
static LIVE: OnceLock<Mutex<HashMap<(SessionId, Token), Ended>>> = OnceLock::new();

/// Gone with the lease, which tells who waits for it in this process, if anybody does.
type Ended = Option<watch::Sender<()>>;

/// How many stores of this process ask for a session at this moment, and who wants to know when none does any more.
struct Asked {
    stores: usize,
    ended: watch::Sender<()>,
}

static ASKING: OnceLock<Mutex<HashMap<SessionId, Asked>>> = OnceLock::new();

/// While it lives, a lease in our name that is not among those in use may be just what a storage grants.
pub(super) struct Asking(SessionId);

impl Asking {
    pub fn begin(session: &SessionId) -> Self {
        let mut asking = ASKING.get_or_init(Mutex::default).lock();
        let asked = asking.entry(session.clone()).or_insert_with(|| Asked {
            stores: 0,
            ended: watch::channel(()).0,
        });
        asked.stores += 1;
        Self(session.clone())
    }

    /// Resolves when nobody is asking any more; `None` if nobody is.
    fn under_way(session: &SessionId) -> Option<impl Future<Output = ()> + use<>> {
        let asking = ASKING.get_or_init(Mutex::default).lock();
        let mut ended = asking.get(session)?.ended.subscribe();
        // An error is the news: nobody ever sends anything.
        Some(async move { drop(ended.changed().await) })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut asking = ASKING.get_or_init(Mutex::default).lock();
        if let Some(asked) = asking.get_mut(&self.0) {
            asked.stores -= 1;
            if asked.stores == 0 {
                asking.remove(&self.0);
            }
        }
    }
}

fn live() -> &'static Mutex<HashMap<(SessionId, Token), Ended>> {
    LIVE.get_or_init(Mutex::default)
}

pub(super) struct Wanted {
    pub session: SessionId,
    pub lease: Duration,
    pub open_timeout: Duration,
    pub client_token: Option<Token>,
    pub read: Vec<RecordKey>,
}

/// Takes the lease, waiting for a live holder up to `open_timeout`. Answers with the grant and until when, on
/// [`time::monotonic_millis`], it may be trusted.
pub(super) async fn take(
    backend: &dyn Backend,
    waiting: &Arc<Waiting>,
    wanted: Wanted,
) -> Result<(Grant, u64)> {
    let deadline = time::monotonic_millis().saturating_add(time::millis(wanted.open_timeout));
    let mut request = Acquire {
        session: wanted.session,
        owner: Owner::current().clone(),
        lease: wanted.lease,
        client_token: wanted.client_token,
        preempt: None,
        read: wanted.read,
    };
    let mut met = HashSet::new();
    let mut pauses = PAUSES;
    loop {
        let asked = time::monotonic_millis();
        let asking = Asking::begin(&request.session);
        let answer = backend.acquire(request.clone()).await?;
        let holder = match answer {
            Acquired::Granted(grant) => {
                live().lock().insert((request.session, grant.token), None);
                let until = if grant.expires {
                    trusted_until(asked, wanted.lease)
                } else {
                    time::NEVER
                };
                return Ok((grant, until));
            }
            Acquired::Held(holder) => holder,
        };
        drop(asking);
        if is_abandoned(&request.session, &holder)
            && holder.owner.instance == Owner::current().instance
            && let Some(ended) = Asking::under_way(&request.session)
        {
            // Perhaps it was granted to one of them. Whoever is the last to ask does not wait.
            ended.await;
            continue;
        }
        let first = met.insert(holder.token);
        if is_abandoned(&request.session, &holder) {
            request.preempt = Some(holder.token);
            if first && met.len() <= PREEMPTED_AT_ONCE {
                continue;
            }
        }
        let now = time::monotonic_millis();
        if now >= deadline {
            return Err(busy(&holder).in_session(&request.session));
        }
        let rest = Duration::from_millis(deadline - now);
        if !first {
            tokio::time::sleep(pauses.next_pause().min(rest)).await;
        }
        // Once more when the time is over: what is answered then names the last holder.
        let rest = Duration::from_millis(deadline.saturating_sub(time::monotonic_millis()));
        if let Ok(news) = tokio::time::timeout(rest, let_go(waiting, &request.session, &holder)).await {
            news?;
        }
    }
}

/// Waits until the lease found with `holder` may be free.
async fn let_go(waiting: &Arc<Waiting>, session: &SessionId, holder: &Holder) -> Result<()> {
    let ended = ended_here(session, holder);
    let woken = waiting.wait(session, holder);
    tokio::select! {
        () = ended => Ok(()),
        news = woken => news.unwrap_or(Ok(())),
    }
}

/// Waits for the end of a lease of this process; for ever if it is another's.
fn ended_here(session: &SessionId, holder: &Holder) -> impl Future<Output = ()> {
    let ours = holder.owner.instance == Owner::current().instance;
    let ended = live()
        .lock()
        .get_mut(&(session.clone(), holder.token))
        .map(|ended| ended.get_or_insert_with(|| watch::channel(()).0).subscribe());
    async move {
        match ended {
            _ if !ours => std::future::pending().await,
            // An error is the news: nobody ever sends anything.
            Some(mut ended) => drop(ended.changed().await),
            None => {}
        }
    }
}

/// The lease is over for this process, whatever the storage says.
pub(super) fn forget(session: &SessionId, token: Token) {
    live().lock().remove(&(session.clone(), token));
}

/// Whether this process still uses the lease.
pub(super) fn is_live(session: &SessionId, token: Token) -> bool {
    live().lock().contains_key(&(session.clone(), token))
}

fn is_abandoned(session: &SessionId, holder: &Holder) -> bool {
    if holder.owner.instance == Owner::current().instance {
        return !is_live(session, holder.token);
    }
    holder.owner.is_known_dead()
}

fn busy(holder: &Holder) -> Error {
    let mut error = Error::new(
        Kind::SessionBusy,
        "session",
        format!("the session is held by {}", holder.owner),
    )
    .with(
        "holder",
        serde_json::json!({ "host": holder.owner.host, "pid": holder.owner.pid }),
    );
    if let Some(rest) = holder.expires_in {
        error = error.with("expiresInMs", time::millis(rest));
    }
    error
}

/// A tenth of the lease is kept back for clocks that run at different speeds.
pub(super) fn trusted_until(asked: u64, lease: Duration) -> u64 {
    asked
        .saturating_add(time::millis(lease) / 10 * 9)
        .min(time::NEVER - 1)
}
