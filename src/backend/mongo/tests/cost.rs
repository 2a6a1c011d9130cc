//! Cost follows the change, not the session.

use std::time::Instant;

use super::*;
use crate::backend::tcp_proxy::TcpProxy;
use crate::record::RecordKey;

/// So many records, against ten.
const MANY: usize = 20_000;

#[tokio::test]
async fn a_commit_among_many_records_costs_what_it_costs_among_few() {
    let name = "a_commit_among_many_records_costs_what_it_costs_among_few";
    with_server(name, async |config| {
        let backend = connect(&config).await;
        let mut sessions = Vec::new();
        for (name, count) in [("few", 10), ("many", MANY)] {
            let session: SessionId = name.into();
            let token = granted(&backend, &session).await.token;
            let changes = (0..count)
                .map(|at| Change {
                    key: key("session", &at.to_string()),
                    value: Some(bytes(200)),
                })
                .collect();
            let started = Instant::now();
            let head = commit_one(&backend, owned(&session, token, 0, changes)).await;
            assert_eq!(head.unwrap().version, 1);
            let committed = started.elapsed();
            settled(&backend, &session).await;
            println!(
                "{count} records in one patch: committed in {committed:?}, applied after {:?}",
                started.elapsed()
            );
            sessions.push((session, token, 1_u64, Vec::new()));
        }
        assert_eq!(stored(&backend).await, MANY + 10);

        for round in 0..200 {
            for (session, token, base, times) in &mut sessions {
                let changes = vec![Change {
                    key: key("session", &(round % 10).to_string()),
                    value: Some(bytes(1500)),
                }];
                let started = Instant::now();
                commit_one(&backend, owned(session, *token, *base, changes))
                    .await
                    .unwrap();
                times.push(started.elapsed());
                *base += 1;
            }
        }
        for (session, ..) in &sessions {
            settled(&backend, session).await;
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let few = median(&mut sessions[0].3);
        let many = median(&mut sessions[1].3);
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("a commit of one record: {few:?} among 10, {many:?} among {MANY}, ratio {ratio:.2}");
        assert!(ratio < 3.0, "the cost grows with the session: {ratio:.2}");

        let mut bare = Vec::new();
        let connection = &backend.0.connection;
        for at in 0..200_i64 {
            let update = doc! {
                "q": { "_id": "bare" }, "u": { "$set": { "v": at, "d": mongodb::bson::Binary {
                    subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![7; 1500],
                } } }, "upsert": true,
            };
            let started = Instant::now();
            connection
                .update(&connection.records, vec![update])
                .await
                .unwrap();
            bare.push(started.elapsed());
        }
        let bare = median(&mut bare);
        println!(
            "a bare upsert of the same bytes: {bare:?}; a commit is {:.2} of it",
            few.as_secs_f64() / bare.as_secs_f64()
        );
    })
    .await;
}

/// Each of these is a round trip: opening a session is not to get more of them.
#[tokio::test]
async fn opening_a_session_takes_so_many_commands() {
    let name = "opening_a_session_takes_so_many_commands";
    with_server(name, async |config| {
        let proxy = TcpProxy::to(&config.url).await;
        let by_proxy = MongoConfig {
            url: format!("mongodb://{}", proxy.address),
            ..config.clone()
        };
        let backend = connect(&by_proxy).await;
        let session: SessionId = "opened".into();
        let opening = Acquire {
            read: vec![RecordKey::creds()],
            ..acquire(&session)
        };
        // The first of a store reads the server's clock as well.
        let other = granted(&backend, &"other".into()).await;
        proxy.take_commands();
        let token = grant(&backend, opening.clone()).await.token;
        assert_eq!(proxy.take_commands(), ["find", "insert"], "a new one");
        commit_one(
            &backend,
            owned(&session, token, 0, vec![change("session", "a", "1")]),
        )
        .await
        .unwrap();
        settled(&backend, &session).await;
        backend.release(&session, token).await.unwrap();
        proxy.take_commands();
        let token = grant(&backend, opening.clone()).await.token;
        assert_eq!(
            proxy.take_commands(),
            ["find", "findAndModify", "find"],
            "one that there is"
        );

        // Its owner crashed between the commit point and the records.
        commit_and_die(
            &backend,
            owned(&session, token, 1, vec![change("session", "a", "2")]),
        )
        .await;
        proxy.take_commands();
        let taken = Acquire {
            preempt: Some(token),
            ..opening
        };
        grant(&backend, taken).await;
        let commands = ["find", "findAndModify", "update", "find"];
        assert_eq!(proxy.take_commands(), commands, "one to be repaired");

        // Holding two of them is one command, beside a look at both.
        let leases = [("other".into(), other.token)];
        assert!(backend.0.renewer.renew(&renewals(&leases), seconds(60)).await[0].is_ok());
        proxy.take_commands();
        assert!(backend.0.renewer.renew(&renewals(&leases), seconds(60)).await[0].is_ok());
        assert_eq!(proxy.take_commands(), ["update", "find"]);
    })
    .await;
}
