//! Many items in one call to a server.
//!
//! At most [`Carrier::IN_FLIGHT`] calls are on their way at once. Who comes while a place is free sends its items
//! itself, with no detour; who comes later is [`Waiting`]. When a call is answered, the first in the queue
//! gets a [`Turn`] and takes along what else waits. No task of its own is needed, and a caller may give up at any
//! point: a turn that is dropped hands on what it held.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Carries items to a server, many at once.
pub(crate) trait Carrier: Sized + Send + Sync + 'static {
    /// What is carried. Carried twice must be as good as once.
    type Item: Send + Sync + 'static;
    /// What the server says to one of them.
    type Answer: Send + 'static;

    /// Calls under way at once.
    const IN_FLIGHT: usize;
    /// A call carries no more than this …
    const MOST_ITEMS: usize;
    /// … or this, unless a single item does.
    const MOST_BYTES: usize;

    /// Who waits to be carried.
    fn waiting(&self) -> &Mutex<Waiting<Self>>;

    /// Whether both may be carried by one call.
    fn may_share_a_call(one: &Self::Item, other: &Self::Item) -> bool;

    /// About how large it is.
    fn bytes(item: &Self::Item) -> usize;

    /// One call; an answer for each, in order.
    fn carry(
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
struct Unit<C: Carrier> {
    items: Vec<C::Item>,
    bytes: usize,
    waiter: oneshot::Sender<Message<C>>,
}

enum Message<C: Carrier> {
    Answer(Vec<C::Answer>),
    Lead(Turn<C>),
}

/// Items that wait.
pub(crate) struct Waiting<C: Carrier> {
    units: VecDeque<Unit<C>>,
    in_flight: usize,
    /// How many items the last call carried.
    last: usize,
}

impl<C: Carrier> Default for Waiting<C> {
    fn default() -> Self {
        Self {
            units: VecDeque::new(),
            in_flight: 0,
            last: 0,
        }
    }
}

/// A place among the calls in flight.
struct Turn<C: Carrier> {
    carrier: Arc<C>,
    items: Vec<C::Item>,
    bytes: usize,
    others: Vec<Unit<C>>,
}

/// Has `items`, all of one kind, carried together with those of others; one answer for each, in order.
pub(crate) async fn carry<C: Carrier>(
    carrier: &Arc<C>,
    items: Vec<C::Item>,
    deadline: Instant,
) -> Vec<C::Answer> {
    let mut units = split::<C>(items);
    if units.len() == 1 {
        let (items, bytes) = units.pop().unwrap_or_default();
        return submit(carrier, items, bytes, deadline).await;
    }
    let calls = units
        .into_iter()
        .map(|(items, bytes)| submit(carrier, items, bytes, deadline));
    futures_util::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .collect()
}

fn split<C: Carrier>(items: Vec<C::Item>) -> Vec<(Vec<C::Item>, usize)> {
    let mut units: Vec<(Vec<C::Item>, usize)> = Vec::new();
    for item in items {
        let size = C::bytes(&item);
        match units.last_mut() {
            Some((unit, bytes)) if unit.len() < C::MOST_ITEMS && *bytes + size <= C::MOST_BYTES => {
                unit.push(item);
                *bytes += size;
            }
            _ => units.push((vec![item], size)),
        }
    }
    units
}

async fn submit<C: Carrier>(
    carrier: &Arc<C>,
    items: Vec<C::Item>,
    bytes: usize,
    deadline: Instant,
) -> Vec<C::Answer> {
    let count = items.len();
    let (turn, answer) = {
        let mut queue = carrier.waiting().lock();
        if queue.in_flight < C::IN_FLIGHT {
            queue.in_flight += 1;
            (
                Some(Turn {
                    carrier: carrier.clone(),
                    items,
                    bytes,
                    others: Vec::new(),
                }),
                None,
            )
        } else {
            let (waiter, answer) = oneshot::channel();
            queue.units.push_back(Unit { items, bytes, waiter });
            (None, Some(answer))
        }
    };
    if let Some(turn) = turn {
        return turn.run(deadline).await;
    }
    let message = match answer {
        Some(answer) => timeout_at(deadline, answer).await,
        None => unreachable!("who has no turn waits"),
    };
    match message {
        Ok(Ok(Message::Answer(answers))) => answers,
        Ok(Ok(Message::Lead(turn))) => turn.run(deadline).await,
        Ok(Err(_)) => (0..count).map(|_| C::interrupted()).collect(),
        Err(_) => (0..count).map(|_| C::timed_out()).collect(),
    }
}

impl<C: Carrier> Turn<C> {
    async fn run(mut self, deadline: Instant) -> Vec<C::Answer> {
        let busy = {
            let queue = self.carrier.waiting().lock();
            queue.in_flight > 1 || queue.last > 1
        };
        if busy {
            // Those whose answers came with the last call are about to send again: let them come along.
            tokio::task::yield_now().await;
        }
        self.gather();
        let all: Vec<&C::Item> = self
            .items
            .iter()
            .chain(self.others.iter().flat_map(|unit| &unit.items))
            .collect();
        let mut answers = self.carrier.carry(&all, deadline).await.into_iter();
        let own = answers.by_ref().take(self.items.len()).collect();
        for unit in self.others.drain(..) {
            let answer = answers.by_ref().take(unit.items.len()).collect();
            // Whoever gave up meanwhile does not want to know.
            let _ = unit.waiter.send(Message::Answer(answer));
        }
        own
    }

    /// Takes along what waits, as far as it fits.
    fn gather(&mut self) {
        let mut queue = self.carrier.waiting().lock();
        let mut count = self.items.len() + self.others.iter().map(|unit| unit.items.len()).sum::<usize>();
        while let Some(unit) = queue.units.front() {
            let fits = count + unit.items.len() <= C::MOST_ITEMS && self.bytes + unit.bytes <= C::MOST_BYTES;
            let both = self.items.first().zip(unit.items.first());
            if !fits || !both.is_none_or(|(own, other)| C::may_share_a_call(own, other)) {
                break;
            }
            let Some(unit) = queue.units.pop_front() else {
                break;
            };
            if unit.waiter.is_closed() {
                continue;
            }
            count += unit.items.len();
            self.bytes += unit.bytes;
            self.others.push(unit);
        }
        queue.last = count;
    }
}

impl<C: Carrier> Drop for Turn<C> {
    fn drop(&mut self) {
        let carrier = self.carrier.clone();
        let mut queue = carrier.waiting().lock();
        // Those who came along go on without us. If the call was sent already, theirs is sent twice, which is safe.
        for unit in self.others.drain(..).rev() {
            queue.units.push_front(unit);
        }
        queue.in_flight -= 1;
        // The place goes to the first that still wants it.
        while queue.in_flight < C::IN_FLIGHT {
            let Some(unit) = queue.units.pop_front() else {
                break;
            };
            if unit.waiter.is_closed() {
                continue;
            }
            queue.in_flight += 1;
            let turn = Turn {
                carrier: carrier.clone(),
                items: unit.items,
                bytes: unit.bytes,
                others: Vec::new(),
            };
            // If it gives up at this very moment, dropping the turn needs the lock.
            drop(queue);
            drop(unit.waiter.send(Message::Lead(turn)));
            queue = carrier.waiting().lock();
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

    impl Carrier for Doubler {
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

        async fn carry(&self, items: &[&u64], _: Instant) -> Vec<Option<u64>> {
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
    async fn who_waits_is_carried_together_and_gets_its_own_answer() {
        let doubler = Arc::new(Doubler::default());
        let numbers = (0..200).chain([2000]);
        let answers = join_all(numbers.map(async |number| {
            let answers = carry(&doubler, vec![number], later()).await;
            (number, answers)
        }));
        for (number, answers) in answers.await {
            assert_eq!(answers, [Some(2 * number)]);
        }
        let even: Vec<u64> = (0..100).map(|number| 2 * number % 100).collect();
        let answers = carry(&doubler, even.clone(), later()).await;
        assert_eq!(
            answers,
            even.iter().map(|number| Some(2 * number)).collect::<Vec<_>>()
        );
        let before = doubler.calls.load(Ordering::Relaxed);
        let same = join_all((0..100).map(|_| carry(&doubler, vec![2], later()))).await;
        assert!(same.iter().all(|answers| answers == &[Some(4)]));
        let calls = doubler.calls.load(Ordering::Relaxed) - before;
        assert!(calls <= 12, "two alone, the others ten by ten: {calls}");
    }

    #[tokio::test]
    async fn who_gives_up_holds_nobody_up() {
        let doubler = Arc::new(Doubler::default());
        let mut waiting: Vec<_> = (0..50_u64)
            .map(|_| Box::pin(carry(&doubler, vec![4], later())))
            .collect();
        // All have begun; those with a turn are in the middle of it.
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
