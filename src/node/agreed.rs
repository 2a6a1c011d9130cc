//! What all who share a store must agree on.
//!
//! A store is opened once in a process, with the settings of whoever came first. Another one that asks for other
//! settings would not get them, so it is told. Compared is the whole configuration, so that an option added later is
//! too, but for what belongs to each opener or is part of the place's name.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config;
use crate::error::{Error, Kind, Result};

/// Belong to each opener (`security` and `ttl` to the sessions that it opens).
const OWN: [&str; 4] = ["security", "ttl", "openTimeout", "cacheBytes"];

/// The settings of an open store: digests, since some may be secret, by their path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Agreed(BTreeMap<String, [u8; 32]>);

impl Agreed {
    /// Of a configuration as the face hands it over.
    pub(super) fn of(json: &str) -> Result<Self> {
        let mut config: BTreeMap<String, Value> = config::parse(json)?;
        config.retain(|name, _| !OWN.contains(&name.as_str()));
        // Each session on a server is exclusive or not by itself; a folder is so as a whole.
        if config
            .get("backend")
            .is_some_and(|backend| backend == "redis" || backend == "mongodb")
        {
            config.remove("exclusive");
        }
        let mut settings = BTreeMap::new();
        for (name, value) in &config {
            collect(name, value, &mut settings);
        }
        Ok(Self(settings))
    }

    /// Refuses an opener that asks for something else, naming the option.
    pub(super) fn check(&self, asked: &Self) -> Result<()> {
        let differs = |path: &&String| self.0.get(*path) != asked.0.get(*path);
        let Some(path) = self.0.keys().chain(asked.0.keys()).find(differs) else {
            return Ok(());
        };
        let option = option_of(path);
        let text = format!(
            "the store is already open in this process with another value; give all that share it the same `{option}`"
        );
        Err(Error::new(Kind::Config, "config", text).with("field", option))
    }
}

fn collect(path: &str, value: &Value, settings: &mut BTreeMap<String, [u8; 32]>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(&format!("{path}.{name}"), value, settings);
            }
        }
        // As if it were not there.
        Value::Null => {}
        value => {
            settings.insert(path.to_owned(), Sha256::digest(value.to_string()).into());
        }
    }
}

/// What the option behind a setting is called where people set it.
fn option_of(path: &str) -> String {
    match path {
        "lease" => "ttl.lockTtl".to_owned(),
        "embedded.durability" => "durability".to_owned(),
        "hybrid.writeBehind" => "hybrid.enableWriteBehind".to_owned(),
        path => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(one: &str, other: &str) -> Option<String> {
        let agreed = Agreed::of(one).unwrap();
        assert!(agreed.check(&agreed).is_ok());
        let error = agreed.check(&Agreed::of(other).unwrap()).err()?;
        assert_eq!(error.kind(), Kind::Config);
        Some(error.detail("field").unwrap().as_str().unwrap().to_owned())
    }

    #[test]
    fn what_differs_is_named() {
        let one = r#"{"backend":"embedded","embedded":{"folder":"/a","durability":"process"},"lease":5000,
            "exclusive":true,"resilience":{"maxRetries":3,"breaker":{"window":1}}}"#;
        for (from, to, field) in [
            ("process", "full", "durability"),
            ("5000", "6000", "ttl.lockTtl"),
            ("true", "false", "exclusive"),
            (r#""maxRetries":3"#, r#""maxRetries":4"#, "resilience.maxRetries"),
            (r#""window":1"#, r#""window":2"#, "resilience.breaker.window"),
        ] {
            assert_eq!(refused(one, &one.replace(from, to)).as_deref(), Some(field));
        }
    }

    #[test]
    fn what_is_an_openers_own_may_differ() {
        let one = r#"{"backend":"redis","openTimeout":1,"ttl":null,"exclusive":true,"security":{"encryption":null}}"#;
        let other = r#"{"backend":"redis","openTimeout":2,"ttl":60,"exclusive":false,"cacheBytes":5}"#;
        assert_eq!(refused(one, other), None);
    }
}
