//! Tries again what failed for a moment, with exponential backoff and full jitter.
//!
//! Tried again are `Unavailable` and `Timeout`, and only calls for which twice is as good as once:
//! - reads of every kind, touch, renew and release;
//! - commits: a commit sent again is known by its id (see [`crate::backend`]). An owner's commit is guarded by its
//!   version beside. A shared one may be forgotten by the storage once many others came after it; being applied
//!   again then is what "the last write wins" allows while its caller still waits;
//! - acquire: a grant whose answer was lost is found held in the name of this process, by a token nobody here
//!   knows; the session layer takes over from such a holder at once.
//!
//! Not tried again: delete (the second answer would say that there was nothing), ping (it asks about now), and
//! what an open breaker refused from the start; one that opens in between lets the later tries through. A commit that
//! was tried again keeps the doubt of its first try: an answer that does not say what became of it (the storage is
//! full now) does not replace a time-out.
//! All tries and pauses of one call end within one operation's time limit; of renewals, within half of the lease.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::promised::promised;
use crate::backend::{
    Acquire, Acquired, Backend, Commit, CommitPolicy, Cursor, Fence, Head, Holder, Page, Renewal, Seen,
    SessionId, Token,
};
use crate::error::{Error, Kind, Result};
use crate::observe::{self, StoreMetrics};
use crate::record::{KeyId, RecordKey};
use crate::time::millis;

/// How often and how fast.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// How often a call is tried again; 0 is never.
    pub max_retries: u32,
    /// The longest pause before the first retry.
    pub base_delay: Duration,
    /// By how much that grows with each retry.
    pub multiplier: f64,
    /// When all tries of one call must be over.
    pub deadline: Duration,
}

impl RetryPolicy {
    /// Of renewals of leases that last `lease`: they are due every third of it, and are tried for half of it,
    /// however few tries other calls get.
    fn of_renewals(lease: Duration) -> Self {
        Self {
            max_retries: u32::MAX,
            base_delay: (lease / 20).min(RENEWAL_PAUSE),
            multiplier: 1.0,
            deadline: lease / 2,
        }
    }
}

/// The longest pause before a renewal is tried again.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// Gives numbers from 0 up to 1, evenly.
pub type Jitter = Box<dyn Fn() -> f64 + Send + Sync>;

/// See the module.
pub struct Retry {
    inner: Arc<dyn Backend>,
    policy: RetryPolicy,
    jitter: Jitter,
    metrics: &'static StoreMetrics,
}

impl Retry {
    /// Tries calls of `inner` again.
    pub fn new(inner: Arc<dyn Backend>, policy: RetryPolicy, jitter: Jitter) -> Self {
        let metrics = observe::of(inner.name());
        Self {
            inner,
            policy,
            jitter,
            metrics,
        }
    }

    fn begin<'a>(&'a self, policy: &'a RetryPolicy) -> Tries<'a> {
        Tries {
            retry: self,
            policy,
            deadline: Instant::now() + policy.deadline,
            retries: 0,
        }
    }

    async fn repeat<T, F>(&self, operation: &'static str, mut call: impl FnMut() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let mut tries = self.begin(&self.policy);
        let mut last = None;
        loop {
            let Some(answer) = tries.within_deadline(call()).await else {
                return Err(named(
                    operation,
                    self.policy.deadline,
                    self.out_of_time(last.as_ref()),
                ));
            };
            match answer {
                Err(error) if may_pass(&error) && tries.pause().await => last = Some(error),
                answer => return answer.map_err(|error| named(operation, self.policy.deadline, error)),
            }
        }
    }

    /// Calls for many things at once; those that failed for a moment are tried again, the others are not.
    async fn repeat_many<I, T, F>(
        &self,
        operation: &'static str,
        policy: &RetryPolicy,
        items: Vec<I>,
        mut call: impl FnMut(Vec<I>) -> F + Send,
    ) -> Vec<Result<T>>
    where
        I: Clone + Send,
        F: Future<Output = Vec<Result<T>>> + Send,
        T: Send,
    {
        let mut tries = self.begin(policy);
        let mut answers: Vec<Option<Result<T>>> = items.iter().map(|_| None).collect();
        let mut given_up = Vec::new();
        let mut waiting: Vec<(usize, I)> = items.into_iter().enumerate().collect();
        while !waiting.is_empty() {
            let sent = waiting.iter().map(|(_, item)| item.clone()).collect();
            let Some(answered) = tries.within_deadline(call(sent)).await else {
                for (at, _) in &waiting {
                    let last = answers[*at].as_ref().and_then(|answer| answer.as_ref().err());
                    answers[*at] = Some(Err(self.out_of_time(last)));
                }
                break;
            };
            for ((at, _), answer) in waiting.iter().zip(answered) {
                let keeps_doubt = matches!(&answer, Err(error) if !is_conclusive(error));
                if !keeps_doubt || answers[*at].is_none() {
                    answers[*at] = Some(answer);
                } else if !matches!(&answer, Err(error) if may_pass(error)) {
                    given_up.push(*at);
                }
            }
            waiting.retain(|(at, _)| {
                !given_up.contains(at) && matches!(&answers[*at], Some(Err(error)) if may_pass(error))
            });
            if waiting.is_empty() || !tries.pause().await {
                break;
            }
        }
        let missing = || {
            Err(Error::new(
                Kind::Internal,
                self.inner.name(),
                "the backend left a call unanswered",
            ))
        };
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(missing))
            .map(|answer| answer.map_err(|error| named(operation, policy.deadline, error)))
            .collect()
    }

    /// `last` is what the try before failed with.
    fn out_of_time(&self, last: Option<&Error>) -> Error {
        self.metrics.timeouts.increment();
        let text = "the storage did not answer within operationTimeout";
        let error = Error::new(Kind::Timeout, self.inner.name(), text);
        match last {
            Some(last) => error.because(last),
            None => error,
        }
    }
}

/// What ran out of time and how long that is; other errors as they are.
fn named(operation: &'static str, limit: Duration, error: Error) -> Error {
    if error.kind() != Kind::Timeout {
        return error;
    }
    error
        .with("operation", operation)
        .with("timeoutMs", millis(limit))
}

fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

/// Whether the answer holds for earlier tries too.
fn is_conclusive(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Fenced | Kind::VersionMismatch | Kind::SessionLost | Kind::Deleted
    )
}

/// The tries of one call.
struct Tries<'a> {
    retry: &'a Retry,
    policy: &'a RetryPolicy,
    deadline: Instant,
    retries: u32,
}

impl Tries<'_> {
    async fn within_deadline<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let answer = if self.retries == 0 {
            timeout_at(self.deadline, call).await
        } else {
            timeout_at(self.deadline, promised(call)).await
        };
        answer.ok()
    }

    /// Waits before the next try; `false` if there is none.
    async fn pause(&mut self) -> bool {
        let policy = self.policy;
        let Retry { jitter, metrics, .. } = self.retry;
        if self.retries >= policy.max_retries {
            return false;
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let growth = policy
            .multiplier
            .powi(i32::try_from(self.retries).unwrap_or(i32::MAX));
        let most = (policy.base_delay.as_secs_f64() * growth).min(left.as_secs_f64());
        let pause = Duration::from_secs_f64(most * jitter());
        if pause >= left {
            return false;
        }
        tokio::time::sleep(pause).await;
        self.retries += 1;
        metrics.retries.increment();
        true
    }
}

#[async_trait]
impl Backend for Retry {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn commit_policy(&self) -> CommitPolicy {
        self.inner.commit_policy()
    }

    fn part_of(&self, session: &SessionId) -> usize {
        self.inner.part_of(session)
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn acquire(&self, request: Acquire) -> Result<Acquired> {
        self.repeat("open", || self.inner.acquire(request.clone())).await
    }

    async fn check_leases(&self, leases: &[(SessionId, Token)]) -> Result<Vec<bool>> {
        self.repeat("open", || self.inner.check_leases(leases)).await
    }

    async fn renew(&self, leases: &[Renewal], lease: Duration) -> Vec<Result<()>> {
        let policy = RetryPolicy::of_renewals(lease);
        let renew = |leases: Vec<Renewal>| async move { self.inner.renew(&leases, lease).await };
        self.repeat_many("renew", &policy, leases.to_vec(), renew).await
    }

    async fn release(&self, session: &SessionId, token: Token) -> Result<()> {
        self.repeat("close", || self.inner.release(session, token)).await
    }

    async fn notes(&self, session: &SessionId) -> Result<Vec<String>> {
        self.repeat("notes", || self.inner.notes(session)).await
    }

    async fn holder(&self, session: &SessionId) -> Result<Option<Holder>> {
        self.repeat("holder", || self.inner.holder(session)).await
    }

    async fn key_seen(&self, key: KeyId, now: u64) -> Result<u64> {
        self.repeat("keyRotationDays", || self.inner.key_seen(key, now))
            .await
    }

    async fn clock(&self) -> Result<Option<u64>> {
        self.repeat("clock", || self.inner.clock()).await
    }

    async fn head(&self, session: &SessionId) -> Result<Head> {
        self.repeat("head", || self.inner.head(session)).await
    }

    async fn read(&self, session: &SessionId, keys: &[RecordKey], seen: Seen) -> Result<Vec<Option<Bytes>>> {
        self.repeat("read", || self.inner.read(session, keys, seen)).await
    }

    async fn scan(
        &self,
        session: &SessionId,
        kind: Option<&str>,
        cursor: Option<Cursor>,
        limit: usize,
        seen: Seen,
    ) -> Result<Page<(RecordKey, Bytes)>> {
        self.repeat("scan", || {
            self.inner.scan(session, kind, cursor.clone(), limit, seen)
        })
        .await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Vec<Result<Head>> {
        self.repeat_many("commit", &self.policy, commits, |commits| {
            self.inner.commit(commits)
        })
        .await
    }

    async fn delete(&self, session: &SessionId, fence: Fence) -> Result<bool> {
        let outcome = self.inner.delete(session, fence).await;
        outcome.map_err(|error| named("delete", self.policy.deadline, error))
    }

    async fn touch(&self, session: &SessionId, fence: Fence, ttl: Option<Duration>) -> Result<bool> {
        self.repeat("touch", || self.inner.touch(session, fence, ttl))
            .await
    }

    async fn list(&self, cursor: Option<Cursor>, limit: usize) -> Result<Page<SessionId>> {
        self.repeat("list", || self.inner.list(cursor.clone(), limit))
            .await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
