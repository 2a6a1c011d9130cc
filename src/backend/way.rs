//! A way to a server for tests, which can be cut and mended.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Forwards a local port to the server until it is cut.
pub struct Way {
    pub address: SocketAddr,
    target: String,
    task: Option<JoinHandle<()>>,
}

impl Way {
    /// To the server of a `mongodb://host:port…` URL.
    pub async fn to(url: &str) -> Self {
        let after_scheme = url.trim_start_matches("mongodb://");
        let target = after_scheme.split(['/', '?']).next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut way = Self {
            address,
            target,
            task: None,
        };
        way.forward(listener);
        way
    }

    fn forward(&mut self, listener: TcpListener) {
        let target = self.target.clone();
        self.task = Some(tokio::spawn(async move {
            // Dropped with the task, and so are the connections in it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        }));
    }

    /// Ends all connections and takes no more.
    pub async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Takes connections again, at the same address.
    pub async fn mend(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.forward(listener);
    }
}
