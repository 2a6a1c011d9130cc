//! What was asked and answered in a case, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::primary::Incarnation;
use crate::backend::Token;
use crate::backend::contract::key;
use crate::record::{Change, RecordKey};

/// The records that are written again and again. Each commit writes the first two, and puts or deletes one of the others.
pub const RECORDS: [&str; 5] = ["x", "y", "k0", "k1", "k2"];

/// A commit that was handed to a store.
#[derive(Debug)]
struct Commit {
    token: Token,
    version: u64,
    /// How often the session had been deleted before, as its owner knew.
    incarnation: usize,
    acknowledged: bool,
    /// It may be lost: the cache lost it when no process had it in memory any more.
    excused: bool,
}

/// A session, by how often it had been deleted before, and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    pub incarnation: usize,
    pub version: u64,
}

impl Reached {
    /// Nothing of it yet.
    pub fn first(incarnation: usize) -> Self {
        let version = 0;
        Self { incarnation, version }
    }
}

#[derive(Debug)]
struct Read {
    /// What its owner knew to be reached.
    floor: Reached,
    found: Vec<(usize, Option<usize>)>,
}

/// See the module. Commits are known by their numbers.
#[derive(Debug, Default)]
pub struct History {
    commits: Vec<Commit>,
    reads: Vec<Read>,
    /// What was acknowledged when somebody asked to have the session deleted, and was told that it is.
    buried: BTreeSet<usize>,
    /// Somebody passed an outbox that he did not see.
    pub passed: bool,
    /// What did not hold when it was answered.
    violations: Vec<String>,
}

/// What a session is when the case is over.
pub struct End {
    /// The sessions that were deleted, one after the other, and the last one.
    pub incarnations: Vec<Incarnation>,
    /// The numbers of commits that are dead letters.
    pub dead: BTreeSet<usize>,
}

/// The record that tells whether a commit was applied: nobody writes it again.
pub fn trace(number: usize) -> RecordKey {
    key("c", &number.to_string())
}

/// The commit whose trace is among these changes.
pub fn number_of(changes: &[Change]) -> Option<usize> {
    changes
        .iter()
        .find(|change| change.key.kind() == "c")
        .and_then(|change| change.key.id().parse().ok())
}

fn value(number: usize) -> Bytes {
    number.to_string().into()
}

/// What commit `number` makes of record `record`, if it touches it.
fn effect(number: usize, record: usize) -> Option<Option<usize>> {
    match record {
        0 | 1 => Some(Some(number)),
        _ if record == 2 + number % 3 => Some((!number.is_multiple_of(4)).then_some(number)),
        _ => None,
    }
}

impl History {
    /// A commit that is about to be handed to a store: its number and changes.
    pub fn begin(&mut self, token: Token, version: u64, incarnation: usize) -> (usize, Vec<Change>) {
        let number = self.commits.len();
        self.commits.push(Commit {
            token,
            version,
            incarnation,
            acknowledged: false,
            excused: false,
        });
        let effects = (0..RECORDS.len()).filter_map(|record| {
            effect(number, record).map(|becomes| Change {
                key: key("r", RECORDS[record]),
                value: becomes.map(value),
            })
        });
        let trace = Change {
            key: trace(number),
            value: Some(Bytes::from_static(b"1")),
        };
        (number, effects.chain([trace]).collect())
    }

    pub fn acknowledged(&mut self, number: usize) {
        self.commits[number].acknowledged = true;
    }

    /// What was acknowledged so far.
    pub fn all_acknowledged(&self) -> Vec<usize> {
        let commits = self.commits.iter().enumerate();
        commits
            .filter(|(_, commit)| commit.acknowledged)
            .map(|(number, _)| number)
            .collect()
    }

    /// The owner that made it.
    pub fn token_of(&self, number: usize) -> Token {
        self.commits[number].token
    }

    pub fn excuse(&mut self, number: usize) {
        self.commits[number].excused = true;
    }

    pub fn is_excused(&self) -> bool {
        self.commits
            .iter()
            .any(|commit| commit.acknowledged && commit.excused)
    }

    /// A session was handed out to somebody who asked when `before` was acknowledged.
    pub fn granted(&mut self, token: Token, reached: Reached, before: &[usize]) {
        for &number in before {
            let commit = &self.commits[number];
            let here = commit.incarnation == reached.incarnation;
            if here && commit.version > reached.version && !commit.excused && !self.passed {
                let text = format!("{token} was granted {reached:?}, which has not {number}: {commit:?}");
                self.violations.push(text);
            }
        }
    }

    /// The session was deleted for somebody who asked when `before` was acknowledged.
    pub fn deleted(&mut self, before: Vec<usize>) {
        self.buried.extend(before);
    }

    /// The owner of the session was told where it is, and knew that it is at `floor`.
    pub fn head(&mut self, reached: Reached, floor: Reached) {
        if reached < floor && !self.is_excused() {
            let text = format!("the session is said to be at {reached:?}, after {floor:?}");
            self.violations.push(text);
        }
    }

    /// The owner of the session, who knew that it is at `floor`, read this.
    pub fn read(&mut self, floor: Reached, found: impl Iterator<Item = (usize, Option<Bytes>)>) {
        let number = |value: Bytes| {
            std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse().ok())
        };
        let found = found.map(|(record, value)| (record, value.and_then(number)));
        self.reads.push(Read {
            floor,
            found: found.collect(),
        });
    }

    pub fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Which promise was broken, if one was.
    pub fn judge(&self, end: &End) -> Result<(), String> {
        if let Some(violation) = self.violations.first() {
            return Err(violation.clone());
        }
        for (number, commit) in self.commits.iter().enumerate() {
            let applied = end.applied(number);
            let dead = end.dead.contains(&number);
            // Nobody's since somebody passed it, it went with the session.
            let gone = self.passed && commit.incarnation + 1 < end.incarnations.len();
            if commit.acknowledged && !applied && !dead && !commit.excused && !gone {
                return Err(format!("{number} was acknowledged and is lost: {commit:?}"));
            }
            if commit.acknowledged && !applied && !commit.excused && !self.passed {
                return Err(format!(
                    "{number} is a dead letter, and nobody passed its outbox: {commit:?}"
                ));
            }
            if commit.acknowledged && applied && dead {
                return Err(format!("{number} is a dead letter, and applied: {commit:?}"));
            }
            if self.buried.contains(&number) && end.last().records.contains_key(&trace(number)) {
                return Err(format!("{number} was deleted, and is there: {commit:?}"));
            }
        }
        let mut chains = Vec::new();
        for incarnation in &end.incarnations {
            chains.push(self.chain(incarnation)?);
        }
        let tokens: Vec<_> = chains
            .iter()
            .flatten()
            .map(|number| self.commits[*number].token)
            .collect();
        if !tokens.is_sorted() {
            return Err(format!("an owner committed after its successor: {tokens:?}"));
        }
        let states: Vec<_> = chains.iter().map(|chain| states(chain)).collect();
        for (states, incarnation) in states.iter().zip(&end.incarnations) {
            for (record, name) in RECORDS.iter().enumerate() {
                let expected = states.last().and_then(|state| state[record]).map(value);
                let found = incarnation.records.get(&key("r", name)).cloned();
                if found != expected {
                    return Err(format!("half a patch: {name} is {found:?}, not {expected:?}"));
                }
            }
        }
        // What was acknowledged and is no more was read all the same.
        if self.passed || self.is_excused() {
            return Ok(());
        }
        for read in &self.reads {
            let Reached { incarnation, version } = read.floor;
            let from = usize::try_from(version).unwrap_or(usize::MAX);
            let known = states[incarnation].iter().skip(from);
            let mut possible = known.chain(states.iter().skip(incarnation + 1).flatten());
            let matches = |state: &[Option<usize>]| read.found.iter().all(|(at, found)| state[*at] == *found);
            if !possible.any(|state| matches(state)) {
                return Err(format!(
                    "no state from {:?} on reads so: {:?}",
                    read.floor, read.found
                ));
            }
        }
        Ok(())
    }

    /// The commits that made the session what it was, in order.
    fn chain(&self, incarnation: &Incarnation) -> Result<Vec<usize>, String> {
        let mut chain = BTreeMap::new();
        for (number, Commit { version, .. }) in self.commits.iter().enumerate() {
            if incarnation.records.contains_key(&trace(number))
                && let Some(other) = chain.insert(*version, number)
            {
                return Err(format!(
                    "{other} and {number} were both applied as version {version}"
                ));
            }
        }
        if !chain.keys().copied().eq(1..=incarnation.version) {
            return Err(format!("version {} came of {chain:?}", incarnation.version));
        }
        Ok(chain.into_values().collect())
    }
}

impl End {
    fn last(&self) -> &Incarnation {
        self.incarnations.last().expect("there is always one")
    }

    fn applied(&self, number: usize) -> bool {
        let trace = trace(number);
        let mut records = self.incarnations.iter().map(|incarnation| &incarnation.records);
        records.any(|records| records.contains_key(&trace))
    }
}

/// What the records are before the first of these commits, and after each.
fn states(chain: &[usize]) -> Vec<[Option<usize>; RECORDS.len()]> {
    let mut states = vec![[None; RECORDS.len()]];
    for &number in chain {
        let mut state = *states.last().expect("there is a first one");
        for (record, is) in state.iter_mut().enumerate() {
            if let Some(becomes) = effect(number, record) {
                *is = becomes;
            }
        }
        states.push(state);
    }
    states
}
