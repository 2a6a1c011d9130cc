//! Clocks that are wrong, and processes that stood still.

use super::*;
use crate::backend::mongo::metadata::Outboxes;
use crate::backend::tcp_proxy::TcpProxy;
use crate::time::{Moment, testing::sleep};

/// As it is after a fail-over to a primary whose clock is ahead, or behind.
async fn by_a_clock(config: &MongoConfig, ahead: bool) -> (TcpProxy, MongoBackend) {
    let proxy = TcpProxy::to(&config.url).await;
    if ahead {
        proxy.set_clock_ahead(seconds(3600));
    } else {
        proxy.set_clock_behind(seconds(3600));
    }
    let by_proxy = MongoConfig {
        url: format!("mongodb://{}", proxy.address),
        ..config.clone()
    };
    let backend = connect(&by_proxy).await;
    (proxy, backend)
}

#[tokio::test]
async fn a_primary_with_a_wrong_clock_ends_no_lease_and_no_session() {
    let name = "a_primary_with_a_wrong_clock_ends_no_lease_and_no_session";
    with_server(name, async |config| {
        for (ahead, touches) in [(true, true), (true, false), (false, true), (false, false)] {
            let (_proxy, wrong) = by_a_clock(&config, ahead).await;
            let right = connect(&config).await;
            // The one who holds it goes by the clock that is behind, so that its lease seems to be over to the other.
            let (owner, other) = if ahead { (&right, &wrong) } else { (&wrong, &right) };
            let session: SessionId = format!("{ahead} {touches}").into();
            let request = Acquire {
                lease: seconds(60),
                ..acquire(&session)
            };
            let token = grant(owner, request).await.token;
            let kept = Commit {
                ttl: Some(seconds(600)),
                ..owned(&session, token, 0, vec![change("session", "a", "1")])
            };
            commit_one(owner, kept).await.unwrap();
            let leases = [(session.clone(), token)];
            for renewed in [false, true] {
                if renewed {
                    assert!(owner.0.renewer.renew(&renewals(&leases), seconds(60)).await[0].is_ok());
                }
                assert_eq!(
                    other.check_leases(&leases).await.unwrap(),
                    [true],
                    "ahead: {ahead}"
                );
                let held = other.acquire(acquire(&session)).await.unwrap();
                assert!(matches!(held, Acquired::Held(holder) if holder.token == token));
            }
            // From here on its process' lease alone holds it.
            let past = doc! { "$set": { "leaseUntil": mongodb::bson::DateTime::from_millis(1) } };
            let connection = &right.0.connection;
            assert!(
                connection
                    .update_session(doc! { "_id": &*session }, past)
                    .await
                    .unwrap()
            );
            assert_eq!(
                other.check_leases(&leases).await.unwrap(),
                [true],
                "ahead: {ahead}"
            );
            let held = other.acquire(acquire(&session)).await.unwrap();
            assert!(matches!(held, Acquired::Held(holder) if holder.token == token));
            // Nor is what has a time to live gone, or begun anew by its next owner.
            assert_eq!(get(other, &session, "a").await.as_deref(), Some("1"));
            assert_eq!(other.head(&session).await.unwrap().version, 1);
            let listed = other.list(None, 100).await.unwrap();
            assert!(listed.items.contains(&session));
            owner.release(&session, token).await.unwrap();
            let next = granted(other, &session).await;
            assert_eq!(next.head.version, 1);
            let fence = Fence::Owner(next.token);
            if touches {
                assert!(other.touch(&session, fence, None).await.unwrap());
            } else {
                let more = owned(&session, next.token, 1, vec![change("session", "a", "2")]);
                assert_eq!(commit_one(other, more).await.unwrap().version, 2);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends_whatever_is_written_of_its_end() {
    let name = "a_lease_that_nobody_renews_ends_whatever_is_written_of_its_end";
    with_server(name, async |config| {
        for enlisted in [false, true] {
            let (_proxy, owner) = by_a_clock(&config, true).await;
            let other = connect(&config).await;
            let lease = Duration::from_millis(1500);
            let session: SessionId = format!("{enlisted}").into();
            let request = Acquire {
                lease,
                ..acquire(&session)
            };
            let token = grant(&owner, request).await.token;
            let leases = [(session.clone(), token)];
            let times = if enlisted { 3 } else { 0 };
            for _ in 0..times {
                sleep(lease);
                assert!(owner.0.renewer.renew(&renewals(&leases), lease).await[0].is_ok());
                let answer = other.acquire(acquire(&session)).await.unwrap();
                assert!(matches!(answer, Acquired::Held(_)), "it is renewed");
                assert_eq!(other.check_leases(&leases).await.unwrap(), [true]);
            }
            // Its process is killed.
            let start = tokio::time::Instant::now();
            let taken = loop {
                match other.acquire(acquire(&session)).await.unwrap() {
                    Acquired::Granted(grant) => break grant.token,
                    Acquired::Held(_) => assert!(start.elapsed() < seconds(60), "an hour is not waited for"),
                }
                tokio::time::sleep(lease / 10).await;
            };
            assert!(taken > token);
            assert_eq!(other.check_leases(&leases).await.unwrap(), [false]);
        }
    })
    .await;
}

/// After a fail-over back to a primary whose clock is right, what was written by the wrong one lies far ahead.
#[tokio::test]
async fn a_lease_that_is_renewed_by_a_clock_that_went_back_stays_held() {
    let name = "a_lease_that_is_renewed_by_a_clock_that_went_back_stays_held";
    with_server(name, async |config| {
        let (proxy, owner) = by_a_clock(&config, true).await;
        let other = connect(&config).await;
        let lease = seconds(60);
        let session: SessionId = "back".into();
        let request = Acquire {
            lease,
            ..acquire(&session)
        };
        let token = grant(&owner, request).await.token;
        let leases = [(session.clone(), token)];
        assert!(owner.0.renewer.renew(&renewals(&leases), lease).await[0].is_ok());
        proxy.set_clock_ahead(Duration::ZERO);
        // So long that the clock is asked anew.
        sleep(seconds(3600));
        for _ in 0..3 {
            assert!(owner.0.renewer.renew(&renewals(&leases), lease).await[0].is_ok());
            let answer = other.acquire(acquire(&session)).await.unwrap();
            assert!(matches!(answer, Acquired::Held(_)), "it is renewed");
            assert_eq!(other.check_leases(&leases).await.unwrap(), [true]);
            sleep(lease);
        }
    })
    .await;
}

/// Its owner renews it while somebody else acts on what was so before.
#[tokio::test]
async fn a_lease_that_was_renewed_meanwhile_is_neither_taken_nor_ended() {
    let name = "a_lease_that_was_renewed_meanwhile_is_neither_taken_nor_ended";
    with_server(name, async |config| {
        let owner = connect(&config).await;
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            ..config.clone()
        };
        let other = connect(&by_proxy).await;
        let session: SessionId = "meanwhile".into();
        let leases = [(session.clone(), granted(&owner, &session).await.token)];
        let lease = seconds(60);
        let found = other.0.connection.session(&session).await.unwrap();
        let now = other.0.connection.now().await.unwrap();
        assert!(owner.0.renewer.renew(&renewals(&leases), lease).await[0].is_ok());
        let request = acquire(&session);
        let taken = other.0.acquirer.take(&request, found, now, Outboxes::Respected);
        assert!(taken.await.unwrap().is_none());
        let found = owner.0.connection.session(&session).await.unwrap().unwrap();
        let process: String = found.lease.unwrap().to_string();
        for ended in ["by its time", "by being watched"] {
            if ended == "by its time" {
                let past = doc! { "$set": { "until": mongodb::bson::DateTime::from_millis(1) } };
                let statement = doc! { "q": { "_id": &*process }, "u": past };
                let connection = &owner.0.connection;
                let updated = connection.update(&connection.leases, vec![statement]).await;
                assert_eq!(updated.unwrap().matched, 1);
            } else {
                let now = other.0.connection.now().await.unwrap();
                assert!(
                    other
                        .0
                        .holders
                        .end_of_process_lease(&process, now)
                        .await
                        .unwrap()
                        .is_some()
                );
                sleep(2 * lease);
            }
            let now = other.0.connection.now().await.unwrap();
            proxy.hold_back("deletes");
            let (looking, named) = (other.clone(), process.clone());
            let end = tokio::spawn(async move { looking.0.holders.end_of_process_lease(&named, now).await });
            proxy.holds_back().await;
            assert!(owner.0.renewer.renew(&renewals(&leases), lease).await[0].is_ok());
            proxy.let_through();
            assert!(end.await.unwrap().unwrap().is_some(), "it had ended {ended}");
        }
    })
    .await;
}

/// The estimate of the server's clock, and what an owner may rely on, are as old as the sleep was long.
#[tokio::test]
async fn a_lease_is_over_after_the_machine_slept() {
    let name = "a_lease_is_over_after_the_machine_slept";
    with_server(name, async |config| {
        let owner = connect(&config).await;
        let session: SessionId = "asleep".into();
        let token = granted(&owner, &session).await.token;
        let first = owned(&session, token, 0, vec![change("session", "a", "1")]);
        commit_one(&owner, first).await.unwrap();
        let now = owner.0.connection.now().await.unwrap();
        assert!(
            owner
                .0
                .slots
                .get_or_make(&session)
                .owners_view(now.earliest)
                .is_some()
        );
        sleep(seconds(3600));
        assert!(
            owner
                .0
                .slots
                .get_or_make(&session)
                .owners_view(now.earliest)
                .is_none()
        );
        let later = owner.0.connection.now().await.unwrap();
        let passed = later.server.timestamp_millis() - now.server.timestamp_millis();
        assert!(
            passed < 3_600_000,
            "the server was asked again, and did not sleep: {passed}"
        );
    })
    .await;
}

/// It was about to bring a record up to a patch, and goes on a day later, when the tombstone of its deletion is gone.
#[tokio::test]
async fn a_process_that_stood_still_brings_no_deleted_record_back() {
    let name = "a_process_that_stood_still_brings_no_deleted_record_back";
    with_server(name, async |config| {
        let (first, second) = (connect(&config).await, connect(&config).await);
        let session: SessionId = "stopped".into();
        let token = granted(&first, &session).await.token;
        commit_and_die(
            &first,
            owned(&session, token, 0, vec![change("session", "a", "old")]),
        )
        .await;
        let slot = first.0.slots.get_or_make(&session);
        assert_eq!(slot.queued(), 1);

        let next = succeed(&second, &session, token).await;
        let mut gone = change("session", "a", "");
        gone.value = None;
        let delete = owned(&session, next.token, next.head.version, vec![gone]);
        commit_one(&second, delete).await.unwrap();
        settled(&second, &session).await;
        // As the TTL index does a day later.
        let connection = &second.0.connection;
        connection.remove(&connection.records, doc! {}).await.unwrap();

        sleep(seconds(24 * 3600));
        first.0.applier.start([slot.clone()]);
        slot.settle().await;
        assert_eq!(slot.queued(), 0, "nothing of it is pending any more");
        assert_eq!(stored(&second).await, 0);
        assert_eq!(get(&second, &session, "a").await, None);
        let document = second.0.connection.session(&session).await.unwrap().unwrap();
        let known = Moment::now();
        sleep(seconds(24 * 3600));
        let late = first
            .0
            .applier
            .apply(&session, &document.epoch, &document.pending, known);
        assert!(!document.pending.is_empty());
        assert!(late.await.is_err(), "it may be obsolete by now");
    })
    .await;
}

#[tokio::test]
async fn a_process_that_stood_still_goes_on_with_what_is_still_its_own() {
    let name = "a_process_that_stood_still_goes_on_with_what_is_still_its_own";
    with_server(name, async |config| {
        let owner = connect(&config).await;
        let session: SessionId = "stopped".into();
        let token = granted(&owner, &session).await.token;
        commit_and_die(
            &owner,
            owned(&session, token, 0, vec![change("session", "a", "1")]),
        )
        .await;
        sleep(seconds(24 * 3600));
        assert_eq!(stored(&owner).await, 0);
        settled(&owner, &session).await;
        assert_eq!(stored(&owner).await, 1);
        let next = owned(&session, token, 1, vec![change("session", "b", "2")]);
        commit_one(&owner, next).await.unwrap();
        settled(&owner, &session).await;
        assert_eq!(get(&owner, &session, "a").await.as_deref(), Some("1"));
    })
    .await;
}
