//! What calls cost: round trips on the wire, and statements that do not grow with the session.

use super::*;
use crate::backend::contract::{acquire, change, commit, commit_one, key};
use crate::backend::tcp_proxy::TcpProxy;
use crate::backend::{Acquired, Fence, Seen, SessionId};

#[tokio::test]
async fn each_call_is_one_statement() {
    with_server("each_call_is_one_statement", async |config| {
        let way = TcpProxy::to(&config.url).await;
        let (scheme, rest) = config.url.split_once("://").unwrap();
        let (login, place) = rest.split_once('@').unwrap();
        let database = place.split_once('/').unwrap().1;
        let by_way = PostgresConfig {
            url: format!("{scheme}://{login}@{}/{database}", way.address),
            // So that no connection is made meanwhile.
            max_connections: 1,
            ..config.clone()
        };
        let backend = connect(&by_way).await;
        let session: SessionId = "cost".into();
        let statements = || way.take_commands().len();
        statements();
        let Acquired::Granted(grant) = backend.acquire(acquire(&session)).await.unwrap() else {
            panic!("it is free");
        };
        assert_eq!(statements(), 1, "acquire");
        let changes = (0..500)
            .map(|id| change("pre-key", &id.to_string(), "x"))
            .collect();
        let first = commit(&session, Fence::Owner(grant.token), 0, changes);
        commit_one(&backend, first).await.unwrap();
        assert_eq!(statements(), 1, "a commit of many records");
        let mut commits = Vec::new();
        for name in 0..100 {
            let session: SessionId = format!("cost {name}").into();
            let Acquired::Granted(grant) = backend.acquire(acquire(&session)).await.unwrap() else {
                panic!("it is free");
            };
            let changes = vec![change("session", "a", "1")];
            commits.push(commit(&session, Fence::Owner(grant.token), 0, changes));
        }
        assert_eq!(statements(), 100, "a hundred acquires");
        let answers = backend.commit(commits).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(statements(), 1, "commits of a hundred sessions");
        let keys: Vec<_> = (0..500).map(|id| key("pre-key", &id.to_string())).collect();
        let found = backend.read(&session, &keys, Seen::NOTHING).await.unwrap();
        assert!(found.iter().all(Option::is_some));
        assert_eq!(statements(), 1, "a read");
        backend.release(&session, grant.token).await.unwrap();
        assert_eq!(statements(), 1, "a release");
    })
    .await;
}
