//! Whom to trust over TLS, who we are there, and what a handshake that failed means.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Kind};

/// Where Node looks for further authorities.
const EXTRA_CERTIFICATES: &str = "NODE_EXTRA_CA_CERTS";

/// How to verify the server and identify to it over TLS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates (PEM) that sign the server's, in place of the authorities trusted here.
    pub authority: Option<Vec<u8>>,
    /// Our own certificate and its key (PEM), for servers that ask for one.
    pub client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    /// Take any certificate.
    pub insecure: bool,
}

impl Tls {
    /// Certificates (PEM) that may sign the server's.
    pub fn roots(&self) -> &[u8] {
        match &self.authority {
            Some(own) => own,
            None => trusted_here(),
        }
    }

    /// The same for what is the same; does not give the key away.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        add(self.authority.as_deref().unwrap_or_default());
        if let Some((certificate, key)) = &self.client {
            add(certificate);
            add(key);
        }
        add(&[u8::from(self.insecure)]);
        hash.finalize().into()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authority", &self.authority.is_some())
            .field("client", &self.client.is_some())
            .field("insecure", &self.insecure)
            .finish()
    }
}

/// The authorities trusted without being named: Mozilla's, the system's and those of `NODE_EXTRA_CA_CERTS`. Read once,
/// as Node does.
fn trusted_here() -> &'static [u8] {
    static TRUSTED: OnceLock<Vec<u8>> = OnceLock::new();
    TRUSTED.get_or_init(|| {
        let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        // What of the system's store cannot be read is missing from it.
        let system = rustls_native_certs::load_native_certs().certs;
        let extra = std::env::var_os(EXTRA_CERTIFICATES)
            .map(|path| certificates_of(Path::new(&path)))
            .unwrap_or_default();
        let mut known = HashSet::new();
        public
            .chain(system)
            .chain(extra)
            // A driver refuses the whole store for one certificate that it does not understand.
            .filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok())
            .filter(|certificate| known.insert(certificate.to_vec()))
            .flat_map(|certificate| pem(&certificate).into_bytes())
            .collect()
    })
}

fn certificates_of(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The error that a driver's account of a failed connection stands for, if TLS is what failed. None of these passes by
/// itself.
pub(super) fn refusal(layer: &'static str, account: &str) -> Option<Error> {
    let message = if let Some((_, fault)) = account.split_once("invalid peer certificate: ") {
        match fault {
            _ if fault.starts_with("UnknownIssuer") => {
                "the server's TLS certificate is signed by nobody who is trusted here: give its authority as `ca` of \
                 the option tls"
            }
            _ if fault.contains("not valid for name") || fault.starts_with("NotValidForName") => {
                "the server's TLS certificate is for another name: connect by a name that it holds"
            }
            _ if fault.contains("expired") || fault.starts_with("Expired") => {
                "the server's TLS certificate has expired"
            }
            _ if fault.contains("not valid yet") || fault.starts_with("NotValidYet") => {
                "the server's TLS certificate is not valid yet: is the clock right?"
            }
            _ if fault.contains("CaUsedAsEndEntity") => {
                "the server's TLS certificate is an authority's own: it needs one that is signed by it"
            }
            _ => "the server's TLS certificate is not accepted",
        }
    } else if account.contains("CertificateRequired")
        || account.contains("BadCertificate")
        || account.contains("UnknownCA")
        || account.contains("certificate required")
        || account.contains("bad certificate")
    {
        "the server did not take our TLS certificate: give `cert` and `key` of the option tls, signed by an authority \
         of the server's"
    } else if account.contains("InvalidContentType") {
        NOT_TLS
    } else {
        return None;
    };
    Some(Error::new(Kind::Config, layer, message))
}

/// A record of TLS that no server can go on with …
pub(super) const HALF_A_HANDSHAKE: &[u8] = &[0x16, 3, 1, 0, 4, 1, 0, 0, 0];
/// … and the first byte of what it answers.
pub(super) const ALERT: u8 = 0x15;

/// For servers that answer, but not in TLS.
pub(super) const NOT_TLS: &str = "the server does not speak TLS at this port: give its TLS port, or connect without TLS (redis://, tls=false)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_authorities_are_trusted() {
        let count = CertificateDer::pem_slice_iter(trusted_here())
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
            .len();
        assert!(count >= webpki_root_certs::TLS_SERVER_ROOT_CERTS.len(), "{count}");
    }

    #[test]
    fn an_authority_of_ones_own_stands_alone() {
        let tls = Tls {
            authority: Some(b"mine".to_vec()),
            ..Tls::default()
        };
        assert_eq!(tls.roots(), b"mine");
    }

    #[test]
    fn a_failed_handshake_is_told_from_a_failed_connection() {
        let of = |account| refusal("redis", account);
        assert!(of("Connection refused (os error 111)").is_none());
        for account in [
            "invalid peer certificate: UnknownIssuer",
            "invalid peer certificate: certificate not valid for name \"a\"; certificate is only valid for b",
            "received fatal alert: CertificateRequired",
            "received corrupt message of type InvalidContentType",
        ] {
            let error = of(account).unwrap();
            assert_eq!(
                (error.kind(), error.retryable()),
                (Kind::Config, false),
                "{account}"
            );
        }
    }
}
