//! The threads on which the core works.
//!
//! A store lives on one thread, with a single-threaded tokio runtime of its own. That beats a pool of worker threads
//! here: a commit is short, and every hand-over between threads costs tens of microseconds.
//! Network stores share one thread. Embedded stores have threads of their own, because SQLite blocks its thread while
//! it writes; a few of them, so that one slow disk does not hold up every folder.
//!
//! A panic in any task of a store is a defect of ours, after which nothing that the store holds in memory is to be
//! relied upon. So all its tasks are spawned by its [`WorkerThread`], or by [`spawn`] in one of its tasks, and the first that
//! panics is reported to the store.

use std::any::Any;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};

const DISK_THREADS: usize = 4;

tokio::task_local! {
    /// The thread of the store that the task works for.
    static CURRENT: WorkerThread;
}

/// One of the core's threads, as one store uses it. Clones are of the same store.
#[derive(Clone)]
pub struct WorkerThread {
    thread: Handle,
    defects: Arc<Defects>,
}

/// Whether something panicked, and who is told.
#[derive(Default)]
struct Defects {
    first: OnceLock<Error>,
    listener: Mutex<Option<Listener>>,
}

type Listener = Box<dyn Fn(&Error) + Send>;

/// Runs `task` for the store that the calling task works for.
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match CURRENT.try_with(WorkerThread::clone) {
        Ok(worker) => worker.spawn(task),
        #[expect(
            clippy::disallowed_methods,
            reason = "no store is told of: a backend by itself, as in tests"
        )]
        Err(_) => tokio::spawn(task),
    }
}

impl WorkerThread {
    /// The thread of a store that is reached over the network.
    pub fn network() -> Self {
        static THREAD: OnceLock<Handle> = OnceLock::new();
        Self::on(
            THREAD
                .get_or_init(|| start("baileys-vault-net".to_owned()))
                .clone(),
        )
    }

    /// The thread of the embedded store at `location`.
    pub fn disk(location: &str) -> Self {
        static THREADS: [OnceLock<Handle>; DISK_THREADS] = [const { OnceLock::new() }; DISK_THREADS];
        let mut hasher = DefaultHasher::new();
        location.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % DISK_THREADS as u64).unwrap_or(0);
        let thread = THREADS[index].get_or_init(|| start(format!("baileys-vault-disk{index}")));
        Self::on(thread.clone())
    }

    /// The runtime that the caller runs in.
    #[cfg(test)]
    pub fn current() -> Self {
        Self::on(Handle::current())
    }

    fn on(thread: Handle) -> Self {
        Self {
            thread,
            defects: Arc::default(),
        }
    }

    /// Runs `task` on the thread.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let defects = self.defects.clone();
        let task = async move {
            match AssertUnwindSafe(task).catch_unwind().await {
                Ok(done) => done,
                Err(panic) => {
                    defects.found(&*panic);
                    resume_unwind(panic)
                }
            }
        };
        self.thread.spawn(CURRENT.scope(self.clone(), task))
    }

    /// Does `work` for the store on the caller's own thread.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| self.defects.found(&*panic))
    }

    /// Has `listener` told of the first panic, at once if there was one. There is one listener.
    pub fn on_defect(&self, listener: impl Fn(&Error) + Send + 'static) {
        let mut slot = self.defects.listener.lock();
        match self.defects.first.get() {
            Some(defect) => listener(defect),
            None => *slot = Some(Box::new(listener)),
        }
    }

    /// The error of everything that is asked of the store after a panic.
    pub fn defect(&self) -> Option<&Error> {
        self.defects.first.get()
    }
}

impl Defects {
    fn found(&self, panic: &(dyn Any + Send)) -> Error {
        let text = "a defect in this library stopped the store; close all that uses it to open it anew";
        let mut error = Error::new(Kind::Internal, "core", text);
        // A text put together at run time may hold anything; where the panic was stands in the process' output.
        if let Some(text) = panic.downcast_ref::<&'static str>() {
            error = error.because(text);
        }
        if self.first.set(error.clone()).is_ok() {
            let listener = self.listener.lock().take();
            if let Some(listener) = listener {
                listener(&error);
            }
        }
        error
    }
}

fn start(name: String) -> Handle {
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
    handle
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    async fn panics() {
        tokio::task::yield_now().await;
        panic!("injected");
    }

    fn heard(worker: &WorkerThread) -> mpsc::UnboundedReceiver<Kind> {
        let (sender, heard) = mpsc::unbounded_channel();
        worker.on_defect(move |error| sender.send(error.kind()).unwrap());
        heard
    }

    #[tokio::test]
    async fn a_panic_in_a_task_of_a_task_is_told_once_and_to_its_own_store() {
        let (worker, other) = (WorkerThread::current(), WorkerThread::current());
        let (mut ours, mut theirs) = (heard(&worker), heard(&other));
        assert!(worker.defect().is_none());
        for _ in 0..2 {
            let task = worker.spawn(async { spawn(panics()).await });
            assert!(task.await.unwrap().unwrap_err().is_panic());
        }
        assert_eq!(ours.recv().await, Some(Kind::Internal));
        assert!(ours.try_recv().is_err() && theirs.try_recv().is_err());
        assert!(worker.clone().defect().is_some() && other.defect().is_none());
        assert_eq!(heard(&worker).recv().await, Some(Kind::Internal), "told late");
    }

    #[tokio::test]
    async fn a_panic_on_another_thread_counts_too() {
        let worker = WorkerThread::current();
        assert_eq!(worker.run(|| 7).unwrap(), 7);
        let secret = "a key";
        let error = worker
            .run(|| assert!(secret.is_empty(), "{secret} for nobody"))
            .unwrap_err();
        assert_eq!((error.kind(), error.cause()), (Kind::Internal, None));
        assert!(worker.defect().is_some());
    }
}
