//! Listeners: webhooks and pings over HTTP, Loki, syslog over UDP and TCP.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::state::Shared;

/// Something that reached a listener.
#[derive(Clone, Debug)]
pub struct Received {
    /// `METHOD /path?query` below `/sink`.
    pub what: String,
    /// The body as text.
    pub body: String,
    /// The bytes of the body.
    pub bytes: Vec<u8>,
    /// Headers, lower case.
    pub headers: Vec<(String, String)>,
}

/// What the listeners got, and how they are told to answer.
#[derive(Default)]
pub struct SinkState {
    /// Over HTTP.
    pub http: Vec<Received>,
    /// Statuses for the next requests, in order; then 204.
    pub refuse: Vec<u16>,
    /// Syslog datagrams.
    pub datagrams: Vec<Vec<u8>>,
    /// Bytes received over syslog TCP connections, one list for each connection.
    pub streams: Vec<Vec<u8>>,
}

/// Serves `/sink/**`.
pub(crate) fn serve(
    world: &Shared,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let status = world.with(|state| {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    value.to_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        state.tell(format!("sink: {method} {path} ({} bytes)", body.len()));
        state.sink.http.push(Received {
            what: format!("{method} {path}"),
            body: String::from_utf8_lossy(body).into_owned(),
            bytes: body.to_vec(),
            headers,
        });
        if state.sink.refuse.is_empty() {
            204
        } else {
            state.sink.refuse.remove(0)
        }
    });
    StatusCode::from_u16(status)
        .unwrap_or(StatusCode::NO_CONTENT)
        .into_response()
}

/// A UDP syslog listener that lives as long as the world.
pub(crate) fn listen_udp(world: &Arc<Shared>) -> std::io::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let address = socket.local_addr()?;
    let world: Weak<Shared> = Arc::downgrade(world);
    thread::spawn(move || {
        let mut space = vec![0; 65_536];
        while let Some(shared) = world.upgrade() {
            if let Ok((length, _)) = socket.recv_from(&mut space) {
                shared.with(|state| state.sink.datagrams.push(space[..length].to_vec()));
            }
        }
    });
    Ok(address)
}

/// A TCP syslog listener that lives as long as the world.
pub(crate) fn listen_tcp(world: &Arc<Shared>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let world: Weak<Shared> = Arc::downgrade(world);
    thread::spawn(move || {
        while world.strong_count() > 0 {
            let Ok((mut stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            let world = world.clone();
            thread::spawn(move || {
                stream.set_nonblocking(false).ok();
                stream
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .ok();
                let Some(number) = world.upgrade().map(|shared| {
                    shared.with(|state| {
                        state.sink.streams.push(Vec::new());
                        state.sink.streams.len() - 1
                    })
                }) else {
                    return;
                };
                let mut space = vec![0; 65_536];
                while let Some(shared) = world.upgrade() {
                    match stream.read(&mut space) {
                        Ok(0) => return,
                        Ok(length) => shared.with(|state| {
                            state.sink.streams[number].extend_from_slice(&space[..length]);
                        }),
                        Err(error)
                            if matches!(
                                error.kind(),
                                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                            ) => {}
                        Err(_) => return,
                    }
                }
            });
        }
    });
    Ok(address)
}
