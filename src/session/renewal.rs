//! Keeping leases.
//!
//! [`keep`] renews every lease of a vault three times per lease. It waits for nothing else: not for commits, touches or
//! reads, and the leases of sessions that are being opened or closed are renewed like the others. What a renewal may
//! cost in time, and how often it is tried, is its own as well (`resilience`).

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;

use super::lease::{is_live, trusted_until};
use super::leases::Asked;
use super::session::Session;
use super::vault::{Vault, is_loss};
use crate::backend::{Fence, Renewal, SessionId, Token};
use crate::time;

/// Of each lease it is renewed so often.
const RENEWALS: u64 = 3;

/// Renews leases for as long as the vault lives.
pub(super) async fn keep(vault: Weak<Vault>, lease: Duration) {
    let every = time::millis(lease) / RENEWALS;
    let mut due = time::monotonic_millis() + every;
    loop {
        tokio::time::sleep(Duration::from_millis(
            due.saturating_sub(time::monotonic_millis()),
        ))
        .await;
        let Some(vault) = vault.upgrade() else { return };
        let begun = time::monotonic_millis();
        let sessions: Vec<_> = vault
            .held()
            .into_iter()
            .filter(|session| session.lease_expires())
            .collect();
        let opening = vault.leases.opening();
        if !sessions.is_empty() || !opening.is_empty() {
            let failed = renew(&vault, sessions, opening).await;
            let lag = time::monotonic_millis().saturating_sub(due);
            vault.metrics.renewed(Duration::from_millis(lag), failed);
        }
        due = begun + every;
    }
}

/// Renews the lease of `session` now, together with others that are wanted meanwhile: a thousand readers after an
/// outage ask the storage twice, not a thousand times.
pub(super) async fn renew_now(vault: &Vault, session: &Arc<Session>) {
    let asked = vault.leases.ask(session);
    let renewed = async {
        let _turn = vault.leases.under_way.lock().await;
        if asked.is_done() {
            return;
        }
        let all = vault.leases.take_asked(&asked);
        let sessions = all.iter().map(|asked| asked.session.clone()).collect();
        renew(vault, sessions, Vec::new()).await;
        all.iter().for_each(Asked::set_done);
    };
    let _ = tokio::time::timeout(vault.settings().lease / 2, renewed).await;
}

/// Renews the leases of `sessions`, and those of sessions that are `opening`; those that were lost are told so. An outage
/// changes nothing here: the lease runs out by itself, and until it is renewed memory is not trusted any more.
/// Answers with how many were not renewed.
pub(super) async fn renew(
    vault: &Vault,
    sessions: Vec<Arc<Session>>,
    opening: Vec<(SessionId, Token)>,
) -> usize {
    let sessions = sessions.into_iter().filter_map(|session| {
        let Fence::Owner(token) = session.fence() else {
            return None;
        };
        let renewal = Renewal {
            session: session.id().clone(),
            token,
            version: session.head().version,
        };
        Some((Some(session), renewal))
    });
    // What those held is compared by who opens them.
    let opening = opening.into_iter().map(|(session, token)| {
        let renewal = Renewal {
            session,
            token,
            version: 0,
        };
        (None, renewal)
    });
    // Sessions of one part of the storage do not wait for another part.
    let mut parts: HashMap<usize, Vec<Held>> = HashMap::new();
    for held in sessions.chain(opening) {
        let part = vault.backend().part_of(&held.1.session);
        parts.entry(part).or_default().push(held);
    }
    let failed = join_all(parts.into_values().map(|part| renew_part(vault, part))).await;
    failed.into_iter().sum()
}

/// A lease to be renewed, and its session unless that is being opened.
type Held = (Option<Arc<Session>>, Renewal);

async fn renew_part(vault: &Vault, part: Vec<Held>) -> usize {
    let (sessions, leases): (Vec<_>, Vec<_>) = part.into_iter().unzip();
    let asked = time::monotonic_millis();
    let lease = vault.settings().lease;
    let answers = vault.backend().renew(&leases, lease).await;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    for ((session, renewal), answer) in sessions.into_iter().zip(leases).zip(answers) {
        match (session, answer) {
            (Some(session), Ok(())) if session.given_back.load(Ordering::Acquire) => {
                give_back(vault, renewal);
            }
            (None, Ok(())) if !is_live(&renewal.session, renewal.token) => give_back(vault, renewal),
            (Some(session), Ok(())) => session.trust_until(trusted_until(asked, lease)),
            (Some(session), Err(error)) if is_loss(&error) => session.lose(&error.in_session(session.id())),
            // Who opens a session learns by itself that it was taken.
            _ => {}
        }
    }
    failed
}

/// The session was given back while its renewal was under way, which may have come last.
fn give_back(vault: &Vault, Renewal { session, token, .. }: Renewal) {
    let backend = vault.backend.clone();
    vault.worker().spawn(async move {
        let _ = backend.release(&session, token).await;
    });
}
