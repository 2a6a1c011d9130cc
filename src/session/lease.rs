//! Taking and renewing ownership.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::actor::Session;
use super::clock;
use super::vault::Vault;
use crate::backend::{Acquire, Acquired, Fence, Grant, Holder, Owner, Renewal, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::RecordKey;

/// First and longest pause before a lease is asked for again that was found held although it seemed free.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));

/// So many holders that are dead are displaced one after the other without a pause.
const DISPLACED_AT_ONCE: usize = 4;

/// Touches under way at once: many idle sessions must not stand before one that writes.
const TOUCHES: usize = 16;

/// Leases in use in this process. A lease in our name that is not among them was left behind (its release failed)
/// and may be taken over at once.
static LIVE: OnceLock<Mutex<HashMap<(SessionId, Token), Ended>>> = OnceLock::new();

/// Gone with the lease, which tells who waits for it in this process, if anybody does.
type Ended = Option<watch::Sender<()>>;

/// Sessions that stores of this process are asking for at this moment, and how many of them.
static ASKING: OnceLock<Mutex<HashMap<SessionId, usize>>> = OnceLock::new();

/// While it lives, a lease of this process that is not among those in use may be just what its storage grants.
struct Asking(SessionId);

impl Asking {
    fn begin(session: &SessionId) -> Self {
        *ASKING
            .get_or_init(Mutex::default)
            .lock()
            .entry(session.clone())
            .or_default() += 1;
        Self(session.clone())
    }

    fn is_under_way(session: &SessionId) -> bool {
        ASKING
            .get()
            .is_some_and(|asking| asking.lock().contains_key(session))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut asking = ASKING.get_or_init(Mutex::default).lock();
        if let Some(count) = asking.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
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
    pub claim: Option<Token>,
    pub read: Vec<RecordKey>,
}

/// Takes the lease, waiting for a live holder up to `open_timeout`. Answers with the grant and until when, on
/// [`clock::now`], it may be trusted.
pub(super) async fn take(vault: &Arc<Vault>, wanted: Wanted) -> Result<(Grant, u64)> {
    let deadline = clock::now().saturating_add(clock::millis(wanted.open_timeout));
    let mut request = Acquire {
        session: wanted.session,
        owner: Owner::current().clone(),
        lease: wanted.lease,
        claim: wanted.claim,
        displace: None,
        read: wanted.read,
    };
    let mut met = HashSet::new();
    let mut pause = AGAIN.0;
    loop {
        let asked = clock::now();
        let asking = Asking::begin(&request.session);
        let answer = vault.backend().acquire(request.clone()).await?;
        let holder = match answer {
            Acquired::Granted(grant) => {
                live().lock().insert((request.session, grant.token), None);
                let until = if grant.expires {
                    trusted_until(asked, wanted.lease)
                } else {
                    clock::NEVER
                };
                return Ok((grant, until));
            }
            Acquired::Held(holder) => holder,
        };
        drop(asking);
        let first = met.insert(holder.token);
        if is_abandoned(&request.session, &holder) {
            request.displace = Some(holder.token);
            if first && met.len() <= DISPLACED_AT_ONCE {
                continue;
            }
        }
        let now = clock::now();
        if now >= deadline {
            return Err(busy(&holder).in_session(&request.session));
        }
        let rest = Duration::from_millis(deadline - now);
        if !first {
            tokio::time::sleep(pause.min(rest)).await;
            pause = (pause * 2).min(AGAIN.1);
        }
        // Once more when the time is over: what is answered then names the last holder.
        let rest = Duration::from_millis(deadline.saturating_sub(clock::now()));
        if let Ok(news) = tokio::time::timeout(rest, let_go(vault, &request.session, &holder)).await {
            news?;
        }
    }
}

/// Waits until the lease found with `holder` may be free.
async fn let_go(vault: &Arc<Vault>, session: &SessionId, holder: &Holder) -> Result<()> {
    let ended = ended_here(session, holder);
    let woken = vault.waiting.wait(vault, session, holder);
    vault.ensure_open()?;
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

fn is_abandoned(session: &SessionId, holder: &Holder) -> bool {
    if holder.owner.instance == Owner::current().instance {
        // In this order: whoever stops asking has noted before what was granted.
        return !Asking::is_under_way(session)
            && !live().lock().contains_key(&(session.clone(), holder.token));
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
        error = error.with("expiresInMs", clock::millis(rest));
    }
    error
}

/// A tenth of the lease is kept back for clocks that run at different speeds.
fn trusted_until(asked: u64, lease: Duration) -> u64 {
    asked
        .saturating_add(clock::millis(lease) / 10 * 9)
        .min(clock::NEVER - 1)
}

/// Renews the leases of all open sessions three times per lease, and touches those that would run out of their time
/// to live, for as long as the vault lives.
pub(super) async fn keep(vault: Weak<Vault>, lease: Duration) {
    let mut renewed = clock::now();
    loop {
        let due = renewed + clock::millis(lease) / 3;
        let Some((pause, hurry)) = vault.upgrade().map(|vault| vault.touches()) else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(pause.min(Duration::from_millis(due.saturating_sub(clock::now())))) => {}
            () = hurry.notified() => {}
        }
        let Some(vault) = vault.upgrade() else { return };
        let sessions = vault.leased();
        if clock::now() < due {
            touch(&vault, &sessions).await;
        } else {
            renewed = clock::now();
            let expiring = sessions
                .iter()
                .filter(|session| session.lease_expires())
                .cloned()
                .collect();
            tokio::join!(renew(&vault, expiring), touch(&vault, &sessions));
        }
    }
}

/// Storages count a session's time to live from its last write, also while it is held by an owner with nothing to
/// write.
async fn touch(vault: &Vault, sessions: &[Arc<Session>]) {
    let mut waiting = sessions
        .iter()
        .filter_map(|session| Some(touch_one(vault, session, session.wants_touch()?)));
    let mut under_way: FuturesUnordered<_> = waiting.by_ref().take(TOUCHES).collect();
    while under_way.next().await.is_some() {
        under_way.extend(waiting.next());
    }
}

async fn touch_one(vault: &Vault, session: &Session, ttl: Duration) {
    let asked = clock::now();
    match vault
        .backend()
        .touch(session.id(), session.fence(), Some(ttl))
        .await
    {
        Ok(true) => session.refreshed(asked),
        Ok(false) => {
            let gone = "the storage no longer holds the session: its time to live ran out, or it was deleted";
            session.lose(&Error::new(Kind::SessionLost, "session", gone).in_session(session.id()));
        }
        Err(error) if matches!(error.kind(), Kind::Fenced | Kind::SessionLost) => {
            session.lose(&error.in_session(session.id()));
        }
        // The next round tries again; two thirds of the time are left for that.
        Err(_) => {}
    }
}

/// Renews the leases of `sessions`; those that were lost are told so. An outage changes nothing here: the lease runs
/// out by itself, and until it is renewed memory is not trusted any more. Sessions of one part of the storage do not wait
/// for another part.
pub(super) async fn renew(vault: &Vault, sessions: Vec<Arc<Session>>) {
    let mut parts: HashMap<usize, Vec<(Arc<Session>, Renewal)>> = HashMap::new();
    for session in sessions {
        if let Fence::Owner(token) = session.fence() {
            let renewal = Renewal {
                session: session.id().clone(),
                token,
                version: session.head().version,
            };
            let part = vault.backend().part_of(session.id());
            parts.entry(part).or_default().push((session, renewal));
        }
    }
    join_all(parts.into_values().map(|part| renew_part(vault, part))).await;
}

async fn renew_part(vault: &Vault, part: Vec<(Arc<Session>, Renewal)>) {
    let (sessions, leases): (Vec<_>, Vec<_>) = part.into_iter().unzip();
    let asked = clock::now();
    let lease = vault.settings().lease;
    for (session, outcome) in sessions.iter().zip(vault.backend().renew(&leases, lease).await) {
        match outcome {
            Ok(()) => session.trust_until(trusted_until(asked, lease)),
            Err(error) if matches!(error.kind(), Kind::Fenced | Kind::SessionLost) => {
                session.lose(&error.in_session(session.id()));
            }
            Err(_) => {}
        }
    }
}
