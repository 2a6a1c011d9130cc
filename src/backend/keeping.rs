//! A lease that is kept while its session is made ready.

use std::pin::pin;
use std::time::Duration;

use super::{Backend, Renewal, SessionId, Token};

/// Does `work` for a session that was just taken, and renews its lease meanwhile, should that take long: what a
/// crash left behind may be more than can be repaired within one lease.
pub(crate) async fn keeping<T>(
    backend: &dyn Backend,
    session: &SessionId,
    token: Token,
    lease: Duration,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    // What the session held is compared by who opens it.
    let leases = [Renewal {
        session: session.clone(),
        token,
        version: 0,
    }];
    loop {
        let renewed = async {
            tokio::time::sleep(lease / 3).await;
            // Whether it is still ours is found out by what is done with it.
            backend.renew(&leases, lease).await
        };
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = renewed => {}
        }
    }
}
