//! Driver errors, mapped once.

use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, ffi};

use crate::error::{Error, Kind};

/// The backend's name, and the `layer` of its errors.
pub const LAYER: &str = "embedded";

/// An error of `SQLite` on the database at `path`.
pub(super) fn database(path: &Path, connection: Option<&Connection>, error: &rusqlite::Error) -> Error {
    database_of(LAYER, path, connection, error)
}

/// The same for a database that is no store of ours.
pub(crate) fn database_of(
    layer: &'static str,
    path: &Path,
    connection: Option<&Connection>,
    error: &rusqlite::Error,
) -> Error {
    let (kind, hint) = match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            // SAFETY: the handle is valid for as long as the connection is borrowed, and the call only reads it.
            let errno = connection.map_or(0, |it| unsafe { ffi::sqlite3_system_errno(it.handle()) });
            classify(failure.code, errno)
        }
        // A column holds another type, or a number out of range: not written by this library.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => (Kind::Corrupt, "a value in the database is malformed"),
        _ => (Kind::Internal, "the database refused a call"),
    };
    let failed = Error::new(kind, layer, format!("{hint} ({})", path.display())).because(error);
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => failed.with("sqliteCode", failure.extended_code),
        _ => failed,
    }
}

/// What a result code of `SQLite` means to the caller. `errno` is the system's last error, as some result codes
/// stand for several.
fn classify(code: ErrorCode, errno: i32) -> (Kind, &'static str) {
    match code {
        ErrorCode::DiskFull => (Kind::StorageFull, "no room left for the database"),
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if is_no_room(errno) => {
            (Kind::StorageFull, "no room left for the database")
        }
        ErrorCode::SystemIoFailure => (Kind::Unavailable, "reading or writing the database failed"),
        ErrorCode::CannotOpen => (
            Kind::Unavailable,
            "the database cannot be opened; check that folder and files exist and belong to this user",
        ),
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly => (
            Kind::Unavailable,
            "the database cannot be written; check its permissions",
        ),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            (Kind::Unavailable, "the database is locked by another process")
        }
        ErrorCode::OutOfMemory => (Kind::Unavailable, "out of memory"),
        ErrorCode::OperationInterrupted | ErrorCode::OperationAborted => {
            (Kind::Unavailable, "the operation was interrupted")
        }
        ErrorCode::DatabaseCorrupt => (Kind::Corrupt, "the database is damaged"),
        ErrorCode::NotADatabase => (Kind::Corrupt, "the file is not a database"),
        ErrorCode::TooBig => (Kind::InvalidValue, "a record is too big"),
        // Misuse, a broken constraint, a changed schema …: statements are fixed and the schema is checked at open,
        // so nothing outside this library causes them.
        _ => (Kind::Internal, "the database refused a call"),
    }
}

/// An error of the file system; `action` says what failed, as in "cannot create".
pub(super) fn file(path: &Path, action: &str, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::StorageFull,
        _ => Kind::Unavailable,
    };
    Error::new(kind, LAYER, format!("{action} {}", path.display())).because(error)
}

/// Whether the system failed to bring to the disk what was written. It may say so once and forget what it was about, so
/// that succeeding later proves nothing.
pub(super) fn is_failed_flush(error: &Error) -> bool {
    let code = error.detail("sqliteCode").and_then(serde_json::Value::as_i64);
    [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC]
        .iter()
        .any(|failed| code == Some(i64::from(*failed)))
}

fn is_no_room(errno: i32) -> bool {
    errno != 0
        && matches!(
            io::Error::from_raw_os_error(errno).kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_codes_have_kinds() {
        let kind = |code: i32, errno: i32| classify(ffi::Error::new(code).code, errno).0;
        assert_eq!(kind(ffi::SQLITE_FULL, 0), Kind::StorageFull);
        assert_eq!(kind(ffi::SQLITE_IOERR_WRITE, 0), Kind::Unavailable);
        assert_eq!(kind(ffi::SQLITE_CORRUPT, 0), Kind::Corrupt);
        assert_eq!(kind(ffi::SQLITE_NOTADB, 0), Kind::Corrupt);
        assert_eq!(kind(ffi::SQLITE_CANTOPEN, 0), Kind::Unavailable);
        assert_eq!(kind(ffi::SQLITE_READONLY, 0), Kind::Unavailable);
        assert_eq!(kind(ffi::SQLITE_BUSY, 0), Kind::Unavailable);
        assert_eq!(kind(ffi::SQLITE_TOOBIG, 0), Kind::InvalidValue);
        assert_eq!(kind(ffi::SQLITE_CONSTRAINT, 0), Kind::Internal);
    }

    #[cfg(unix)]
    #[test]
    fn an_exceeded_quota_is_a_full_storage() {
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            assert_eq!(classify(ErrorCode::SystemIoFailure, errno).0, Kind::StorageFull);
            assert_eq!(classify(ErrorCode::CannotOpen, errno).0, Kind::StorageFull);
        }
        assert_eq!(
            classify(ErrorCode::SystemIoFailure, libc::EIO).0,
            Kind::Unavailable
        );
    }
}
