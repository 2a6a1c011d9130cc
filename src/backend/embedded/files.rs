//! The files in the folder: names, modes, identity.

use std::fs::{self, DirBuilder, File, OpenOptions};
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
    pub lock: PathBuf,
    pub holder: PathBuf,
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
            lock: folder.join("vault.lock"),
            holder: folder.join("vault.holder"),
            folder,
        })
    }

    /// Takes from our files what other users may do with them. Where the file system knows no modes, or the files
    /// belong to somebody else, they stay as they are: the folder's owner has decided.
    pub fn tighten(&self) {
        #[cfg(unix)]
        for path in [&self.database, &self.wal, &self.lock, &self.holder] {
            use std::os::unix::fs::PermissionsExt;
            if let Ok(found) = fs::metadata(path)
                && found.permissions().mode() & 0o077 != 0
            {
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
            }
        }
    }

    /// Which file the database is now.
    pub fn identity(&self) -> io::Result<Identity> {
        let found = fs::metadata(&self.database)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Ok(Identity(found.dev(), found.ino()))
        }
        // Elsewhere the system does not let anybody move or delete an open database.
        #[cfg(not(unix))]
        {
            drop(found);
            Ok(Identity(0, 0))
        }
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

/// Opens a file of ours for writing; created with mode 0600 if there is none.
pub(super) fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.write(true).open(path)
}
