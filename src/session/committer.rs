//! Takes waiting patches to the backend.
//!
//! A session with something to commit stands in the ready list once, and is out of it while its commit is in
//! flight: so a session has one commit under way at a time, while many sessions share a call. The fuller the
//! pipeline, the more patches wait and merge, so that batches grow with the load by themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::outcome::Step;
use super::queue::Batch;
use super::session::Session;
use crate::backend::{Backend, Commit, Head};
use crate::error::{Error, Kind, Result};

/// The ready list.
#[derive(Default)]
pub(super) struct Committer {
    ready: Mutex<Vec<Arc<Session>>>,
    wake: Notify,
    closing: AtomicBool,
}

enum Done {
    Committed(Arc<Session>, Box<Batch>, Result<Head>),
    Settled(Arc<Session>, Result<Head>),
}

type Work = Pin<Box<dyn Future<Output = Vec<Done>> + Send>>;

impl Committer {
    /// Puts a session that has patches waiting on the list.
    pub(super) fn schedule(&self, session: Arc<Session>) {
        self.ready.lock().push(session);
        self.wake.notify_one();
    }

    /// Ends [`Committer::run`] once nothing is ready or in flight any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) async fn run(self: Arc<Self>, backend: Arc<dyn Backend>) {
        let policy = backend.commit_policy();
        let mut in_flight: FuturesUnordered<Work> = FuturesUnordered::new();
        loop {
            while in_flight.len() < policy.in_flight {
                let sessions = self.take(policy.sessions);
                if sessions.is_empty() {
                    break;
                }
                begin(sessions, &backend, &in_flight);
            }
            if in_flight.is_empty() && self.closing.load(Ordering::Acquire) && self.ready.lock().is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some(done) = in_flight.next(), if !in_flight.is_empty() => self.end(done),
                () = self.wake.notified() => {}
            }
        }
    }

    fn take(&self, most: usize) -> Vec<Arc<Session>> {
        let mut ready = self.ready.lock();
        let count = ready.len().min(most);
        ready.drain(..count).collect()
    }

    fn end(&self, done: Vec<Done>) {
        for done in done {
            let session = match done {
                Done::Committed(session, batch, outcome) => {
                    session.finish(*batch, outcome);
                    session
                }
                Done::Settled(session, outcome) => {
                    session.settled(outcome);
                    session
                }
            };
            self.ready.lock().push(session);
        }
    }
}

fn begin(sessions: Vec<Arc<Session>>, backend: &Arc<dyn Backend>, in_flight: &FuturesUnordered<Work>) {
    let mut batches = Vec::new();
    let mut commits = Vec::new();
    for session in sessions {
        match session.step() {
            Step::Idle => {}
            Step::Settle => {
                let backend = backend.clone();
                in_flight.push(Box::pin(async move {
                    let outcome = backend.head(session.id()).await;
                    vec![Done::Settled(session, outcome)]
                }));
            }
            Step::Commit(batch, commit) => {
                batches.push((session, batch));
                commits.push(commit);
            }
        }
    }
    if !commits.is_empty() {
        in_flight.push(Box::pin(commit(backend.clone(), batches, commits)));
    }
}

async fn commit(
    backend: Arc<dyn Backend>,
    batches: Vec<(Arc<Session>, Box<Batch>)>,
    commits: Vec<Commit>,
) -> Vec<Done> {
    let patches: Vec<u32> = commits.iter().map(|commit| commit.patches).collect();
    let begun = Instant::now();
    let mut outcomes = backend.commit(commits).await.into_iter();
    let took = begun.elapsed();
    batches
        .into_iter()
        .zip(patches)
        .map(|((session, batch), patches)| {
            let missing = || {
                Err(Error::new(
                    Kind::Internal,
                    "session",
                    "the backend left a commit unanswered",
                ))
            };
            let outcome = outcomes.next().unwrap_or_else(missing);
            match &outcome {
                Ok(_) => session.metrics().committed(patches, took),
                Err(_) => session.metrics().commit_failures.increment(),
            }
            Done::Committed(session, batch, outcome)
        })
        .collect()
}
