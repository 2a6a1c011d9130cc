//! Who holds a lease.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process that owns sessions. Written beside a lease, so that others can name the holder and, on the same
/// machine since the same boot, see whether it is still alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Host name.
    pub host: String,
    /// Identifies one boot of one machine (or container); empty where the system does not say.
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// When the process started, in clock ticks since boot, so that a reused pid is not taken for the same process;
    /// 0 where the system does not say.
    pub started: u64,
    /// Random, made anew by every process.
    pub instance: String,
}

impl Owner {
    /// This process.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let pid = std::process::id();
            let instance = getrandom::u64().expect("the system has a source of randomness");
            Self {
                host: host_name(),
                boot: boot_id(),
                pid,
                started: start_ticks(pid).unwrap_or(0),
                instance: format!("{instance:016x}"),
            }
        })
    }

    /// Another process of this machine, which runs.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn of(pid: u32) -> Self {
        Self {
            pid,
            started: start_ticks(pid).expect("the process runs"),
            instance: format!("{pid:016x}"),
            ..Self::current().clone()
        }
    }

    /// Whether this owner ran on the same boot of the same machine as we do, and its process is gone.
    /// `false` means "not known".
    pub fn is_known_dead(&self) -> bool {
        let current = Self::current();
        if self.boot.is_empty() || self.boot != current.boot || self.host != current.host || self.started == 0
        {
            return false;
        }
        start_ticks(self.pid) != Some(self.started)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

fn host_name() -> String {
    let mut buffer = [0_u8; 256];
    // SAFETY: the buffer is writable for its whole length, one byte of which is kept back for the terminator.
    #[cfg(unix)]
    unsafe {
        libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1);
    }
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(0);
    let name = String::from_utf8_lossy(&buffer[..end]).into_owned();
    if name.is_empty() {
        std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
    } else {
        name
    }
}

/// Boot id and pid namespace: two containers on one kernel share the boot id, but not their pids.
#[cfg(target_os = "linux")]
fn boot_id() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    match boot.trim() {
        "" => String::new(),
        boot => format!("{boot}/{}", namespace.display()),
    }
}

#[cfg(not(target_os = "linux"))]
fn boot_id() -> String {
    String::new()
}

#[cfg(target_os = "linux")]
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name, in parentheses, may hold spaces and parentheses itself.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // A zombie runs no more code: its state is the first field after the name, the start time the twentieth.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn start_ticks(_pid: u32) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_dead() {
        assert!(!Owner::current().is_known_dead());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_ended_is_known_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner::of(child.id());
        assert!(!owner.is_known_dead());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owner.is_known_dead());
    }

    #[test]
    fn another_machine_is_never_known_dead() {
        let owner = Owner {
            host: "elsewhere".into(),
            pid: 1,
            started: 1,
            ..Owner::current().clone()
        };
        assert!(!owner.is_known_dead());
    }
}
