//! What tests do where a server that they need is missing.

use std::io::Write;

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
