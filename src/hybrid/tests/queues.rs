//! Queues are told, and not relied upon.

use async_trait::async_trait;
use parking_lot::Mutex;

use super::super::Job;
use super::*;

#[derive(Default)]
struct Recorder(Mutex<Vec<Job>>);

#[async_trait]
impl Queue for Recorder {
    async fn add(&self, job: Job) -> Result<()> {
        self.0.lock().push(job);
        Ok(())
    }
}

struct Hanging;

#[async_trait]
impl Queue for Hanging {
    async fn add(&self, _: Job) -> Result<()> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_queue_hears_of_what_is_ahead_of_mongodb() {
    let Some(servers) = Servers::start("a_queue_hears_of_what_is_ahead_of_mongodb").await else {
        return;
    };
    let session: SessionId = "queue".into();
    let queue = Arc::new(Recorder::default());
    let backend = servers
        .hybrid_by(&servers.redis.url(), behind(), Some(queue.clone()))
        .await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    put(&backend, &session, token, 1, "b", "2").await.unwrap();
    until("it was told", async || queue.0.lock().len() == 2).await;
    let mut versions: Vec<_> = queue.0.lock().iter().map(|job| job.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2]);
}

#[tokio::test]
async fn a_queue_that_hangs_holds_nothing_up() {
    let Some(servers) = Servers::start("a_queue_that_hangs_holds_nothing_up").await else {
        return;
    };
    let session: SessionId = "queue-hangs".into();
    let config = HybridConfig {
        queue_timeout: Duration::from_millis(100),
        ..behind()
    };
    let backend = servers
        .hybrid_by(&servers.redis.url(), config, Some(Arc::new(Hanging)))
        .await;
    let token = granted(&backend, &session).await.token;
    put(&backend, &session, token, 0, "a", "1").await.unwrap();
    backend.reconcile().await.unwrap();
    assert_eq!(
        get(&servers.primary().await, &session, "a").await.as_deref(),
        Some("1")
    );
    until("it is counted", async || backend.metrics().queue_failures == 1).await;
}
