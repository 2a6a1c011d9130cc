//! One client of the driver for each URL, shared by the whole process.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mongodb::Client;
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::errors::{from_driver, timed_out};
use super::primary::Primaries;
use super::tls::certificates;
use super::{LAYER, MongoConfig};
use crate::backend::Tls;
use crate::error::{Error, Kind, Result};

/// The longest that setting a connection up may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections to each server. A command holds one for its round trip: the driver's 10 are few when that takes
/// long.
const POOL_SIZE: u32 = 50;
/// Connections beyond those, for what renews leases: it never waits until another command gives its own back.
const RESERVED: u32 = 4;
/// Connections that are set up at once.
const CONNECTING: u32 = 8;

/// URL, certificates and time-out, and the runtime: a client's background tasks live on the one that made it.
pub(super) type ClientKey = (String, Option<[u8; 32]>, Duration, tokio::runtime::Id);

/// A client, and places for all commands but those that renew leases.
#[derive(Clone)]
pub(super) struct Shared {
    pub client: Client,
    pub places: Arc<Semaphore>,
    pub primaries: Primaries,
}

/// The clients of this process, each with how many connections use it.
type Clients = HashMap<ClientKey, (Shared, usize)>;

fn clients() -> &'static Mutex<Clients> {
    static CLIENTS: OnceLock<Mutex<Clients>> = OnceLock::new();
    CLIENTS.get_or_init(Mutex::default)
}

fn key_of(config: &MongoConfig) -> ClientKey {
    let certificates = config.tls.as_ref().map(Tls::fingerprint);
    let runtime = tokio::runtime::Handle::current().id();
    (
        config.url.clone(),
        certificates,
        config.operation_timeout,
        runtime,
    )
}

fn refused(config: &MongoConfig, error: &mongodb::error::Error) -> Error {
    Error::new(Kind::Config, LAYER, "the driver does not take this URL")
        .because(&config.redact(&error.kind.to_string()))
}

/// What the URL says, with our defaults for what it does not.
pub(super) async fn options(config: &MongoConfig) -> Result<ClientOptions> {
    let parsing = ClientOptions::parse(&config.url);
    let mut options = tokio::time::timeout(config.operation_timeout, parsing)
        .await
        .map_err(|_| timed_out())?
        .map_err(|error| match error.kind.as_ref() {
            ErrorKind::DnsResolve { .. } => from_driver(&error),
            _ => refused(config, &error),
        })?;
    // Less than the whole, so that "no server, because …" comes before the bare time-out does.
    options.server_selection_timeout = Some(config.operation_timeout * 3 / 4);
    // Setting a connection up takes several round trips. It goes on in the background when the command that asked
    // for it has run out of time, so that on a slow network a later one finds it ready.
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.max_pool_size.get_or_insert(POOL_SIZE);
    options.max_connecting.get_or_insert(CONNECTING);
    options.app_name.get_or_insert_with(|| "baileys-vault".to_owned());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    Ok(options)
}

/// Where the server is, for its errors.
pub(super) fn hosts_of(options: &ClientOptions) -> String {
    let hosts: Vec<_> = options.hosts.iter().map(ToString::to_string).collect();
    hosts.join(", ")
}

/// Does `work` in one of `places`, bounds the wait for both, and maps the driver's error.
pub(super) fn bounded<T>(
    places: Option<&Semaphore>,
    limit: Duration,
    work: impl Future<Output = mongodb::error::Result<T>>,
) -> impl Future<Output = Result<T>> {
    // Large: the driver's futures are.
    let work = Box::pin(work);
    let placed = async move {
        let _place = match places {
            // An error would say that there are no places any more; they are never taken away.
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        work.await
    };
    async move {
        match tokio::time::timeout(limit, placed).await {
            Ok(answer) => answer.map_err(|error| from_driver(&error)),
            Err(_) => Err(timed_out()),
        }
    }
}

/// The client for this configuration, made with `options` if there is none; to be given back.
pub(super) fn share(config: &MongoConfig, mut options: ClientOptions) -> Result<(Shared, ClientKey)> {
    let key = key_of(config);
    let mut clients = clients().lock();
    if let Some((shared, users)) = clients.get_mut(&key) {
        *users += 1;
        return Ok((shared.clone(), key));
    }
    let pool = options.max_pool_size.unwrap_or(POOL_SIZE);
    // The driver refuses 0.
    options.max_pool_size = Some(if pool == 0 {
        0
    } else {
        pool.saturating_add(RESERVED)
    });
    let primaries = Primaries::default();
    options.sdam_event_handler = Some(primaries.listener());
    // The driver reads the files once, while it makes the client.
    let _files = certificates(&mut options, config.tls.as_ref())?;
    let client = Client::with_options(options).map_err(|error| refused(config, &error))?;
    let places = usize::try_from(pool).unwrap_or(usize::MAX);
    let shared = Shared {
        client,
        places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
        primaries,
    };
    clients.insert(key.clone(), (shared.clone(), 1));
    Ok((shared, key))
}

pub(super) fn give_back(key: &ClientKey) {
    let mut clients = clients().lock();
    if let Some((_, users)) = clients.get_mut(key) {
        *users -= 1;
        if *users == 0 {
            clients.remove(key);
        }
    }
}

/// How many connections share this configuration's client on this runtime.
#[cfg(test)]
pub(super) fn users_of(config: &MongoConfig) -> usize {
    clients()
        .lock()
        .get(&key_of(config))
        .map_or(0, |(_, users)| *users)
}
