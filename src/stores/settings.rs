//! What all who share a store must agree on.
//!
//! A store is opened once in a process, with the settings of whoever came first. Another one that asks for other
//! settings would not get them, so it is told which and with which values. Compared is the whole configuration, so that
//! an option added later is too, but for what belongs to each opener or is part of the location's name. One rule for every
//! storage. What two openers of one session must agree on is said in `session/agreement.rs`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config;
use crate::error::{Error, Kind, Result};

/// Belong to each opener (`security` and `ttl` to the sessions that it opens).
const OWN: [&str; 4] = ["security", "ttl", "openTimeout", "cacheBytes"];

/// The configuration that an opener of a store asks for, as TypeScript hands it over. Not to be printed: it may hold
/// passwords.
pub(super) struct SharedSettings(String);

impl SharedSettings {
    pub fn of(json: &str) -> Self {
        Self(json.to_owned())
    }

    /// Refuses an opener that asks for something else, naming the option and both values.
    pub fn ensure_equal(&self, asked: &Self) -> Result<()> {
        // Nearly all who share a store ask in the same words.
        if self.0 == asked.0 {
            return Ok(());
        }
        let (in_use, wanted) = (settings_of(&self.0)?, settings_of(&asked.0)?);
        let differs = |path: &&String| in_use.get(*path) != wanted.get(*path);
        let Some(path) = in_use.keys().chain(wanted.keys()).find(differs) else {
            return Ok(());
        };
        let option = option_of(path, in_use.get("backend"));
        let value =
            |settings: &BTreeMap<_, _>| settings.get(path).map_or(Value::Null, |value| shown(path, value));
        let (in_use, wanted) = (value(&in_use), value(&wanted));
        let said = |value: &Value| match value {
            Value::Null => "left out".to_owned(),
            value => value.to_string(),
        };
        let text = format!(
            "the store is already open in this process with `{option}` {}, and cannot have it {} beside that; give all \
             that share it the same",
            said(&in_use),
            said(&wanted)
        );
        Err(Error::new(Kind::Config, "config", text)
            .with("field", option)
            .with("inUse", in_use)
            .with("asked", wanted))
    }
}

/// The settings that must be the same, by their path. Of those that are secret, or long, a digest.
fn settings_of(json: &str) -> Result<BTreeMap<String, Value>> {
    let mut config: BTreeMap<String, Value> = config::parse(json)?;
    config.retain(|name, _| !OWN.contains(&name.as_str()));
    // Each session on a server is exclusive or not by itself; a folder is so as a whole, and so is an outbox.
    if config.get("backend").is_some_and(|backend| {
        ["redis", "mongodb", "postgres"]
            .iter()
            .any(|name| backend == name)
    }) {
        config.remove("exclusive");
    }
    let mut settings = BTreeMap::new();
    for (name, value) in &config {
        collect(name, value, &mut settings);
    }
    Ok(settings)
}

fn collect(path: &str, value: &Value, settings: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(&format!("{path}.{name}"), value, settings);
            }
        }
        // As if it were not there.
        Value::Null => {}
        Value::String(text) if is_secret(path) => {
            let digest = hex::encode(Sha256::digest(text));
            settings.insert(path.to_owned(), json!(digest));
        }
        value => {
            settings.insert(path.to_owned(), value.clone());
        }
    }
}

fn last_of(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// URLs may have passwords in them; certificates are long, and keys secret.
fn is_secret(path: &str) -> bool {
    last_of(path) == "url" || path.contains(".tls.")
}

/// A setting as people set it.
fn shown(path: &str, value: &Value) -> Value {
    match (path, value) {
        ("lease", Value::Number(millis)) => json!(millis.as_f64().unwrap_or_default() / 1000.0),
        (path, Value::Bool(insecure)) if path.ends_with(".tls.insecure") => json!(!insecure),
        (path, Value::String(_)) if ["key", "url"].contains(&last_of(path)) => json!("(hidden)"),
        (path, Value::String(digest)) if is_secret(path) => {
            json!(format!("(sha256 {})", digest.get(..16).unwrap_or(digest)))
        }
        (_, value) => value.clone(),
    }
}

/// What the option behind a setting is called where people set it.
fn option_of(path: &str, backend: Option<&Value>) -> String {
    let path = path.replace(".tls.insecure", ".tls.rejectUnauthorized");
    match path.as_str() {
        "lease" => "ttl.lockTtl".to_owned(),
        "embedded.durability" => "durability".to_owned(),
        "hybrid.writeBehind" => "hybrid.enableWriteBehind".to_owned(),
        _ if backend.is_some_and(|backend| backend == "hybrid") => path
            .replace("redis.tls", "hybrid.redisTls")
            .replace("mongodb.tls", "hybrid.mongoTls")
            .replace("postgres.tls", "hybrid.postgresTls"),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(one: &str, other: &str) -> Option<(String, Value, Value)> {
        let in_use = SharedSettings::of(one);
        assert!(in_use.ensure_equal(&in_use).is_ok());
        let error = in_use.ensure_equal(&SharedSettings::of(other)).err()?;
        assert_eq!(error.kind(), Kind::Config);
        let detail = |name| error.detail(name).unwrap().clone();
        let field = detail("field").as_str().unwrap().to_owned();
        for value in [detail("inUse"), detail("asked")] {
            assert!(
                value.is_null() || error.to_string().contains(&value.to_string()),
                "{error}"
            );
        }
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
        Some((field, detail("inUse"), detail("asked")))
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let one = r#"{"backend":"hybrid","embedded":{"durability":"process"},"lease":5000,"exclusive":true,
            "redis":{"prefix":"bv","tls":{"ca":"ours","key":"s3cr3t 1","insecure":false}},
            "hybrid":{"writeBehind":false,"outboxWhenMongoDown":false,"acceptLostOutbox":false,"outboxLimit":10},
            "resilience":{"maxRetries":3,"breaker":{"window":1}}}"#;
        for (from, to, field, in_use, asked) in [
            (
                r#""process""#,
                r#""full""#,
                "durability",
                json!("process"),
                json!("full"),
            ),
            (
                r#""lease":5000"#,
                r#""lease":6500"#,
                "ttl.lockTtl",
                json!(5.0),
                json!(6.5),
            ),
            (
                r#""exclusive":true"#,
                r#""exclusive":false"#,
                "exclusive",
                json!(true),
                json!(false),
            ),
            (
                r#""maxRetries":3"#,
                r#""maxRetries":4"#,
                "resilience.maxRetries",
                json!(3),
                json!(4),
            ),
            (
                r#""window":1"#,
                r#""window":2"#,
                "resilience.breaker.window",
                json!(1),
                json!(2),
            ),
            (
                r#""writeBehind":false"#,
                r#""writeBehind":true"#,
                "hybrid.enableWriteBehind",
                json!(false),
                json!(true),
            ),
            (
                r#""outboxWhenMongoDown":false"#,
                r#""outboxWhenMongoDown":true"#,
                "hybrid.outboxWhenMongoDown",
                json!(false),
                json!(true),
            ),
            (
                r#""acceptLostOutbox":false"#,
                r#""acceptLostOutbox":true"#,
                "hybrid.acceptLostOutbox",
                json!(false),
                json!(true),
            ),
            (
                r#""outboxLimit":10"#,
                r#""outboxLimit":11"#,
                "hybrid.outboxLimit",
                json!(10),
                json!(11),
            ),
            (
                r#""ca":"ours""#,
                r#""ca":"theirs""#,
                "hybrid.redisTls.ca",
                Value::Null,
                Value::Null,
            ),
            (
                "s3cr3t 1",
                "s3cr3t 2",
                "hybrid.redisTls.key",
                json!("(hidden)"),
                json!("(hidden)"),
            ),
            (
                r#""insecure":false"#,
                r#""insecure":true"#,
                "hybrid.redisTls.rejectUnauthorized",
                json!(true),
                json!(false),
            ),
        ] {
            let (named, was, wanted) = refused(one, &one.replace(from, to)).unwrap();
            assert_eq!(named, field);
            if field == "hybrid.redisTls.ca" {
                assert!(was != wanted && was.as_str().unwrap().starts_with("(sha256 "));
            } else {
                assert_eq!((was, wanted), (in_use, asked), "{field}");
            }
        }
    }

    #[test]
    fn what_one_of_them_leaves_out_differs_too() {
        let with = r#"{"backend":"redis","redis":{"prefix":"bv","tls":{"ca":"ours"}},"lease":5000}"#;
        let without = r#"{"backend":"redis","redis":{"prefix":"bv","tls":null},"lease":5000}"#;
        assert_eq!(refused(with, without).unwrap().2, Value::Null);
        assert_eq!(refused(without, with).unwrap().1, Value::Null);
    }

    #[test]
    fn what_is_an_openers_own_may_differ() {
        let one = r#"{"backend":"redis","openTimeout":1,"ttl":null,"exclusive":true,"security":{"encryption":null}}"#;
        let other = r#"{"backend":"redis","openTimeout":2,"ttl":60,"exclusive":false,"cacheBytes":5}"#;
        assert_eq!(refused(one, other), None);
    }
}
