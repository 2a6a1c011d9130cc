//! Sessions are listed and scanned while they exist, and are gone when they end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{LONG, PATIENCE, Test, at_another_version, change, commit, commit_one, key, refused};
use crate::backend::Seen;
use crate::backend::contract::renewals;
use crate::backend::{Commit, Fence, Head, SessionId};
use crate::error::Kind;

impl Test<'_> {
    pub(super) async fn a_deleted_session_stays_deleted(&self) {
        let session = self.session("deleted");
        let old = self.granted(&session).await.token;
        let records = [("session", "a", "1"), ("creds", "", "me")];
        self.put(&session, old, 0, &records).await.unwrap();
        let token = self.successor(&session, old).await.token;
        let fence = Fence::Owner(token);
        assert!(self.backend.delete(&session, fence).await.unwrap());
        assert!(
            !self.backend.delete(&session, fence).await.unwrap(),
            "there is none now"
        );

        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.get(&session, "creds", "").await, None);
        assert!(self.scan_all(&session, None, 10).await.is_empty());
        assert!(!self.list_all(100).await.contains(&session));
        for base in [0, 1] {
            refused(self.put(&session, old, base, &records).await, Kind::Fenced);
        }
        at_another_version(self.put(&session, token, 1, &records).await, 1, 0);
        assert!(!self.backend.touch(&session, fence, Some(LONG)).await.unwrap());
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());

        // The lease is held still; the next owner's token is larger, and the session begins anew.
        let renewed = self
            .backend
            .renew(&renewals(&[(session.clone(), token)]), LONG)
            .await;
        assert!(renewed.iter().all(Result::is_ok), "{renewed:?}");
        self.backend.release(&session, token).await.unwrap();
        let next = self.granted(&session).await;
        assert!(next.token > token);
        assert_eq!(next.head, Head::default());
        refused(self.put(&session, token, 0, &records).await, Kind::Fenced);
        let put = self.put(&session, next.token, 0, &[("session", "b", "1")]).await;
        assert_eq!(put.unwrap().version, 1);
        assert_eq!(
            self.get(&session, "session", "a").await,
            None,
            "nothing came back to life"
        );
    }

    pub(super) async fn every_record_is_scanned(&self) {
        let session = self.session("scan");
        let token = self.granted(&session).await.token;
        let ids: Vec<String> = (0..250).map(|id| id.to_string()).collect();
        let mut expected = BTreeMap::new();
        let mut changes = vec![change("creds", "", "me")];
        for id in &ids {
            changes.push(change("pre-key", id, id));
            changes.push(change("session", &format!("{id}@s.whatsapp.net"), "s"));
        }
        for change in &changes {
            expected.insert(change.key.clone(), change.value.clone().unwrap());
        }
        commit_one(self.backend, commit(&session, Fence::Owner(token), 0, changes))
            .await
            .unwrap();
        for limit in [1000, 100, 7] {
            assert_eq!(
                self.scan_all(&session, None, limit).await,
                expected,
                "pages of {limit}"
            );
        }

        // Records that stay are found though others come and go between the pages.
        let mut found = BTreeMap::new();
        let mut cursor = None;
        let mut base = 1;
        loop {
            let page = self
                .backend
                .scan(&session, None, cursor, 50, Seen::NOTHING)
                .await
                .unwrap();
            found.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            let (coming, going) = (
                format!("new-{base}"),
                ids[usize::try_from(base).unwrap()].as_str(),
            );
            let changes = [("pre-key", coming.as_str(), "new"), ("pre-key", going, "")];
            self.put(&session, token, base, &changes).await.unwrap();
            base += 1;
        }
        assert!(base > 2, "it took several pages");
        for id in &ids[usize::try_from(base).unwrap()..] {
            assert!(found.contains_key(&key("pre-key", id)), "pre-key {id}");
        }
        for id in &ids {
            assert!(found.contains_key(&key("session", &format!("{id}@s.whatsapp.net"))));
        }
    }

    pub(super) async fn scans_keep_to_the_type(&self) {
        let session = self.session("scan-type");
        let token = self.granted(&session).await.token;
        let records = [
            ("creds", "", "0"),
            ("a", "bc", "1"),
            ("ab", "c", "2"),
            ("abc", "", "3"),
            ("abd", "x", "4"),
            ("é", "x", "5"),
        ];
        self.put(&session, token, 0, &records).await.unwrap();
        for (kind, id, value) in records {
            for limit in [1, 10] {
                let found = self.scan_all(&session, Some(kind), limit).await;
                let expected = BTreeMap::from([(key(kind, id), Bytes::copy_from_slice(value.as_bytes()))]);
                assert_eq!(found, expected, "type {kind}");
            }
        }
        assert!(self.scan_all(&session, Some("none"), 10).await.is_empty());
        assert_eq!(self.scan_all(&session, None, 2).await.len(), records.len());
    }

    pub(super) async fn existing_sessions_are_listed(&self) {
        let names: Vec<_> = (0..12).map(|at| self.session(&format!("list-{at:02}"))).collect();
        for name in &names {
            let token = self.granted(name).await.token;
            self.put(name, token, 0, &[("session", "a", "1")]).await.unwrap();
        }
        let opened_only = self.session("list-opened");
        self.granted(&opened_only).await;
        for limit in [1000, 5, 1] {
            let mut found = self.list_all(limit).await;
            found.retain(|name| name.contains("-list-"));
            assert_eq!(found, names, "pages of {limit}");
        }
    }

    pub(super) async fn an_expired_session_is_absent(&self) {
        let session = self.session("ttl");
        let token = self.granted(&session).await.token;
        let short = Commit {
            ttl: Some(Duration::from_millis(100)),
            ..commit(
                &session,
                Fence::Owner(token),
                0,
                vec![change("session", "a", "1")],
            )
        };
        commit_one(self.backend, short).await.unwrap();
        self.until_absent(&session).await;
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.get(&session, "session", "a").await, None);
        assert!(self.scan_all(&session, None, 10).await.is_empty());
        assert!(!self.list_all(100).await.contains(&session));
        let grant = self.successor(&session, token).await;
        assert!(grant.token > token);
        assert_eq!(grant.head, Head::default());
        let head = self
            .put(&session, grant.token, 0, &[("session", "b", "1")])
            .await
            .unwrap();
        assert_eq!(head.version, 1);
        assert_eq!(self.get(&session, "session", "a").await, None);
        assert_eq!(self.get(&session, "session", "b").await.as_deref(), Some("1"));
    }

    async fn until_absent(&self, session: &SessionId) {
        let deadline = Instant::now() + PATIENCE;
        while self.version(session).await != 0 {
            assert!(Instant::now() < deadline, "the session does not expire");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn touching_moves_the_end(&self) {
        let [forever, longer, shorter] =
            ["forever", "longer", "shorter"].map(|name| self.session(&format!("touch-{name}")));
        let first_end = Duration::from_secs(3);
        let mut tokens = Vec::new();
        for session in [&forever, &longer, &shorter] {
            let token = self.granted(session).await.token;
            let limited = Commit {
                ttl: Some(if session == &shorter { LONG } else { first_end }),
                ..commit(session, Fence::Owner(token), 0, vec![change("session", "a", "1")])
            };
            commit_one(self.backend, limited).await.unwrap();
            tokens.push(token);
        }
        let touch = |session, token, ttl| self.backend.touch(session, Fence::Owner(token), ttl);
        assert!(touch(&forever, tokens[0], None).await.unwrap());
        assert!(touch(&longer, tokens[1], Some(LONG)).await.unwrap());
        assert!(touch(&shorter, tokens[2], Some(first_end)).await.unwrap());
        // The last of the three ends is over when the one that was moved forward is.
        self.until_absent(&shorter).await;
        for session in [&forever, &longer] {
            assert_eq!(self.get(session, "session", "a").await.as_deref(), Some("1"));
            assert!(self.list_all(100).await.contains(session));
        }
    }
}
