//! Marks what breakers let through although they are open.

tokio::task_local! {
    static PROMISED: ();
}

/// Makes `call`, which breakers in it let through: it is another try of what they let through before.
pub(super) async fn promised<T>(call: impl Future<Output = T>) -> T {
    PROMISED.scope((), call).await
}

/// Whether this is such a call.
pub(super) fn is_promised() -> bool {
    PROMISED.try_with(|()| ()).is_ok()
}
