//! Lanes: the threads on which the core works.
//!
//! A store lives in one lane, a thread with a single-threaded tokio runtime of its own. That beats a pool of
//! worker threads here: a commit is short, and every hand-over between threads costs tens of microseconds.
//! Network stores share one lane. Embedded stores have lanes of their own, because SQLite blocks its thread while
//! it writes; a few of them, so that one slow disk does not hold up every folder.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

const DISK_LANES: usize = 4;

/// One of the core's threads.
#[derive(Debug, Clone)]
pub struct Lane(Handle);

impl Lane {
    /// The lane of every store that is reached over the network.
    pub fn network() -> Self {
        static LANE: OnceLock<Lane> = OnceLock::new();
        LANE.get_or_init(|| Self::start("baileys-vault-net".to_owned()))
            .clone()
    }

    /// The lane of the embedded store at `location`.
    pub fn disk(location: &str) -> Self {
        static LANES: [OnceLock<Lane>; DISK_LANES] = [const { OnceLock::new() }; DISK_LANES];
        let mut hasher = DefaultHasher::new();
        location.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % DISK_LANES as u64).unwrap_or(0);
        LANES[index]
            .get_or_init(|| Self::start(format!("baileys-vault-disk{index}")))
            .clone()
    }

    /// Runs `task` in the lane.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.spawn(task)
    }

    fn start(name: String) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .thread_name(format!("{name}-io"))
            .build()
            .expect("the system gives a thread its event queue");
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(name)
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .expect("the system gives one more thread");
        Self(handle)
    }
}
