use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::testing::{Server, redis_server_found};
use super::*;

#[tokio::test]
async fn what_is_committed_is_read_back() {
    if !redis_server_found("what_is_committed_is_read_back") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    // Every byte in ids and values; braces and percent signs in names of sessions.
    for session in ["plain", "a{b}c", "%7Bx%7D", "}{", "é:*?[a]", "with space"] {
        let grant = grant(&backend, session).await;
        assert_eq!(grant.head, Head::default());
        let value: Vec<u8> = (0..=255).collect();
        let binary = Change {
            key: key("\0\r\n'\"\\*?"),
            value: Some(value.clone().into()),
        };
        let head = commit_one(
            &backend,
            commit(session, grant.token, 0, vec![put("a", "1"), binary]),
        )
        .await;
        assert_eq!(head.unwrap().version, 1);
        let changes = vec![put("b", ""), drop_record("a")];
        let head = commit_one(&backend, commit(session, grant.token, 1, changes))
            .await
            .unwrap();
        assert_eq!(head.version, 2);
        assert_eq!(backend.head(&session.into()).await.unwrap(), head);
        let keys = [key("a"), key("b"), key("\0\r\n'\"\\*?"), RecordKey::creds()];
        let records = backend.read(&session.into(), &keys, Seen::NOTHING).await.unwrap();
        assert_eq!(records, [None, Some(Bytes::new()), Some(value.into()), None]);
    }
    let mut expected = ["plain", "a{b}c", "%7Bx%7D", "}{", "é:*?[a]", "with space"].map(SessionId::from);
    expected.sort();
    assert_eq!(all_sessions(&backend, 2).await.unwrap(), expected);
}

#[tokio::test]
async fn a_patch_of_thousands_of_records_is_one_commit() {
    if !redis_server_found("a_patch_of_thousands_of_records_is_one_commit") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    let ids: Vec<String> = (0..25_000).map(|id| id.to_string()).collect();
    let puts = ids.iter().map(|id| put(id, id)).collect();
    commit_one(&backend, commit("s", token, 0, puts)).await.unwrap();
    let keys: Vec<_> = ids.iter().map(|id| key(id)).collect();
    let records = backend.read(&"s".into(), &keys, Seen::NOTHING).await.unwrap();
    assert!(
        records
            .iter()
            .zip(&ids)
            .all(|(record, id)| record.as_deref() == Some(id.as_bytes()))
    );

    let read = Acquire {
        read: keys.clone(),
        preempt: Some(token),
        ..request("s", "second")
    };
    let grant = granted(backend.acquire(read).await.unwrap());
    assert_eq!(grant.records, records);

    let deletes = ids[..20_000].iter().map(|id| drop_record(id)).collect();
    commit_one(&backend, commit("s", grant.token, 1, deletes))
        .await
        .unwrap();
    let left = backend.read(&"s".into(), &keys, Seen::NOTHING).await.unwrap();
    assert_eq!(left.iter().flatten().count(), 5_000);
}

#[tokio::test]
async fn a_commit_sent_again_is_applied_once() {
    if !redis_server_found("a_commit_sent_again_is_applied_once") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let token = grant(&backend, "s").await.token;
    let first = commit("s", token, 0, vec![put("a", "1")]);
    let head = commit_one(&backend, first.clone()).await.unwrap();
    assert_eq!(commit_one(&backend, first.clone()).await.unwrap(), head);
    commit_one(&backend, commit("s", token, 1, vec![put("a", "2")]))
        .await
        .unwrap();
    assert_eq!(kind(commit_one(&backend, first).await), Kind::VersionMismatch);
    assert_eq!(read_one(&backend, "s", "a").await.as_deref(), Some("2"));

    let merged = Commit {
        patches: 3,
        ..shared("t", vec![put("a", "1")])
    };
    let head = commit_one(&backend, merged.clone()).await.unwrap();
    assert_eq!(head.version, 3);
    commit_one(&backend, shared("t", vec![put("a", "2")]))
        .await
        .unwrap();
    assert_eq!(commit_one(&backend, merged).await.unwrap().version, 4);
    assert_eq!(read_one(&backend, "t", "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn shared_commits_merge_record_by_record() {
    if !redis_server_found("shared_commits_merge_record_by_record") {
        return;
    }
    let server = Server::start(&[]);
    let backend = Arc::new(backend(&server.url()));
    let tasks = (0..100).map(|id: u32| {
        let backend = backend.clone();
        let id = id.to_string();
        tokio::spawn(async move { commit_one(&backend, shared("s", vec![put(&id, &id)])).await })
    });
    let mut versions = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        versions.push(task.await.unwrap().unwrap().version);
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=100).collect::<Vec<_>>());
    let keys: Vec<_> = (0..100).map(|id| key(&id.to_string())).collect();
    assert!(
        backend
            .read(&"s".into(), &keys, Seen::NOTHING)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );

    let expected = Commit {
        expected: true,
        base: 100,
        ..shared("s", vec![put("x", "")])
    };
    assert_eq!(commit_one(&backend, expected.clone()).await.unwrap().version, 101);
    let stale = Commit {
        id: expected.id + 1,
        ..expected
    };
    assert_eq!(kind(commit_one(&backend, stale).await), Kind::VersionMismatch);
    let absent = Commit {
        expected: true,
        base: 1,
        ..shared("t", vec![])
    };
    assert_eq!(kind(commit_one(&backend, absent).await), Kind::VersionMismatch);
}

#[tokio::test]
async fn in_a_batch_each_commit_has_its_own_fence_and_answer() {
    if !redis_server_found("in_a_batch_each_commit_has_its_own_fence_and_answer") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let mut commits = Vec::new();
    for index in 0..600 {
        let session = format!("s{index}");
        let token = grant(&backend, &session).await.token;
        commits.push(commit(&session, token, 0, vec![put("a", &session)]));
    }
    let displaced = Acquire {
        preempt: Some(token_of(&commits[300])),
        ..request("s300", "second")
    };
    granted(backend.acquire(displaced).await.unwrap());
    commits[301].base = 7;
    server.run::<()>("DEL bv:{s302}");
    server.run::<()>("SET bv:{s302} x");
    let commits: Vec<_> = commits
        .into_iter()
        .chain([shared("t", vec![put("a", "t")])])
        .collect();
    let results = backend.commit(commits).await;
    assert_eq!(results.len(), 601);
    for (index, result) in results.into_iter().enumerate() {
        match index {
            300 => assert_eq!(kind(result), Kind::Fenced),
            301 => assert_eq!(kind(result), Kind::VersionMismatch),
            302 => assert_eq!(kind(result), Kind::Corrupt),
            _ => assert_eq!(result.unwrap().version, 1, "{index}"),
        }
    }
    assert_eq!(read_one(&backend, "s300", "a").await, None);
    assert_eq!(read_one(&backend, "s599", "a").await.as_deref(), Some("s599"));
    assert_eq!(read_one(&backend, "t", "a").await.as_deref(), Some("t"));
}

fn token_of(commit: &Commit) -> Token {
    match commit.fence {
        Fence::Owner(token) => token,
        Fence::Shared => panic!("no owner"),
    }
}

#[tokio::test]
async fn commits_that_meet_share_calls_and_none_is_lost() {
    if !redis_server_found("commits_that_meet_share_calls_and_none_is_lost") {
        return;
    }
    let server = Server::start(&[]);
    let backend = Arc::new(backend(&server.url()));
    let mut tasks = Vec::new();
    for index in 0..200_u32 {
        let backend = backend.clone();
        tasks.push(tokio::spawn(async move {
            let session = format!("s{index}");
            let token = grant(&backend, &session).await.token;
            let mut base = 0;
            for round in 0..20_u32 {
                let attempt = commit(&session, token, base, vec![put("a", &format!("{index}/{round}"))]);
                // Some callers give up at some point of their way and send the commit again.
                if (index + round) % 3 == 0 {
                    let hurried = commit_one(&backend, attempt.clone());
                    let _ = tokio::time::timeout(Duration::from_micros(u64::from(index) * 10), hurried).await;
                }
                base = commit_one(&backend, attempt).await.unwrap().version;
            }
            assert_eq!(base, 20);
            assert_eq!(
                read_one(&backend, &session, "a").await.unwrap(),
                format!("{index}/19")
            );
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let info: String = server.run("INFO commandstats");
    let calls = |name: &str| -> u64 {
        let line = info
            .lines()
            .find(|line| line.starts_with(&format!("cmdstat_{name}:")))
            .unwrap();
        line.split_once("calls=")
            .unwrap()
            .1
            .split(',')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    // 4,000 commits and 200 acquisitions.
    assert!(calls("evalsha") < 3_000, "{} calls", calls("evalsha"));
}

#[tokio::test]
async fn scan_finds_every_record_of_the_type() {
    if !redis_server_found("scan_finds_every_record_of_the_type") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    for (session, count) in [("small", 5), ("large", 3_000)] {
        let mut expected = HashMap::new();
        let mut changes = Vec::new();
        for kind in ["session", "pre-key", "s*", "pre"] {
            for id in 0..count {
                let key = RecordKey::new(kind, &id.to_string()).unwrap();
                let value = Bytes::from(format!("{kind}{id}"));
                expected.insert(key.clone(), value.clone());
                changes.push(Change {
                    key,
                    value: Some(value),
                });
            }
        }
        commit_one(&backend, shared(session, changes)).await.unwrap();
        for kind in [
            None,
            Some("session"),
            Some("pre-key"),
            Some("s*"),
            Some("pre"),
            Some("none"),
        ] {
            let (mut found, mut cursor) = (HashMap::new(), None);
            loop {
                let page = backend
                    .scan(&session.into(), kind, cursor, 100, Seen::NOTHING)
                    .await
                    .unwrap();
                found.extend(page.items);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            let mut wanted = expected.clone();
            wanted.retain(|key, _| kind.is_none_or(|kind| key.kind() == kind));
            assert_eq!(found, wanted, "{session} {kind:?}");
        }
    }
}

#[tokio::test]
async fn a_time_to_live_is_set_refreshed_and_lifted() {
    if !redis_server_found("a_time_to_live_is_set_refreshed_and_lifted") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let session: SessionId = "s".into();
    let ttl = || server.run::<i64>("PTTL bv:{s}");
    let day = Duration::from_secs(86_400);
    let token = grant(&backend, "s").await.token;
    assert!(
        !backend
            .touch(&session, Fence::Owner(token), Some(day))
            .await
            .unwrap()
    );
    assert_eq!(ttl(), -1);

    let with_ttl = Commit {
        ttl: Some(day),
        ..commit("s", token, 0, vec![put("a", "")])
    };
    commit_one(&backend, with_ttl).await.unwrap();
    assert!(ttl() > 86_000_000);
    commit_one(&backend, commit("s", token, 1, vec![])).await.unwrap();
    assert_eq!(ttl(), -1);
    assert!(
        backend
            .touch(&session, Fence::Owner(token), Some(day))
            .await
            .unwrap()
    );
    assert!(ttl() > 86_000_000);
    commit_one(&backend, commit("s", token, 2, vec![])).await.unwrap();
    assert_eq!(ttl(), -1);
    assert!(
        backend
            .touch(&session, Fence::Owner(token), Some(day))
            .await
            .unwrap()
    );
    assert!(backend.touch(&session, Fence::Shared, None).await.unwrap());
    assert_eq!(ttl(), -1);
    assert_eq!(
        kind(backend.touch(&session, Fence::Owner(token - 1), None).await),
        Kind::Fenced
    );
    commit_one(
        &backend,
        Commit {
            ttl: Some(day),
            ..shared("s", vec![])
        },
    )
    .await
    .unwrap();
    assert!(ttl() > 86_000_000);
    commit_one(&backend, shared("s", vec![])).await.unwrap();
    assert_eq!(ttl(), -1);
    assert!(
        !backend
            .touch(&"absent".into(), Fence::Shared, None)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn the_cost_of_a_commit_follows_the_change() {
    if !redis_server_found("the_cost_of_a_commit_follows_the_change") {
        return;
    }
    let server = Server::start(&[]);
    let backend = backend(&server.url());
    let value = "v".repeat(200);
    let mut sessions = Vec::new();
    for (session, count) in [("small", 10_u32), ("large", 100_000)] {
        let changes = (0..count).map(|id| put(&id.to_string(), &value)).collect();
        let token = grant(&backend, session).await.token;
        commit_one(&backend, commit(session, token, 0, changes))
            .await
            .unwrap();
        sessions.push((session, token, 1, Vec::new()));
    }
    for round in 0..600_u32 {
        for (session, token, version, times) in &mut sessions {
            let change = put(&(round % 10).to_string(), &value);
            let start = Instant::now();
            commit_one(&backend, commit(session, *token, *version, vec![change]))
                .await
                .unwrap();
            times.push(start.elapsed());
            *version += 1;
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let small = median(&mut sessions[0].3);
    let large = median(&mut sessions[1].3);
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    println!(
        "a commit in a session of 100,000 records takes {ratio:.2} times one in a session of 10 ({small:?})"
    );
    // What depended on the size of the session would be thousands of times slower.
    assert!(ratio < 10.0, "{ratio}");
}
