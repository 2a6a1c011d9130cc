//! Reading and writing what stands in a session's document of an outbox elsewhere.

use std::sync::atomic::{AtomicI64, Ordering};

use mongodb::bson::{Bson, Document, doc};

use super::documents::{IDLE, SessionDoc, long};
use super::metadata::{Outboxes, metadata_of, push_inherited};
use super::staging::check_sizes;
use super::{LAYER, MongoBackend};
use crate::backend::{Acquire, AcquireOutcome, OutboxOpened, SessionId, SessionMetadata, Token};
use crate::error::{Error, Kind, Result};
use crate::record::Change;

/// Sessions looked at by one call of [`MongoBackend::abandoned_outboxes`].
const PAGE: usize = 1000;

/// Numbers what this process says of outboxes, so that of two updates of one owner the later one counts, in whichever
/// order they arrive.
pub(super) static STEP: AtomicI64 = AtomicI64::new(1);

/// The session of the owner with `token`, if nothing later than `step` was said of its outbox.
fn before(session: &str, token: Token, step: i64) -> Document {
    let earlier = doc! { "$not": { "$gte": step } };
    doc! { "_id": session, "token": long(token), "outboxStep": earlier }
}

impl MongoBackend {
    /// What is written down of the session; `None` if it has no document.
    pub async fn metadata(&self, session: &SessionId) -> Result<Option<SessionMetadata>> {
        self.0.connection.ensure_open()?;
        let connection = &self.0.connection;
        let fields = doc! {
            "epoch": 1, "version": 1, "updatedAt": 1, "token": 1, "commitId": 1, "expiresAt": 1, "outbox": 1, "inherited": 1,
        };
        let filter = doc! { "_id": &**session };
        let found = connection
            .find(&connection.sessions, filter, Some(fields), 1)
            .await?;
        let Some(document) = found.first() else {
            return Ok(None);
        };
        let parsed = SessionDoc::parse(document)?;
        Ok(Some(metadata_of(&parsed, connection.now().await?.earliest)))
    }

    /// As [`Backend::acquire`](crate::backend::Backend::acquire), but of a session whose last owner may have left
    /// something in an outbox only if that owner is `ready_for`.
    pub async fn acquire_checking_outbox(
        &self,
        request: Acquire,
        ready_for: Option<Token>,
    ) -> Result<AcquireOutcome> {
        let session = request.session.clone();
        Box::pin(self.0.acquirer.acquire(request, Outboxes::ReadyFor(ready_for)))
            .await
            .map_err(|error| error.in_session(&session))
    }

    /// Writes down that the owner with `token` uses an outbox that begins at `version` by commit `commit_id`, and
    /// what it inherited.
    pub async fn open_outbox(
        &self,
        session: &SessionId,
        token: Token,
        (version, commit_id): (u64, u64),
        inherited: Option<(Token, u64)>,
    ) -> Result<OutboxOpened> {
        self.0.connection.ensure_open()?;
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        let mut stands = before(session, token, step);
        stands.extend(doc! { "version": long(version), "commitId": long(commit_id) });
        let mut update = doc! { "$set": { "outbox": long(token), "outboxStep": step } };
        if let Some(owner) = inherited {
            update.insert("$push", push_inherited(owner));
        }
        if version == 0 {
            update.insert("$unset", doc! { "expiresAt": "" });
        }
        if self.0.connection.update_session(stands, update).await? {
            return Ok(OutboxOpened::Yes);
        }
        let owned = self
            .metadata(session)
            .await?
            .is_some_and(|metadata| metadata.token == token);
        Ok(if owned {
            OutboxOpened::Moved
        } else {
            OutboxOpened::Fenced
        })
    }

    /// Writes down that the outbox of the owner with `token` is empty and not used; `false` if it is not the owner
    /// any more.
    pub async fn close_outbox(
        &self,
        session: &SessionId,
        token: Token,
        inherited: Option<(Token, u64)>,
    ) -> Result<bool> {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        self.close_outbox_at(step, session, token, inherited).await
    }

    pub(super) async fn close_outbox_at(
        &self,
        step: i64,
        session: &SessionId,
        token: Token,
        inherited: Option<(Token, u64)>,
    ) -> Result<bool> {
        self.0.connection.ensure_open()?;
        let connection = &self.0.connection;
        let idle = connection.now().await?.plus(IDLE);
        let mut update = doc! { "$set": { "outboxStep": step }, "$unset": { "outbox": "" } };
        if let Some(owner) = inherited {
            update.insert("$push", push_inherited(owner));
        }
        let owned = before(session, token, step);
        // Another one must not come in between.
        let unwritten = doc! {
            "_id": &**session, "token": long(token), "version": 0_i64, "outbox": Bson::Null,
        };
        let statements = vec![
            doc! { "q": owned, "u": update },
            doc! { "q": unwritten, "u": { "$set": { "expiresAt": idle } } },
        ];
        Ok(connection.update(&connection.sessions, statements).await?.matched > 0)
    }

    /// Sessions whose outbox may hold something and whose owner's lease ran out; the first thousand.
    pub async fn abandoned_outboxes(&self) -> Result<Vec<SessionId>> {
        self.0.connection.ensure_open()?;
        let connection = &self.0.connection;
        let now = connection.now().await?.earliest;
        let running = doc! { "until": { "$gt": now } };
        let running = connection.find(&connection.leases, running, None, 0).await?;
        let running: Vec<_> = running
            .iter()
            .filter_map(|lease| lease.get_str("_id").ok())
            .collect();
        let filter = doc! {
            "outbox": { "$gt": 0_i64 }, "lease": { "$nin": running },
            "$or": [{ "leaseUntil": null }, { "leaseUntil": { "$lte": now } }],
        };
        let found = connection
            .find(&connection.sessions, filter, Some(doc! { "_id": 1 }), PAGE)
            .await?;
        let name = |found: &Document| found.get_str("_id").ok().map(SessionId::from);
        Ok(found.iter().filter_map(name).collect())
    }

    /// Refuses to be behind an outbox whose entries go when this database has them: a fail-over may roll back what
    /// less than a majority has.
    pub fn check_behind_an_outbox(&self) -> Result<()> {
        if self.0.connection.weak {
            let message =
                "an outbox needs w=majority, or no w in the URL: a fail-over may take back what it gave up";
            return Err(Error::new(Kind::Config, LAYER, message));
        }
        Ok(())
    }

    /// Refuses changes that this backend could not store, so that they are not promised elsewhere.
    pub fn check_changes(changes: &[Change]) -> Result<()> {
        check_sizes(changes)
    }
}
