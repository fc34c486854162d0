//! Storage servers that other people wrote, started for one test: `s3s-fs` checks every signature, `moto` knows all of
//! S3. `.ci/install` installs them; a test says loudly when one is missing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// The keys that the servers are told.
pub const ACCESS_KEY: &str = "canary-access";
/// The secret one.
pub const SECRET_KEY: &str = "canary-secret";

/// A server that ends when dropped.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    child: Child,
    /// What it keeps on the disk goes with it.
    _room: tempfile::TempDir,
}

impl Server {
    /// `s3s-fs` with a bucket named `bucket`, or why there is none.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn s3s() -> Result<Self, String> {
        let program = found("s3s-fs").ok_or("s3s-fs is not installed, see .ci/install")?;
        let room = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(room.path().join("bucket")).expect("a bucket");
        let port = free_port();
        let mut command = Command::new(program);
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(room.path());
        Ok(Self::start(command, port, room))
    }

    /// `moto_server` with a bucket named `bucket`, or why there is none.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn moto() -> Result<Self, String> {
        let program =
            found("moto_server").ok_or("moto_server is not installed, see .ci/install")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let room = tempfile::tempdir().expect("a directory");
        let server = Self::start(command, port, room);
        let made = ask(port, "PUT", "/bucket");
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        Ok(server)
    }

    fn start(mut command: Command, port: u16, room: tempfile::TempDir) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("a server");
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
            _room: room,
        }
    }

    /// The answer to an unsigned request, for servers that ask for no signature.
    pub fn ask(&self, method: &str, path: &str) -> String {
        let port = self.url.rsplit(':').next().expect("a port");
        ask(port.parse().expect("a port"), method, path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn ask(port: u16, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// In the path, or where `.ci/install` puts what has no place there.
#[expect(clippy::disallowed_methods, reason = "where programs are installed")]
fn found(program: &str) -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::vars_os()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let path = variable("PATH").unwrap_or_default();
    let home = variable("HOME").unwrap_or_default();
    let own = ["moto/bin", "bin"].map(|dir| Path::new(&home).join(".cache/kotonoha").join(dir));
    std::env::split_paths(&path)
        .chain(own)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}
