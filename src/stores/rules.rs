//! Options that exclude each other. Only what opens a store knows all of them.

use std::time::Duration;

use crate::config::{BackendKind, StoreConfig};
use crate::error::{Error, Kind, Result};

const NO_TTL: &str = "the embedded store keeps sessions until they are deleted: it has no time to live";

/// Refuses options that cannot hold together, naming the one to change.
pub(super) fn check(config: &StoreConfig) -> Result<()> {
    check_ttl(config.backend == BackendKind::Embedded, config.ttl)
        .map_err(|text| refused("config", text).with("field", "ttl"))?;
    let behind = config.hybrid.as_ref().is_some_and(|hybrid| hybrid.write_behind);
    if config.backend == BackendKind::Hybrid && behind && !config.exclusive {
        let text = "write-behind needs an owner: `exclusive: false` goes with write-through only";
        return Err(refused("config", text).with("field", "exclusive"));
    }
    Ok(())
}

/// The time to live that a touch asks for by itself; `None` if it asks for none.
pub(super) fn ttl_of_touch(embedded: bool, seconds: Option<u64>) -> Result<Option<Duration>> {
    check_ttl(embedded, seconds).map_err(|text| refused("store", text).with("field", "ttlSeconds"))?;
    Ok(seconds.map(Duration::from_secs))
}

fn check_ttl(embedded: bool, seconds: Option<u64>) -> std::result::Result<(), &'static str> {
    match seconds {
        Some(0) => Err("expected at least 1 second"),
        Some(_) if embedded => Err(NO_TTL),
        _ => Ok(()),
    }
}

fn refused(layer: &'static str, text: &'static str) -> Error {
    Error::new(Kind::Config, layer, text)
}
