//! Nothing delays the renewal of leases.

use super::*;
use crate::backend::tcp_proxy::TcpProxy;
use crate::error::Kind;

/// Far longer than a renewal takes, and far shorter than what hangs.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work)
        .await
        .expect("it waits for nothing else")
}

#[tokio::test]
async fn a_renewal_waits_for_no_connection() {
    let name = "a_renewal_waits_for_no_connection";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}/?maxPoolSize=2", proxy.address),
            operation_timeout: seconds(120),
            ..config.clone()
        };
        let owner = connect(&by_proxy).await;
        let session: SessionId = "idle".into();
        let leases = [(session.clone(), granted(&owner, &session).await.token)];
        assert!(owner.0.renewer.renew(&renewals(&leases), seconds(120)).await[0].is_ok());
        let first = owned(&session, leases[0].1, 0, vec![change("session", "a", "1")]);
        commit_one(&owner, first).await.unwrap();
        settled(&owner, &session).await;
        proxy.leave_unanswered("vault_records");
        let reads = (0..8).map(|_| {
            let (reader, other) = (owner.clone(), session.clone());
            tokio::spawn(async move {
                reader
                    .read(&other, &[key("session", "a")], Seen::NOTHING)
                    .await
                    .map(drop)
            })
        });
        let reads: Vec<_> = reads.collect();
        // As long as this goes through, some connection is left.
        while owner.0.connection.has_place() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let new: SessionId = "new".into();
        let unknown = [leases[0].clone(), (new, 1)];
        let answers = soon(owner.0.renewer.renew(&renewals(&unknown), seconds(120))).await;
        assert!(answers[0].is_ok(), "{answers:?}");
        assert!(answers[1].is_err());
        for read in reads {
            read.abort();
        }
    })
    .await;
}

/// What a renewal has done stays done, and what it has not is answered so.
#[tokio::test]
async fn sessions_that_cannot_be_enlisted_now_hold_up_no_others() {
    let name = "sessions_that_cannot_be_enlisted_now_hold_up_no_others";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            operation_timeout: seconds(120),
            ..config.clone()
        };
        let owner = connect(&by_proxy).await;
        let mut leases = Vec::new();
        for name in ["old", "new"] {
            let session: SessionId = name.into();
            leases.push((session.clone(), granted(&owner, &session).await.token));
        }
        assert!(owner.0.renewer.renew(&renewals(&leases[..1]), seconds(8)).await[0].is_ok());
        proxy.leave_unanswered("leaseUntil");
        let answers = soon(owner.0.renewer.renew(&renewals(&leases), seconds(8))).await;
        assert!(answers[0].is_ok(), "{answers:?}");
        assert_eq!(answers[1].as_ref().unwrap_err().kind(), Kind::Timeout);
    })
    .await;
}

/// What holds a session is renewed; what became of it by other means is found out another time.
#[tokio::test]
async fn sessions_that_cannot_be_looked_at_now_are_renewed() {
    let name = "sessions_that_cannot_be_looked_at_now_are_renewed";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            operation_timeout: seconds(120),
            ..config.clone()
        };
        let owner = connect(&by_proxy).await;
        let session: SessionId = "unseen".into();
        let leases = [(session.clone(), granted(&owner, &session).await.token)];
        assert!(owner.0.renewer.renew(&renewals(&leases), seconds(8)).await[0].is_ok());
        proxy.leave_unanswered("projection");
        let answers = soon(owner.0.renewer.renew(&renewals(&leases), seconds(8))).await;
        assert!(answers[0].is_ok(), "{answers:?}");
    })
    .await;
}

#[tokio::test]
async fn many_renewals_at_once_are_two_commands() {
    let name = "many_renewals_at_once_are_two_commands";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            ..config.clone()
        };
        let owner = connect(&by_proxy).await;
        let session: SessionId = "one".into();
        let leases = [(session.clone(), granted(&owner, &session).await.token)];
        assert!(owner.0.renewer.renew(&renewals(&leases), seconds(60)).await[0].is_ok());
        proxy.take_commands();
        let asked = renewals(&leases);
        let all = (0..200).map(|_| owner.0.renewer.renew(&asked, seconds(60)));
        let answers = futures_util::future::join_all(all).await;
        assert!(answers.iter().all(|answers| answers[0].is_ok()));
        let commands = proxy.take_commands();
        let sent = commands.iter().filter(|name| *name == "update").count();
        assert!((1..=4).contains(&sent), "{sent} commands for the same lease");
    })
    .await;
}

/// A takeover may find more to repair than can be done within one lease.
#[tokio::test]
async fn a_takeover_that_takes_long_keeps_its_lease() {
    let name = "a_takeover_that_takes_long_keeps_its_lease";
    with_server(name, async |config| {
        let session: SessionId = "long".into();
        let (first, other) = (connect(&config).await, connect(&config).await);
        let token = granted(&first, &session).await.token;
        commit_and_die(
            &first,
            owned(&session, token, 0, vec![change("session", "a", "1")]),
        )
        .await;
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            operation_timeout: seconds(60),
            ..config.clone()
        };
        let second = connect(&by_proxy).await;
        proxy.leave_unanswered("vault_records");
        let short = Duration::from_millis(1500);
        let request = Acquire {
            preempt: Some(token),
            lease: short,
            ..acquire(&session)
        };
        let taking = tokio::spawn(async move { second.acquire(request).await });
        let start = std::time::Instant::now();
        let mut taken = false;
        while start.elapsed() < 5 * short / 2 {
            if let Acquired::Held(holder) = other.acquire(acquire(&session)).await.unwrap() {
                taken |= holder.token > token;
                assert!(taken || start.elapsed() < seconds(60), "{holder:?}");
            } else {
                panic!("taken from an owner that was at work");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(taken);
        taking.abort();
    })
    .await;
}
