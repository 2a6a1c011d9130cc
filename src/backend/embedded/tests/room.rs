//! A storage that fills up, and is given room again.

use super::*;

/// Fills the storage until a commit is refused, then lets `make_room` do so.
async fn fill_up(store: &Embedded, make_room: impl FnOnce()) {
    let token = grant(store, &session()).await.token;
    let big = value(20_000);
    let next = |base: u64| {
        commit(
            &session(),
            Fence::Owner(token),
            base,
            vec![put(base, &big), put(9999, &big)],
        )
    };
    let mut base = 0;
    let refused: Commit = loop {
        let next = next(base);
        match commit_one(store, next.clone()).await {
            Ok(head) => base = head.version,
            Err(error) => {
                assert_eq!(error.kind(), Kind::StorageFull, "{error:?}");
                assert!(error.retryable());
                break next;
            }
        }
        assert!(base < 10_000, "the storage does not fill up");
    };
    assert!(base > 2);
    // What was there is there still, and nothing of the commit that failed.
    assert_eq!(store.head(&session()).await.unwrap().version, base);
    let keys = [
        key("session", &(base - 1).to_string()),
        key("session", &base.to_string()),
    ];
    assert_eq!(
        store.read(&session(), &keys, Seen::NOTHING).await.unwrap(),
        [Some(big.clone()), None]
    );
    make_room();
    assert_eq!(commit_one(store, refused).await.unwrap().version, base + 1);
    assert!(store.read(&session(), &keys, Seen::NOTHING).await.unwrap()[1].is_some());
}

#[tokio::test]
async fn a_full_database_works_again_when_there_is_room() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(folder.path()).await);
    let limit = |pages: u32| {
        let set = |database: &crate::backend::embedded::database::Database| {
            let connection = database.connection();
            connection.pragma_update(None, "max_page_count", pages).unwrap();
            Ok(())
        };
        store.store.with(set).unwrap();
    };
    limit(200);
    fill_up(&store, || limit(100_000)).await;
    store.close().await.unwrap();
}

/// Needs the right to mount; elsewhere the test above stands for it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_works_again_when_there_is_room() {
    struct Mounted(TempDir);
    impl Mounted {
        fn mount(&self, options: &str) -> bool {
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(self.0.path())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        }
    }
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0.path()).status();
        }
    }
    let disk = Mounted(TempDir::new().unwrap());
    if !disk.mount("size=1m") {
        println!("not allowed to mount: not tested");
        return;
    }
    let store = open(disk.0.path()).await;
    fill_up(&store, || assert!(disk.mount("remount,size=64m"))).await;
    store.close().await.unwrap();
    let store = open(disk.0.path()).await;
    assert!(store.head(&session()).await.unwrap().version > 2);
    store.close().await.unwrap();
}
