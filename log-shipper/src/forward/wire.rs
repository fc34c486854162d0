//! This room carries syslog messages: datagrams, a stream, or an encrypted stream. The only one that names rustls.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::net::sockopt::set_tcp_user_timeout;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::forward::syslog::{Target, Transport};

const CONNECT_WAIT: Duration = Duration::from_secs(10);
const WRITE_WAIT: Duration = Duration::from_secs(15);
/// Bytes that the peer's kernel has not acknowledged after this many milliseconds break the connection; Linux alone
/// would try for a quarter of an hour and keep the loss to itself.
const UNACKNOWLEDGED_MS: u32 = 20_000;
/// Long enough to read what has arrived already.
const GLANCE: Duration = Duration::from_millis(1);
/// How long the peer may take to say that it is gone, after a batch: plain syslog has no acknowledgement.
const REFUSAL_WAIT: Duration = Duration::from_millis(150);

/// An open way to a log centre.
pub enum Wire {
    /// Datagrams.
    Udp(UdpSocket),
    /// A stream.
    Tcp(TcpStream),
    /// An encrypted stream.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Opens the way.
    pub fn open(target: &Target, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Wire> {
        match target.transport {
            Transport::Udp => {
                let address = (target.host.as_str(), target.port)
                    .to_socket_addrs()?
                    .next();
                let address = address.ok_or_else(|| anyhow!("{} has no address", target.host))?;
                let any = if address.is_ipv4() {
                    "0.0.0.0:0"
                } else {
                    "[::]:0"
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(WRITE_WAIT))?;
                Ok(Wire::Udp(socket))
            }
            Transport::Tcp => Ok(Wire::Tcp(connect(target)?)),
            Transport::Tls => {
                let config = tls.ok_or_else(|| anyhow!("no TLS configuration"))?;
                let name = ServerName::try_from(target.host.clone())
                    .context("the host is no name for a certificate")?;
                let connection = ClientConnection::new(Arc::clone(config), name)?;
                let mut stream = StreamOwned::new(connection, connect(target)?);
                while stream.conn.is_handshaking() {
                    stream
                        .conn
                        .complete_io(&mut stream.sock)
                        .context("TLS handshake")?;
                }
                Ok(Wire::Tls(Box::new(stream)))
            }
        }
    }

    /// Sends messages. Success means: written, and the peer has not said in a moment that it is gone.
    pub fn send(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        if let Wire::Udp(socket) = self {
            for message in messages {
                socket.send(message)?;
            }
            return Ok(());
        }
        self.refused(GLANCE)?;
        let all = messages.concat();
        match self {
            Wire::Udp(_) => {}
            Wire::Tcp(stream) => stream.write_all(&all)?,
            Wire::Tls(stream) => {
                stream.write_all(&all)?;
                stream.flush()?;
            }
        }
        self.refused(REFUSAL_WAIT)
    }

    /// An error when the peer has closed.
    fn refused(&mut self, wait: Duration) -> io::Result<()> {
        if self.open_after(wait)? {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the log centre closed the connection",
        ))
    }

    /// Whether the way is still there: false when the peer closed it in order, an error when it broke.
    pub fn is_open(&mut self) -> io::Result<bool> {
        self.open_after(GLANCE)
    }

    /// Receivers of syslog never answer, so any read that ends is the end.
    fn open_after(&mut self, wait: Duration) -> io::Result<bool> {
        let mut byte = [0_u8; 64];
        let read = match self {
            Wire::Udp(_) => return Ok(true),
            Wire::Tcp(stream) => {
                stream.set_read_timeout(Some(wait))?;
                stream.read(&mut byte)
            }
            Wire::Tls(stream) => {
                stream.sock.set_read_timeout(Some(wait))?;
                stream.read(&mut byte)
            }
        };
        match read {
            Ok(read) => Ok(read > 0),
            // A wait that ended is `WouldBlock`; `TimedOut` is the kernel giving up on the peer.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn connect(target: &Target) -> anyhow::Result<TcpStream> {
    let mut last = anyhow!("{} has no address", target.host);
    for address in (target.host.as_str(), target.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WAIT) {
            Ok(stream) => {
                stream.set_write_timeout(Some(WRITE_WAIT))?;
                stream.set_read_timeout(Some(CONNECT_WAIT))?;
                stream.set_nodelay(true)?;
                // Where the kernel does not know it, losses come to light later: no reason to send nothing.
                set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS).ok();
                return Ok(stream);
            }
            Err(error) => {
                last = anyhow::Error::new(error).context(format!("connecting to {address}"));
            }
        }
    }
    Err(last)
}

/// The certificates to trust: the built-in ones, and the owner's own (a NAS signs its certificate itself).
pub fn trust(extra_ca: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = extra_ca {
        for certificate in CertificateDer::pem_file_iter(path)
            .with_context(|| format!("reading {}", path.display()))?
        {
            roots.add(certificate?)?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::syslog::Flavor;
    use std::io::BufRead;
    use std::net::TcpListener;

    fn target(transport: Transport, port: u16) -> Target {
        Target {
            transport,
            host: "127.0.0.1".into(),
            port,
            flavor: Flavor::SynologyBsd,
        }
    }

    #[test]
    fn a_stream_arrives_and_its_end_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            io::BufReader::new(stream).read_line(&mut line).unwrap();
            line
        });
        let mut wire = Wire::open(&target(Transport::Tcp, port), None).unwrap();
        // The receiver goes away after the first line: this send or the next one says so.
        let first = wire.send(&[b"one\n".to_vec()]);
        assert_eq!(receiver.join().unwrap(), "one\n");
        assert!(first.is_err() || wire.send(&[b"two\n".to_vec()]).is_err());
    }

    #[test]
    fn a_peer_that_hangs_up_in_order_is_told_from_one_that_breaks() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connect = || {
            let wire = Wire::open(&target(Transport::Tcp, port), None).unwrap();
            (wire, listener.accept().unwrap().0)
        };
        let (mut wire, peer) = connect();
        let Wire::Tcp(stream) = &wire else { panic!() };
        let limit = rustix::net::sockopt::tcp_user_timeout(stream).unwrap();
        assert_eq!(limit, UNACKNOWLEDGED_MS);
        assert!(wire.is_open().unwrap());
        drop(peer);
        assert!(!wire.is_open().unwrap());
        let (mut wire, peer) = connect();
        wire.send(&[b"never read\n".to_vec()]).unwrap();
        // What nobody read when the peer goes is lost, and its kernel says so.
        drop(peer);
        assert!(wire.is_open().is_err());
    }

    #[test]
    fn a_datagram_arrives() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut wire = Wire::open(
            &target(Transport::Udp, socket.local_addr().unwrap().port()),
            None,
        )
        .unwrap();
        wire.send(&[b"<131>x".to_vec()]).unwrap();
        let mut buffer = [0_u8; 64];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 6);
    }

    #[test]
    fn a_certificate_file_that_is_none_is_an_error() {
        assert!(trust(Some(Path::new("/nonexistent.pem"))).is_err());
        assert!(trust(None).is_ok());
    }
}
