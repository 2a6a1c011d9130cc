//! Taking and renewing ownership.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::clock;
use super::vault::Vault;
use crate::backend::{Acquire, Acquired, Backend, Fence, Grant, Holder, Owner, SessionId, Token};
use crate::error::{Error, Kind, Result};
use crate::record::RecordKey;

/// First and longest pause between two attempts to take a lease that somebody holds.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));

/// Leases in use in this process. A lease in our name that is not among them was left behind (its release failed)
/// and may be taken over at once.
static LIVE: OnceLock<Mutex<HashSet<(SessionId, Token)>>> = OnceLock::new();

fn live() -> &'static Mutex<HashSet<(SessionId, Token)>> {
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
pub(super) async fn take(backend: &dyn Backend, wanted: Wanted) -> Result<(Grant, u64)> {
    let deadline = clock::now().saturating_add(clock::millis(wanted.open_timeout));
    let mut request = Acquire {
        session: wanted.session,
        owner: Owner::current().clone(),
        lease: wanted.lease,
        claim: wanted.claim,
        displace: None,
        read: wanted.read,
    };
    let mut pause = POLL.0;
    loop {
        let asked = clock::now();
        let holder = match backend.acquire(request.clone()).await? {
            Acquired::Granted(grant) => {
                live().lock().insert((request.session, grant.token));
                let until = if grant.expires {
                    trusted_until(asked, wanted.lease)
                } else {
                    u64::MAX
                };
                return Ok((grant, until));
            }
            Acquired::Held(holder) => holder,
        };
        if request.displace != Some(holder.token) && is_abandoned(&request.session, &holder) {
            request.displace = Some(holder.token);
            continue;
        }
        let now = clock::now();
        if now >= deadline {
            return Err(busy(&holder).in_session(&request.session));
        }
        let rest = Duration::from_millis(deadline - now);
        tokio::time::sleep(
            pause
                .min(rest)
                .min(holder.expires_in.unwrap_or(pause).max(POLL.0)),
        )
        .await;
        pause = (pause * 2).min(POLL.1);
    }
}

/// The lease is over for this process, whatever the storage says.
pub(super) fn forget(session: &SessionId, token: Token) {
    live().lock().remove(&(session.clone(), token));
}

fn is_abandoned(session: &SessionId, holder: &Holder) -> bool {
    if holder.owner.instance == Owner::current().instance {
        return !live().lock().contains(&(session.clone(), holder.token));
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
    asked.saturating_add(clock::millis(lease) / 10 * 9)
}

/// Renews the leases of all open sessions three times per lease, for as long as the vault lives.
pub(super) async fn keep(vault: Weak<Vault>, lease: Duration) {
    loop {
        tokio::time::sleep(lease / 3).await;
        let Some(vault) = vault.upgrade() else { return };
        renew(&vault, vault.leased()).await;
    }
}

/// Renews the leases of `sessions`; those that were lost are told so. An outage changes nothing here: the lease runs
/// out by itself, and until it is renewed memory is not trusted any more.
pub(super) async fn renew(vault: &Vault, sessions: Vec<Arc<super::Session>>) {
    let leases: Vec<_> = sessions
        .iter()
        .filter_map(|session| match session.fence() {
            Fence::Owner(token) => Some((session.id().clone(), token)),
            Fence::Shared => None,
        })
        .collect();
    if leases.is_empty() {
        return;
    }
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
