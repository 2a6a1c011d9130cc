//! More than 100,000 cases in each run, and mistakes that they must find.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::Mistake;
use super::case::{Case, behind, cases, through, through_with_outbox};
use super::world::run;
use crate::hybrid::HybridConfig;

/// Cases of a mode; `SIMULATION_CASES` says another number.
const CASES: u32 = 150_000;
/// Within so many cases a mistake must be found.
const CASES_OF_A_MISTAKE: u32 = 60_000;

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 50_000,
        ..Config::default()
    }
}

/// The smallest case found that breaks a promise, and which.
fn find(mut runner: TestRunner, config: HybridConfig, mistake: Mistake) -> Option<(Case, String)> {
    let found = runner.run(&cases(config), |case| {
        run(&case, mistake).map_err(TestCaseError::fail)
    });
    match found {
        Ok(()) => None,
        Err(TestError::Fail(broken, case)) => Some((case, broken.message().to_owned())),
        Err(aborted) => panic!("{aborted}"),
    }
}

/// Other cases in each run.
fn keeps_every_promise(of: HybridConfig) {
    let count = std::env::var("SIMULATION_CASES").map_or(CASES, |count| count.parse().unwrap());
    if let Some((case, broken)) = find(TestRunner::new(config(count)), of, Mistake::None) {
        panic!("{broken}\n{case:#?}");
    }
}

#[test]
fn write_through_keeps_every_promise() {
    keeps_every_promise(through());
}

/// As below, in some 1 of 300,000 cases.
#[test]
#[ignore = "breaks a promise in rare interleavings, which are still to be mended"]
fn write_through_with_outbox_keeps_every_promise() {
    keeps_every_promise(through_with_outbox());
}

/// What it finds: a takeover misses entries if the cache is emptied after it has fenced and before it has read them; and
/// an owner makes dead letters of what its successor applied, once that one has released the session.
#[test]
#[ignore = "breaks a promise in rare interleavings, which are still to be mended"]
fn write_behind_keeps_every_promise() {
    keeps_every_promise(behind());
}

/// Fails if the cases do not find `mistake`, or if what they find is not its doing. The same cases in each run.
fn is_found(mistake: Mistake) {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let runner = TestRunner::new_with_rng(config(CASES_OF_A_MISTAKE), rng);
    let Some((case, broken)) = find(runner, behind(), mistake) else {
        panic!("{mistake:?} was not found");
    };
    println!("{mistake:?}: {broken}\n{case:?}");
    assert_eq!(run(&case, mistake), Err(broken), "it is found again");
    assert_eq!(run(&case, Mistake::None), Ok(()), "{case:#?}");
}

#[test]
fn an_acknowledgement_before_the_outbox_has_it_is_found() {
    is_found(Mistake::AcknowledgedBeforeTheOutboxHasIt);
}

#[test]
#[ignore = "finds what write-behind breaks without it"]
fn a_commit_known_by_its_version_alone_is_found() {
    is_found(Mistake::CommitsAreKnownByVersionAlone);
}

#[test]
fn a_takeover_without_repair_is_found() {
    is_found(Mistake::TakeoverSkipsTheOutbox);
}

#[test]
fn a_primary_that_takes_any_token_is_found() {
    is_found(Mistake::PrimaryTakesAnyToken);
}

#[test]
fn a_fence_that_lets_everybody_pass_is_found() {
    is_found(Mistake::FencingOnlyLooks);
}

#[test]
#[ignore = "finds what write-behind breaks without it"]
fn a_copy_filled_unchecked_is_found() {
    is_found(Mistake::CopiesAreFilledUnchecked);
}

#[test]
fn an_outbox_trimmed_too_far_is_found() {
    is_found(Mistake::TrimmingEmptiesTheOutbox);
}
