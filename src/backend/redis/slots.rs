//! Which node of a cluster serves a key.

use std::hash::{DefaultHasher, Hash, Hasher};

use redis::{Cmd, Value};

use super::config::Address;

/// Slots of every cluster.
const SLOTS: usize = 16_384;

/// The node of each slot.
pub(super) struct SlotMap {
    nodes: Vec<Address>,
    /// Places in `nodes`, from 1 on; 0 where nobody serves the slot.
    places: Box<[u16]>,
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS` of a node at `asked`; `None` if it is not one.
    pub fn parse(answer: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut map = Self {
            nodes: Vec::new(),
            places: vec![0; SLOTS].into_boxed_slice(),
        };
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(from), Value::Int(to), Value::Array(master), ..] = parts.as_slice() else {
                return None;
            };
            let [host, Value::Int(port), ..] = master.as_slice() else {
                return None;
            };
            let host = match host {
                Value::BulkString(host) => String::from_utf8_lossy(host).into_owned(),
                _ => String::new(),
            };
            // A node that does not know its own address leaves it out.
            let host = if host.is_empty() || host == "?" {
                asked.0.clone()
            } else {
                host
            };
            let place = map.place((host, u16::try_from(*port).ok()?))?;
            let (from, to) = (usize::try_from(*from).ok()?, usize::try_from(*to).ok()?);
            map.places.get_mut(from..=to)?.fill(place);
        }
        (!map.nodes.is_empty()).then_some(map)
    }

    fn place(&mut self, node: Address) -> Option<u16> {
        let found = self.nodes.iter().position(|known| *known == node);
        let at = found.unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        u16::try_from(at + 1).ok()
    }

    /// Where a slot is.
    pub fn node(&self, slot: u16) -> Option<&Address> {
        let place = usize::from(*self.places.get(usize::from(slot))?);
        self.nodes.get(place.checked_sub(1)?)
    }

    /// A node says that a slot is at another one.
    pub fn moved(&mut self, slot: u16, node: Address) {
        let place = self.place(node);
        if let (Some(place), Some(at)) = (place, self.places.get_mut(usize::from(slot))) {
            *at = place;
        }
    }

    /// Equal for maps that say the same.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for place in &self.places {
            let node = usize::from(*place)
                .checked_sub(1)
                .and_then(|at| self.nodes.get(at));
            node.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The nodes that serve slots, in a fixed order.
    pub fn masters(&self) -> Vec<Address> {
        let mut masters = self.nodes.clone();
        masters.sort();
        masters
    }
}

/// The slot of a key: of what stands between its first braces, if anything does.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % 16_384
}

/// XMODEM, as in the cluster specification.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

/// The first key of a command, if it has one.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let argument = |at| match command.args_iter().nth(at)? {
        redis::Arg::Simple(bytes) => Some(bytes),
        _ => None,
    };
    match argument(0)? {
        b"EVAL" | b"EVALSHA" => (argument(2)? != b"0").then(|| argument(3))?,
        b"PING" | b"INFO" | b"CONFIG" | b"SCAN" | b"CLUSTER" | b"WAIT" => None,
        _ => argument(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_of_the_specification() {
        for (key, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("bv:{foo}:lease", 12_182),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn a_command_has_its_first_key() {
        let key = |name: &str, arguments: &[&str]| {
            let command = redis::cmd(name).arg(arguments).take();
            key_of(&command).map(|key| String::from_utf8(key.to_vec()).unwrap())
        };
        assert_eq!(key("HGET", &["k", "@"]).as_deref(), Some("k"));
        assert_eq!(key("EVALSHA", &["hash", "2", "a", "b"]).as_deref(), Some("a"));
        assert_eq!(key("EVAL", &["text", "0", "a"]), None);
        assert_eq!(key("PING", &[]), None);
        assert_eq!(key("SCAN", &["0"]), None);
    }

    #[test]
    fn a_map_is_read_and_corrected() {
        let node = |port| {
            Value::Array(vec![
                Value::BulkString(Vec::new()),
                Value::Int(port),
                Value::BulkString(b"id".to_vec()),
            ])
        };
        let range =
            |from, to, port| Value::Array(vec![Value::Int(from), Value::Int(to), node(port), node(9)]);
        let answer = Value::Array(vec![range(0, 100, 1), range(101, 200, 2)]);
        let asked = ("host".to_owned(), 7);
        let mut map = SlotMap::parse(&answer, &asked).unwrap();
        let at = |port| ("host".to_owned(), port);
        assert_eq!(
            (map.node(100), map.node(101), map.node(201)),
            (Some(&at(1)), Some(&at(2)), None)
        );
        assert_eq!(map.masters(), [at(1), at(2)]);
        map.moved(100, at(3));
        assert_eq!(map.node(100), Some(&at(3)));
        let broken = Value::Array(vec![range(0, 20_000, 1)]);
        assert!(SlotMap::parse(&broken, &asked).is_none());
    }
}
