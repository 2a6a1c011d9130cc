//! Lists that are read page by page.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Kind, Result};

/// Some of a list, and whether there may be more.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// False after the last page, whose cursor is gone then.
    pub more: bool,
}

/// The lists that are being read. Whoever reads on from one that failed, or from none, gets an error: it must not look
/// like the end of the list.
pub(super) struct Cursors<C> {
    layer: &'static str,
    last: AtomicU32,
    open: Mutex<HashMap<u32, C>>,
}

impl<C> Cursors<C> {
    pub fn new(layer: &'static str) -> Self {
        Self {
            layer,
            last: AtomicU32::new(0),
            open: Mutex::default(),
        }
    }

    /// Keeps a cursor, and gives its number.
    pub fn add(&self, cursor: C) -> u32 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.lock().insert(number, cursor);
        number
    }

    /// Takes a cursor out; only one whose page was read is put back.
    pub fn take(&self, number: u32) -> Result<C> {
        self.open.lock().remove(&number).ok_or_else(|| {
            let text = "this list is not being read, or reading it failed: begin again";
            Error::new(Kind::InvalidValue, self.layer, text)
        })
    }

    /// Puts a cursor back that has more to give.
    pub fn put_back(&self, number: u32, cursor: C) {
        self.open.lock().insert(number, cursor);
    }

    /// Gives a list up.
    pub fn drop_one(&self, number: u32) {
        self.open.lock().remove(&number);
    }
}
