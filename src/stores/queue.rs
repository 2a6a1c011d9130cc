//! Jobs handed to the program's own queue (`BullMQ`, Kafka …), which lives in JavaScript.

use std::collections::HashMap;
use std::sync::Weak;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result as CoreResult};
use crate::hybrid::{Job, Queue};

/// How adding a job ended: `Err` says why it failed, in the words of the program's queue.
pub type Added = Result<(), String>;

/// Jobs whose outcome is awaited.
#[derive(Default)]
pub struct PendingJobs(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    last: u32,
    jobs: HashMap<u32, oneshot::Sender<Added>>,
}

impl PendingJobs {
    /// A number for a job that is about to be handed over, and its outcome. The outcome is an error of the channel
    /// if the thread of JavaScript ends before it says.
    pub fn begin(&self) -> (u32, oneshot::Receiver<Added>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.0.lock();
        waiting.last = waiting.last.wrapping_add(1);
        let number = waiting.last;
        waiting.jobs.insert(number, sender);
        (number, receiver)
    }

    /// Tells whoever waits for job `number`; a number that nobody waits for is ignored.
    pub fn done(&self, number: u32, outcome: Added) {
        let waiting = self.0.lock().jobs.remove(&number);
        if let Some(sender) = waiting {
            // Whoever gave up meanwhile does not want to know.
            let _ = sender.send(outcome);
        }
    }
}

/// A thread of JavaScript that can be handed jobs.
pub trait JobSink: Send + Sync {
    /// Hands a job to the queue of its store with this number; `None` if that store is closed.
    fn push(&self, store: u32, job: &Job) -> Option<oneshot::Receiver<Added>>;
}

/// Finds a store whose program has a queue, among all that share a backend.
#[derive(Default)]
pub struct JobRelay(Mutex<Vec<(Weak<dyn JobSink>, u32)>>);

impl JobRelay {
    /// From now on the store of `sink` with this number gets jobs.
    pub fn join(&self, sink: Weak<dyn JobSink>, store: u32) {
        let mut sinks = self.0.lock();
        sinks.retain(|(sink, _)| sink.strong_count() > 0);
        sinks.push((sink, store));
    }

    fn hand_over(&self, job: &Job) -> Option<oneshot::Receiver<Added>> {
        let sinks: Vec<_> = self.0.lock().clone();
        sinks
            .into_iter()
            .find_map(|(sink, store)| sink.upgrade()?.push(store, job))
    }
}

#[async_trait]
impl Queue for JobRelay {
    async fn add(&self, job: Job) -> CoreResult<()> {
        let failed = |text: String| Error::new(Kind::Unavailable, "queue", text).in_session(&job.session);
        let added = self
            .hand_over(&job)
            .ok_or_else(|| failed("no store with a queue is open".to_owned()))?;
        added
            .await
            .unwrap_or_else(|_| Err("its thread ended".to_owned()))
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_job_gets_its_own_outcome() {
        let jobs = PendingJobs::default();
        let ((first, one), (second, two)) = (jobs.begin(), jobs.begin());
        jobs.done(second, Err("full".to_owned()));
        jobs.done(first, Ok(()));
        jobs.done(first, Err("late".to_owned()));
        assert_eq!(one.await.unwrap(), Ok(()));
        assert_eq!(two.await.unwrap(), Err("full".to_owned()));
        let (_, dropped) = jobs.begin();
        drop(jobs);
        assert!(dropped.await.is_err());
    }
}
