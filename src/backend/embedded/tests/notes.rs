//! What is kept of a session beyond its deletion.

use super::*;

#[tokio::test]
async fn a_note_is_committed_with_its_patch_and_outlives_the_session() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let token = grant(&store, &session()).await.token;
    let noted = |base, text: &str| Commit {
        note: Some(text.into()),
        ..commit(&session(), Fence::Owner(token), base, vec![put(1, &value(9))])
    };
    commit_one(&store, noted(0, "first")).await.unwrap();
    commit_one(&store, noted(7, "refused")).await.unwrap_err();
    commit_one(&store, noted(1, "second")).await.unwrap();
    assert!(store.delete(&session(), Fence::Owner(token)).await.unwrap());
    assert_eq!(store.notes(&session()).await.unwrap(), ["first", "second"]);
    store.close().await.unwrap();

    let again = open(folder.path()).await;
    assert_eq!(again.notes(&session()).await.unwrap(), ["first", "second"]);
    assert!(again.notes(&"other".into()).await.unwrap().is_empty());
    again.close().await.unwrap();
}
