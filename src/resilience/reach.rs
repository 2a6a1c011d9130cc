//! Waiting for a server that is not up yet.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::time::Backoff;

/// Pauses before it is tried again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));

/// Whether the server may be there later.
pub fn away(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

/// Tries again and again until `deadline` while the server is away; `tell` hears why, once for each reason.
pub async fn until_reachable<T, F>(
    deadline: Instant,
    tell: impl Fn(&Error) + Send,
    mut attempt: impl FnMut() -> F + Send,
) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let mut pauses = PAUSES;
    let mut told = String::new();
    loop {
        match attempt().await {
            Err(error) if away(&error) => {
                let pause = pauses.next_pause();
                if Instant::now() + pause >= deadline {
                    return Err(error);
                }
                let text = error.to_string();
                if text != told {
                    tell(&error);
                    told = text;
                }
                tokio::time::sleep(pause).await;
            }
            answer => return answer,
        }
    }
}
