//! Between the processes and the two servers: calls that are refused, lost, late or never answered, processes that stop
//! for a while or for good. What happens to which call is drawn from the case, in the order in which calls are made.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::error::{Error, Kind, Result};

/// How long a call without an answer is waited for; longer than whoever makes it waits for all of its calls.
const LIMIT: Duration = Duration::from_millis(80);

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Primary,
    Cache,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Prompt,
    /// On its way there and back for so long.
    Slow(Duration, Duration),
    Refused,
    /// Done, and the answer is lost.
    Lost,
    /// Said to have failed, and done so much later.
    Late(Duration),
    /// Neither done nor answered.
    Unanswered,
}

impl From<u8> for Fate {
    /// Small numbers are the tame ones, so that a case shrinks to these.
    fn from(drawn: u8) -> Self {
        let millis = |by: u8| Duration::from_millis(u64::from(drawn / by % 8));
        match drawn {
            0..=169 => Self::Prompt,
            170..=204 => Self::Slow(millis(1), millis(4)),
            205..=216 => Self::Refused,
            217..=231 => Self::Lost,
            232..=247 => Self::Late(millis(1) * 6),
            248..=255 => Self::Unanswered,
        }
    }
}

#[derive(Default)]
struct State {
    fates: std::vec::IntoIter<u8>,
    away: Vec<Server>,
    dead: Vec<usize>,
    frozen: Vec<usize>,
}

/// See the module.
#[derive(Default)]
pub struct Network {
    state: Mutex<State>,
    thawed: Notify,
}

impl Network {
    pub fn new(fates: Vec<u8>) -> Arc<Self> {
        let network = Self::default();
        network.state.lock().fates = fates.into_iter();
        Arc::new(network)
    }

    /// Ends what `process` does, between two of its calls.
    pub fn kill(&self, process: usize) {
        self.state.lock().dead.push(process);
    }

    pub fn is_dead(&self, process: usize) -> bool {
        self.state.lock().dead.contains(&process)
    }

    /// Stops `process` until it thaws.
    pub fn freeze(&self, process: usize) {
        self.state.lock().frozen.push(process);
    }

    pub fn thaw(&self, process: usize) {
        self.state.lock().frozen.retain(|frozen| *frozen != process);
        self.thawed.notify_waiters();
    }

    pub fn cut(&self, server: Server) {
        self.state.lock().away.push(server);
    }

    pub fn mend(&self, server: Server) {
        self.state.lock().away.retain(|away| *away != server);
    }

    /// From now on all works.
    pub fn calm_down(&self) {
        {
            let mut state = self.state.lock();
            state.fates = Vec::new().into_iter();
            state.away.clear();
            state.frozen.clear();
        }
        self.thawed.notify_waiters();
    }

    /// Until `process` goes on; for ever if it is dead.
    async fn runs(&self, process: usize) {
        if self.is_dead(process) {
            return std::future::pending().await;
        }
        loop {
            let mut thawed = std::pin::pin!(self.thawed.notified());
            thawed.as_mut().enable();
            if !self.state.lock().frozen.contains(&process) {
                return;
            }
            thawed.await;
        }
    }

    /// One call of `process` to `server`, which does `work` in one step.
    pub async fn call<T: Send + 'static>(
        &self,
        process: usize,
        server: Server,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.runs(process).await;
        let fate = {
            let mut state = self.state.lock();
            if state.away.contains(&server) {
                Fate::Refused
            } else {
                state.fates.next().unwrap_or_default().into()
            }
        };
        let answer = match fate {
            Fate::Prompt => work(),
            Fate::Slow(there, back) => {
                sleep(there).await;
                let answer = work();
                sleep(back).await;
                answer
            }
            Fate::Refused => Err(failed(Kind::Unavailable)),
            Fate::Lost => {
                let _ = work();
                Err(failed(Kind::Timeout))
            }
            Fate::Late(by) => {
                tokio::spawn(async move {
                    sleep(by).await;
                    let _ = work();
                });
                Err(failed(Kind::Timeout))
            }
            Fate::Unanswered => {
                sleep(LIMIT).await;
                Err(failed(Kind::Timeout))
            }
        };
        self.runs(process).await;
        answer
    }
}

fn failed(kind: Kind) -> Error {
    Error::new(kind, "simulation", "injected")
}
