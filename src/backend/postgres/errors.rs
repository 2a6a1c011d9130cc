//! The driver's errors as ours, mapped once.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use super::LAYER;
use crate::backend::tls;
use crate::error::{Error, Kind};

const CREDENTIALS: &str = "the server refused these credentials: check user, password and database, and that the \
                           server takes this user from here (pg_hba.conf)";
const RIGHTS: &str = "the user may not do this: it needs the right to use the schema and to read and write its tables, \
                      and at first to make them (CREATE on the schema, or on the database to make the schema)";
const OTHER_KIND: &str =
    "the server does not know a needed statement: it is older than PostgreSQL 12, or of another kind";
const PASSING: &str = "the server could not carry out the statement";

/// A driver error. Of the server's only its own message is kept: details may name records.
pub(super) fn from_driver(error: &tokio_postgres::Error) -> Error {
    if let Some(answer) = error.as_db_error() {
        return from_state(answer.code(), answer.message());
    }
    let account = account_of(error);
    if let Some(refusal) = tls::refusal(LAYER, &account) {
        return refusal.because(&account);
    }
    let io = error
        .source()
        .and_then(|cause| cause.downcast_ref::<std::io::Error>());
    if error.is_closed() || io.is_some_and(|cause| ended(cause.kind())) {
        return Error::new(Kind::Unavailable, LAYER, "the connection ended")
            .because(&account)
            .of_ended_connection();
    }
    if account.contains("server does not support TLS") {
        let text =
            "the server does not speak TLS: set it up there, or say sslmode=disable where nobody can listen";
        return Error::new(Kind::Config, LAYER, text);
    }
    if account.contains("password missing") || account.contains("invalid configuration") {
        return Error::new(
            Kind::Config,
            LAYER,
            "the server wants a login that the URL does not have",
        )
        .because(&account);
    }
    if account.contains("unsupported authentication method") || account.contains("authentication error") {
        return Error::new(
            Kind::Config,
            LAYER,
            "the server wants a kind of login that is not known here",
        )
        .because(&account);
    }
    match io {
        Some(cause) if cause.kind() == std::io::ErrorKind::TimedOut => {
            Error::new(Kind::Timeout, LAYER, "the connection timed out").because(&account)
        }
        Some(_) => Error::new(Kind::Unavailable, LAYER, "the server cannot be reached").because(&account),
        None => {
            Error::new(Kind::Unavailable, LAYER, "the server's answer was not understood").because(&account)
        }
    }
}

fn account_of(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// How a connection looks that worked before; one that cannot be made fails in other ways.
fn ended(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// The server's answer, by its SQLSTATE. `docs/guides/postgres.md` has the table.
pub(super) fn from_state(state: &SqlState, text: &str) -> Error {
    let (kind, message) = meaning(state.code(), text);
    let error = Error::new(kind, LAYER, message)
        .because(&text)
        .with("sqlState", state.code());
    if ends_connection(state.code()) {
        error.of_ended_connection()
    } else {
        error
    }
}

/// Whether the connection is of no more use: it ends with this answer, or leads to a server that takes no writes.
pub(super) fn ends_connection(code: &str) -> bool {
    matches!(code, "25006" | "57P01" | "57P02" | "57P03" | "57P05") || code.starts_with("08")
}

/// Whether the statement was rolled back for meeting another one, and may be sent again at once.
pub(super) fn met_another(error: &Error) -> bool {
    let state = error.detail("sqlState").and_then(|state| state.as_str());
    matches!(state, Some("40001" | "40P01"))
}

fn meaning(code: &str, text: &str) -> (Kind, &'static str) {
    match code {
        "28000" | "28P01" => (Kind::Config, CREDENTIALS),
        "3D000" => (Kind::Config, "the server has no database of this name"),
        "3F000" => (Kind::Config, "the schema is gone, or the user may not see it"),
        "42501" => (Kind::Config, RIGHTS),
        "42P01" => (
            Kind::Config,
            "a table is gone: was the schema dropped, or another one restored?",
        ),
        "42601" | "42703" | "42704" | "42804" | "42883" | "42P18" | "0A000" => (Kind::Config, OTHER_KIND),
        "08P01" if text.contains("startup parameter") => (
            Kind::Config,
            "the pooler refuses a parameter of the URL: leave it out, or name it in ignore_startup_parameters there",
        ),
        "XX000" if of_pooler(text) => (Kind::Config, CREDENTIALS),
        "22021" | "22P05" => (
            Kind::Config,
            "the database cannot hold the text of an error or a name: make it with encoding UTF8",
        ),
        "53100" => (Kind::StorageFull, "the server's disk is full"),
        "53300" => (
            Kind::Unavailable,
            "the server has no connection left (max_connections, or the role's limit)",
        ),
        "53200" | "53400" | "53000" => (
            Kind::Unavailable,
            "the server is short of memory, or at another limit",
        ),
        "25006" => (
            Kind::Unavailable,
            "the server takes no writes: it is a standby now, or was set to be read-only",
        ),
        "57P01" | "57P02" | "57P03" | "57P05" => {
            (Kind::Unavailable, "the server is shutting down or starting up")
        }
        "57014" => (
            Kind::Timeout,
            "the statement was cancelled, or ran out of the server's time",
        ),
        "55P03" => (Kind::Unavailable, "a lock was not to be had"),
        "54000" | "54001" | "54011" | "54023" => (Kind::InvalidValue, "too large for the server"),
        "58P01" | "58030" => (Kind::Unavailable, "the server's disk failed"),
        "XX001" | "XX002" => (Kind::Corrupt, "the server's files are damaged"),
        _ => match code.get(..2) {
            Some("40") => (
                Kind::Unavailable,
                "the statement met another one and was rolled back",
            ),
            Some("21" | "22" | "23" | "26" | "34") => (Kind::Internal, "the server did not take a statement"),
            Some("08") => (Kind::Unavailable, "the connection failed"),
            Some("P0" | "09" | "27" | "39") => (
                Kind::Config,
                "a trigger or rule on the tables refused a statement: remove it",
            ),
            _ => (Kind::Unavailable, PASSING),
        },
    }
}

/// What poolers of clouds say in the place of the server's code.
fn of_pooler(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "tenant or user not found",
        "password authentication failed",
        "no such database",
    ]
    .iter()
    .any(|words| text.contains(words))
}

pub(super) fn timed_out() -> Error {
    Error::new(Kind::Timeout, LAYER, "no answer within operationTimeout")
}

pub(super) fn corrupt(what: &'static str) -> Error {
    Error::new(Kind::Corrupt, LAYER, what)
}

/// Others held the row at every try.
pub(super) fn busy() -> Error {
    Error::new(Kind::Unavailable, LAYER, "gave up after repeated write conflicts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const TABLE: [(&str, &str, Kind, bool); 37] = [
        ("28P01", "password authentication failed for user", Kind::Config, false),
        ("28000", "no pg_hba.conf entry for host", Kind::Config, false),
        ("3D000", "database does not exist", Kind::Config, false),
        ("3F000", "schema does not exist", Kind::Config, false),
        ("42501", "permission denied for table", Kind::Config, false),
        ("42P01", "relation does not exist", Kind::Config, false),
        ("42703", "column does not exist", Kind::Config, false),
        ("42601", "syntax error", Kind::Config, false),
        ("42883", "function does not exist", Kind::Config, false),
        ("0A000", "feature not supported", Kind::Config, false),
        ("22021", "invalid byte sequence", Kind::Config, false),
        ("22P02", "invalid text representation", Kind::Internal, false),
        ("23505", "duplicate key", Kind::Internal, false),
        ("26000", "prepared statement does not exist", Kind::Internal, false),
        ("25006", "cannot execute INSERT in a read-only transaction", Kind::Unavailable, true),
        ("53000", "insufficient resources", Kind::Unavailable, true),
        ("53100", "could not extend file: No space left on device", Kind::StorageFull, true),
        ("53200", "out of memory", Kind::Unavailable, true),
        ("53300", "sorry, too many clients already", Kind::Unavailable, true),
        ("53400", "configuration limit exceeded", Kind::Unavailable, true),
        ("54000", "index row size exceeds maximum", Kind::InvalidValue, false),
        ("55P03", "could not obtain lock", Kind::Unavailable, true),
        ("57014", "canceling statement due to statement timeout", Kind::Timeout, true),
        ("57P01", "terminating connection due to administrator command", Kind::Unavailable, true),
        ("57P02", "terminating connection because of crash", Kind::Unavailable, true),
        ("57P03", "the database system is starting up", Kind::Unavailable, true),
        ("58030", "could not read file: Input/output error", Kind::Unavailable, true),
        ("08006", "connection failure", Kind::Unavailable, true),
        ("08P01", "query_wait_timeout", Kind::Unavailable, true),
        ("08P01", "unsupported startup parameter: options", Kind::Config, false),
        ("40001", "could not serialize access", Kind::Unavailable, true),
        ("40P01", "deadlock detected", Kind::Unavailable, true),
        ("P0001", "raised by a trigger", Kind::Config, false),
        ("XX000", "Tenant or user not found", Kind::Config, false),
        ("XX000", "tuple concurrently updated", Kind::Unavailable, true),
        ("XX001", "invalid page in block", Kind::Corrupt, false),
        ("ZZ999", "something new", Kind::Unavailable, true),
    ];

    #[test]
    fn every_answer_of_a_server_has_its_meaning() {
        for (code, text, kind, retryable) in TABLE {
            let error = from_state(&SqlState::from_code(code), text);
            assert_eq!(
                (error.kind(), error.retryable()),
                (kind, retryable),
                "{code}: {text}"
            );
            assert_eq!(error.cause(), Some(text));
            assert_eq!(error.detail("sqlState"), Some(&code.into()));
            assert_eq!(met_another(&error), ["40001", "40P01"].contains(&code));
        }
    }
}
