//! Answers that somebody waits for.

use crate::error::{Error, Kind, Result};

/// An answer that is owed. It is given once. One that is dropped instead, because the work that owed it panicked or
/// was given up, is answered with [`Kind::Internal`]: nobody waits for ever.
pub struct Answer<T>(Option<Box<dyn FnOnce(Result<T>) + Send>>);

impl<T> Answer<T> {
    /// One that is told to `tell`.
    pub fn new(tell: impl FnOnce(Result<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    /// Gives it.
    pub fn give(mut self, outcome: Result<T>) {
        if let Some(tell) = self.0.take() {
            tell(outcome);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let text = "a defect in this library ended the work; a write may or may not have been applied";
            tell(Err(Error::new(Kind::Internal, "core", text)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_answer_is_given_once() {
        let (sender, answers) = mpsc::channel();
        let owed = || {
            let sender = sender.clone();
            Answer::new(move |outcome: Result<u32>| sender.send(outcome).unwrap())
        };
        owed().give(Ok(1));
        drop(owed());
        let answer = owed();
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _answer = answer;
            panic!("injected");
        }));
        assert!(panicked.is_err());
        let kinds: Vec<_> = answers
            .try_iter()
            .map(|outcome| outcome.map_err(|error| error.kind()))
            .collect();
        assert_eq!(kinds, [Ok(1), Err(Kind::Internal), Err(Kind::Internal)]);
    }
}
