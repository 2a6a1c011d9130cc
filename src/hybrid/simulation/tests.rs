//! More than 100,000 cases in each run, and mistakes that they must find.

use std::time::Duration;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::Mistake;
use super::case::{Action, Case, Step, behind, cases, through, through_with_outbox};
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

/// The smallest case for which `breaks` is an error, and what it says.
fn find(
    mut runner: TestRunner,
    config: HybridConfig,
    breaks: impl Fn(&Case) -> Result<(), String>,
) -> Option<(Case, String)> {
    let found = runner.run(&cases(config), |case| breaks(&case).map_err(TestCaseError::fail));
    match found {
        Ok(()) => None,
        Err(TestError::Fail(broken, case)) => Some((case, broken.message().to_owned())),
        Err(aborted) => panic!("{aborted}"),
    }
}

/// Other cases in each run.
fn keeps_every_promise(of: HybridConfig) {
    let count = std::env::var("SIMULATION_CASES").map_or(CASES, |count| count.parse().unwrap());
    if let Some((case, broken)) = find(TestRunner::new(config(count)), of, |case| {
        run(case, Mistake::None)
    }) {
        panic!("{broken}\n{case:#?}");
    }
}

#[test]
fn write_through_keeps_every_promise() {
    keeps_every_promise(through());
}

#[test]
fn write_through_with_outbox_keeps_every_promise() {
    keeps_every_promise(through_with_outbox());
}

#[test]
fn write_behind_keeps_every_promise() {
    keeps_every_promise(behind());
}

/// A batch begins with a commit whose answer was lost, and its refusal arrives after somebody took the session over.
#[test]
fn what_a_successor_finds_in_the_outbox_is_no_dead_letter() {
    let steps = [
        (open(0, false), 1),
        (Action::Write { process: 0 }, 0),
        (Action::Write { process: 0 }, 0),
        (open(0, true), 0),
        (
            Action::Read {
                process: 0,
                records: 80,
            },
            0,
        ),
        (Action::Write { process: 0 }, 0),
        (Action::Write { process: 0 }, 5),
        (open(1, true), 0),
    ];
    let case = Case {
        config: behind(),
        steps: steps
            .map(|(action, pause)| Step {
                action,
                pause: Duration::from_millis(pause),
            })
            .to_vec(),
        fates: vec![0, 0, 0, 0, 217, 0, 205, 205, 0, 172, 0, 0, 0, 217],
    };
    run(&case, Mistake::None).unwrap();
}

fn open(process: usize, displaces: bool) -> Action {
    Action::Open { process, displaces }
}

/// Fails if the cases do not find `mistake`: one that breaks a promise with it, and none without. The same cases in each
/// run.
fn is_found(mistake: Mistake) {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let runner = TestRunner::new_with_rng(config(CASES_OF_A_MISTAKE), rng);
    let found = find(runner, behind(), |case| match run(case, Mistake::None) {
        Ok(()) => run(case, mistake),
        Err(_) => Ok(()),
    });
    let Some((case, broken)) = found else {
        panic!("{mistake:?} was not found");
    };
    println!("{mistake:?}: {broken}\n{case:?}");
}

#[test]
fn an_acknowledgement_before_the_outbox_has_it_is_found() {
    is_found(Mistake::AcknowledgedBeforeTheOutboxHasIt);
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
fn an_outbox_trimmed_too_far_is_found() {
    is_found(Mistake::TrimmingEmptiesTheOutbox);
}

#[test]
fn an_outbox_closed_by_what_is_late_is_found() {
    is_found(Mistake::OutboxClosedByWhatIsLate);
}
