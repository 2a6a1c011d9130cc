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

    /// Whether this owner ran on the same boot of the same machine as we do, and the kernel says that its process is
    /// gone. `false` means "not known": what cannot be seen (another user's process under `hidepid`, no descriptor
    /// left to look with, another container) is not taken for dead.
    pub fn is_known_dead(&self) -> bool {
        let current = Self::current();
        if self.boot.is_empty() || self.boot != current.boot || self.host != current.host || self.started == 0
        {
            return false;
        }
        match process(self.pid) {
            Process::Gone => true,
            Process::Hidden => false,
            // The process id may have been given to another process since.
            Process::Started(at) => at != self.started,
        }
    }
}

/// What the kernel says of a process id.
enum Process {
    /// There is no such process, or it has ended and only waits to be collected.
    Gone,
    /// There is one, and nothing more can be seen of it.
    Hidden,
    /// When it started, in clock ticks since boot.
    Started(u64),
}

#[cfg(unix)]
fn process(pid: u32) -> Process {
    let Some(id) = libc::pid_t::try_from(pid).ok().filter(|id| *id > 0) else {
        return Process::Hidden;
    };
    // SAFETY: signal 0 is never delivered; this asks only whether the process exists. It needs no descriptor.
    let answer = unsafe { libc::kill(id, 0) };
    if answer != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return Process::Gone;
    }
    stat(pid)
}

#[cfg(not(unix))]
fn process(_pid: u32) -> Process {
    Process::Hidden
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

/// Boot id and pid namespace: two containers on one kernel share the boot id, but not their pids. Empty unless both
/// are known, and `/proc` is that of our own namespace: process ids could not be compared.
#[cfg(target_os = "linux")]
fn boot_id() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let ourselves = std::fs::read_link("/proc/self").unwrap_or_default();
    let comparable =
        !namespace.as_os_str().is_empty() && ourselves.as_os_str() == std::process::id().to_string().as_str();
    match boot.trim() {
        boot if comparable && !boot.is_empty() => format!("{boot}/{}", namespace.display()),
        _ => String::new(),
    }
}

#[cfg(not(target_os = "linux"))]
fn boot_id() -> String {
    String::new()
}

#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Process {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| read_stat(&text))
        .unwrap_or(Process::Hidden)
}

#[cfg(target_os = "linux")]
fn read_stat(text: &str) -> Option<Process> {
    // The command name, in parentheses, may hold spaces and parentheses itself.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    // After the name: the state, the number of threads as the eighteenth field, the start time as the twentieth.
    let (state, threads, started) = (fields.next()?, fields.nth(16)?, fields.nth(1)?);
    // A zombie runs no more code, unless only its first thread has ended.
    if matches!(state, "Z" | "X") && matches!(threads, "0" | "1") {
        return Some(Process::Gone);
    }
    started.parse().ok().map(Process::Started)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn stat(_pid: u32) -> Process {
    Process::Hidden
}

fn start_ticks(pid: u32) -> Option<u64> {
    match process(pid) {
        Process::Started(at) => Some(at),
        Process::Gone | Process::Hidden => None,
    }
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

    #[test]
    fn a_process_that_cannot_be_seen_is_not_dead() {
        for boot in ["", "another-boot/pid:[4026531836]"] {
            let owner = Owner {
                pid: u32::MAX / 4,
                started: 1,
                boot: boot.into(),
                ..Owner::current().clone()
            };
            assert!(!owner.is_known_dead());
        }
        let unknown_start = Owner {
            pid: u32::MAX / 4,
            started: 0,
            ..Owner::current().clone()
        };
        assert!(!unknown_start.is_known_dead());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_id_that_was_given_away_is_of_a_dead_owner() {
        let owner = Owner {
            pid: 1,
            started: u64::MAX,
            ..Owner::current().clone()
        };
        assert!(owner.is_known_dead());
    }

    /// In a process of its own, for the limit holds for a whole process: run by the test below.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "run by a_live_owner_is_not_dead_when_no_descriptor_is_left"]
    fn looks_without_descriptors() {
        let pid = std::env::var("BAILEYS_VAULT_TEST_OWNER")
            .unwrap()
            .parse()
            .unwrap();
        let owner = Owner::of(pid);
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the structure is read only.
        assert_eq!(
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) },
            0
        );
        assert!(std::fs::read_to_string("/proc/self/stat").is_err());
        assert!(!owner.is_known_dead());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_live_owner_is_not_dead_when_no_descriptor_is_left() {
        let mut owner = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let looked = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--ignored",
                "backend::owner::tests::looks_without_descriptors",
            ])
            .env("BAILEYS_VAULT_TEST_OWNER", owner.id().to_string())
            .output()
            .unwrap();
        owner.kill().unwrap();
        owner.wait().unwrap();
        let text = String::from_utf8_lossy(&looked.stdout).into_owned();
        assert!(text.contains("1 passed"), "{text}");
    }
}
