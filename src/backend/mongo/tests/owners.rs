//! Owners that come and go.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::*;
use crate::backend::OutboxOpened;
use crate::backend::mongo::metadata::Outboxes;
use crate::backend::mongo::outbox::STEP;
use crate::backend::tcp_proxy::TcpProxy;
use crate::error::Kind;

#[tokio::test]
async fn a_stale_owner_that_wakes_up_is_refused() {
    with_server("a_stale_owner_that_wakes_up_is_refused", async |config| {
        let (stale, other) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "stale".into();
        let request = Acquire {
            lease: Duration::ZERO,
            ..acquire(&session)
        };
        let old = grant(&stale, request).await.token;
        let first = owned(&session, old, 0, vec![change("session", "a", "1")]);
        commit_one(&stale, first).await.unwrap();
        // The lease has run out, so no `preempt` is needed.
        let new = granted(&other, &session).await.token;
        assert!(new > old);
        let second = owned(&session, new, 1, vec![change("session", "a", "2")]);
        commit_one(&other, second).await.unwrap();

        for base in [1, 2] {
            let late = owned(&session, old, base, vec![change("session", "a", "late")]);
            let refused = commit_one(&stale, late).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Fenced);
        }
        let fence = Fence::Owner(old);
        let touched = stale.touch(&session, fence, Some(seconds(1))).await;
        assert_eq!(touched.unwrap_err().kind(), Kind::Fenced);
        let deleted = stale.delete(&session, fence).await;
        assert_eq!(deleted.unwrap_err().kind(), Kind::Fenced);
        stale.release(&session, old).await.unwrap();
        assert_eq!(get(&stale, &session, "a").await.as_deref(), Some("2"));
        let held = other.acquire(acquire(&session)).await.unwrap();
        assert!(matches!(held, Acquired::Held(holder) if holder.token == new));
    })
    .await;
}

#[tokio::test]
async fn of_many_who_want_a_session_one_gets_it() {
    with_server("of_many_who_want_a_session_one_gets_it", async |config| {
        let mut backends = Vec::new();
        for _ in 0..4 {
            backends.push(connect(&config).await);
        }
        let session: SessionId = "wanted".into();
        let asks = (0..20).map(|at| backends[at % 4].acquire(acquire(&session)));
        let answers = futures_util::future::join_all(asks).await;
        let granted = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Acquired::Granted(_))))
            .count();
        let held = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Acquired::Held(_))))
            .count();
        assert_eq!((granted, held), (1, 19));
    })
    .await;
}

#[tokio::test]
async fn leases_are_renewed_together() {
    with_server("leases_are_renewed_together", async |config| {
        let backend = connect(&config).await;
        let mut leases = Vec::new();
        for at in 0..20 {
            let session: SessionId = format!("lease-{at}").into();
            let request = Acquire {
                lease: Duration::from_millis(1),
                ..acquire(&session)
            };
            leases.push((session.clone(), grant(&backend, request).await.token));
        }
        leases[7].1 -= 1;
        leases.push(("lost".into(), 1));
        let answers = backend.renew(&renewals(&leases), seconds(600)).await;
        for (at, answer) in answers.iter().enumerate() {
            let kind = answer.as_ref().err().map(crate::error::Error::kind);
            let expected = match at {
                7 => Some(Kind::Fenced),
                20 => Some(Kind::SessionLost),
                _ => None,
            };
            assert_eq!(kind, expected, "lease {at}");
        }
        let held = backend.acquire(acquire(&leases[0].0)).await.unwrap();
        assert!(matches!(held, Acquired::Held(_)));
    })
    .await;
}

/// Lets everything run out that keeps a session held, but the lease of its owner's process.
async fn run_out(backend: &MongoBackend, sessions: &[SessionId]) {
    let past = mongodb::bson::DateTime::from_millis(1);
    for session in sessions {
        let filter = doc! { "_id": &**session, "leaseUntil": { "$ne": null } };
        let matched = backend
            .0
            .connection
            .update_session(filter, doc! { "$set": { "leaseUntil": past } });
        assert!(matched.await.unwrap(), "{session} is held");
    }
}

/// Stops the process' clock for longer than its leases last.
async fn oversleep(backend: &MongoBackend) {
    let connection = &backend.0.connection;
    let past = mongodb::bson::DateTime::from_millis(1);
    let statement =
        doc! { "q": { "until": { "$ne": null } }, "u": { "$set": { "until": past } }, "multi": true };
    let updated = connection.update(&connection.leases, vec![statement]).await;
    assert_eq!(updated.unwrap().matched, 1, "one lease for all");
}

async fn renewed(backend: &MongoBackend, leases: &[(SessionId, u64)]) -> Vec<Option<Kind>> {
    let answers = backend.renew(&renewals(leases), seconds(600)).await;
    let kind = |answer: &crate::error::Result<()>| answer.as_ref().err().map(crate::error::Error::kind);
    answers.iter().map(kind).collect()
}

#[tokio::test]
async fn one_lease_holds_all_sessions_of_a_process() {
    with_server("one_lease_holds_all_sessions_of_a_process", async |config| {
        let (owner, other) = (connect(&config).await, connect(&config).await);
        let sessions: Vec<SessionId> = (0..3).map(|at| format!("of-one-{at}").into()).collect();
        let mut leases = Vec::new();
        for session in &sessions {
            leases.push((session.clone(), granted(&owner, session).await.token));
        }
        assert_eq!(renewed(&owner, &leases).await, [None; 3]);
        run_out(&owner, &sessions).await;
        // Nothing is written to the sessions any more.
        assert_eq!(renewed(&owner, &leases).await, [None; 3]);
        let holder = match other.acquire(acquire(&sessions[0])).await.unwrap() {
            Acquired::Held(holder) => holder,
            Acquired::Granted(grant) => panic!("granted {}", grant.token),
        };
        assert_eq!(holder.token, leases[0].1);
        assert!(holder.expires_in.is_some_and(|left| left > seconds(300)), "{holder:?}");

        // Taken by somebody who knows better: noticed by the next renewal.
        let taken = succeed(&other, &sessions[1], leases[1].1).await.token;
        assert_eq!(renewed(&owner, &leases).await, [None, Some(Kind::Fenced), None]);
        // The new owner's lease is its own.
        run_out(&other, &sessions[1..2]).await;
        assert!(matches!(other.acquire(acquire(&sessions[1])).await.unwrap(), Acquired::Granted(grant) if grant.token > taken));
        // What was given back is free at once.
        owner.release(&sessions[2], leases[2].1).await.unwrap();
        granted(&other, &sessions[2]).await;
    })
    .await;
}

#[tokio::test]
async fn a_process_that_overslept_keeps_what_nobody_took() {
    with_server(
        "a_process_that_overslept_keeps_what_nobody_took",
        async |config| {
            let (owner, other) = (connect(&config).await, connect(&config).await);
            let sessions: Vec<SessionId> = (0..3).map(|at| format!("slept-{at}").into()).collect();
            let mut leases = Vec::new();
            for session in &sessions[..2] {
                leases.push((session.clone(), granted(&owner, session).await.token));
            }
            assert_eq!(renewed(&owner, &leases).await, [None; 2]);
            run_out(&owner, &sessions[..2]).await;
            oversleep(&owner).await;
            let taken = granted(&other, &sessions[0]).await.token;
            assert!(taken > leases[0].1);

            // A session granted before it notices is held by itself, not by the lease that is over.
            leases.push((sessions[2].clone(), granted(&owner, &sessions[2]).await.token));
            assert!(matches!(
                other.acquire(acquire(&sessions[2])).await.unwrap(),
                Acquired::Held(_)
            ));

            assert_eq!(renewed(&owner, &leases).await, [Some(Kind::Fenced), None, None]);
            run_out(&owner, &sessions[1..]).await;
            for session in &sessions[1..] {
                let held = other.acquire(acquire(session)).await.unwrap();
                assert!(
                    matches!(held, Acquired::Held(_)),
                    "{session} is held by a new lease"
                );
            }
            let late = owned(&sessions[0], leases[0].1, 0, vec![change("session", "a", "late")]);
            assert_eq!(commit_one(&owner, late).await.unwrap_err().kind(), Kind::Fenced);
        },
    )
    .await;
}

#[tokio::test]
async fn a_lease_that_was_found_over_is_not_renewed() {
    with_server("a_lease_that_was_found_over_is_not_renewed", async |config| {
        let (owner, other) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "over".into();
        let leases = [(session.clone(), granted(&owner, &session).await.token)];
        assert_eq!(renewed(&owner, &leases).await, [None]);
        let connection = &other.0.connection;
        let found = other.0.connection.session(&session).await.unwrap().unwrap();
        let named = found.lease.expect("the session names its lease");
        let now = connection.now().await.unwrap();
        assert!(
            other
                .0
                .holders
                .end_of_process_lease(&named, now)
                .await
                .unwrap()
                .is_some()
        );
        oversleep(&owner).await;
        assert_eq!(
            other.0.holders.end_of_process_lease(&named, now).await.unwrap(),
            None
        );
        // Nobody has taken the session yet, so it is held again, by another lease.
        assert_eq!(renewed(&owner, &leases).await, [None]);
        assert_eq!(
            other.0.holders.end_of_process_lease(&named, now).await.unwrap(),
            None
        );
        let found = other.0.connection.session(&session).await.unwrap().unwrap();
        assert_ne!(found.lease.expect("it names a lease"), named);
    })
    .await;
}

#[tokio::test]
async fn many_idle_sessions_cost_a_renewal_as_much_as_few() {
    with_server(
        "many_idle_sessions_cost_a_renewal_as_much_as_few",
        async |config| {
            let owner = connect(&config).await;
            let mut leases = Vec::new();
            for at in 0..1200 {
                let session: SessionId = format!("idle-{at}").into();
                leases.push((session.clone(), granted(&owner, &session).await.token));
            }
            assert!(renewed(&owner, &leases).await.iter().all(Option::is_none));
            // One of them is lost: by the third renewal each has been looked at.
            let connection = &owner.0.connection;
            let filter = doc! { "_id": &*leases[1100].0 };
            connection
                .update_session(filter, doc! { "$inc": { "token": 1_i64 } })
                .await
                .unwrap();
            let mut lost = Vec::new();
            for _ in 0..3 {
                let answers = renewed(&owner, &leases).await;
                lost.extend((0..leases.len()).filter(|&at| answers[at] == Some(Kind::Fenced)));
            }
            assert_eq!(lost.first(), Some(&1100), "{lost:?}");
            assert!(lost.iter().all(|&at| at == 1100), "{lost:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_lost_session_is_no_new_one() {
    with_server("a_lost_session_is_no_new_one", async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "emptied".into();
        let token = granted(&backend, &session).await.token;
        let first = owned(&session, token, 0, vec![change("session", "a", "1")]);
        commit_one(&backend, first).await.unwrap();
        settled(&backend, &session).await;
        let connection = &backend.0.connection;
        connection
            .remove(&connection.sessions, doc! { "_id": &*session })
            .await
            .unwrap();
        let next = owned(&session, token, 1, vec![change("session", "a", "2")]);
        contract::session_lost(commit_one(&backend, next).await, 1, 0);
    })
    .await;
}

#[tokio::test]
async fn one_process_has_one_client() {
    with_server("one_process_has_one_client", async |config| {
        let mut backends = Vec::new();
        for _ in 0..10 {
            backends.push(connect(&config).await);
        }
        let connections = super::super::client::users_of(&config);
        assert_eq!(connections, 10, "all of them use the same client");
        drop(backends);
        assert_eq!(super::super::client::users_of(&config), 0);
    })
    .await;
}

/// The session names the lease of its owner's process, which lives on.
#[tokio::test]
async fn a_lease_that_could_not_be_given_back_is_given_back_later() {
    let name = "a_lease_that_could_not_be_given_back_is_given_back_later";
    with_server(name, async |config| {
        let mut proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            operation_timeout: seconds(2),
            ..config.clone()
        };
        let (owner, other) = (connect(&by_proxy).await, connect(&config).await);
        let mut leases = Vec::new();
        for name in ["ended", "goes-on"] {
            let session: SessionId = name.into();
            let token = granted(&owner, &session).await.token;
            leases.push((session, token));
        }
        assert_eq!(renewed(&owner, &leases).await, [None, None]);
        let ended = leases.remove(0);
        proxy.cut().await;
        owner.release(&ended.0, ended.1).await.unwrap_err();
        proxy.mend().await;
        let start = Instant::now();
        let taken = loop {
            // What is held is renewed, as ever.
            owner.renew(&renewals(&leases), seconds(600)).await;
            match other.acquire(acquire(&ended.0)).await.unwrap() {
                Acquired::Granted(grant) => break grant.token,
                Acquired::Held(holder) => assert!(start.elapsed() < seconds(20), "{holder:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        // Given back once: what somebody else holds since stays held.
        assert_eq!(renewed(&owner, &leases).await, [None]);
        let held = other
            .check_leases(&[(ended.0.clone(), taken), leases[0].clone()])
            .await;
        assert_eq!(held.unwrap(), [true, true]);
    })
    .await;
}

/// Who writes without lease may come between a grant and what the owner writes down of its outbox.
#[tokio::test]
async fn an_outbox_begins_where_the_session_stands() {
    with_server("an_outbox_begins_where_the_session_stands", async |config| {
        let backend = connect(&config).await;
        let session: SessionId = "between".into();
        let grant = granted(&backend, &session).await;
        let shared = commit(&session, Fence::Shared, 0, vec![change("session", "a", "1")]);
        let id = shared.id;
        commit_one(&backend, shared).await.unwrap();
        let open = async |token, stands| {
            let opened = backend.open_outbox(&session, token, stands, None).await;
            opened.unwrap()
        };
        assert_eq!(open(grant.token, (0, 0)).await, OutboxOpened::Moved);
        assert_eq!(open(grant.token, (1, id ^ 1)).await, OutboxOpened::Moved);
        assert_eq!(open(grant.token - 1, (1, id)).await, OutboxOpened::Fenced);
        assert_eq!(open(grant.token, (1, id)).await, OutboxOpened::Yes);
        let refused = commit_one(&backend, commit(&session, Fence::Shared, 1, Vec::new())).await;
        assert_eq!(refused.unwrap_err().kind(), Kind::SessionBusy);
    })
    .await;
}

/// Its owner announces it after somebody has seen that the lease ran out.
#[tokio::test]
async fn an_outbox_that_was_begun_meanwhile_is_not_passed() {
    let name = "an_outbox_that_was_begun_meanwhile_is_not_passed";
    with_server(name, async |config| {
        let (owner, other) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "meanwhile".into();
        let token = granted(&owner, &session).await.token;
        let first = owned(&session, token, 0, vec![change("session", "a", "1")]);
        let stands = (1, first.id);
        commit_one(&owner, first).await.unwrap();
        let seen = [
            (
                Outboxes::Respected,
                other.0.connection.session(&session).await.unwrap(),
            ),
            (
                Outboxes::GivenUp,
                other.0.connection.session(&session).await.unwrap(),
            ),
        ];
        let opened = owner.open_outbox(&session, token, stands, None).await.unwrap();
        assert_eq!(opened, OutboxOpened::Yes);
        for (outboxes, found) in seen {
            let now = other.0.connection.now().await.unwrap();
            let request = acquire(&session);
            let taken = other
                .0
                .acquirer
                .take(&request, found, now, outboxes)
                .await
                .unwrap();
            assert!(taken.is_none(), "{outboxes:?}");
        }
        let metadata = other.metadata(&session).await.unwrap().unwrap();
        assert_eq!((metadata.token, metadata.outbox), (token, Some(token)));
    })
    .await;
}

/// Whoever deletes without owning the session has seen none, and its update is still on its proxy.
#[tokio::test]
async fn an_outbox_that_was_begun_meanwhile_is_not_deleted() {
    let name = "an_outbox_that_was_begun_meanwhile_is_not_deleted";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            ..config.clone()
        };
        let (owner, other) = (connect(&config).await, connect(&by_proxy).await);
        let session: SessionId = "deleted".into();
        let token = granted(&owner, &session).await.token;
        let first = owned(&session, token, 0, vec![change("session", "a", "1")]);
        let stands = (1, first.id);
        commit_one(&owner, first).await.unwrap();
        proxy.hold_back("updates");
        let id = session.clone();
        let deleting = tokio::spawn(async move { other.delete(&id, Fence::Shared).await });
        proxy.holds_back().await;
        let opened = owner.open_outbox(&session, token, stands, None).await;
        assert_eq!(opened.unwrap(), OutboxOpened::Yes);
        proxy.let_through();
        let refused = deleting.await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), Kind::SessionBusy, "{refused:?}");
        assert_eq!(owner.head(&session).await.unwrap().version, 1);
    })
    .await;
}

/// Its owner was told that it failed, opened it again, and acknowledges commits by it.
#[tokio::test]
async fn an_outbox_is_not_closed_by_what_arrives_late() {
    with_server("an_outbox_is_not_closed_by_what_arrives_late", async |config| {
        let owner = connect(&config).await;
        let session: SessionId = "closed-late".into();
        let token = granted(&owner, &session).await.token;
        let open = async || owner.open_outbox(&session, token, (0, 0), None).await.unwrap();
        assert_eq!(open().await, OutboxOpened::Yes);
        let late = STEP.fetch_add(1, Ordering::Relaxed);
        assert_eq!(open().await, OutboxOpened::Yes);
        assert!(!owner.close_outbox_at(late, &session, token, None).await.unwrap());
        let named = async || owner.metadata(&session).await.unwrap().unwrap().outbox;
        assert_eq!(named().await, Some(token));
        assert!(owner.close_outbox(&session, token, None).await.unwrap());
        assert_eq!(named().await, None);
        // The next owner counts anew.
        owner.release(&session, token).await.unwrap();
        let token = granted(&owner, &session).await.token;
        let first = owner.close_outbox_at(1, &session, token, None).await;
        assert!(first.unwrap());
    })
    .await;
}

/// Whoever deletes was told that it failed, and writes on.
#[tokio::test]
async fn a_delete_that_arrives_late_takes_nothing_that_was_written_since() {
    let name = "a_delete_that_arrives_late_takes_nothing_that_was_written_since";
    with_server(name, async |config| {
        let owner = connect(&config).await;
        let session: SessionId = "deleted-late".into();
        let token = granted(&owner, &session).await.token;
        let write = async |base| {
            let commit = owned(&session, token, base, vec![change("session", "a", "1")]);
            commit_one(&owner, commit).await.unwrap()
        };
        let fence = Fence::Owner(token);
        let found = async || owner.0.connection.session(&session).await.unwrap().unwrap();
        let bury = async |found| {
            let now = owner.0.connection.now().await.unwrap();
            let buried = owner.0.lifetime.bury(&session, fence, &found, "other", now);
            buried.await.unwrap()
        };
        write(0).await;
        let before = found().await;
        write(1).await;
        assert!(!bury(before).await);
        let before = found().await;
        assert!(owner.delete(&session, fence).await.unwrap());
        write(0).await;
        write(1).await;
        assert!(!bury(before).await, "the same version of another incarnation");
        assert_eq!(owner.head(&session).await.unwrap().version, 2);
        let before = found().await;
        assert!(bury(before).await);
    })
    .await;
}

#[tokio::test]
async fn a_router_with_a_wrong_clock_takes_no_lease() {
    let name = "a_router_with_a_wrong_clock_takes_no_lease";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        proxy.set_router_ahead(seconds(3600));
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            ..config.clone()
        };
        let (owner, other) = (connect(&config).await, connect(&by_proxy).await);
        let primarys = owner.0.connection.now().await.unwrap().server;
        let by_the_router = other.0.connection.now().await.unwrap().server;
        let differ = by_the_router
            .timestamp_millis()
            .abs_diff(primarys.timestamp_millis());
        assert!(
            differ < 1_800_000,
            "it is the primary's clock that counts: {differ}"
        );
        let session: SessionId = "router".into();
        let request = Acquire {
            lease: seconds(60),
            ..acquire(&session)
        };
        let token = grant(&owner, request).await.token;
        let kept = Commit {
            ttl: Some(seconds(60)),
            ..owned(&session, token, 0, vec![change("session", "a", "1")])
        };
        commit_one(&owner, kept).await.unwrap();
        assert_eq!(
            get(&other, &session, "a").await.as_deref(),
            Some("1"),
            "it has not expired"
        );
        let held = other.acquire(acquire(&session)).await.unwrap();
        assert!(matches!(held, Acquired::Held(holder) if holder.token == token));
    })
    .await;
}
