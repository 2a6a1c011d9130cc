//! Real servers for the tests: `redis-server` from the path, each on a free port and in a folder of its own.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Connection, FromRedisValue};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::servers::found_for;

/// Whether there is a `redis-server` for the test `name`.
pub fn redis_server_found(name: &str) -> bool {
    let found = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    found_for(name, "redis-server (6.2 or later) in the PATH", found)
}

/// A port that nobody listens on; its cluster bus port (10,000 higher) is free as well.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else {
            continue;
        };
        let port = listener.local_addr().unwrap().port();
        if port < 55_000
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 10_000)).is_ok()
            && GIVEN.lock().insert(port)
        {
            return port;
        }
    }
}

/// Waits until `what` holds; fails after 20 s.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server that ends with the test.
pub struct Server {
    child: Child,
    pub port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let port_text = port.to_string();
        let own = ["--port", &port_text, "--bind", "127.0.0.1", "--save", ""];
        let arguments = own
            .iter()
            .chain(arguments)
            .map(|&argument| argument.to_owned())
            .collect();
        Self::start_on(port, TempDir::new().unwrap(), arguments)
    }

    /// A sentinel writes its configuration into a file, so it gets one.
    pub fn start_sentinel(configuration: &str) -> Self {
        let port = free_port();
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n{configuration}")).unwrap();
        let arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        Self::start_on(port, directory, arguments)
    }

    fn start_on(port: u16, directory: TempDir, arguments: Vec<String>) -> Self {
        let child = Self::spawn(directory.path(), &arguments);
        let mut server = Self {
            child,
            port,
            arguments,
            directory,
        };
        server.wait();
        server
    }

    fn spawn(directory: &Path, arguments: &[String]) -> Child {
        Command::new("redis-server")
            .args(arguments)
            .current_dir(directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait(&mut self) {
        let client = self.client();
        let child = &mut self.child;
        wait_until("the server answers", || {
            assert!(child.try_wait().unwrap().is_none(), "redis-server ended");
            let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) else {
                return false;
            };
            let answer: redis::RedisResult<String> = redis::cmd("PING").query(&mut connection);
            match answer {
                Ok(_) => true,
                Err(error) => matches!(error.code(), Some("NOAUTH")),
            }
        });
    }

    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub fn connect(&self) -> Connection {
        self.client().get_connection().unwrap()
    }

    /// Runs one command, its words separated by spaces.
    pub fn run<T: FromRedisValue>(&self, command: &str) -> T {
        self.try_run(command).unwrap()
    }

    /// The same, where the server may refuse.
    pub fn try_run<T: FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        for word in words {
            cmd.arg(word);
        }
        cmd.query(&mut self.connect())
    }

    /// Kills the server; it can be started again with what it has on disk.
    pub fn kill(&mut self) {
        // A process that is stopped does not end before it goes on.
        self.signal(libc::SIGCONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn start_again(&mut self) {
        self.child = Self::spawn(self.directory.path(), &self.arguments);
        self.wait();
    }

    /// Stops the process without ending it, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        self.signal(if frozen { libc::SIGSTOP } else { libc::SIGCONT });
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the process is our child and was not waited for yet, so its id is not reused.
        unsafe {
            libc::kill(libc::pid_t::try_from(self.child.id()).unwrap(), signal);
        }
    }
}

/// Counts the commands that a server gets from clients.
pub struct Monitor {
    lines: std::io::Lines<std::io::BufReader<std::net::TcpStream>>,
    marks: Connection,
    asked: u32,
}

impl Monitor {
    pub fn of(server: &Server) -> Self {
        use std::io::{BufRead, Write};
        let marks = server.connect();
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut monitor = Self {
            lines: std::io::BufReader::new(stream).lines(),
            marks,
            asked: 0,
        };
        assert_eq!(monitor.lines.next().unwrap().unwrap(), "+OK");
        monitor
    }

    /// Commands since the last call, of all clients but this one; what scripts call does not count.
    pub fn commands(&mut self) -> Vec<String> {
        self.asked += 1;
        let mark = format!("seen-{}", self.asked);
        redis::cmd("ECHO")
            .arg(&mark)
            .query::<()>(&mut self.marks)
            .unwrap();
        let lines = self.lines.by_ref().map(Result::unwrap);
        lines
            .take_while(|line| !line.contains(&mark))
            .filter(|line| line.contains("] \"") && !line.contains(" lua] "))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A TCP proxy that can swallow an answer and cut the connection, or refuse connections.
pub struct Proxy {
    pub port: u16,
    swallow: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let swallow = Arc::new(AtomicBool::new(false));
        let swallowed = Arc::new(AtomicUsize::new(0));
        let (armed, count) = (swallow.clone(), swallowed.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (armed, count) = (armed.clone(), count.clone());
                tokio::spawn(async move {
                    let Ok(server) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await
                    else {
                        return;
                    };
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let up =
                        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                    let mut buffer = vec![0; 65_536];
                    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                        if armed.swap(false, Ordering::SeqCst) {
                            count.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        if to_client.write_all(&buffer[..length]).await.is_err() {
                            break;
                        }
                    }
                    up.abort();
                });
            }
        });
        Self {
            port,
            swallow,
            swallowed,
            task,
        }
    }

    /// Cuts the connection in place of the next answer.
    pub fn swallow_next_answer(&self) {
        self.swallow.store(true, Ordering::SeqCst);
    }

    /// How many answers were swallowed.
    pub fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
