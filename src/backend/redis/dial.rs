//! Makes connections with the options that users set.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsCertificates,
};

use super::config::{Address, Login, RedisConfig};

/// Makes connections with the options of one link.
pub(super) struct Dial<'a> {
    pub config: &'a RedisConfig,
}

impl Dial<'_> {
    /// Connects to one server as `login`; `data` is false for sentinels, which have no databases.
    pub async fn node(
        &self,
        address: &Address,
        login: &Login,
        data: bool,
    ) -> RedisResult<MultiplexedConnection> {
        let database = if data { self.config.database } else { 0 };
        self.open(self.info(self.address(address), login, database)?)
            .await
    }

    /// Who we are to the data servers.
    pub fn login(&self) -> &Login {
        &self.config.login
    }

    /// Connects to what `info` names.
    pub async fn open(&self, info: ConnectionInfo) -> RedisResult<MultiplexedConnection> {
        let client = match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        // Time limits are kept in one place, `Link`, which knows what else belongs to the operation.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(256);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    fn address(&self, (host, port): &Address) -> ConnectionAddr {
        if self.config.tls.is_some() {
            ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: self.config.tls.as_ref().is_some_and(|tls| tls.insecure),
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host.clone(), *port)
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "reads better beside the other parts of a connection"
    )]
    pub fn info(&self, address: ConnectionAddr, login: &Login, database: i64) -> RedisResult<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default()
            .set_db(database)
            .set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        if let Some(username) = &login.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.as_str());
        }
        Ok(address
            .into_connection_info()?
            .set_redis_settings(settings)
            .set_tcp_settings(tcp_settings()))
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let tls = self.config.tls.as_ref()?;
        Some(TlsCertificates {
            client_tls: tls.client.as_ref().map(|(certificate, key)| ClientTlsConfig {
                client_cert: certificate.clone(),
                client_key: key.to_vec(),
            }),
            root_cert: Some(tls.roots().to_vec()),
        })
    }
}

fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}
