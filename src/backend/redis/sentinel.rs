//! Finding the master behind sentinels.

use futures_util::FutureExt;
use futures_util::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, from_redis_value};

use super::config::{Address, Login};
use super::dial::Dial;

/// A connection to the server that is the master now. All sentinels are asked at once, and the first whose answer
/// proves true wins: neither a sentinel that hangs nor one that has missed a failover can hold us up.
pub(super) async fn master(
    dial: &Dial<'_>,
    sentinels: &[Address],
    name: &str,
    login: &Login,
) -> RedisResult<MultiplexedConnection> {
    let attempts = sentinels
        .iter()
        .map(|sentinel| through(dial, sentinel, name, login).boxed());
    select_ok(attempts).await.map(|(connection, _)| connection)
}

async fn through(
    dial: &Dial<'_>,
    sentinel: &Address,
    name: &str,
    login: &Login,
) -> RedisResult<MultiplexedConnection> {
    let mut sentinel = dial.node(sentinel, login, false).await?;
    let address: Option<(String, u16)> = redis::cmd("SENTINEL")
        .arg("get-master-addr-by-name")
        .arg(name)
        .query_async(&mut sentinel)
        .await?;
    let address = address.ok_or_else(|| {
        RedisError::from((
            ErrorKind::MasterNameNotFoundBySentinel,
            "the sentinel knows no master of this name",
        ))
    })?;
    let mut node = dial.node(&address, dial.login(), true).await?;
    match redis::cmd("ROLE").query_async::<Value>(&mut node).await {
        Ok(Value::Array(role)) => {
            let role: String = role
                .into_iter()
                .next()
                .map(from_redis_value)
                .transpose()?
                .unwrap_or_default();
            if role != "master" {
                let code = "READONLY".to_owned();
                return Err(redis::make_extension_error(
                    code,
                    Some("the sentinel named a replica".to_owned()),
                ));
            }
        }
        Ok(_) => {}
        // Without the permission to ask, the first write will tell.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {}
        Err(error) => return Err(error),
    }
    Ok(node)
}
