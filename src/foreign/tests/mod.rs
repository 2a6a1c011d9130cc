//! Tests against real servers and files.

mod mongo;
mod redis;
mod sqlite;

use crate::config::ForeignSection;

/// How a server is reached that is there.
fn server(url: &str) -> ForeignSection {
    ForeignSection {
        url: url.to_owned(),
        database: None,
        tls: None,
        operation_timeout: 10_000,
        open_timeout: 10_000,
    }
}
