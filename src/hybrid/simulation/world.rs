//! Carries a case out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use super::Mistake;
use super::cache::{Keys, MemoryCache};
use super::case::{Action, Case, PROCESSES};
use super::history::{End, History, Reached, number_of, trace};
use super::network::Network;
use super::primary::{Document, MemoryPrimary, Outboxes};
use super::process::{Process, Watch, commit, session};
use crate::backend::{Acquire, AcquireOutcome, Acquired, Backend, Owner};
use crate::error::Kind;
use crate::hybrid::state::Core;
use crate::hybrid::{HybridConfig, entry, reconciler};
use crate::observe;
use crate::resilience::{Breaker, BreakerConfig};

/// Longer than anything that is under way takes.
const SETTLED: Duration = Duration::from_secs(2);
/// How often what must come to pass is tried, and how long after each other. All in all longer than any lease: a process
/// may have died while it brought an abandoned outbox to the primary.
const TRIES: usize = 40;
const PAUSE: Duration = Duration::from_secs(1);

struct World {
    config: HybridConfig,
    network: Arc<Network>,
    document: Arc<Mutex<Document>>,
    keys: Arc<Mutex<Keys>>,
    history: Arc<Mutex<History>>,
    processes: [Option<Process>; PROCESSES],
    tasks: Vec<(usize, JoinHandle<()>)>,
    started: usize,
}

/// Which promise a case broke, if one, on servers with that mistake.
pub fn run(case: &Case, mistake: Mistake) -> std::result::Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads and files");
    runtime.block_on(async {
        let mut world = World::new(case, mistake);
        for step in &case.steps {
            world.act(&step.action);
            if step.pause.is_zero() {
                yield_now().await;
            } else {
                sleep(step.pause).await;
            }
        }
        let end = world.end().await;
        let history = world.history.lock();
        history.judge(&end)
    })
}

impl World {
    fn new(case: &Case, mistake: Mistake) -> Self {
        Self {
            config: case.config.clone(),
            network: Network::new(case.fates.clone()),
            document: Arc::new(Mutex::new(Document::with(mistake))),
            keys: Arc::new(Mutex::new(Keys::with(mistake))),
            history: Arc::default(),
            processes: [const { None }; PROCESSES],
            tasks: Vec::new(),
            started: 0,
        }
    }

    fn start(&mut self, config: HybridConfig) -> Process {
        let number = self.started;
        self.started += 1;
        let primary = MemoryPrimary {
            network: self.network.clone(),
            process: number,
            document: self.document.clone(),
        };
        let cache = MemoryCache {
            network: self.network.clone(),
            process: number,
            keys: self.keys.clone(),
        };
        // A breaker that stays out of the way.
        let breaker = BreakerConfig {
            error_threshold: 1.0,
            window: Duration::from_secs(10),
            cool_down: Duration::from_secs(30),
            minimum: u32::MAX,
        };
        let breaker = Breaker::new("simulation", breaker, observe::of("mongodb"));
        let core = Core::new(
            config,
            Arc::new(primary),
            Arc::new(cache),
            Arc::new(breaker),
            None,
        );
        let process = Process::new(number, core);
        tokio::spawn(reconciler::run(Arc::downgrade(&process.backend.0), || 1.0));
        process
    }

    fn process(&mut self, place: usize) -> Process {
        if let Some(process) = &self.processes[place] {
            return process.clone();
        }
        let process = self.start(self.config.clone());
        self.processes[place] = Some(process.clone());
        process
    }

    /// Begins an action, which may go on for some time.
    fn act(&mut self, action: &Action) {
        match *action {
            Action::Open { process, displaces } => {
                self.spawn(process, move |process, world| process.open(world, displaces));
            }
            Action::Write { process } => self.spawn(process, Process::write),
            Action::Read { process, records } => {
                self.spawn(process, move |process, world| process.read(world, records));
            }
            Action::Renew { process } => self.spawn(process, |process, _| process.renew()),
            Action::Delete { process, owns } => {
                self.spawn(process, move |process, world| process.delete(world, owns));
            }
            Action::Release { process } => self.spawn(process, |process, _| process.release()),
            Action::Adopt { process } => self.spawn(process, |process, _| async move {
                let _ = process.backend.reconcile().await;
            }),
            Action::Crash { process } => self.crash(process),
            Action::Freeze { process } => {
                let number = self.process(process).number;
                self.network.freeze(number);
            }
            Action::Thaw { process } => {
                let number = self.process(process).number;
                self.network.thaw(number);
            }
            Action::Empty => {
                self.keys.lock().empty();
                self.excuse_what_nobody_has();
            }
            Action::Evict => self.keys.lock().evict(),
            Action::Cut(server) => self.network.cut(server),
            Action::Mend(server) => self.network.mend(server),
            Action::PassOutbox => self.pass_outbox(),
        }
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        place: usize,
        work: impl FnOnce(Process, Watch) -> F,
    ) {
        let process = self.process(place);
        let number = process.number;
        let world = Watch {
            document: self.document.clone(),
            history: self.history.clone(),
        };
        self.tasks.push((number, tokio::spawn(work(process, world))));
    }

    fn crash(&mut self, place: usize) {
        let Some(process) = self.processes[place].take() else {
            return;
        };
        self.network.kill(process.number);
        for (number, task) in &self.tasks {
            if *number == process.number {
                task.abort();
            }
        }
        // What works for it in the background never hears of a server again.
        drop(process);
        self.excuse_what_nobody_has();
    }

    /// What was acknowledged is lost if the cache has lost it, and whoever had it in memory is dead.
    fn excuse_what_nobody_has(&self) {
        let mut history = self.history.lock();
        let (document, keys) = (self.document.lock(), self.keys.lock());
        let in_outbox: BTreeSet<_> = keys
            .outbox
            .iter()
            .flat_map(|outbox| outbox.entries.values())
            .filter_map(|found| entry::decode(&session(), 0, found.clone()).ok())
            .filter_map(|commit| number_of(&commit.changes))
            .collect();
        for number in history.all_acknowledged() {
            let token = history.token_of(number);
            let in_memory = self.processes.iter().flatten().any(|process| {
                let sessions = &process.backend.0.sessions;
                sessions.former(&session(), token).is_some()
            });
            let applied = document.knows(&trace(number));
            if !applied && !in_memory && !in_outbox.contains(&number) {
                history.excuse(number);
            }
        }
    }

    fn pass_outbox(&self) {
        let mut document = self.document.lock();
        let request = Acquire {
            session: session(),
            owner: Owner::current().clone(),
            lease: Duration::ZERO,
            client_token: None,
            preempt: Some(document.token),
            read: Vec::new(),
        };
        let outbox = document.outbox;
        let AcquireOutcome::Granted(grant, before) = document.acquire(&request, Outboxes::GivenUp) else {
            return;
        };
        let mut history = self.history.lock();
        history.passed |= outbox.is_some();
        let incarnation = document.deleted.len();
        let (number, changes) = history.begin(grant.token, grant.head.version + 1, incarnation);
        let commit = commit(number, grant.token, before.version, changes);
        document.commit(&commit).expect("the session is its own");
        history.acknowledged(number);
        document.release(grant.token);
    }

    /// Lets everything come to rest, with servers that work, and has somebody else open the session.
    async fn end(&mut self) -> End {
        self.network.calm_down();
        sleep(SETTLED).await;
        for process in self.processes.clone().into_iter().flatten() {
            let mut flushed = Ok(());
            for _ in 0..TRIES {
                flushed = process.backend.0.flush_all().await;
                if flushed.is_ok() {
                    break;
                }
                sleep(PAUSE).await;
            }
            if let Err(error) = flushed {
                let text = format!("what is pending never gets to the primary: {error:?}");
                self.history.lock().violation(text);
            }
        }
        let before = self.history.lock().all_acknowledged();
        let incarnation = self.document.lock().deleted.len();
        let mut last = self.start(self.config.clone());
        let mut preempt = None;
        let mut opened = None;
        for _ in 0..TRIES {
            let answer = last.backend.acquire(last.request(preempt)).await;
            match answer {
                Ok(Acquired::Granted(grant)) => {
                    let reached = Reached {
                        incarnation,
                        version: grant.head.version,
                    };
                    self.history.lock().granted(grant.token, reached, &before);
                    opened = Some(Ok(grant));
                    break;
                }
                Ok(Acquired::Held(holder)) => {
                    preempt = Some(holder.token);
                    // The servers may name two holders, of which a request displaces one; the other's lease ends.
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    if error.kind() == Kind::SessionLost {
                        last = self.start(HybridConfig {
                            accept_lost_outbox: true,
                            ..self.config.clone()
                        });
                    }
                    opened = Some(Err(error));
                    sleep(PAUSE).await;
                }
            }
        }
        match opened {
            Some(Ok(grant)) => {
                let released = last.backend.release(&session(), grant.token).await;
                if let Err(error) = released {
                    self.history
                        .lock()
                        .violation(format!("it cannot be given back: {error:?}"));
                }
            }
            failed => {
                let text = format!("the session can never be opened again: {failed:?}");
                self.history.lock().violation(text);
            }
        }
        sleep(SETTLED).await;
        let (document, keys) = (self.document.lock(), self.keys.lock());
        let letters = document.dead_letters.iter().chain(&keys.dead_letters);
        let dead = letters
            .filter_map(|letter| entry::decode(&session(), 0, letter.entry.clone()).ok())
            .filter_map(|commit| number_of(&commit.changes));
        let earlier = document.deleted.iter().cloned();
        End {
            incarnations: earlier.chain([document.incarnation()]).collect(),
            dead: dead.collect(),
        }
    }
}
