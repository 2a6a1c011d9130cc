//! What a thread of JavaScript reads other libraries' data from.

use std::sync::Arc;

use crate::foreign::{ForeignMongo, ForeignRedis, ForeignSqlite};
use crate::runtime::WorkerThread;

/// An open source, and the thread that its calls run on.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) reader: Reader,
    pub(super) worker: WorkerThread,
}

#[derive(Clone)]
pub(super) enum Reader {
    Redis(Arc<ForeignRedis>),
    Mongo(Arc<ForeignMongo>),
    Sqlite(Arc<ForeignSqlite>),
}

/// Lets go of sources on their own threads, where a connection can say good-bye.
pub(super) fn close(sources: impl IntoIterator<Item = Source>) {
    for Source { reader, worker } in sources {
        worker.spawn(async move { drop(reader) });
    }
}
