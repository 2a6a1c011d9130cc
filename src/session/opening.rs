//! Opening a session: the lease, and whether what is stored can be read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::lease::{self, Wanted};
use super::renewal;
use super::session::{Session, SessionContext};
use super::vault::{OpenOptions, Purpose, Vault};
use crate::backend::{Fence, Head, Seen, SessionId};
use crate::error::{Error, Kind, Result};
use crate::record::{RecordKey, Sealer};
use crate::time::Backoff;

/// Pauses before a storage that cannot be reached is asked again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));

impl Vault {
    /// [`Vault::open`] for a program that starts: a server that cannot be reached is waited for as long as an owner
    /// is. A disk that fails is not.
    pub async fn open_when_reachable(
        self: &Arc<Self>,
        id: &SessionId,
        options: &OpenOptions,
    ) -> Result<Arc<Session>> {
        let deadline = Instant::now() + options.open_timeout;
        let mut pauses = PAUSES;
        loop {
            let options = OpenOptions {
                open_timeout: deadline.saturating_duration_since(Instant::now()),
                ..options.clone()
            };
            let opened = self.open(id, &options).await;
            let away = matches!(&opened, Err(error) if is_away(error)) && self.backend.name() != "embedded";
            let pause = pauses.next_pause();
            if !away || Instant::now() + pause >= deadline {
                return opened;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes the lease and checks that what is stored can be opened, before anything may be written. To be deleted it
    /// need not be opened: then the answer says why it cannot be.
    pub(super) async fn take(
        self: &Arc<Self>,
        id: &SessionId,
        options: &OpenOptions,
        purpose: Purpose,
    ) -> Result<(Arc<Session>, Option<Error>)> {
        let sealer = Sealer::new(options.ring.clone(), options.seal, id)?;
        if !options.exclusive {
            let head = self.backend.head(id).await?;
            let creds = self
                .backend
                .read(id, &[RecordKey::creds()], seen_at(head))
                .await?;
            let creds = creds.first().and_then(Option::as_ref);
            let (_, unreadable) = self.readable(id, &sealer, head, creds, purpose).await?;
            let session = self.session(id, Fence::Shared, sealer, head, options);
            return Ok((Arc::new(session), unreadable));
        }
        let wanted = Wanted {
            session: id.clone(),
            lease: self.settings.lease,
            open_timeout: options.open_timeout,
            client_token: options.client_token,
            read: vec![RecordKey::creds()],
        };
        let (grant, trusted_until) = lease::take(&*self.backend, &self.waiting, wanted).await?;
        if grant.expires && !self.keeping.swap(true, Ordering::AcqRel) {
            self.worker
                .spawn(renewal::keep(Arc::downgrade(self), self.settings.lease));
        }
        let opening = grant.expires.then(|| self.leases.open(id, grant.token));
        let creds = grant.records.into_iter().next().flatten();
        let readable = self.readable(id, &sealer, grant.head, creds.as_ref(), purpose);
        match readable.await {
            Ok((plain, unreadable)) => {
                let fence = Fence::Owner(grant.token);
                let session = Arc::new(self.session(id, fence, sealer, grant.head, options));
                if unreadable.is_none() {
                    session.remember(&RecordKey::creds(), plain);
                }
                session.trust_until(trusted_until);
                self.keep_alive(options.ttl);
                Ok((session, unreadable))
            }
            Err(error) => {
                drop(opening);
                self.give_back(id, grant.token).await;
                Err(error)
            }
        }
    }

    fn session(
        &self,
        id: &SessionId,
        fence: Fence,
        sealer: Sealer,
        head: Head,
        options: &OpenOptions,
    ) -> Session {
        let context = SessionContext {
            timeout: self.settings.operation_timeout,
            on_lost: self.on_lost.clone(),
            metrics: self.metrics,
        };
        Session::new(id.clone(), fence, sealer, head, options.ttl, context)
    }

    /// Whether what is stored can be opened: the creds, or why not. The latter is an error unless the session is to be
    /// deleted.
    async fn readable(
        &self,
        id: &SessionId,
        sealer: &Sealer,
        head: Head,
        creds: Option<&Bytes>,
        purpose: Purpose,
    ) -> Result<(Option<Bytes>, Option<Error>)> {
        match self.check_readable(id, sealer, head, creds).await {
            Ok(plain) => Ok((plain, None)),
            Err(error) if purpose == Purpose::Delete && is_unreadable(&error) => Ok((None, Some(error))),
            Err(error) => Err(error),
        }
    }

    /// A wrong key must show before the first write, not at the first read: so one stored record is opened.
    /// Answers with the creds.
    async fn check_readable(
        &self,
        id: &SessionId,
        sealer: &Sealer,
        head: Head,
        creds: Option<&Bytes>,
    ) -> Result<Option<Bytes>> {
        if let Some(sealed) = creds {
            return sealer.open(&RecordKey::creds(), sealed).map(Some);
        }
        if head.version == 0 {
            return Ok(None);
        }
        let mut cursor = None;
        loop {
            let page = self.backend.scan(id, None, cursor, 1, seen_at(head)).await?;
            if let Some((key, sealed)) = page.items.first() {
                return sealer.open(key, sealed).map(|_| None);
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(None);
            }
        }
    }
}

/// What is known of a session that stood at `head`, by nobody's right.
fn seen_at(head: Head) -> Seen {
    Seen {
        version: head.version,
        ..Seen::NOTHING
    }
}

/// Whether the storage could not be reached.
fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Unavailable | Kind::Timeout | Kind::CircuitOpen
    )
}

/// Whether the storage answered with something that these keys do not open.
fn is_unreadable(error: &Error) -> bool {
    matches!(error.kind(), Kind::Encryption | Kind::Corrupt | Kind::Compression)
}
