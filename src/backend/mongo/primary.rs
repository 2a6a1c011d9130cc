//! Which primary answers.
//!
//! A majority read of a primary that was just elected may show less than the one before it had acknowledged: it
//! answers with what it knows a majority to have, and learns that a little later than the clients did. A write of ours that
//! a majority has is proof that it knows now. So after each change of the primary, the first read waits for such a
//! write. (A session of the driver's with causal consistency would do for what this process wrote, not for what the
//! former owner of a session did.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mongodb::ServerType;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;

/// Counts how often a client met a primary, or a router, that it had not had before or had lost.
#[derive(Clone, Default)]
pub(super) struct Primaries(Arc<AtomicU64>);

impl Primaries {
    /// What the client tells of its servers.
    pub fn listener(&self) -> EventHandler<SdamEvent> {
        let count = self.0.clone();
        EventHandler::callback(move |event| {
            if let SdamEvent::ServerDescriptionChanged(change) = event {
                let before = change.previous_description.server_type();
                let now = change.new_description.server_type();
                if before != now && takes_writes(now) {
                    count.fetch_add(1, Ordering::AcqRel);
                }
            }
        })
    }

    pub fn met(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

fn takes_writes(server: ServerType) -> bool {
    matches!(
        server,
        ServerType::RsPrimary | ServerType::Standalone | ServerType::Mongos | ServerType::LoadBalancer
    )
}
