//! A way to a server for tests, which can be cut and mended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of answers.
#[derive(Default)]
struct Answers {
    updates: AtomicBool,
    lost: AtomicUsize,
    /// By how many milliseconds the time in the answer to `hello` is moved.
    ahead: AtomicI64,
}

/// A date of this name, eight bytes.
const TIME: &[u8] = b"\x09localTime\0";
/// An update command has its name and the collection's as its first element.
const UPDATE: &[u8] = b"\x02update\0";

/// Forwards a local port to the server until it is cut.
pub struct Way {
    pub address: SocketAddr,
    target: String,
    task: Option<JoinHandle<()>>,
    answers: Arc<Answers>,
}

impl Way {
    /// To the server of a `mongodb://host:port…` URL.
    pub async fn to(url: &str) -> Self {
        let after_scheme = url.trim_start_matches("mongodb://");
        let target = after_scheme.split(['/', '?']).next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut way = Self {
            address,
            target,
            task: None,
            answers: Arc::default(),
        };
        way.forward(listener);
        way
    }

    fn forward(&mut self, listener: TcpListener) {
        let (target, answers) = (self.target.clone(), self.answers.clone());
        self.task = Some(tokio::spawn(async move {
            // Dropped with the task, and so are the connections in it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, answers) = (target.clone(), answers.clone());
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        let _ = carry(client, server, &answers).await;
                    }
                });
            }
        }));
    }

    /// From now on updates reach the server, and their answers are lost with the connection; or no longer.
    pub fn lose_answers_to_updates(&self, lose: bool) {
        self.answers.updates.store(lose, Ordering::SeqCst);
    }

    /// As a router whose clock is ahead answers.
    pub fn set_clock_ahead(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.answers.ahead.store(by, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.answers.lost.load(Ordering::SeqCst)
    }

    /// Ends all connections and takes no more.
    pub async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Takes connections again, at the same address.
    pub async fn mend(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.forward(listener);
    }
}

fn move_time(answer: &mut [u8], by: i64) {
    let found = answer.windows(TIME.len()).position(|bytes| bytes == TIME);
    if let Some(time) = found.and_then(|at| answer.get_mut(at + TIME.len()..at + TIME.len() + 8)) {
        let moved = i64::from_le_bytes((&*time).try_into().unwrap()) + by;
        time.copy_from_slice(&moved.to_le_bytes());
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let (mut question, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    let mut doomed = false;
    loop {
        tokio::select! {
            length = client.read(&mut question) => {
                let asked = &question[..length?];
                if asked.is_empty() {
                    return Ok(());
                }
                doomed |= answers.updates.load(Ordering::SeqCst)
                    && asked.windows(UPDATE.len()).any(|bytes| bytes == UPDATE);
                server.write_all(asked).await?;
            }
            length = server.read(&mut answer) => {
                let length = length?;
                move_time(&mut answer[..length], answers.ahead.load(Ordering::SeqCst));
                let answered = &answer[..length];
                if answered.is_empty() {
                    return Ok(());
                }
                if doomed {
                    answers.lost.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                client.write_all(answered).await?;
            }
        }
    }
}
