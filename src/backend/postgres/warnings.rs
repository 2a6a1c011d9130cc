//! What an operator should know about the server's settings.

use super::dial::Greeting;

/// One sentence for each setting by which acknowledged writes may be lost.
pub(super) fn of(greeting: &Greeting) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if greeting.fsync == "off" {
        warn("PostgreSQL has fsync off: a crash of its machine may destroy the whole database.");
    }
    if greeting.full_page_writes == "off" {
        warn("PostgreSQL has full_page_writes off: a crash of its machine may leave damaged pages behind.");
    }
    if greeting.synchronous_commit == "off" {
        warn(
            "PostgreSQL has synchronous_commit off: it acknowledges writes that are not on disk yet, and a crash loses \
             them. Set it to on, at least for this user (ALTER ROLE … SET synchronous_commit = on).",
        );
    } else if greeting.standbys > 0 {
        if greeting.synchronous_standbys.trim().is_empty() {
            warn(
                "PostgreSQL has standbys, and none is synchronous (synchronous_standby_names is empty): a failover may \
                 lose the last acknowledged writes.",
            );
        } else if greeting.synchronous_commit == "local" {
            warn(
                "PostgreSQL has synchronous_commit local: acknowledged writes may not be on the synchronous standby yet, \
                 and a failover loses them.",
            );
        }
    }
    warnings
}
