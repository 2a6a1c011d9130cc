//! Many requests in one call to a server.
//!
//! At most [`BatchSink::IN_FLIGHT`] calls are on their way at once. A caller that finds a free slot sends at once; later
//! callers queue. When a call is answered, the first in the queue becomes the [`Leader`] of the next one, and takes
//! along what else waits. No task of its own is needed, and a caller may give up at any point: a leader that is dropped
//! hands on what it held.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Where batches go.
pub(crate) trait BatchSink: Sized + Send + Sync + 'static {
    /// What is sent. Sent twice must be as good as once.
    type Item: Send + Sync + 'static;
    /// What the server says to one of them.
    type Answer: Send + 'static;

    /// Calls under way at once.
    const IN_FLIGHT: usize;
    /// A call has no more than this …
    const MOST_ITEMS: usize;
    /// … or this, unless a single item does.
    const MOST_BYTES: usize;

    /// Who waits to be sent.
    fn waiting(&self) -> &Mutex<Waiting<Self>>;

    /// Whether both may go in one call.
    fn may_share_a_call(one: &Self::Item, other: &Self::Item) -> bool;

    /// About how large it is.
    fn bytes(item: &Self::Item) -> usize;

    /// One call; an answer for each, in order.
    fn send_batch(
        &self,
        items: &[&Self::Item],
        deadline: Instant,
    ) -> impl Future<Output = Vec<Self::Answer>> + Send;

    /// The answer to an item whose time was over.
    fn timed_out() -> Self::Answer;

    /// The answer to an item whose call was given up.
    fn interrupted() -> Self::Answer;
}

/// Items that belong together, and who waits for them.
struct Request<S: BatchSink> {
    items: Vec<S::Item>,
    bytes: usize,
    waiter: oneshot::Sender<Message<S>>,
}

enum Message<S: BatchSink> {
    Answer(Vec<S::Answer>),
    Lead(Leader<S>),
}

/// Items that wait.
pub(crate) struct Waiting<S: BatchSink> {
    requests: VecDeque<Request<S>>,
    in_flight: usize,
    /// How many items the last call had.
    last: usize,
}

impl<S: BatchSink> Default for Waiting<S> {
    fn default() -> Self {
        Self {
            requests: VecDeque::new(),
            in_flight: 0,
            last: 0,
        }
    }
}

/// A slot among the calls in flight, and what goes with it.
struct Leader<S: BatchSink> {
    sink: Arc<S>,
    items: Vec<S::Item>,
    bytes: usize,
    others: Vec<Request<S>>,
}

/// Sends `items` together with those of others; one answer for each, in order.
pub(crate) async fn send<S: BatchSink>(
    sink: &Arc<S>,
    items: Vec<S::Item>,
    deadline: Instant,
) -> Vec<S::Answer> {
    let mut requests = split::<S>(items);
    if requests.len() == 1 {
        let (items, bytes) = requests.pop().unwrap_or_default();
        return submit(sink, items, bytes, deadline).await;
    }
    let calls = requests
        .into_iter()
        .map(|(items, bytes)| submit(sink, items, bytes, deadline));
    futures_util::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .collect()
}

fn split<S: BatchSink>(items: Vec<S::Item>) -> Vec<(Vec<S::Item>, usize)> {
    let mut requests: Vec<(Vec<S::Item>, usize)> = Vec::new();
    for item in items {
        let size = S::bytes(&item);
        match requests.last_mut() {
            Some((request, bytes)) if request.len() < S::MOST_ITEMS && *bytes + size <= S::MOST_BYTES => {
                request.push(item);
                *bytes += size;
            }
            _ => requests.push((vec![item], size)),
        }
    }
    requests
}

async fn submit<S: BatchSink>(
    sink: &Arc<S>,
    items: Vec<S::Item>,
    bytes: usize,
    deadline: Instant,
) -> Vec<S::Answer> {
    let count = items.len();
    let (leader, answer) = {
        let mut queue = sink.waiting().lock();
        if queue.in_flight < S::IN_FLIGHT {
            queue.in_flight += 1;
            (
                Some(Leader {
                    sink: sink.clone(),
                    items,
                    bytes,
                    others: Vec::new(),
                }),
                None,
            )
        } else {
            let (waiter, answer) = oneshot::channel();
            queue.requests.push_back(Request { items, bytes, waiter });
            (None, Some(answer))
        }
    };
    if let Some(leader) = leader {
        return leader.run(deadline).await;
    }
    let message = match answer {
        Some(answer) => timeout_at(deadline, answer).await,
        None => unreachable!("who does not lead waits"),
    };
    match message {
        Ok(Ok(Message::Answer(answers))) => answers,
        Ok(Ok(Message::Lead(leader))) => leader.run(deadline).await,
        Ok(Err(_)) => (0..count).map(|_| S::interrupted()).collect(),
        Err(_) => (0..count).map(|_| S::timed_out()).collect(),
    }
}

impl<S: BatchSink> Leader<S> {
    async fn run(mut self, deadline: Instant) -> Vec<S::Answer> {
        let busy = {
            let queue = self.sink.waiting().lock();
            queue.in_flight > 1 || queue.last > 1
        };
        if busy {
            // Those whose answers came with the last call are about to send again: let them come along.
            tokio::task::yield_now().await;
        }
        self.take_along();
        let all: Vec<&S::Item> = self
            .items
            .iter()
            .chain(self.others.iter().flat_map(|request| &request.items))
            .collect();
        let mut answers = self.sink.send_batch(&all, deadline).await.into_iter();
        let own = answers.by_ref().take(self.items.len()).collect();
        for request in self.others.drain(..) {
            let answer = answers.by_ref().take(request.items.len()).collect();
            // Whoever gave up meanwhile does not want to know.
            let _ = request.waiter.send(Message::Answer(answer));
        }
        own
    }

    /// Takes along what waits, as far as it fits.
    fn take_along(&mut self) {
        let mut queue = self.sink.waiting().lock();
        let mut count = self.items.len()
            + self
                .others
                .iter()
                .map(|request| request.items.len())
                .sum::<usize>();
        while let Some(request) = queue.requests.front() {
            let fits =
                count + request.items.len() <= S::MOST_ITEMS && self.bytes + request.bytes <= S::MOST_BYTES;
            let both = self.items.first().zip(request.items.first());
            if !fits || !both.is_none_or(|(own, other)| S::may_share_a_call(own, other)) {
                break;
            }
            let Some(request) = queue.requests.pop_front() else {
                break;
            };
            if request.waiter.is_closed() {
                continue;
            }
            count += request.items.len();
            self.bytes += request.bytes;
            self.others.push(request);
        }
        queue.last = count;
    }
}

impl<S: BatchSink> Drop for Leader<S> {
    fn drop(&mut self) {
        let sink = self.sink.clone();
        let mut queue = sink.waiting().lock();
        // Those who came along go on without us. If the call was sent already, theirs is sent twice, which is safe.
        for request in self.others.drain(..).rev() {
            queue.requests.push_front(request);
        }
        queue.in_flight -= 1;
        // The slot goes to the first that still wants it.
        while queue.in_flight < S::IN_FLIGHT {
            let Some(request) = queue.requests.pop_front() else {
                break;
            };
            if request.waiter.is_closed() {
                continue;
            }
            queue.in_flight += 1;
            let leader = Leader {
                sink: sink.clone(),
                items: request.items,
                bytes: request.bytes,
                others: Vec::new(),
            };
            // If it gives up at this very moment, dropping the leader needs the lock.
            drop(queue);
            drop(request.waiter.send(Message::Lead(leader)));
            queue = sink.waiting().lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    /// Doubles numbers; odd and even ones do not share a call.
    #[derive(Default)]
    struct Doubler {
        waiting: Mutex<Waiting<Self>>,
        calls: AtomicUsize,
        under_way: AtomicUsize,
    }

    /// A call under way, answered or given up.
    struct UnderWay<'a>(&'a AtomicUsize);

    impl<'a> UnderWay<'a> {
        fn begin(count: &'a AtomicUsize) -> Self {
            assert!(count.fetch_add(1, Ordering::Relaxed) < Doubler::IN_FLIGHT);
            Self(count)
        }
    }

    impl Drop for UnderWay<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl BatchSink for Doubler {
        type Item = u64;
        type Answer = Option<u64>;

        const IN_FLIGHT: usize = 2;
        const MOST_ITEMS: usize = 10;
        const MOST_BYTES: usize = 1000;

        fn waiting(&self) -> &Mutex<Waiting<Self>> {
            &self.waiting
        }

        fn may_share_a_call(one: &u64, other: &u64) -> bool {
            one % 2 == other % 2
        }

        fn bytes(item: &u64) -> usize {
            usize::try_from(*item).unwrap()
        }

        async fn send_batch(&self, items: &[&u64], _: Instant) -> Vec<Option<u64>> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let _under_way = UnderWay::begin(&self.under_way);
            assert!(items.len() <= Self::MOST_ITEMS);
            assert!(items.iter().all(|item| *item % 2 == *items[0] % 2));
            assert!(items.len() == 1 || items.iter().copied().sum::<u64>() <= 1000);
            let answers = items.iter().map(|item| Some(**item * 2)).collect();
            tokio::task::yield_now().await;
            answers
        }

        fn timed_out() -> Option<u64> {
            None
        }

        fn interrupted() -> Option<u64> {
            None
        }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn who_waits_is_sent_together_and_gets_its_own_answer() {
        let doubler = Arc::new(Doubler::default());
        let numbers = (0..200).chain([2000]);
        let answers = join_all(numbers.map(async |number| {
            let answers = send(&doubler, vec![number], later()).await;
            (number, answers)
        }));
        for (number, answers) in answers.await {
            assert_eq!(answers, [Some(2 * number)]);
        }
        let even: Vec<u64> = (0..100).map(|number| 2 * number % 100).collect();
        let answers = send(&doubler, even.clone(), later()).await;
        assert_eq!(
            answers,
            even.iter().map(|number| Some(2 * number)).collect::<Vec<_>>()
        );
        let before = doubler.calls.load(Ordering::Relaxed);
        let same = join_all((0..100).map(|_| send(&doubler, vec![2], later()))).await;
        assert!(same.iter().all(|answers| answers == &[Some(4)]));
        let calls = doubler.calls.load(Ordering::Relaxed) - before;
        assert!(calls <= 12, "two alone, the others ten by ten: {calls}");
    }

    #[tokio::test]
    async fn who_gives_up_holds_nobody_up() {
        let doubler = Arc::new(Doubler::default());
        let mut waiting: Vec<_> = (0..50_u64)
            .map(|_| Box::pin(send(&doubler, vec![4], later())))
            .collect();
        // All have begun; those that lead are in the middle of it.
        for call in &mut waiting {
            assert!(futures_util::poll!(call).is_pending());
        }
        waiting.drain(..25);
        for answers in join_all(waiting).await {
            assert_eq!(answers, [Some(8)]);
        }
        assert_eq!(doubler.waiting.lock().in_flight, 0);
    }
}
