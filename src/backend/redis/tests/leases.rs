use super::super::testing::{Server, redis_server_found, wait_until};
use super::*;

#[tokio::test]
async fn only_one_owner_at_a_time() {
    if !redis_server_found("only_one_owner_at_a_time") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let first = grant(&backend, "s").await;
    assert!(first.expires && first.token < 1 << 53);
    let Acquired::Held(holder) = backend.acquire(request("s", "second")).await.unwrap() else {
        panic!("granted twice")
    };
    assert_eq!((holder.token, &holder.owner), (first.token, &owner("first")));
    assert!(holder.expires_in.unwrap() <= LEASE && holder.expires_in.unwrap() > LEASE / 2);

    commit_one(&backend, commit("s", first.token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    backend.release(&"s".into(), first.token).await.unwrap();
    let read = vec![key("a"), key("b")];
    let again = Acquire {
        read,
        ..request("s", "second")
    };
    let second = granted(backend.acquire(again).await.unwrap());
    assert!(second.token > first.token);
    assert_eq!(
        (second.head.version, second.records),
        (1, vec![Some(Bytes::from("1")), None])
    );

    let stale = commit("s", first.token, 1, vec![put("a", "2")]);
    assert_eq!(kind(commit_one(&backend, stale).await), Kind::Fenced);
    assert_eq!(
        kind(backend.delete(&"s".into(), Fence::Owner(first.token)).await),
        Kind::Fenced
    );
    let renewed = backend
        .renew(
            &renewals(&[("s".into(), first.token), ("s".into(), second.token)]),
            LEASE,
        )
        .await;
    assert_eq!(renewed[0].as_ref().unwrap_err().kind(), Kind::Fenced);
    assert!(renewed[1].is_ok());
    // A release that comes late takes nothing from the new owner.
    backend.release(&"s".into(), first.token).await.unwrap();
    assert!(matches!(
        backend.acquire(request("s", "third")).await.unwrap(),
        Acquired::Held(_)
    ));
    assert_eq!(read_one(&backend, "s", "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_lease_runs_out_and_fences_its_owner_when_taken() {
    if !redis_server_found("a_lease_runs_out_and_fences_its_owner_when_taken") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let short = Acquire {
        lease: Duration::from_millis(1),
        ..request("s", "first")
    };
    let first = granted(backend.acquire(short).await.unwrap());
    wait_until("the lease has run out", || {
        !server.run::<bool>("EXISTS bv:{s}:lease")
    });
    // Nobody took it: it is still the first owner's.
    commit_one(&backend, commit("s", first.token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    assert!(
        backend
            .renew(&renewals(&[("s".into(), first.token)]), LEASE)
            .await[0]
            .is_ok()
    );
    let Acquired::Held(holder) = backend.acquire(request("s", "second")).await.unwrap() else {
        panic!("granted twice")
    };
    assert_eq!(holder.owner, owner("first"));

    backend
        .renew(&renewals(&[("s".into(), first.token)]), Duration::from_millis(1))
        .await[0]
        .clone()
        .unwrap();
    wait_until("the lease has run out", || {
        !server.run::<bool>("EXISTS bv:{s}:lease")
    });
    let second = granted(backend.acquire(request("s", "second")).await.unwrap());
    backend.release(&"s".into(), second.token).await.unwrap();
    assert_eq!(
        kind(
            backend
                .renew(&renewals(&[("s".into(), first.token)]), LEASE)
                .await
                .remove(0)
        ),
        Kind::Fenced
    );
    let stale = commit("s", first.token, 1, vec![]);
    assert_eq!(kind(commit_one(&backend, stale).await), Kind::Fenced);
}

#[tokio::test]
async fn a_dead_holder_is_displaced_and_nobody_else() {
    if !redis_server_found("a_dead_holder_is_displaced_and_nobody_else") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let first = grant(&backend, "s").await;
    let preempt = |token| Acquire {
        preempt: Some(token),
        ..request("s", "second")
    };
    assert!(matches!(
        backend.acquire(preempt(first.token - 1)).await.unwrap(),
        Acquired::Held(_)
    ));
    let second = granted(backend.acquire(preempt(first.token)).await.unwrap());
    assert!(second.token > first.token);
    assert!(matches!(
        backend.acquire(preempt(first.token)).await.unwrap(),
        Acquired::Held(_)
    ));
    // The token was taken in no time, so the clock did not help.
    let third = granted(backend.acquire(preempt(second.token)).await.unwrap());
    assert!(third.token > second.token);
}

#[tokio::test]
async fn the_callers_own_tokens_only_grow() {
    if !redis_server_found("the_callers_own_tokens_only_grow") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let client_token = |token| Acquire {
        client_token: Some(token),
        ..request("s", "first")
    };
    for accepted in [5, 5, 7] {
        let grant = granted(backend.acquire(client_token(accepted)).await.unwrap());
        backend.release(&"s".into(), grant.token).await.unwrap();
    }
    assert_eq!(kind(backend.acquire(client_token(6)).await), Kind::Fenced);
    let grant = granted(backend.acquire(client_token(7)).await.unwrap());
    commit_one(&backend, commit("s", grant.token, 0, vec![put("a", "")]))
        .await
        .unwrap();
    assert!(
        backend
            .delete(&"s".into(), Fence::Owner(grant.token))
            .await
            .unwrap()
    );
    backend.release(&"s".into(), grant.token).await.unwrap();
    assert_eq!(kind(backend.acquire(client_token(6)).await), Kind::Fenced);
    assert!(all_sessions(&backend, 10).await.unwrap().is_empty());

    // What is remembered is forgotten some day; a session that begins in its place is not.
    assert!(server.run::<i64>("PTTL bv:{s}") > 0);
    commit_one(&backend, shared("s", vec![put("a", "")]))
        .await
        .unwrap();
    assert_eq!(server.run::<i64>("PTTL bv:{s}"), -1);
    assert!(backend.delete(&"s".into(), Fence::Shared).await.unwrap());
    let grant = granted(backend.acquire(client_token(8)).await.unwrap());
    backend.release(&"s".into(), grant.token).await.unwrap();
    assert!(server.run::<i64>("PTTL bv:{s}") > 0);
    let grant = granted(backend.acquire(client_token(8)).await.unwrap());
    assert_eq!(server.run::<i64>("PTTL bv:{s}"), -1);
    commit_one(&backend, commit("s", grant.token, 0, vec![put("a", "")]))
        .await
        .unwrap();
    assert_eq!(server.run::<i64>("PTTL bv:{s}"), -1);
}

#[tokio::test]
async fn a_deleted_session_stays_deleted_and_its_owner_goes_on() {
    if !redis_server_found("a_deleted_session_stays_deleted_and_its_owner_goes_on") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let session: SessionId = "s".into();
    let first = grant(&backend, "s").await;
    assert!(all_sessions(&backend, 10).await.unwrap().is_empty());
    assert!(!backend.delete(&session, Fence::Owner(first.token)).await.unwrap());
    commit_one(&backend, commit("s", first.token, 0, vec![put("a", "1")]))
        .await
        .unwrap();
    let late = commit("s", first.token, 1, vec![put("a", "2")]);
    assert!(backend.delete(&session, Fence::Owner(first.token)).await.unwrap());
    assert!(!backend.delete(&session, Fence::Owner(first.token)).await.unwrap());
    assert!(commit_one(&backend, late).await.is_err());
    assert_eq!(backend.head(&session).await.unwrap(), Head::default());
    assert_eq!(read_one(&backend, "s", "a").await, None);
    assert!(matches!(
        backend.acquire(request("s", "second")).await.unwrap(),
        Acquired::Held(_)
    ));

    commit_one(&backend, commit("s", first.token, 0, vec![put("b", "1")]))
        .await
        .unwrap();
    assert!(backend.delete(&session, Fence::Shared).await.unwrap());
    assert!(
        commit_one(&backend, commit("s", first.token, 1, vec![]))
            .await
            .is_err()
    );
    backend.release(&session, first.token).await.unwrap();
    assert_eq!(server.run::<u32>("DBSIZE"), 0);
    let second = grant(&backend, "s").await;
    assert!(second.token > first.token);
    assert!(!backend.delete(&"absent".into(), Fence::Shared).await.unwrap());
}

#[tokio::test]
async fn two_owners_fighting_never_mix_their_writes() {
    if !redis_server_found("two_owners_fighting_never_mix_their_writes") {
        return;
    }
    let server = Server::start(&[]);
    let mut owners = Vec::new();
    for name in ["first", "second"] {
        let backend = backend(&server.url());
        owners.push(tokio::spawn(async move {
            let (mut committed, mut fenced) = (0_u64, 0_u64);
            while committed < 300 {
                let grant = match backend.acquire(request("s", name)).await.unwrap() {
                    Acquired::Granted(grant) => grant,
                    Acquired::Held(holder) => {
                        let preempt = Acquire {
                            preempt: Some(holder.token),
                            ..request("s", name)
                        };
                        match backend.acquire(preempt).await.unwrap() {
                            Acquired::Granted(grant) => grant,
                            Acquired::Held(_) => continue,
                        }
                    }
                };
                let mut version = grant.head.version;
                for _ in 0..5 {
                    // One record per version: a write that slipped past the fence would repeat a version.
                    let change = put(&(version + 1).to_string(), name);
                    match commit_one(&backend, commit("s", grant.token, version, vec![change])).await {
                        Ok(head) => version = head.version,
                        Err(error) => {
                            assert_eq!(error.kind(), Kind::Fenced);
                            fenced += 1;
                            break;
                        }
                    }
                    committed += 1;
                }
            }
            (committed, fenced)
        }));
    }
    let (mut committed, mut fenced) = (0, 0);
    for owner in owners {
        let (some, lost) = owner.await.unwrap();
        committed += some;
        fenced += lost;
    }
    assert!(fenced > 0);
    assert_eq!(
        backend(&server.url()).head(&"s".into()).await.unwrap().version,
        committed
    );
    // Head, owner and one record for each version.
    assert_eq!(server.run::<u64>("HLEN bv:{s}"), committed + 2);
}
