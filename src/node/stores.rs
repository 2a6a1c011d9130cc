//! Stores in use in this process.
//!
//! Whoever opens the same location shares one [`Vault`], from whichever thread: one connection, one owner, one
//! actor per session. The vault is closed with its last user.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::backend::Backend;
use crate::backend::embedded::{Embedded, EmbeddedConfig};
use crate::config::{BackendKind, StoreConfig, ms};
use crate::error::{Error, Kind, Result};
use crate::runtime::Lane;
use crate::session::{Settings, Vault};

/// A location's vault; empty while nobody uses it.
#[derive(Default)]
struct Place {
    open: tokio::sync::Mutex<Option<InUse>>,
}

struct InUse {
    vault: Arc<Vault>,
    users: usize,
}

/// A share of a vault, to be given back by [`Share::close`].
pub struct Share {
    place: Arc<Place>,
    location: String,
    /// The vault.
    pub vault: Arc<Vault>,
    /// What the operator should know about the storage's set-up.
    pub warnings: Vec<String>,
}

fn places() -> &'static Mutex<HashMap<String, Arc<Place>>> {
    static PLACES: OnceLock<Mutex<HashMap<String, Arc<Place>>>> = OnceLock::new();
    PLACES.get_or_init(Mutex::default)
}

/// Where a store's work runs and by which name the process knows it.
pub fn locate(config: &StoreConfig) -> Result<(Lane, String)> {
    match config.backend {
        BackendKind::Embedded => {
            let folder = &section(config.embedded.as_ref(), "embedded")?.folder;
            let location = format!("embedded {} {}", canonical(folder), config.exclusive);
            Ok((Lane::disk(&location), location))
        }
        BackendKind::Redis | BackendKind::Mongodb | BackendKind::Hybrid => Err(Error::new(
            Kind::Config,
            "config",
            "this build has no such backend",
        )),
    }
}

/// Opens the store, or shares it if it is open. Must run in its lane.
pub async fn open(config: &StoreConfig, lane: Lane, location: String) -> Result<Share> {
    let place = places().lock().entry(location.clone()).or_default().clone();
    let mut open = place.open.lock().await;
    if let Some(in_use) = &mut *open {
        in_use.users += 1;
        let vault = in_use.vault.clone();
        drop(open);
        return Ok(Share {
            place,
            location,
            vault,
            warnings: Vec::new(),
        });
    }
    let (backend, warnings) = connect(config).await?;
    let settings = Settings {
        lease: ms(config.lease),
        operation_timeout: ms(config.resilience.operation_timeout),
    };
    let vault = Vault::new(backend, lane, settings);
    *open = Some(InUse {
        vault: vault.clone(),
        users: 1,
    });
    drop(open);
    Ok(Share {
        place,
        location,
        vault,
        warnings,
    })
}

impl Share {
    /// Gives the share back; the last one closes the vault.
    pub async fn close(self) -> Result<()> {
        let mut open = self.place.open.lock().await;
        let Some(in_use) = &mut *open else { return Ok(()) };
        in_use.users -= 1;
        if in_use.users > 0 {
            return Ok(());
        }
        *open = None;
        let outcome = self.vault.close().await;
        drop(open);
        let mut places = places().lock();
        // Two strong references are the map's and ours: nobody is waiting to open it again.
        if places
            .get(&self.location)
            .is_some_and(|place| Arc::strong_count(place) == 2)
        {
            places.remove(&self.location);
        }
        outcome
    }
}

async fn connect(config: &StoreConfig) -> Result<(Arc<dyn Backend>, Vec<String>)> {
    match config.backend {
        BackendKind::Embedded => {
            let section = section(config.embedded.as_ref(), "embedded")?;
            let backend = Embedded::open(EmbeddedConfig {
                folder: section.folder.clone(),
                durability: section.durability,
                exclusive: config.exclusive,
                open_timeout: ms(config.open_timeout),
            })
            .await?;
            Ok((Arc::new(backend), Vec::new()))
        }
        BackendKind::Redis | BackendKind::Mongodb | BackendKind::Hybrid => Err(Error::new(
            Kind::Config,
            "config",
            "this build has no such backend",
        )),
    }
}

fn section<'a, T>(section: Option<&'a T>, field: &'static str) -> Result<&'a T> {
    section.ok_or_else(|| {
        Error::new(
            Kind::Config,
            "config",
            format!("`{field}` is needed for this backend"),
        )
        .with("field", field)
    })
}

/// The folder may not exist yet: then its nearest existing parent is made canonical.
fn canonical(folder: &Path) -> String {
    let mut rest = Vec::new();
    for parent in folder.ancestors() {
        if let Ok(found) = parent.canonicalize() {
            let whole = rest.iter().rev().fold(found, |path, name| path.join(name));
            return whole.display().to_string();
        }
        rest.extend(parent.file_name());
    }
    folder.display().to_string()
}
