//! An outbox whose acknowledgements replicas must have.

use super::*;
use crate::backend::redis::tests::persist;
use crate::backend::redis::tests::replicas::{MEDIUM, Pair, unconfirmed};

#[tokio::test]
async fn an_outbox_acknowledges_when_a_replica_has_it() {
    if !redis_server_found("an_outbox_acknowledges_when_a_replica_has_it") {
        return;
    }
    let pair = Pair::start();
    let copies = RedisCache::new(&pair.config(MEDIUM), "db").unwrap();
    let session: SessionId = "s".into();
    let revision = |version| revision(TOKEN, version);
    install_at(&copies, &session, revision(0)).await;
    let entry = Bytes::from_static(b"entry");
    let write = async |base, entry| {
        let changes = [put("a", "1")];
        copies
            .commit(&session, base, revision(base + 1), &changes, entry, None)
            .await
    };
    let first = persist(async || write(0, Some(&entry)).await).await.unwrap();
    assert!(
        matches!(first, Written::Yes | Written::No(Some(_))),
        "now, or at an earlier try"
    );
    assert!(pair.replica.run::<bool>("HEXISTS bv:{s}:db:outbox 1"));
    persist(async || copies.confirm_entry(&session, 1).await)
        .await
        .unwrap();
    pair.replica.freeze(true);
    unconfirmed(write(1, Some(&entry)).await);
    unconfirmed(write(1, Some(&entry)).await);
    unconfirmed(copies.confirm_entry(&session, 1).await);
    // A copy of what MongoDB has is a copy, whoever has it.
    assert_eq!(write(2, None).await.unwrap(), Written::Yes);
    pair.replica.freeze(false);
    pair.in_sync();
    persist(async || copies.confirm_entry(&session, 1).await)
        .await
        .unwrap();
}
