//! What was asked and answered in a case, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

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
    acknowledged: bool,
    /// It may be lost: the cache lost it when no process had it in memory any more.
    excused: bool,
}

#[derive(Debug)]
struct Read {
    /// The version that its owner knew to be reached.
    floor: u64,
    found: Vec<(usize, Option<usize>)>,
}

/// See the module. Commits are known by their numbers.
#[derive(Debug, Default)]
pub struct History {
    commits: Vec<Commit>,
    reads: Vec<Read>,
    /// Somebody passed an outbox that he did not see.
    pub passed: bool,
    /// What did not hold when it was answered.
    violations: Vec<String>,
}

/// What a session is when the case is over.
pub struct End {
    pub version: u64,
    pub records: BTreeMap<RecordKey, Bytes>,
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
    pub fn begin(&mut self, token: Token, version: u64) -> (usize, Vec<Change>) {
        let number = self.commits.len();
        self.commits.push(Commit {
            token,
            version,
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

    /// A session was handed out at `version` to somebody who asked when `before` was acknowledged.
    pub fn granted(&mut self, token: Token, version: u64, before: &[usize]) {
        for &number in before {
            let commit = &self.commits[number];
            if commit.version > version && !commit.excused && !self.passed {
                let text =
                    format!("{token} was granted version {version}, which has not {number}: {commit:?}");
                self.violations.push(text);
            }
        }
    }

    /// The owner of the session was told that it is at `version`, and knew that it is at `floor`.
    pub fn head(&mut self, version: u64, floor: u64) {
        if version < floor && !self.is_excused() {
            let text = format!("the session is said to be at {version}, after {floor}");
            self.violations.push(text);
        }
    }

    /// The owner of the session, who knew that it is at `floor`, read this.
    pub fn read(&mut self, floor: u64, found: impl Iterator<Item = (usize, Option<Bytes>)>) {
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
        let mut chain = BTreeMap::new();
        for (number, commit) in self.commits.iter().enumerate() {
            let applied = end.records.contains_key(&trace(number));
            let dead = end.dead.contains(&number);
            if applied && let Some(other) = chain.insert(commit.version, number) {
                return Err(format!(
                    "{other} and {number} were both applied as version {}",
                    commit.version
                ));
            }
            if commit.acknowledged && !applied && !dead && !commit.excused {
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
        }
        if !chain.keys().copied().eq(1..=end.version) {
            return Err(format!("version {} came of {chain:?}", end.version));
        }
        let tokens: Vec<_> = chain.values().map(|number| self.commits[*number].token).collect();
        if !tokens.is_sorted() {
            return Err(format!("an owner committed after its successor: {tokens:?}"));
        }
        let states = states(chain.values().copied());
        for (record, name) in RECORDS.iter().enumerate() {
            let expected = states.last().and_then(|state| state[record]).map(value);
            let found = end.records.get(&key("r", name)).cloned();
            if found != expected {
                return Err(format!("half a patch: {name} is {found:?}, not {expected:?}"));
            }
        }
        // What was acknowledged and is no more was read all the same.
        if self.passed || self.is_excused() {
            return Ok(());
        }
        for read in &self.reads {
            let floor = usize::try_from(read.floor).unwrap_or(usize::MAX);
            let mut possible = states.iter().skip(floor);
            let matches = |state: &[Option<usize>]| read.found.iter().all(|(at, found)| state[*at] == *found);
            if !possible.any(|state| matches(state)) {
                return Err(format!(
                    "no state from version {floor} on reads so: {:?}",
                    read.found
                ));
            }
        }
        Ok(())
    }
}

/// What the records are before the first of these commits, and after each.
fn states(chain: impl Iterator<Item = usize>) -> Vec<[Option<usize>; RECORDS.len()]> {
    let mut states = vec![[None; RECORDS.len()]];
    for number in chain {
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
