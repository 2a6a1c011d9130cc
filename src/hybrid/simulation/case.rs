//! What a case is made of.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::network::Server;
use crate::hybrid::{HybridConfig, Mode};

/// Processes at a time. One that died is started again at its next step.
pub const PROCESSES: usize = 3;

/// What happens next.
#[derive(Debug, Clone)]
pub enum Action {
    /// A process opens the session; if it is held, it may take it from its holder, as from one known to be dead.
    Open { process: usize, displaces: bool },
    /// An owner writes.
    Write { process: usize },
    /// An owner reads some of the records, by a mask.
    Read { process: usize, records: u8 },
    /// An owner renews its lease.
    Renew { process: usize },
    /// An owner gives the session back.
    Release { process: usize },
    /// An owner deletes the session, or somebody who needs no lease does.
    Delete { process: usize, owns: bool },
    /// A process brings outboxes of dead owners to the primary, as it does now and then.
    Adopt { process: usize },
    /// A process dies.
    Crash { process: usize },
    /// A process stops …
    Freeze { process: usize },
    /// … and goes on.
    Thaw { process: usize },
    /// The cache loses everything.
    Empty,
    /// The cache loses the copy.
    Evict,
    /// A server cannot be reached …
    Cut(Server),
    /// … and can again.
    Mend(Server),
    /// An operator passes the outbox by a store that does not see it, and writes.
    PassOutbox,
}

/// A step, and for how long nothing follows it.
#[derive(Debug, Clone)]
pub struct Step {
    pub action: Action,
    pub pause: Duration,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Case {
    pub config: HybridConfig,
    pub steps: Vec<Step>,
    /// What becomes of each call to a server, in order; of later ones nothing special.
    pub fates: Vec<u8>,
}

fn action() -> impl Strategy<Value = Action> {
    let process = 0..PROCESSES;
    // By number rather than by a strategy for each: a case is made in a few microseconds.
    (0_u8..34, process, any::<u8>()).prop_map(|(kind, process, drawn)| {
        let server = if drawn.is_multiple_of(2) {
            Server::Primary
        } else {
            Server::Cache
        };
        match kind {
            0..=9 => Action::Write { process },
            10..=14 => Action::Open {
                process,
                displaces: drawn < 160,
            },
            15..=18 => Action::Read {
                process,
                records: drawn,
            },
            19 => Action::Renew { process },
            20 => Action::Release { process },
            21 => Action::Adopt { process },
            22..=23 => Action::Crash { process },
            24 => Action::Freeze { process },
            25 => Action::Thaw { process },
            26 => Action::Empty,
            27 => Action::Evict,
            28 | 29 => Action::Cut(server),
            30 => Action::Mend(server),
            31 => Action::PassOutbox,
            _ => Action::Delete {
                process,
                owns: drawn < 200,
            },
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    (action(), 0_u64..12).prop_map(|(action, pause)| Step {
        action,
        // Half of the steps begin before the one before them has ended.
        pause: Duration::from_millis(pause.saturating_sub(5)),
    })
}

pub fn through() -> HybridConfig {
    HybridConfig {
        hot_ttl: None,
        ..HybridConfig::default()
    }
}

pub fn through_with_outbox() -> HybridConfig {
    HybridConfig {
        outbox_when_mongo_down: true,
        ..through()
    }
}

pub fn behind() -> HybridConfig {
    HybridConfig {
        mode: Mode::WriteBehind,
        ..through()
    }
}

/// Cases of processes that are set up like this.
pub fn cases(config: HybridConfig) -> impl Strategy<Value = Case> {
    (vec(step(), 1..14), vec(any::<u8>(), 0..40)).prop_map(move |(steps, fates)| {
        // So that what comes first has something to happen to.
        let open = Step {
            action: Action::Open {
                process: 0,
                displaces: false,
            },
            pause: Duration::from_millis(1),
        };
        Case {
            config: config.clone(),
            steps: std::iter::once(open).chain(steps).collect(),
            fates,
        }
    })
}
