//! Is this server fit to hold the only copy?

use std::collections::HashMap;

use redis::{FromRedisValue, Value, cmd};
use tokio::time::Instant;

use super::config::Address;
use super::connection::{Fault, Link};
use crate::error::Result;

/// A page of records, or what Baileys asks for at once, may have so many bytes.
const SMALL_BUFFER: u64 = 32 << 20;
/// The setting that says how large answers may be.
const BUFFERS: &str = "client-output-buffer-limit";

/// One sentence for each thing that an operator should change, of every master.
pub(super) async fn check(link: &Link, deadline: Instant) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    match link.masters(deadline).await? {
        None => check_node(link, None, deadline, &mut warnings).await?,
        Some(masters) => {
            for master in &masters {
                check_node(link, Some(master), deadline, &mut warnings).await?;
            }
        }
    }
    // Nodes of a cluster are mostly set up alike.
    warnings.dedup();
    Ok(warnings)
}

/// The same, of large answers alone: nothing else matters to a server whose data may be lost.
pub(super) async fn check_answers(link: &Link, deadline: Instant) -> Result<Vec<String>> {
    let nodes = match link.masters(deadline).await? {
        None => vec![None],
        Some(masters) => masters.into_iter().map(Some).collect(),
    };
    let mut warnings = Vec::new();
    for node in &nodes {
        let buffers = config(link, node.as_ref(), BUFFERS, deadline).await?;
        warnings.extend(small_buffer(&buffers.unwrap_or_default()));
    }
    warnings.dedup();
    Ok(warnings)
}

async fn check_node(
    link: &Link,
    node: Option<&Address>,
    deadline: Instant,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let info = info(link, node, deadline).await?;
    let setting = async |name: &str| -> Result<Option<String>> {
        Ok(config(link, node, name, deadline)
            .await?
            .or_else(|| info.get(name).cloned()))
    };

    // INFO tells some of it where CONFIG is forbidden, as in most managed services.
    let policy = setting("maxmemory-policy")
        .await?
        .or_else(|| info.get("maxmemory_policy").cloned());
    let limit = setting("maxmemory").await?;
    match policy.as_deref() {
        None => warnings.push(
            "maxmemory-policy could not be checked (the ACL user may run neither CONFIG GET nor INFO): it must be noeviction"
                .to_owned(),
        ),
        Some("noeviction") => {}
        Some(_) if limit.as_deref() == Some("0") => {}
        Some(policy) => warnings.push(format!(
            "maxmemory-policy is {policy}: Redis may evict sessions; set it to noeviction"
        )),
    }

    let append_only = match setting("appendonly").await? {
        Some(value) => Some(value == "yes"),
        None => info.get("aof_enabled").map(|value| value == "1"),
    };
    let snapshots = setting("save").await?.map(|save| !save.trim().is_empty());
    match (append_only, snapshots) {
        (Some(true), _) => {}
        (Some(false), Some(false)) => warnings.push(
            "persistence is off (appendonly no, save \"\"): a restart of Redis loses every session; set appendonly yes"
                .to_owned(),
        ),
        (Some(false), _) => warnings.push(
            "appendonly is off: a crash of Redis loses what was written since the last snapshot; set appendonly yes"
                .to_owned(),
        ),
        (None, _) => warnings.push(
            "persistence could not be checked (the ACL user may run neither CONFIG GET nor INFO): appendonly must be yes"
                .to_owned(),
        ),
    }

    let buffers = setting(BUFFERS).await?.unwrap_or_default();
    warnings.extend(small_buffer(&buffers));
    Ok(())
}

fn small_buffer(setting: &str) -> Option<String> {
    let limit = reply_limit(setting).filter(|limit| *limit < SMALL_BUFFER)?;
    Some(format!(
        "client-output-buffer-limit ends connections (class normal) that have {limit} bytes waiting: larger reads fail \
         once and are asked again in halves; set it to 0"
    ))
}

/// The hard limit of `normal 0 0 0 slave 268435456 …`, if there is one.
fn reply_limit(setting: &str) -> Option<u64> {
    let mut words = setting.split_whitespace();
    words.find(|word| *word == "normal")?;
    words.next()?.parse().ok().filter(|limit| *limit > 0)
}

async fn info(link: &Link, node: Option<&Address>, deadline: Instant) -> Result<HashMap<String, String>> {
    let answer = allowed(link.send_to(node, &cmd("INFO"), deadline).await)?;
    let text = answer
        .and_then(|answer| String::from_redis_value(answer).ok())
        .unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect())
}

async fn config(
    link: &Link,
    node: Option<&Address>,
    name: &str,
    deadline: Instant,
) -> Result<Option<String>> {
    let answer = allowed(
        link.send_to(node, cmd("CONFIG").arg("GET").arg(name), deadline)
            .await,
    )?;
    let pairs = answer.and_then(|answer| HashMap::<String, String>::from_redis_value(answer).ok());
    Ok(pairs.and_then(|mut pairs| pairs.remove(name)))
}

/// `None` if the server refuses the command: forbidden by the ACL, or renamed away.
fn allowed(answer: std::result::Result<Value, Fault>) -> Result<Option<Value>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Redis(cause, _)) if matches!(cause.code(), Some("NOPERM" | "ERR")) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}
