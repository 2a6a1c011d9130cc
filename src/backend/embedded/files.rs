//! The files in the folder: names, modes, identity.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::failure;
use crate::error::Result;

/// Paths of a store's files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// The folder, canonical, so that one folder has one name.
    pub folder: PathBuf,
    pub database: PathBuf,
    pub wal: PathBuf,
    pub shm: PathBuf,
    pub lock: PathBuf,
    pub holder: PathBuf,
    pub turn: PathBuf,
}

/// Which file a path led to when it was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Files {
    /// The files in `folder`, which is created if there is none.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(folder)
            .map_err(|error| failure::file(folder, "cannot create the folder", &error))?;
        let folder = folder
            .canonicalize()
            .map_err(|error| failure::file(folder, "cannot find the folder", &error))?;
        Ok(Self {
            database: folder.join("vault.db"),
            wal: folder.join("vault.db-wal"),
            shm: folder.join("vault.db-shm"),
            lock: folder.join("vault.lock"),
            holder: folder.join("vault.holder"),
            turn: folder.join("vault.turn"),
            folder,
        })
    }

    /// Takes from our files what other users may do with them. Where the file system knows no modes, or the files
    /// belong to somebody else, they stay as they are: the folder's owner has decided.
    pub fn tighten(&self) {
        #[cfg(unix)]
        for path in [&self.database, &self.wal, &self.lock, &self.holder, &self.turn] {
            use std::os::unix::fs::PermissionsExt;
            if let Ok(found) = fs::metadata(path)
                && found.permissions().mode() & 0o077 != 0
            {
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
            }
        }
    }

    /// The first thing found that says that there was a database in the folder.
    pub fn trace(&self) -> io::Result<Option<PathBuf>> {
        for path in [&self.wal, &self.shm, &self.holder] {
            if path.try_exists()? {
                return Ok(Some(path.clone()));
            }
        }
        let marker = self.folder.join("creds.json");
        if is_marker(&marker) {
            return Ok(Some(marker));
        }
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if is_imported(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_dir() {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }

    /// Makes the names in the folder survive power loss.
    pub fn sync_folder(&self) -> io::Result<()> {
        #[cfg(unix)]
        {
            File::open(&self.folder)?.sync_all()?;
            if let Some(parent) = self.folder.parent() {
                // A parent that may be searched but not read cannot be opened; the system flushes it in time.
                if let Ok(parent) = File::open(parent) {
                    parent.sync_all()?;
                }
            }
        }
        Ok(())
    }
}

impl Identity {
    /// Of the file at `path` now.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|found| Self::of(&found))
    }

    /// Of the file described.
    pub fn of(found: &Metadata) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Self(found.dev(), found.ino())
        }
        // Elsewhere the system does not let anybody move or delete an open file.
        #[cfg(not(unix))]
        {
            let _ = found;
            Self(0, 0)
        }
    }
}

/// Whether a file is the `creds.json` that is left for programs that look for one.
fn is_marker(path: &Path) -> bool {
    fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes).ok())
        .is_some_and(|fields| fields.contains_key("baileysVault"))
}

/// Whether a folder's name is that of files put aside after an import: `imported-`, then a date.
fn is_imported(name: &str) -> bool {
    name.strip_prefix("imported-")
        .is_some_and(|date| date.starts_with(|first: char| first.is_ascii_digit()))
}

/// Opens a file of ours for writing; created with mode 0600 if there is none.
pub(super) fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.write(true).open(path)
}
