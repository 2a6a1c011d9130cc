//! What the server must prove over TLS, as `sslmode` says.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use super::LAYER;
use super::url::{Encryption, Proof, Root, Target};
use crate::backend::Tls;
use crate::error::{Error, Kind, Result};

/// How connections of one target are encrypted.
#[derive(Clone)]
pub(super) struct Encrypted {
    pub encryption: Encryption,
    pub connector: MakeRustlsConnect,
}

impl Encrypted {
    /// What URL and options ask for together. A URL that does not say leaves it to the server, as libpq does; who gives
    /// the option `tls` wants the server to prove who it is, as everywhere else.
    pub fn new(target: &Target, option: Option<&Tls>) -> Result<Self> {
        let (encryption, proof) = match (target.tls, option) {
            (Some((Encryption::Disable, _)), Some(_)) => {
                let text = "the URL says sslmode=disable, and the option tls is given: leave one of them out";
                return Err(refused(text));
            }
            (_, Some(tls)) if tls.insecure => (Encryption::Require, Proof::Nothing),
            (Some((_, Proof::Authority)), Some(_)) => (Encryption::Require, Proof::Authority),
            (_, Some(_)) => (Encryption::Require, Proof::Name),
            (Some(said), None) => said,
            (None, None) => (Encryption::Prefer, Proof::Nothing),
        };
        let mut tls = option.cloned().unwrap_or_default();
        if let (None, Root::File(path)) = (&tls.authority, &target.root) {
            tls.authority = Some(read(path, "sslrootcert")?);
        }
        if let (None, Some((certificate, key))) = (&tls.client, &target.client) {
            tls.client = Some((
                read(certificate, "sslcert")?,
                Zeroizing::new(read(key, "sslkey")?),
            ));
        }
        Ok(Self {
            encryption,
            connector: connector(proof, &tls)?,
        })
    }
}

fn refused(text: &'static str) -> Error {
    Error::new(Kind::Config, LAYER, text)
}

fn read(path: &Path, parameter: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| {
        let text = format!("the file of the URL's parameter `{parameter}` cannot be read");
        Error::new(Kind::Config, LAYER, text).because(&cause)
    })
}

fn connector(proof: Proof, tls: &Tls) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(proof, tls, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::new(Kind::Internal, LAYER, "TLS cannot be set up").because(&cause))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let own = CertificateDer::pem_slice_iter(certificate)
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|_| refused("our TLS certificate is not PEM"))?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| refused("the key of our TLS certificate is not PEM"))?;
            builder.with_client_auth_cert(own, key).map_err(|cause| {
                refused("our TLS certificate and its key do not belong together").because(&cause)
            })?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// Checks as much as was asked for.
#[derive(Debug)]
struct Verifier {
    /// `None` where nothing is to be proved.
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(proof: Proof, tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let chain = match proof {
            Proof::Nothing => None,
            Proof::Authority | Proof::Name => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(tls.roots()) {
                    let certificate =
                        certificate.map_err(|_| refused("the authority's certificate is not PEM"))?;
                    roots.add(certificate).map_err(|cause| {
                        refused("the authority's certificate is not valid").because(&cause)
                    })?;
                }
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                let verifier = verifier
                    .build()
                    .map_err(|cause| refused("there is no authority to trust").because(&cause))?;
                Some(verifier)
            }
        };
        Ok(Self {
            chain,
            checks_name: proof == Proof::Name,
            provider: provider.clone(),
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is checked last, so this is said of a chain that is in order.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            answer => answer,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
