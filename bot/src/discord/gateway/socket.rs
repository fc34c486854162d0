//! The websocket itself: connect within a bound, frames of a bounded size, text in and out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};

/// Making a connection, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A peer that does not take what we send is as good as gone.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// A server of the largest kind tells of itself in less.
const LARGEST_FRAME: usize = 16 << 20;

/// What came in.
pub(super) enum Heard {
    /// A frame of text.
    Text(String),
    /// The end, with its code.
    Closed(Option<u16>),
}

/// Trust for TLS: the built-in roots, and the owner's own.
#[derive(Clone)]
pub struct Trust(Arc<rustls::ClientConfig>);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Reads `extra_ca`, if there is one.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate.
    pub fn new(extra_ca: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = extra_ca {
            let certificates = CertificateDer::pem_file_iter(path)
                .with_context(|| format!("reading certificates from {}", path.display()))?;
            for certificate in certificates {
                let certificate = certificate
                    .with_context(|| format!("reading a certificate from {}", path.display()))?;
                roots
                    .add(certificate)
                    .context("trusting a certificate of EXTRA_CA_FILE")?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choosing TLS versions")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// One connection.
pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects, or says nothing but that it did not work.
    pub(super) async fn connect(url: &str, trust: &Trust) -> Option<Self> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_FRAME))
            .max_frame_size(Some(LARGEST_FRAME));
        let connector = Connector::Rustls(Arc::clone(&trust.0));
        let connecting = connect_async_tls_with_config(url, Some(config), true, Some(connector));
        match timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok((stream, _))) => Some(Self(stream)),
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "the gateway cannot be reached");
                None
            }
            Err(_) => None,
        }
    }

    /// The next thing that comes.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Heard::Text(text.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    return Heard::Closed(frame.map(|frame| frame.code.into()));
                }
                // Pings are answered by the library; compression was not asked for.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }

    /// Sends; false when the connection is gone.
    pub(super) async fn say(&mut self, frame: &serde_json::Value) -> bool {
        let sent = timeout(SEND_WITHIN, self.0.send(Message::text(frame.to_string()))).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Hangs up. Any code but 1000 and 1001 keeps the session alive at Discord's side.
    pub(super) async fn hang_up(mut self, code: u16) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        };
        let closing = async {
            if self.0.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.0.next().await {}
            }
        };
        if timeout(Duration::from_secs(2), closing).await.is_err() {
            tracing::debug!("the gateway did not answer our goodbye");
        }
    }
}
