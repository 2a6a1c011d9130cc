//! A way to a server for tests, which can be cut and mended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of answers.
#[derive(Default)]
struct Answers {
    updates: AtomicBool,
    lost: AtomicUsize,
    /// By how many milliseconds the server's time is moved in its answers.
    ahead: AtomicI64,
    /// Whether only in the answer to `hello`.
    router: AtomicBool,
    /// Connections with a number below this carry nothing any more.
    frozen: AtomicUsize,
    connections: AtomicUsize,
    /// A connection that was asked something with this in it carries nothing any more.
    unanswered: Mutex<Option<Vec<u8>>>,
    /// What is asked with this in it waits until it is let through.
    held_back: watch::Sender<Option<Vec<u8>>>,
    waiting: watch::Sender<usize>,
    /// Names of the commands that went by, in order.
    commands: Mutex<Vec<String>>,
}

/// Dates of these names, eight bytes: in the answer to `hello`, and where the primary's clock is read.
const TIMES: [&[u8]; 2] = [b"\x09localTime\0", b"\x09now\0"];
/// An update command has its name and the collection's as its first element.
const UPDATE: &[u8] = b"\x02update\0";

/// Forwards a local port to the server until it is cut.
pub struct TcpProxy {
    pub address: SocketAddr,
    target: String,
    task: Option<JoinHandle<()>>,
    answers: Arc<Answers>,
}

impl TcpProxy {
    /// To the server of a `mongodb://host:port…` or `redis://host:port…` URL.
    pub async fn to(url: &str) -> Self {
        let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = after_scheme.split(['/', '?']).next().unwrap();
        let target = authority.rsplit('@').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut proxy = Self {
            address,
            target,
            task: None,
            answers: Arc::default(),
        };
        proxy.forward(listener);
        proxy
    }

    fn forward(&mut self, listener: TcpListener) {
        let (target, answers) = (self.target.clone(), self.answers.clone());
        self.task = Some(tokio::spawn(async move {
            // Dropped with the task, and so are the connections in it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, answers) = (target.clone(), answers.clone());
                let number = answers.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        let _ = carry(client, server, &answers, number).await;
                    }
                });
            }
        }));
    }

    /// From now on updates reach the server, and their answers are lost with the connection; or no longer.
    pub fn lose_answers_to_updates(&self, lose: bool) {
        self.answers.updates.store(lose, Ordering::SeqCst);
    }

    /// As a router alone whose clock is ahead answers.
    pub fn set_router_ahead(&self, by: std::time::Duration) {
        self.answers.router.store(true, Ordering::SeqCst);
        self.set_clock_ahead(by);
    }

    /// As a primary whose clock is ahead answers.
    pub fn set_clock_ahead(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.answers.ahead.store(by, Ordering::SeqCst);
    }

    /// As one whose clock is behind does.
    pub fn set_clock_behind(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.answers.ahead.store(-by, Ordering::SeqCst);
    }

    /// Connections that there are carry nothing any more, and do not end: as after a router lost its memory.
    pub fn freeze(&self) {
        let connections = self.answers.connections.load(Ordering::SeqCst);
        self.answers.frozen.store(connections, Ordering::SeqCst);
    }

    /// From now on a connection on which something with `text` in it is asked carries nothing any more.
    pub fn leave_unanswered(&self, text: &str) {
        *self.answers.unanswered.lock() = Some(text.as_bytes().to_vec());
    }

    /// From now on what is asked with `text` in it waits for [`Way::let_through`].
    pub fn hold_back(&self, text: &str) {
        self.answers.waiting.send_replace(0);
        self.answers
            .held_back
            .send_replace(Some(text.as_bytes().to_vec()));
    }

    /// Resolves when something is held back.
    pub async fn holds_back(&self) {
        let mut waiting = self.answers.waiting.subscribe();
        waiting.wait_for(|count| *count > 0).await.unwrap();
    }

    /// Ends [`Way::hold_back`].
    pub fn let_through(&self) {
        self.answers.held_back.send_replace(None);
    }

    /// Names of the commands that the server was sent since this was last asked, each a message and a round trip; but
    /// for those by which the driver looks after its connections.
    pub fn take_commands(&self) -> Vec<String> {
        let commands = std::mem::take(&mut *self.answers.commands.lock());
        let upkeep = [
            "hello",
            "isMaster",
            "ismaster",
            "buildInfo",
            "endSessions",
            "HELLO",
            "CLIENT",
        ];
        let ours = |name: &String| !upkeep.contains(&name.as_str());
        commands.into_iter().filter(ours).collect()
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

/// Names of the commands in what a client sends.
#[derive(Default)]
struct Messages(Vec<u8>);

impl Messages {
    /// An `OP_MSG`: its length, three numbers more and flags, a section's kind and the length of its document, which
    /// begins with the command as an element's name.
    const NAME: usize = 16 + 4 + 1 + 4 + 1;

    fn take(&mut self, sent: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(sent);
        match self.0.first() {
            Some(b'*') => return self.take_from_redis(),
            // The length of a first message to PostgreSQL has its most significant byte first.
            Some(0) => {
                let length = self
                    .0
                    .first_chunk::<4>()
                    .map_or(0, |length| u32::from_be_bytes(*length));
                let length = usize::try_from(length).unwrap().min(self.0.len());
                self.0.drain(..length);
                return self.take_from_postgres();
            }
            Some(b'P' | b'p' | b'Q' | b'X') => return self.take_from_postgres(),
            _ => {}
        }
        let mut names = Vec::new();
        while let Some(length) = self.0.first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
            if self.0.len() < length || length < 16 {
                break;
            }
            let message: Vec<u8> = self.0.drain(..length).collect();
            let name = message.get(Self::NAME..).unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            names.push(String::from_utf8_lossy(name).into_owned());
        }
        names
    }

    /// A letter, and a length that counts itself. A statement is sent as a `P` with the statement's name and text, and
    /// what belongs to it.
    fn take_from_postgres(&mut self) -> Vec<String> {
        let mut statements = Vec::new();
        while let Some(&[letter, a, b, c, d]) = self.0.first_chunk::<5>() {
            let length = 1 + usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap();
            if self.0.len() < length {
                break;
            }
            let message: Vec<u8> = self.0.drain(..length).collect();
            if letter == b'P' {
                let text = message[5..].split(|byte| *byte == 0).nth(1).unwrap_or_default();
                statements.push(String::from_utf8_lossy(text).into_owned());
            }
        }
        statements
    }

    /// Arrays of strings, each of which begins with its length.
    fn take_from_redis(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some((length, name)) = redis_command(&self.0) {
            names.push(name);
            self.0.drain(..length);
        }
        names
    }
}

/// The length and the name of the first command, if all of it is there.
fn redis_command(sent: &[u8]) -> Option<(usize, String)> {
    let mut at = 0;
    let number = |at: &mut usize, sign: u8| {
        let rest = sent.get(*at..)?;
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        let text = rest.get(..end)?.strip_prefix(&[sign])?;
        *at += end + 2;
        std::str::from_utf8(text).ok()?.parse::<usize>().ok()
    };
    let mut name = String::new();
    for part in 0..number(&mut at, b'*')? {
        let length = number(&mut at, b'$')?;
        let text = sent.get(at..at + length)?;
        at += length + 2;
        if part == 0 {
            name = String::from_utf8_lossy(text).into_owned();
        }
    }
    (at <= sent.len()).then_some((at, name))
}

fn move_time(answer: &mut [u8], by: i64, router: bool) {
    for name in TIMES.iter().take(if router { 1 } else { 2 }) {
        let found = answer.windows(name.len()).position(|bytes| bytes == *name);
        if let Some(time) = found.and_then(|at| answer.get_mut(at + name.len()..at + name.len() + 8)) {
            let moved = i64::from_le_bytes((&*time).try_into().unwrap()) + by;
            time.copy_from_slice(&moved.to_le_bytes());
        }
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    answers: &Answers,
    number: usize,
) -> std::io::Result<()> {
    let (mut question, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    let mut doomed = false;
    let mut messages = Messages::default();
    loop {
        tokio::select! {
            length = client.read(&mut question) => {
                let asked = &question[..length?];
                if asked.is_empty() {
                    return Ok(());
                }
                let has = |text: &Vec<u8>| asked.windows(text.len()).any(|bytes| bytes == text);
                let unanswered = answers.unanswered.lock().as_ref().is_some_and(has);
                if unanswered || number < answers.frozen.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                let mut held_back = answers.held_back.subscribe();
                if held_back.borrow().as_ref().is_some_and(has) {
                    answers.waiting.send_modify(|count| *count += 1);
                    let _ = held_back.wait_for(|text| !text.as_ref().is_some_and(has)).await;
                }
                answers.commands.lock().extend(messages.take(asked));
                doomed |= answers.updates.load(Ordering::SeqCst)
                    && asked.windows(UPDATE.len()).any(|bytes| bytes == UPDATE);
                server.write_all(asked).await?;
            }
            length = server.read(&mut answer) => {
                let length = length?;
                move_time(
                    &mut answer[..length],
                    answers.ahead.load(Ordering::SeqCst),
                    answers.router.load(Ordering::SeqCst),
                );
                let answered = &answer[..length];
                if answered.is_empty() {
                    return Ok(());
                }
                if number < answers.frozen.load(Ordering::SeqCst) {
                    return std::future::pending().await;
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
