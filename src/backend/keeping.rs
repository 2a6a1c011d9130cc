//! A lease that is kept while its session is made ready.

use std::pin::pin;
use std::time::Duration;

/// Does `work` for a session that was just taken, and has its lease renewed meanwhile, should that take long: what a
/// crash left behind may be more than can be repaired within one lease.
pub(crate) async fn keeping<T, R: Future<Output = ()>>(
    lease: Duration,
    mut renew: impl FnMut() -> R,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        let renewed = async {
            tokio::time::sleep(lease / 3).await;
            // Whether it is still ours is found out by what is done with it.
            renew().await;
        };
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = renewed => {}
        }
    }
}
