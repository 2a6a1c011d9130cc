//! What is written comes back, whole or not at all.

use bytes::Bytes;

use super::{LONG, Test, at_another_version, change, commit, commit_one, key};
use crate::backend::Seen;
use crate::backend::{Commit, Fence, Head, SessionId};
use crate::error::{Error, Kind};
use crate::record::{Change, RecordKey};

impl Test<'_> {
    pub(super) async fn a_session_that_was_never_written_is_absent(&self) {
        let session = self.session("absent");
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.get(&session, "session", "a").await, None);
        assert!(self.scan_all(&session, None, 10).await.is_empty());
        assert!(!self.backend.delete(&session, Fence::Shared).await.unwrap());
        assert!(
            !self
                .backend
                .touch(&session, Fence::Shared, Some(LONG))
                .await
                .unwrap()
        );

        let grant = self.granted(&session).await;
        assert!(grant.token > 0 && grant.token < 1 << 53);
        assert_eq!(grant.head, Head::default());
        let fence = Fence::Owner(grant.token);
        assert!(!self.backend.touch(&session, fence, Some(LONG)).await.unwrap());
        assert!(!self.backend.delete(&session, fence).await.unwrap());
        assert_eq!(self.backend.head(&session).await.unwrap(), Head::default());
        assert_eq!(self.list_all(100).await, Vec::<SessionId>::new());
    }

    pub(super) async fn records_come_back(&self) {
        let session = self.session("records");
        let token = self.granted(&session).await.token;
        let big = "x".repeat(300_000);
        let all: Vec<u8> = (0..=255).collect();
        let mut first = commit(
            &session,
            Fence::Owner(token),
            0,
            vec![change("session", "a", "1"), change("pre-key", "7", &big)],
        );
        first.changes.push(Change {
            key: RecordKey::creds(),
            value: Some(all.clone().into()),
        });
        first.changes.push(Change {
            key: key("bridge-x", ""),
            value: Some(Bytes::new()),
        });
        let head = commit_one(self.backend, first).await.unwrap();
        assert_eq!(head.version, 1);
        assert!(
            head.updated_at > 1_600_000_000_000,
            "milliseconds since the epoch"
        );
        assert_eq!(self.backend.head(&session).await.unwrap(), head);

        let asked = [
            key("pre-key", "7"),
            key("pre-key", "8"),
            RecordKey::creds(),
            key("session", "a"),
            key("bridge-x", ""),
            key("session", "a"),
        ];
        let found = self.backend.read(&session, &asked, Seen::NOTHING).await.unwrap();
        let one = Some(Bytes::from_static(b"1"));
        assert_eq!(
            found,
            [
                Some(Bytes::from(big)),
                None,
                Some(Bytes::from(all)),
                one.clone(),
                Some(Bytes::new()),
                one
            ],
            "in the order asked, an empty record is not an absent one"
        );
        assert!(
            self.backend
                .read(&session, &[], Seen::NOTHING)
                .await
                .unwrap()
                .is_empty()
        );

        let changed = [("session", "a", "2"), ("pre-key", "7", ""), ("pre-key", "8", "")];
        let head = self.put(&session, token, 1, &changed).await.unwrap();
        assert_eq!(head.version, 2);
        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("2"));
        assert_eq!(self.get(&session, "pre-key", "7").await, None);
        assert_eq!(
            self.put(&session, token, 2, &[]).await.unwrap().version,
            3,
            "an empty patch counts"
        );
    }

    pub(super) async fn a_commit_is_all_or_nothing(&self) {
        let session = self.session("atomic");
        let token = self.granted(&session).await.token;
        let records = [("session", "a", "1"), ("session", "b", "1")];
        self.put(&session, token, 0, &records).await.unwrap();
        for base in [0, 2, 7] {
            let records = [("session", "a", "2"), ("session", "b", ""), ("session", "c", "2")];
            let error = at_another_version(self.put(&session, token, base, &records).await, base, 1);
            assert_eq!(error.session(), Some(&session));
        }
        assert_eq!(self.version(&session).await, 1);
        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("1"));
        assert_eq!(self.get(&session, "session", "b").await.as_deref(), Some("1"));
        assert_eq!(self.get(&session, "session", "c").await, None);
    }

    pub(super) async fn a_commit_sent_again_is_the_same_commit(&self) {
        let session = self.session("again");
        let token = self.granted(&session).await.token;
        let first = commit(
            &session,
            Fence::Owner(token),
            0,
            vec![change("session", "a", "1")],
        );
        let head = commit_one(self.backend, first.clone()).await.unwrap();
        let again = commit_one(self.backend, first.clone()).await.unwrap();
        assert_eq!(again, head, "the answer that was lost");

        let other = Commit {
            id: first.id ^ 1,
            changes: vec![change("session", "a", "other")],
            ..first.clone()
        };
        at_another_version(commit_one(self.backend, other).await, 0, 1);
        self.put(&session, token, 1, &[("session", "a", "2")])
            .await
            .unwrap();
        at_another_version(commit_one(self.backend, first).await, 0, 2);
        assert_eq!(self.get(&session, "session", "a").await.as_deref(), Some("2"));
        assert_eq!(self.version(&session).await, 2);

        let shared = commit(&session, Fence::Shared, 0, vec![change("session", "b", "1")]);
        let head = commit_one(self.backend, shared.clone()).await.unwrap();
        assert_eq!(commit_one(self.backend, shared).await.unwrap(), head);
        assert_eq!(self.version(&session).await, 3);
    }

    pub(super) async fn commits_are_answered_one_by_one(&self) {
        let names = ["one", "two", "three", "four"].map(|name| self.session(name));
        let mut commits = Vec::new();
        for name in &names {
            let token = self.granted(name).await.token;
            commits.push(commit(
                name,
                Fence::Owner(token),
                0,
                vec![change("session", "a", name)],
            ));
        }
        commits[1].base = 9;
        commits[2].fence = Fence::Owner(1);
        let answers = self.backend.commit(commits).await;
        let kinds: Vec<_> = answers
            .iter()
            .map(|answer| answer.as_ref().map(|head| head.version).map_err(Error::kind))
            .collect();
        assert_eq!(
            kinds,
            [Ok(1), Err(Kind::VersionMismatch), Err(Kind::Fenced), Ok(1)]
        );
        for (name, stored) in names.iter().zip([true, false, false, true]) {
            let found = self.get(name, "session", "a").await;
            assert_eq!(found.as_deref(), stored.then_some(&**name));
        }
        assert!(self.backend.commit(Vec::new()).await.is_empty());
    }

    pub(super) async fn merged_patches_count_one_by_one(&self) {
        let session = self.session("merged");
        let token = self.granted(&session).await.token;
        let merged = Commit {
            patches: 5,
            ..commit(
                &session,
                Fence::Owner(token),
                0,
                vec![change("session", "a", "5")],
            )
        };
        assert_eq!(commit_one(self.backend, merged.clone()).await.unwrap().version, 5);
        assert_eq!(commit_one(self.backend, merged).await.unwrap().version, 5);
        let next = self.put(&session, token, 5, &[("session", "a", "6")]).await;
        assert_eq!(next.unwrap().version, 6);
    }

    pub(super) async fn shared_commits_merge(&self) {
        let session = self.session("shared");
        let shared = |base, changes| commit(&session, Fence::Shared, base, changes);
        let first = shared(0, vec![change("session", "a", "1"), change("session", "b", "1")]);
        assert_eq!(commit_one(self.backend, first).await.unwrap().version, 1);
        // Built on an older version: what it does not name stays.
        let second = Commit {
            patches: 2,
            ..shared(0, vec![change("session", "b", "2"), change("session", "c", "2")])
        };
        assert_eq!(commit_one(self.backend, second).await.unwrap().version, 3);
        let expecting = |base, value| Commit {
            expected: true,
            ..shared(base, vec![change("session", "a", value)])
        };
        at_another_version(commit_one(self.backend, expecting(2, "no")).await, 2, 3);
        let head = commit_one(self.backend, expecting(3, "4")).await.unwrap();
        assert_eq!(head.version, 4);
        for (id, value) in [("a", "4"), ("b", "2"), ("c", "2")] {
            assert_eq!(self.get(&session, "session", id).await.as_deref(), Some(value));
        }
        assert!(
            self.backend
                .touch(&session, Fence::Shared, Some(LONG))
                .await
                .unwrap()
        );
        assert!(self.backend.delete(&session, Fence::Shared).await.unwrap());
        assert_eq!(self.get(&session, "session", "a").await, None);
    }

    pub(super) async fn any_name_is_a_name(&self) {
        let names = [
            "it's {me}: *?[a]\\ \"%_$.",
            "ünïcödé 日本 🦀",
            "a/b:c",
            "A",
            "a",
            " a ",
        ]
        .map(|name| self.session(&format!("name-{name}")));
        for (at, name) in names.iter().enumerate() {
            let token = self.granted(name).await.token;
            let id = format!("{name}\u{0}\n");
            self.put(name, token, 0, &[("session", &id, &at.to_string())])
                .await
                .unwrap();
        }
        for (at, name) in names.iter().enumerate() {
            let id = format!("{name}\u{0}\n");
            assert_eq!(
                self.get(name, "session", &id).await,
                Some(at.to_string()),
                "{name}"
            );
            assert_eq!(self.scan_all(name, Some("session"), 10).await.len(), 1);
        }
        let mut listed = self.list_all(100).await;
        listed.retain(|name| name.contains("-name-"));
        assert_eq!(listed.len(), names.len());
    }
}
