//! A session that the server lost, or holds an older copy of, is never answered from.

use super::super::testing::{Monitor, Server, redis_server_found};
use super::*;
use crate::backend::{Renewal, Seen};

/// An owner of a session with three commits, and its server.
struct Owner3 {
    server: Server,
    backend: RedisBackend,
    token: Token,
    session: SessionId,
}

const RECORDS: [&str; 2] = ["a", "b"];

impl Owner3 {
    async fn new() -> Self {
        let server = Server::start(&[]);
        let backend = backend(&server.url());
        let token = grant(&backend, "s").await.token;
        let owner = Self {
            server,
            backend,
            token,
            session: "s".into(),
        };
        for base in 0..3 {
            owner.write(base).await;
        }
        owner
    }

    async fn write(&self, base: u64) {
        let puts = RECORDS.map(|id| put(id, &base.to_string())).to_vec();
        commit_one(&self.backend, commit("s", self.token, base, puts))
            .await
            .unwrap();
    }

    fn seen(&self) -> Seen {
        Seen {
            fence: Fence::Owner(self.token),
            version: 3,
        }
    }

    /// Every read and the renewal, by the kind of their errors.
    async fn answers(&self, seen: Seen) -> Vec<(&'static str, Option<Kind>)> {
        let keys = RECORDS.map(key);
        let session = &self.session;
        let read = self.backend.read(session, &keys, seen).await;
        let page = self.backend.scan(session, None, None, 10, seen).await;
        let of_type = self.backend.scan(session, Some("session"), None, 10, seen).await;
        let mut answers = vec![
            ("read", read.err()),
            ("scan", page.err()),
            ("scan of a type", of_type.err()),
        ];
        if let Fence::Owner(token) = seen.fence {
            let renewal = Renewal {
                session: session.clone(),
                token,
                version: seen.version,
            };
            let renewed = self.backend.renew(&[renewal], LEASE).await.remove(0);
            answers.push(("renew", renewed.err()));
        }
        answers
            .into_iter()
            .map(|(what, error)| (what, error.map(|error| error.kind())))
            .collect()
    }

    async fn all_answer(&self, seen: Seen, kind: Option<Kind>, why: &str) {
        for (what, found) in self.answers(seen).await {
            assert_eq!(found, kind, "{what} after {why}");
        }
    }

    fn copy(&self) -> Vec<u8> {
        self.server.run("DUMP bv:{s}")
    }

    fn restore(&self, copy: Vec<u8>) {
        let mut restore = redis::cmd("RESTORE");
        restore.arg("bv:{s}").arg(0).arg(copy).arg("REPLACE");
        restore.query::<()>(&mut self.server.connect()).unwrap();
    }
}

#[tokio::test]
async fn an_owner_whose_session_is_gone_is_told_by_every_read_and_renewal() {
    if !redis_server_found("an_owner_whose_session_is_gone_is_told_by_every_read_and_renewal") {
        return;
    }
    for (why, command) in [
        ("an eviction", "UNLINK bv:{s}"),
        ("an expiry", "PEXPIRE bv:{s} 0"),
        ("a flush", "FLUSHALL"),
    ] {
        let owner = Owner3::new().await;
        owner.all_answer(owner.seen(), None, "nothing").await;
        owner.server.run::<redis::Value>(command);
        owner.all_answer(owner.seen(), Some(Kind::SessionLost), why).await;
        // Who has written nothing has lost nothing but its right.
        let unwritten = Seen {
            version: 0,
            ..owner.seen()
        };
        let read = owner.backend.read(&owner.session, &[key("a")], unwritten).await;
        assert_eq!(kind(read), Kind::Fenced, "{why}");
        assert_eq!(
            owner.server.run::<u32>("EXISTS bv:{s}"),
            0,
            "nothing was created again"
        );
    }
}

#[tokio::test]
async fn an_older_copy_is_never_read() {
    if !redis_server_found("an_older_copy_is_never_read") {
        return;
    }
    // Of the same owner.
    let owner = Owner3::new().await;
    let copy = owner.copy();
    owner.write(3).await;
    let seen = Seen {
        version: 4,
        ..owner.seen()
    };
    owner.all_answer(seen, None, "nothing").await;
    owner.restore(copy.clone());
    owner.all_answer(seen, Some(Kind::SessionLost), "a restore").await;

    // Of an earlier one; its successor's lease stands.
    owner.server.run::<u32>("DEL bv:{s}:lease");
    let next = granted(owner.backend.acquire(request("s", "second")).await.unwrap()).token;
    commit_one(&owner.backend, commit("s", next, 3, vec![put("a", "new")]))
        .await
        .unwrap();
    let seen = Seen {
        fence: Fence::Owner(next),
        version: 4,
    };
    owner.all_answer(seen, None, "a takeover").await;
    owner.restore(copy);
    owner.all_answer(seen, Some(Kind::SessionLost), "a restore").await;
    let fence = Fence::Owner(next);
    assert_eq!(
        kind(owner.backend.delete(&owner.session, fence).await),
        Kind::SessionLost
    );
    assert_eq!(
        kind(owner.backend.touch(&owner.session, fence, None).await),
        Kind::SessionLost
    );
}

#[tokio::test]
async fn an_owner_that_was_succeeded_reads_nothing_of_its_successor() {
    if !redis_server_found("an_owner_that_was_succeeded_reads_nothing_of_its_successor") {
        return;
    }
    let owner = Owner3::new().await;
    owner.server.run::<u32>("DEL bv:{s}:lease");
    let next = granted(owner.backend.acquire(request("s", "second")).await.unwrap()).token;
    owner
        .all_answer(owner.seen(), Some(Kind::Fenced), "a takeover")
        .await;
    owner.server.run::<u32>("UNLINK bv:{s}");
    // The successor's lease is there: not lost by the first, which has nothing any more.
    let read = owner
        .backend
        .read(&owner.session, &[key("a")], owner.seen())
        .await;
    assert_eq!(kind(read), Kind::Fenced);
    assert!(next > owner.token);
}

#[tokio::test]
async fn a_writer_without_a_lease_is_told_as_far_as_it_can_be_known() {
    if !redis_server_found("a_writer_without_a_lease_is_told_as_far_as_it_can_be_known") {
        return;
    }
    let owner = Owner3::new().await;
    let copy = owner.copy();
    owner.write(3).await;
    let seen = Seen {
        fence: Fence::Shared,
        version: 4,
    };
    owner.all_answer(seen, None, "nothing").await;
    let built_on = |base, id| Commit {
        base,
        ..shared("s", vec![put(id, "x")])
    };
    assert_eq!(
        commit_one(&owner.backend, built_on(4, "c"))
            .await
            .unwrap()
            .version,
        5
    );
    owner.restore(copy);
    owner.all_answer(seen, Some(Kind::SessionLost), "a restore").await;
    let lost = commit_one(&owner.backend, built_on(4, "d")).await;
    assert_eq!(kind(lost), Kind::SessionLost);
    owner.server.run::<()>("FLUSHALL");
    owner.all_answer(seen, Some(Kind::SessionLost), "a flush").await;
    let lost = commit_one(&owner.backend, built_on(5, "d")).await;
    assert_eq!(kind(lost), Kind::SessionLost);
    assert_eq!(
        owner.server.run::<u32>("DBSIZE"),
        0,
        "no session of parts was begun"
    );
    // Who has seen nothing begins.
    assert_eq!(
        commit_one(&owner.backend, built_on(0, "d"))
            .await
            .unwrap()
            .version,
        1
    );
}

/// Reads of a whole page come with the head at the same moment, and cost one command.
#[tokio::test]
async fn a_checked_read_is_one_command() {
    if !redis_server_found("a_checked_read_is_one_command") {
        return;
    }
    let owner = Owner3::new().await;
    let session = &owner.session;
    owner
        .backend
        .scan(session, None, None, 10, owner.seen())
        .await
        .unwrap();
    let mut monitor = Monitor::of(&owner.server);
    owner
        .backend
        .read(session, &[key("a")], owner.seen())
        .await
        .unwrap();
    assert_eq!(monitor.commands().len(), 1);
    owner
        .backend
        .scan(session, None, None, 10, owner.seen())
        .await
        .unwrap();
    assert_eq!(monitor.commands().len(), 1);
}
