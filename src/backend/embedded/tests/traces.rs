//! What was overwritten or deleted is not left in the files.

use super::*;

const PLANTED: &[u8] = b"-a-key-in-plain-sight-";

/// Bytes that say everywhere what they are.
fn planted(size: usize) -> Bytes {
    PLANTED
        .iter()
        .copied()
        .cycle()
        .take(size)
        .collect::<Vec<_>>()
        .into()
}

fn traces(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            let bytes = fs::read(entry.path()).unwrap();
            bytes.windows(PLANTED.len()).any(|window| window == PLANTED)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// A store with a session whose records were written, overwritten and deleted in many sizes.
async fn with_secrets(folder: &Path) -> (Embedded, u64, u64) {
    let store = open(folder).await;
    let token = grant(&store, &session()).await.token;
    let other: SessionId = "other".into();
    let other_token = grant(&store, &other).await.token;
    let sizes = [40, 300, 1900, 2100, 4000, 9000, 40_000];
    let mut base = 0;
    let mut random = 7_usize;
    for round in 0..30 {
        let changes = (0..20)
            .map(|at| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mut change = put(
                    (at * 7 + round) % 60,
                    &planted(sizes[(random >> 33) % sizes.len()]),
                );
                if (random >> 20).is_multiple_of(5) {
                    change.value = None;
                }
                change
            })
            .collect();
        commit_one(&store, commit(&session(), Fence::Owner(token), base, changes))
            .await
            .unwrap();
        // Another session's records lie between them.
        let theirs = vec![put(round, &value(700))];
        commit_one(&store, commit(&other, Fence::Owner(other_token), base, theirs))
            .await
            .unwrap();
        base += 1;
    }
    (store, token, base)
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_session() {
    let folder = TempDir::new().unwrap();
    let (store, token, _) = with_secrets(folder.path()).await;
    assert!(!traces(folder.path()).is_empty(), "the test sees what is there");
    assert!(store.delete(&session(), Fence::Owner(token)).await.unwrap());
    assert_eq!(traces(folder.path()), [""; 0]);
    assert_eq!(store.head(&"other".into()).await.unwrap().version, 30);
    store.close().await.unwrap();
    assert_eq!(traces(folder.path()), [""; 0]);
}

#[tokio::test]
async fn nothing_is_left_of_what_was_sealed_anew() {
    let folder = TempDir::new().unwrap();
    let (store, token, base) = with_secrets(folder.path()).await;
    let mut sealed = Vec::new();
    let mut cursor = None;
    loop {
        let page = store
            .scan(&session(), None, cursor, 7, Seen::NOTHING)
            .await
            .unwrap();
        sealed.extend(page.items.into_iter().map(|(key, value)| Change {
            key,
            value: Some(self::value(value.len() + 60)),
        }));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    commit_one(&store, commit(&session(), Fence::Owner(token), base, sealed))
        .await
        .unwrap();
    store.scrub().await.unwrap();
    assert_eq!(traces(folder.path()), [""; 0]);
    store.close().await.unwrap();
    assert_eq!(traces(folder.path()), [""; 0]);
}
