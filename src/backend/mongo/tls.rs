//! Certificates, as the driver takes them, and a server that speaks TLS where we do not.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::doc;
use mongodb::options::{ClientOptions, TlsOptions};
use tempfile::NamedTempFile;

use super::LAYER;
use crate::backend::{Tls, tls};
use crate::error::{Error, Kind, Result};

/// How long a server may take to show whether it speaks TLS.
const FIRST_ANSWER: Duration = Duration::from_millis(500);

/// Whether the servers speak TLS where we do not, or the reverse: what comes of that looks like any other failed
/// connection. They are asked without a login.
pub(super) async fn misunderstanding(mut options: ClientOptions) -> Option<&'static str> {
    let encrypted = matches!(options.tls, Some(mongodb::options::Tls::Enabled(_)));
    options.tls = Some(if encrypted {
        mongodb::options::Tls::Disabled
    } else {
        TlsOptions::builder()
            .allow_invalid_certificates(true)
            .build()
            .into()
    });
    options.credential = None;
    options.server_selection_timeout = Some(FIRST_ANSWER);
    let client = Client::with_options(options).ok()?;
    let hello = async { client.database("admin").run_command(doc! { "hello": 1 }).await };
    tokio::time::timeout(FIRST_ANSWER, hello).await.ok()?.ok()?;
    Some(if encrypted {
        tls::NOT_TLS
    } else {
        "the server speaks TLS at this port: connect by TLS (tls=true in the URL, or the option tls)"
    })
}

/// Gives the driver, which takes certificates as files, files of them. They are only their owner's to read, and are gone
/// when the result is dropped.
pub(super) fn certificates(options: &mut ClientOptions, tls: Option<&Tls>) -> Result<Vec<NamedTempFile>> {
    let Some(mongodb::options::Tls::Enabled(driver)) = &mut options.tls else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    let mut file_of = |parts: &[&[u8]]| -> Result<PathBuf> {
        let written = NamedTempFile::new().and_then(|mut file| {
            for part in parts {
                file.write_all(part)?;
                file.write_all(b"\n")?;
            }
            Ok(file)
        });
        let file = written.map_err(|cause| {
            Error::new(
                Kind::Config,
                LAYER,
                "no room for certificates in the folder for temporary files",
            )
            .because(&cause)
        })?;
        let path = file.path().to_owned();
        files.push(file);
        Ok(path)
    };
    let tls = tls.cloned().unwrap_or_default();
    if tls.authority.is_some() || driver.ca_file_path.is_none() {
        driver.ca_file_path = Some(file_of(&[tls.roots()])?);
    }
    if let Some((certificate, key)) = &tls.client {
        driver.cert_key_file_path = Some(file_of(&[certificate, key])?);
    }
    if tls.insecure {
        driver.allow_invalid_certificates = Some(true);
    }
    Ok(files)
}
