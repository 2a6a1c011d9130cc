//! Owners that come and go.

use super::*;
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
        // The lease has run out, so no `displace` is needed.
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
        let answers = backend.renew(&leases, seconds(600)).await;
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
        let answer = commit_one(&backend, next).await;
        assert_eq!(answer.unwrap_err().kind(), Kind::SessionLost);
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
        let connections = super::super::connection::users_of(&config);
        assert_eq!(connections, 10, "all of them use the same client");
        drop(backends);
        assert_eq!(super::super::connection::users_of(&config), 0);
    })
    .await;
}
