//! One owner writes, and nobody who owned the session before.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{LONG, PATIENCE, Test, acquire, client_token_refused, fenced_by, key, refused};
use crate::backend::contract::renewals;
use crate::backend::{Acquire, Acquired, Fence, Token};
use crate::error::Kind;
use crate::record::MasterKey;

impl Test<'_> {
    pub(super) async fn records_asked_for_come_with_the_lease(&self) {
        let session = self.session("with-lease");
        let first = self.granted(&session).await;
        let head = self
            .put(&session, first.token, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        self.backend.release(&session, first.token).await.unwrap();
        let grant = self
            .granted_to(Acquire {
                read: vec![key("session", "b"), key("session", "a")],
                ..acquire(&session)
            })
            .await;
        assert!(grant.token > first.token);
        assert_eq!(grant.head, head);
        assert_eq!(grant.records, [None, Some(Bytes::from_static(b"1"))]);
    }

    pub(super) async fn an_older_owner_is_fenced(&self) {
        let session = self.session("fence");
        let old = self.granted(&session).await.token;
        self.put(&session, old, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        let new = self.successor(&session, old).await.token;
        assert!(new > old);

        let error = fenced_by(self.put(&session, old, 1, &[("session", "a", "old")]).await, new);
        assert_eq!(error.session(), Some(&session));
        let fence = Fence::Owner(old);
        fenced_by(self.backend.touch(&session, fence, Some(LONG)).await, new);
        fenced_by(self.backend.delete(&session, fence).await, new);
        let renewed = self
            .backend
            .renew(&renewals(&[(session.clone(), old), (session.clone(), new)]), LONG)
            .await;
        assert_eq!(renewed.len(), 2);
        assert_eq!(renewed[0].as_ref().unwrap_err().kind(), Kind::Fenced);
        renewed[1].as_ref().expect("the new owner's lease is renewed");
        // Giving back what one has no more changes nothing.
        self.backend.release(&session, old).await.unwrap();

        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("1"));
        let head = self
            .put(&session, new, 1, &[("session", "a", "2")])
            .await
            .unwrap();
        assert_eq!(head.version, 2);
    }

    pub(super) async fn a_token_never_granted_is_fenced(&self) {
        let session = self.session("no-token");
        refused(
            self.put(&session, 1, 0, &[("session", "a", "1")]).await,
            Kind::Fenced,
        );
        let token = self.granted(&session).await.token;
        for wrong in [token - 1, token + 1] {
            let put = self.put(&session, wrong, 0, &[("session", "a", "1")]).await;
            refused(put, Kind::Fenced);
        }
        assert_eq!(self.version(&session).await, 0);
        assert_eq!(self.get(&session, "session", "a").await, None);
    }

    pub(super) async fn a_held_session_is_held(&self) {
        let session = self.session("held");
        let request = acquire(&session);
        let owner = request.owner.clone();
        let first = self.granted_to(request).await;
        if !first.expires {
            return;
        }
        for preempt in [None, Some(first.token - 1), Some(first.token + 1)] {
            let request = Acquire {
                preempt,
                ..acquire(&session)
            };
            match self.backend.acquire(request).await.unwrap() {
                Acquired::Granted(grant) => panic!("granted {} with {preempt:?}", grant.token),
                Acquired::Held(holder) => {
                    assert_eq!((&holder.owner, holder.token), (&owner, first.token));
                    let left = holder.expires_in.expect("this lease runs out");
                    // A server's clock and ours may lie a moment apart, and the lease lasts until the later one.
                    assert!(
                        left <= LONG + Duration::from_secs(1) && left > LONG / 2,
                        "{left:?}"
                    );
                }
            }
        }
        let second = self.successor(&session, first.token).await;
        assert!(second.token > first.token);
        self.backend.release(&session, second.token).await.unwrap();
        let third = self.granted(&session).await;
        assert!(third.token > second.token);
    }

    pub(super) async fn leases_that_stand_are_told_from_others(&self) {
        let [one, two, none] = ["stands-one", "stands-two", "stands-none"].map(|name| self.session(name));
        let first = self.granted(&one).await;
        if !first.expires {
            return;
        }
        let (first, other) = (first.token, self.granted(&two).await.token);
        let asked = [
            (none, first),
            (two.clone(), other),
            (one.clone(), first),
            (one.clone(), first - 1),
            (one.clone(), first + 1),
            (two, other - 1),
        ];
        let stand = [false, true, true, false, false, false];
        assert_eq!(self.backend.check_leases(&asked).await.unwrap(), stand);
        assert_eq!(self.backend.check_leases(&[]).await.unwrap(), [false; 0]);
        let second = self.successor(&one, first).await.token;
        let asked = [(one.clone(), first), (one.clone(), second)];
        assert_eq!(self.backend.check_leases(&asked).await.unwrap(), [false, true]);
        // Asking takes nothing from the owner.
        self.put(&one, second, 0, &[("session", "a", "1")]).await.unwrap();
        self.backend.release(&one, second).await.unwrap();
        assert_eq!(self.backend.check_leases(&asked).await.unwrap(), [false, false]);
    }

    pub(super) async fn who_holds_a_session_is_told(&self) {
        let session = self.session("holder");
        let holder = async || self.backend.holder(&session).await.unwrap();
        assert!(holder().await.is_none(), "nobody has had it");
        let request = acquire(&session);
        let owner = request.owner.clone();
        let first = self.granted_to(request).await;
        let Some(found) = holder().await else {
            assert!(!first.expires, "somebody has a lease");
            return;
        };
        assert_eq!(found.token, first.token);
        if first.expires {
            assert_eq!(found.owner, owner);
            let left = found.expires_in.expect("this lease runs out");
            assert!(
                left <= LONG + Duration::from_secs(1) && left > LONG / 2,
                "{left:?}"
            );
        } else {
            assert_eq!((found.owner.pid, found.expires_in), (owner.pid, None));
        }
        // Asking takes nothing from the owner, nor does being renewed or writing hide it.
        self.put(&session, first.token, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        let renewed = self
            .backend
            .renew(&renewals(&[(session.clone(), first.token)]), LONG)
            .await;
        assert!(renewed.iter().all(Result::is_ok), "{renewed:?}");
        assert_eq!(holder().await.map(|holder| holder.token), Some(first.token));
        self.backend.release(&session, first.token).await.unwrap();
        assert!(holder().await.is_none(), "it was given back");
        if first.expires {
            let short = Duration::from_millis(50);
            let lost = Acquire {
                lease: short,
                ..acquire(&session)
            };
            self.granted_to(lost).await;
            let deadline = Instant::now() + PATIENCE;
            while holder()
                .await
                .is_some_and(|holder| holder.expires_in > Some(Duration::ZERO))
            {
                assert!(Instant::now() < deadline, "it still stands");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    pub(super) async fn a_key_is_as_old_as_it_was_first_seen(&self) {
        let [one, other] = [(); 2].map(|()| {
            let mut secret = [0; MasterKey::LEN];
            getrandom::fill(&mut secret).unwrap();
            MasterKey::from_bytes("masterKey", &secret).unwrap().id()
        });
        for (key, now, seen) in [
            (one, 2000, 2000),
            (one, 9000, 2000),
            (other, 9000, 9000),
            (one, 1000, 2000),
        ] {
            assert_eq!(self.backend.key_seen(key, now).await.unwrap(), seen);
        }
    }

    pub(super) async fn an_expired_lease_is_free(&self) {
        let session = self.session("lease-end");
        let first = self
            .granted_to(Acquire {
                lease: Duration::from_millis(50),
                ..acquire(&session)
            })
            .await;
        self.put(&session, first.token, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let lease = [(session.clone(), first.token)];
        while self.backend.check_leases(&lease).await.unwrap() != [false] {
            assert!(Instant::now() < deadline, "it still stands");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let second = loop {
            match self.backend.acquire(acquire(&session)).await.unwrap() {
                Acquired::Granted(grant) => break grant,
                Acquired::Held(holder) => assert!(Instant::now() < deadline, "still {holder:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(second.token > first.token);
        assert_eq!(second.head.version, 1);
        let late = self
            .put(&session, first.token, 1, &[("session", "a", "late")])
            .await;
        refused(late, Kind::Fenced);
        // A renewed lease is held again.
        let renewed = self
            .backend
            .renew(&renewals(&[(session.clone(), second.token)]), LONG)
            .await;
        assert!(renewed.iter().all(Result::is_ok), "{renewed:?}");
        self.put(&session, second.token, 1, &[("session", "a", "2")])
            .await
            .unwrap();
    }

    pub(super) async fn the_callers_own_token_only_grows(&self) {
        let session = self.session("claim");
        let with = |client_token: Option<Token>| Acquire {
            client_token,
            ..acquire(&session)
        };
        let first = self.granted_to(with(Some(5))).await;
        self.backend.release(&session, first.token).await.unwrap();
        client_token_refused(self.backend.acquire(with(Some(4))).await, 4, 5);
        let second = self.granted_to(with(Some(5))).await;
        assert!(second.token > first.token);
        self.backend.release(&session, second.token).await.unwrap();
        let third = self.granted_to(with(None)).await;
        self.backend.release(&session, third.token).await.unwrap();
        client_token_refused(self.backend.acquire(with(Some(4))).await, 4, 5);
        let fourth = self.granted_to(with(Some(6))).await;
        self.put(&session, fourth.token, 0, &[("session", "a", "1")])
            .await
            .unwrap();
        assert!(
            self.backend
                .delete(&session, Fence::Owner(fourth.token))
                .await
                .unwrap()
        );
        self.backend.release(&session, fourth.token).await.unwrap();
        // The deletion does not forget it either.
        client_token_refused(self.backend.acquire(with(Some(5))).await, 5, 6);
    }
}
