//! The breaker by itself, on tokio's clock, which stands still until all wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{SECOND, new_breaker, outage};
use crate::error::{Error, Kind};
use crate::resilience::breaker::{Breaker, Position};

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_counts_only_with_the_next_failure() {
    let breaker = new_breaker();
    let ended = outage().of_ended_connection();
    for _ in 0..20 {
        breaker.allow().unwrap().record(Some(&ended));
        breaker.allow().unwrap().record(None);
    }
    assert_eq!(breaker.stats().state, Position::Closed);
    for _ in 0..19 {
        breaker.allow().unwrap().record(Some(&ended));
    }
    assert_eq!(breaker.stats().state, Position::Closed);
    breaker.allow().unwrap().record(Some(&outage()));
    assert_eq!(breaker.stats().state, Position::Open, "20 of 40");
}

#[tokio::test(start_paused = true)]
async fn it_opens_at_the_threshold_and_not_before_the_minimum() {
    let breaker = new_breaker();
    for _ in 0..4 {
        breaker.allow().unwrap().record(Some(&outage()));
    }
    assert!(!breaker.is_open(), "four calls say nothing");
    breaker.allow().unwrap().record(None);
    // 4 of 5 would do, but only a failure opens it.
    assert!(!breaker.is_open());
    for _ in 0..5 {
        breaker.allow().unwrap().record(None);
    }
    assert_eq!(breaker.stats().state, Position::Closed, "4 of 10");
    breaker.allow().unwrap().record(Some(&outage()));
    assert_eq!(breaker.stats().state, Position::Closed, "5 of 11");
    breaker.allow().unwrap().record(Some(&outage()));
    assert_eq!(breaker.stats().state, Position::Open, "6 of 12");
    assert_eq!(
        breaker.allow().err().map(|error| error.kind()),
        Some(Kind::CircuitOpen)
    );
    let stats = breaker.stats();
    assert_eq!(
        (stats.failures, stats.successes, stats.rejects, stats.opens),
        (6, 6, 1, 1)
    );
    assert_eq!(stats.next_probe_in, Some(30_000));
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_window_does_not_count() {
    let breaker = new_breaker();
    for _ in 0..4 {
        breaker.allow().unwrap().record(Some(&outage()));
    }
    tokio::time::advance(11 * SECOND).await;
    breaker.allow().unwrap().record(Some(&outage()));
    assert_eq!(breaker.stats().state, Position::Closed);
    tokio::time::advance(5 * SECOND).await;
    for _ in 0..4 {
        breaker.allow().unwrap().record(Some(&outage()));
    }
    assert_eq!(breaker.stats().state, Position::Open, "five within ten seconds");
}

fn opened() -> Arc<Breaker> {
    let breaker = new_breaker();
    for _ in 0..5 {
        breaker.allow().unwrap().record(Some(&outage()));
    }
    assert!(breaker.is_open());
    breaker
}

#[tokio::test(start_paused = true)]
async fn one_probe_decides_after_the_cool_down() {
    let breaker = opened();
    tokio::time::advance(29 * SECOND).await;
    assert!(breaker.allow().is_err());
    tokio::time::advance(SECOND).await;
    let probe = breaker.allow().unwrap();
    assert_eq!(breaker.stats().state, Position::HalfOpen);
    assert!(breaker.allow().is_err(), "one at a time");
    probe.record(Some(&outage()));
    assert_eq!(breaker.stats().state, Position::Open);
    tokio::time::advance(29 * SECOND).await;
    assert!(breaker.allow().is_err(), "the cool-down begins anew");
    tokio::time::advance(SECOND).await;
    breaker.allow().unwrap().record(None);
    assert_eq!(breaker.stats().state, Position::Closed);
    for _ in 0..4 {
        breaker.allow().unwrap().record(Some(&outage()));
    }
    assert_eq!(breaker.stats().state, Position::Closed, "the window was emptied");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_makes_room_for_the_next() {
    let breaker = opened();
    tokio::time::advance(30 * SECOND).await;
    drop(breaker.allow().unwrap());
    assert!(!breaker.is_open());
    breaker.allow().unwrap().record(None);
    assert_eq!(breaker.stats().state, Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn answers_from_before_change_nothing() {
    let breaker = new_breaker();
    let slow = breaker.allow().unwrap();
    let slower = breaker.allow().unwrap();
    for _ in 0..5 {
        breaker.allow().unwrap().record(Some(&outage()));
    }
    slow.record(None);
    assert_eq!(breaker.stats().state, Position::Open);
    tokio::time::advance(30 * SECOND).await;
    let probe = breaker.allow().unwrap();
    slower.record(Some(&outage()));
    assert_eq!(breaker.stats().state, Position::HalfOpen);
    probe.record(None);
    assert_eq!(breaker.stats().state, Position::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_always_goes_through_closes_it_early() {
    let breaker = opened();
    let failing = async { Err::<(), _>(Error::new(Kind::Unavailable, "memory", "down")) };
    breaker.call_always(failing).await.unwrap_err();
    assert_eq!(breaker.stats().state, Position::Open);
    assert_eq!(
        breaker.stats().next_probe_in,
        Some(30_000),
        "the cool-down goes on"
    );
    breaker.call_always(async { Ok(()) }).await.unwrap();
    assert_eq!(breaker.call(async { Ok(7) }).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn every_change_of_position_is_told_once() {
    let breaker = new_breaker();
    let changes = Arc::new(AtomicU64::new(0));
    let (seen, told) = (changes.clone(), Arc::downgrade(&breaker));
    breaker.watch(Box::new(move |position, last| {
        assert!(last.is_some_and(|last| last.kind() == Kind::Unavailable));
        // Outside all locks: asking back must not hang.
        assert_eq!(told.upgrade().unwrap().stats().state, position);
        seen.fetch_add(1, Ordering::Relaxed);
    }));
    for _ in 0..5 {
        breaker.allow().unwrap().record(Some(&outage()));
    }
    tokio::time::advance(30 * SECOND).await;
    let probe = breaker.allow().unwrap();
    assert_eq!(changes.load(Ordering::Relaxed), 2);
    probe.record(None);
    breaker.allow().unwrap().record(None);
    assert_eq!(changes.load(Ordering::Relaxed), 3);
}
