//! Takeovers and releases of many sessions in one statement each: a transaction costs the server a flush of its log,
//! and thousands of sessions may be opened or closed at once.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Connection, Lane};
use super::dial::column;
use super::errors::{busy, corrupt, timed_out};
use super::ids::long;
use super::read::names_of;
use crate::backend::batcher::{BatchSink, Waiting};
use crate::backend::{SessionId, Token};
use crate::error::{Error, Result};
use crate::record::RecordKey;

/// Sessions in one statement.
const SESSIONS: usize = 128;
/// Statements under way: while one is flushed, the next one is worked on.
const STATEMENTS: usize = 2;

/// A session to be taken, as the statement has it.
pub(super) struct Take {
    pub session: SessionId,
    pub owner: Vec<u8>,
    pub lasts: i64,
    pub client_token: Option<i64>,
    pub preempt: Option<i64>,
    pub ready_for: Option<i64>,
    pub given_up: bool,
    pub seen_until: Option<i64>,
    pub seen_renewals: Option<i64>,
    pub lease: Option<Arc<[u8]>>,
    pub read: Vec<RecordKey>,
}

/// Where takeovers wait for each other.
pub(super) struct Takes {
    pub connection: Arc<Connection>,
    waiting: Mutex<Waiting<Self>>,
}

impl Takes {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            waiting: Mutex::default(),
        }
    }

    async fn send(&self, takes: &[&Take], deadline: Instant) -> Result<Vec<Option<Row>>> {
        let ids: Vec<&[u8]> = takes.iter().map(|take| take.session.as_bytes()).collect();
        let owners: Vec<&[u8]> = takes.iter().map(|take| &*take.owner).collect();
        let numbers = |of: fn(&Take) -> Option<i64>| takes.iter().map(|take| of(take)).collect::<Vec<_>>();
        let lasts = numbers(|take| Some(take.lasts));
        let client_tokens = numbers(|take| take.client_token);
        let preempts = numbers(|take| take.preempt);
        let ready_for = numbers(|take| take.ready_for);
        let given_up: Vec<bool> = takes.iter().map(|take| take.given_up).collect();
        let seen_until = numbers(|take| take.seen_until);
        let seen_renewals = numbers(|take| take.seen_renewals);
        let leases: Vec<Option<&[u8]>> = takes.iter().map(|take| take.lease.as_deref()).collect();
        let (mut of, mut kinds, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (n, take) in (1_i64..).zip(takes) {
            let (its_kinds, its_names) = names_of(&take.read);
            of.extend(its_kinds.iter().map(|_| n));
            kinds.extend(its_kinds);
            names.extend(its_names);
        }
        let parameters: [(&(dyn ToSql + Sync), Type); 13] = [
            (&ids, Type::BYTEA_ARRAY),
            (&owners, Type::BYTEA_ARRAY),
            (&lasts, Type::INT8_ARRAY),
            (&client_tokens, Type::INT8_ARRAY),
            (&preempts, Type::INT8_ARRAY),
            (&ready_for, Type::INT8_ARRAY),
            (&given_up, Type::BOOL_ARRAY),
            (&seen_until, Type::INT8_ARRAY),
            (&seen_renewals, Type::INT8_ARRAY),
            (&leases, Type::BYTEA_ARRAY),
            (&of, Type::INT8_ARRAY),
            (&kinds, Type::BYTEA_ARRAY),
            (&names, Type::BYTEA_ARRAY),
        ];
        let statement = &self.connection.statements.acquire;
        let rows = self
            .connection
            .query(Lane::All, statement, &parameters, deadline)
            .await?;
        let mut answers: Vec<Option<Row>> = takes.iter().map(|_| None).collect();
        for row in rows {
            let at = usize::try_from(column::<i64>(&row, 18)? - 1).unwrap_or(usize::MAX);
            if let Some(answer) = answers.get_mut(at) {
                *answer = Some(row);
            }
        }
        Ok(answers)
    }
}

impl BatchSink for Takes {
    type Item = Take;
    type Answer = Result<Row>;

    const IN_FLIGHT: usize = STATEMENTS;
    const MOST_ITEMS: usize = SESSIONS;
    const MOST_BYTES: usize = usize::MAX;

    fn waiting(&self) -> &Mutex<Waiting<Self>> {
        &self.waiting
    }

    /// A statement has each session once: the caller looks at the answers of the one before it.
    fn may_share_a_call(one: &Take, other: &Take) -> bool {
        one.session != other.session
    }

    fn bytes(_: &Take) -> usize {
        1
    }

    async fn send_batch(&self, items: &[&Take], deadline: Instant) -> Vec<Result<Row>> {
        let mut first: Vec<&Take> = Vec::with_capacity(items.len());
        // Of one that is wanted twice only the first is asked about; the other one tries again.
        let places: Vec<Option<usize>> = items
            .iter()
            .map(|item| {
                let known = first.iter().any(|take| take.session == item.session);
                (!known).then(|| {
                    first.push(item);
                    first.len() - 1
                })
            })
            .collect();
        match self.send(&first, deadline).await {
            Ok(mut answers) => {
                let answer = |place: Option<usize>| {
                    let place = place.ok_or_else(busy)?;
                    let answer = answers.get_mut(place).and_then(Option::take);
                    answer.ok_or_else(|| corrupt("a lease was not answered"))
                };
                places.into_iter().map(answer).collect()
            }
            Err(error) => items.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn timed_out() -> Result<Row> {
        Err(timed_out())
    }

    fn interrupted() -> Result<Row> {
        Err(timed_out())
    }
}

/// A lease to be given back.
pub(super) struct Given {
    pub session: SessionId,
    pub token: Token,
}

/// Where releases wait for each other.
pub(super) struct Releases {
    pub connection: Arc<Connection>,
    waiting: Mutex<Waiting<Self>>,
}

impl Releases {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            waiting: Mutex::default(),
        }
    }

    /// Which of them another transaction holds.
    async fn send(&self, items: &[&Given], deadline: Instant) -> Result<Vec<bool>> {
        let ids: Vec<&[u8]> = items.iter().map(|item| item.session.as_bytes()).collect();
        let tokens: Vec<i64> = items.iter().map(|item| long(item.token)).collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&ids, Type::BYTEA_ARRAY), (&tokens, Type::INT8_ARRAY)];
        let statement = &self.connection.statements.release;
        let rows = self
            .connection
            .query(Lane::All, statement, &parameters, deadline)
            .await?;
        let mut held = vec![false; items.len()];
        for row in &rows {
            let at = usize::try_from(column::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
            if let Some(held) = held.get_mut(at) {
                *held = true;
            }
        }
        Ok(held)
    }
}

impl BatchSink for Releases {
    type Item = Given;
    /// Whether it is to be tried again.
    type Answer = Result<bool>;

    const IN_FLIGHT: usize = STATEMENTS;
    const MOST_ITEMS: usize = 4 * SESSIONS;
    const MOST_BYTES: usize = usize::MAX;

    fn waiting(&self) -> &Mutex<Waiting<Self>> {
        &self.waiting
    }

    fn may_share_a_call(_: &Given, _: &Given) -> bool {
        true
    }

    fn bytes(_: &Given) -> usize {
        1
    }

    async fn send_batch(&self, items: &[&Given], deadline: Instant) -> Vec<Result<bool>> {
        match self.send(items, deadline).await {
            Ok(held) => held.into_iter().map(Ok).collect(),
            Err(error) => items.iter().map(|_| Err::<bool, Error>(error.clone())).collect(),
        }
    }

    fn timed_out() -> Result<bool> {
        Err(timed_out())
    }

    fn interrupted() -> Result<bool> {
        Err(timed_out())
    }
}
