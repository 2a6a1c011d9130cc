//! Jobs handed to the program's own queue (`BullMQ`, Kafka …), which lives in JavaScript.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How adding a job ended: `Err` says why it failed, in the words of the program's queue.
pub type Added = Result<(), String>;

/// Jobs whose outcome is awaited.
#[derive(Default)]
pub struct Jobs(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    last: u32,
    jobs: HashMap<u32, oneshot::Sender<Added>>,
}

impl Jobs {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_job_gets_its_own_outcome() {
        let jobs = Jobs::default();
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
