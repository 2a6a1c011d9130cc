//! Answers and events on their way to JavaScript.
//!
//! Each thread of JavaScript has one port. What is posted while the event loop is busy goes over together, in one
//! call of the thread-safe function, as one Buffer of frames (little-endian):
//!
//! `u32 request | u8 status (0 ok, 1 error, 2 event) | u8 kind | u32 length | payload`

use std::sync::Arc;

use napi::Status;
use napi::bindgen_prelude::{Buffer, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use parking_lot::Mutex;

use crate::backend::Head;
use crate::error::{Error, Result};

const OK: u8 = 0;
const ERROR: u8 = 1;
const EVENT: u8 = 2;

/// What an answer carries.
pub enum Payload {
    /// Nothing.
    None,
    /// A commit's version and time.
    Committed(Head),
    /// An answer frame (see `record::frame`).
    Answer(Vec<u8>),
    /// JSON.
    Json(serde_json::Value),
    /// A head as JSON and the records as a set frame.
    Snapshot(serde_json::Value, Vec<u8>),
}

type Doorbell = ThreadsafeFunction<(), (), Buffer, Status, false, true>;

/// The way back to one thread of JavaScript.
pub struct Port {
    waiting: Arc<Mutex<Vec<u8>>>,
    doorbell: Doorbell,
}

impl Port {
    /// A port that calls `receive` with batches. It does not keep the process alive.
    pub fn new(receive: &Function<'_, Buffer, ()>) -> napi::Result<Self> {
        let waiting: Arc<Mutex<Vec<u8>>> = Arc::default();
        let batch = waiting.clone();
        let doorbell = receive
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .build_callback(move |_| Ok(Buffer::from(std::mem::take(&mut *batch.lock()))))?;
        Ok(Self { waiting, doorbell })
    }

    /// Answers `request`.
    pub fn answer(&self, request: u32, outcome: Result<Payload>) {
        match outcome {
            Ok(Payload::None) => self.post(request, OK, 0, &[]),
            Ok(Payload::Committed(head)) => {
                let mut bytes = [0; 16];
                #[expect(clippy::cast_precision_loss, reason = "versions and times stay below 2^53")]
                let (version, time) = (head.version as f64, head.updated_at as f64);
                bytes[..8].copy_from_slice(&version.to_le_bytes());
                bytes[8..].copy_from_slice(&time.to_le_bytes());
                self.post(request, OK, 1, &[&bytes]);
            }
            Ok(Payload::Answer(answer)) => self.post(request, OK, 2, &[&answer]),
            Ok(Payload::Json(json)) => self.post(request, OK, 3, &[json.to_string().as_bytes()]),
            Ok(Payload::Snapshot(json, records)) => {
                let json = json.to_string();
                self.post(request, OK, 4, &[&length(json.len()), json.as_bytes(), &records]);
            }
            Err(error) => self.post(request, ERROR, 3, &[describe(&error).to_string().as_bytes()]),
        }
    }

    /// Reports something nobody asked for.
    pub fn event(&self, event: &serde_json::Value) {
        self.post(0, EVENT, 3, &[event.to_string().as_bytes()]);
    }

    fn post(&self, request: u32, status: u8, kind: u8, payload: &[&[u8]]) {
        let mut waiting = self.waiting.lock();
        let first = waiting.is_empty();
        waiting.extend_from_slice(&request.to_le_bytes());
        waiting.extend_from_slice(&[status, kind]);
        waiting.extend_from_slice(&length(payload.iter().map(|part| part.len()).sum()));
        for part in payload {
            waiting.extend_from_slice(part);
        }
        drop(waiting);
        if first {
            // Fails only when the JavaScript thread is going away, and then nobody waits.
            self.doorbell.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// An error as JavaScript gets it.
pub fn describe(error: &Error) -> serde_json::Value {
    serde_json::json!({
        "code": error.kind().code(),
        "message": error.message(),
        "retryable": error.retryable(),
        "layer": error.layer(),
        "sessionId": error.session().map(|id| &**id),
        "cause": error.cause(),
        "details": error.details(),
    })
}
