//! What users set.

use std::path::PathBuf;
use std::time::Duration;

/// Options of the embedded backend.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Folder of the database; created (mode 0700) if there is none. Files of others in it are left alone.
    pub folder: PathBuf,
    /// What an acknowledged write survives. Default: [`Durability::Process`].
    pub durability: Durability,
    /// Whether this process wants the folder for itself. `false` lets in other processes that say `false` too;
    /// their commits should then be made with [`Fence::Shared`](crate::backend::Fence::Shared). Default: `true`.
    pub exclusive: bool,
    /// How long opening waits for another holder of the folder to let go. Default: 10 seconds.
    pub open_timeout: Duration,
}

impl EmbeddedConfig {
    /// The defaults, for `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            durability: Durability::default(),
            exclusive: true,
            open_timeout: Duration::from_secs(10),
        }
    }
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The death of the process at any moment. Power loss may take the last second: what was written is flushed
    /// to the disk at least once a second.
    #[default]
    Process,
    /// Power loss: every commit waits for the disk. Costs one flush a commit, 0.2 to 10 ms.
    Full,
}
