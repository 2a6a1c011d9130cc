//! Commits to Redis against a bare `HSET` of the same bytes through the same driver.
//!
//! `cargo bench --bench redis` starts a `redis-server` of its own; `REDIS_URL` names another. Read the figures as
//! ratios: both ways run in turn, in one process, against one server.

#![allow(clippy::disallowed_methods)] // Beside any store: nobody is to be told of a panic.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baileys_vault::backend::redis::{RedisBackend, RedisConfig};
use baileys_vault::backend::{Acquire, Acquired, Backend, Commit, Fence, Owner};
use baileys_vault::record::{Change, RecordKey};
use bytes::Bytes;

const VALUE: usize = 1_500;
const ROUND: Duration = Duration::from_millis(600);
const ROUNDS: usize = 5;

struct Server(Option<(Child, tempfile::TempDir)>);

impl Server {
    fn start() -> (Self, String) {
        if let Ok(url) = std::env::var("REDIS_URL") {
            return (Self(None), url);
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        let directory = tempfile::TempDir::new().expect("a folder can be made");
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is in the PATH");
        (
            Self(Some((child, directory))),
            format!("redis://127.0.0.1:{port}"),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes per second and the median latency.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    median: Duration,
}

fn figure(started: Instant, mut times: Vec<Duration>) -> Figure {
    let elapsed = started.elapsed();
    times.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = times.len() as f64 / elapsed.as_secs_f64();
    Figure {
        rate,
        median: times[times.len() / 2],
    }
}

async fn collect(tasks: Vec<tokio::task::JoinHandle<Vec<Duration>>>, started: Instant) -> Figure {
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a writer does not panic"));
    }
    figure(started, times)
}

async fn bare(url: &str, sessions: usize, value: &Bytes) -> Figure {
    let client = redis::Client::open(url).expect("the URL is valid");
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .expect("the server answers");
    let started = Instant::now();
    let tasks = (0..sessions)
        .map(|session| {
            let (mut connection, value) = (connection.clone(), value.clone());
            let key = format!("bare:{session}");
            tokio::spawn(async move {
                let mut times = Vec::new();
                while started.elapsed() < ROUND {
                    let start = Instant::now();
                    let mut command = redis::cmd("HSET");
                    command.arg(&key).arg("field").arg(&value[..]);
                    command
                        .exec_async(&mut connection)
                        .await
                        .expect("the write works");
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    collect(tasks, started).await
}

async fn core(backend: &Arc<RedisBackend>, sessions: usize, value: &Bytes) -> Figure {
    let mut owned = Vec::new();
    for session in 0..sessions {
        let session: Arc<str> = format!("bench-{session}").into();
        let mut request = Acquire {
            session: session.clone(),
            owner: Owner::current().clone(),
            lease: Duration::from_secs(60),
            client_token: None,
            preempt: None,
            read: Vec::new(),
        };
        let grant = loop {
            match backend
                .acquire(request.clone())
                .await
                .expect("the lease is answered")
            {
                Acquired::Granted(grant) => break grant,
                Acquired::Held(holder) => request.preempt = Some(holder.token),
            }
        };
        owned.push((session, grant));
    }
    let started = Instant::now();
    let tasks = owned
        .into_iter()
        .map(|(session, grant)| {
            let (backend, value) = (backend.clone(), value.clone());
            tokio::spawn(async move {
                let key = RecordKey::new("session", "field").expect("the key is valid");
                let mut version = grant.head.version;
                let mut times = Vec::new();
                while started.elapsed() < ROUND {
                    let start = Instant::now();
                    let commit = Commit {
                        session: session.clone(),
                        fence: Fence::Owner(grant.token),
                        base: version,
                        patches: 1,
                        expected: false,
                        id: version,
                        changes: vec![Change {
                            key: key.clone(),
                            value: Some(value.clone()),
                        }],
                        ttl: None,
                        note: None,
                    };
                    let answer = backend.commit(vec![commit]).await.remove(0);
                    version = answer.expect("the commit works").version;
                    times.push(start.elapsed());
                }
                times
            })
        })
        .collect();
    collect(tasks, started).await
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    figures[figures.len() / 2]
}

fn main() {
    let (_server, url) = Server::start();
    // The core runs on one thread of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let backend = Arc::new(
            RedisBackend::new(&RedisConfig::from_url(&url).expect("the URL is valid")).expect("it is set up"),
        );
        while backend.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let value = Bytes::from(vec![b'v'; VALUE]);
        println!("{VALUE}-byte records, median of {ROUNDS} interleaved rounds");
        println!("sessions | HSET /s, p50 µs | commits /s, p50 µs | throughput | latency");
        for sessions in [1, 10, 100, 1_000] {
            let (mut bares, mut cores) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                bares.push(bare(&url, sessions, &value).await);
                cores.push(core(&backend, sessions, &value).await);
            }
            let (bare, core) = (median(bares), median(cores));
            println!(
                "{sessions:>8} | {:>8.0} {:>7.0} | {:>8.0} {:>8.0} | {:>9.2}x | {:>6.2}x",
                bare.rate,
                bare.median.as_secs_f64() * 1e6,
                core.rate,
                core.median.as_secs_f64() * 1e6,
                core.rate / bare.rate,
                core.median.as_secs_f64() / bare.median.as_secs_f64(),
            );
        }
    });
}
