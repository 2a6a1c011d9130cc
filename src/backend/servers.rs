//! What tests do where a server that they need is missing, or busy.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::error::Result;

/// How long a server of a test may be too busy to answer.
const BUSY: Duration = Duration::from_secs(60);

/// Names a file that gets one line for each skipped test: what a test that passes prints is not shown.
const SKIPPED: &str = "BAILEYS_VAULT_SKIPPED_RUST_TESTS";

/// Whether the test `name` can run: `server` is what it needs, `found` whether that is there. Where it is not, the
/// test is noted as skipped; on CI it fails.
pub fn found_for(name: &str, server: &str, found: bool) -> bool {
    if found {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{name} needs {server}"
    );
    eprintln!("skipped {name}: it needs {server}");
    if let Ok(file) = std::env::var(SKIPPED) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        writeln!(file.unwrap(), "{server}\t{name}").unwrap();
    }
    false
}

/// The URL of the MongoDB server for the test `name`, without a database.
pub fn mongo_for(name: &str) -> Option<String> {
    const SERVER: &str = "BAILEYS_VAULT_TEST_MONGO";
    let url = std::env::var(SERVER).ok();
    let needs = format!("a MongoDB server (its URL in {SERVER})");
    found_for(name, &needs, url.is_some()).then_some(())?;
    Some(url?.trim_end_matches('/').to_owned())
}

/// The URL of the PostgreSQL server for the test `name`, with a database.
pub fn postgres_for(name: &str) -> Option<String> {
    const SERVER: &str = "BAILEYS_VAULT_TEST_POSTGRES";
    let url = std::env::var(SERVER).ok();
    let needs = format!("a PostgreSQL server (its URL in {SERVER})");
    found_for(name, &needs, url.is_some()).then_some(())?;
    url
}

/// What `connect` makes of a server that is there, however slow the machine is. A test may want a short time limit
/// for what it does later, which must not fail it before it begins.
pub async fn connected<T>(mut connect: impl AsyncFnMut() -> Result<T>) -> T {
    let begun = Instant::now();
    loop {
        match connect().await {
            Ok(connection) => return connection,
            Err(error) if error.retryable() && begun.elapsed() < BUSY => {}
            Err(error) => panic!("the test's server does not answer: {error}"),
        }
    }
}
