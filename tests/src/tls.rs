//! TLS in front of the stand-in: a certificate authority of the test's own, and a front door that takes the TLS off.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::House;

/// A certificate of an authority that nobody else trusts.
#[derive(Debug)]
pub struct Certificates {
    /// What has to be trusted.
    pub authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// Made by openssl for `names`, such as `DNS:discord.com`; none where there is no openssl.
    #[must_use]
    pub fn make(house: &House, names: &str) -> Option<Self> {
        const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        let extension = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        let extension = house.write("tmp/leaf.cnf", extension).display().to_string();
        let path = |name: &str| house.path(&format!("tmp/{name}"));
        let (authority, certificate, key) = (path("ca.pem"), path("leaf.pem"), path("leaf.key"));
        let text = |path: &PathBuf| path.display().to_string();
        let (ca, leaf, leaf_key) = (text(&authority), text(&certificate), text(&key));
        let (ca_key, asked) = (text(&path("ca.key")), text(&path("leaf.csr")));
        let is_made = openssl(&format!(
            "req -x509 {KEY} -days 2 -subj /CN=test-ca -keyout {ca_key} -out {ca}"
        )) && openssl(&format!(
            "req {KEY} -subj /CN=stand-in -keyout {leaf_key} -out {asked}"
        )) && openssl(&format!(
            "x509 -req -in {asked} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {extension} -out {leaf}"
        ));
        house.settle();
        is_made.then_some(Self {
            authority,
            certificate,
            key,
        })
    }

    fn server(&self) -> Result<TlsAcceptor> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn openssl(words: &str) -> bool {
    let mut command = Command::new("openssl");
    command
        .args(words.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// TLS outside, a plain connection to somebody inside for each; open as long as it lives.
#[derive(Debug)]
pub struct FrontDoor {
    came: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl FrontDoor {
    /// Opens at `address` for whoever listens at `behind`.
    ///
    /// # Errors
    /// The address is taken, or not ours to take.
    pub fn open(certificates: &Certificates, address: &str, behind: SocketAddr) -> Result<Self> {
        let acceptor = certificates.server()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .with_context(|| address.to_owned())?;
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut outside = acceptor.accept(stream).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                    let mut inside = TcpStream::connect(behind).await?;
                    inside.set_nodelay(true)?;
                    copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        Ok(Self {
            came,
            _runtime: runtime,
        })
    }

    /// How many connections trusted the certificate so far.
    #[must_use]
    pub fn came(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }
}
