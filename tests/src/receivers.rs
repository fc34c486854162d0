//! Real log centres from Debian, rsyslog and syslog-ng: started here as children, with a configuration of their own in a
//! directory that goes away, on addresses of the loopback that nobody else uses.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::house::{House, NOBODY};
use crate::{PATIENCE, tls};

/// Where `.ci/install` unpacks what cannot be installed beside something else.
pub const TOOLS: &str = "/opt/kotonoha-tests";

/// Which program receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// rsyslog, with `rsyslog-gnutls`.
    Rsyslog,
    /// syslog-ng.
    SyslogNg,
}

/// How lines travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `udp://`
    Udp,
    /// `tcp://`
    Tcp,
    /// `tls://`
    Tls,
}

/// A log centre at work; ended when dropped.
pub struct Receiver {
    child: Child,
    kind: Kind,
    address: String,
    room: PathBuf,
}

/// An address of the loopback that no other process of these tests uses.
#[must_use]
pub fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!(
        "127.{}.{}.{}",
        78 + pid / 250 % 150,
        1 + pid % 250,
        1 + number % 250
    )
}

/// A certificate authority `ca.pem`, and `leaf.pem` with `leaf.key` for one address, in `tmp/`.
///
/// # Errors
/// When there is no openssl.
pub fn certificates(house: &House, address: &str) -> Result<()> {
    let names = format!("IP:{address}");
    tls::Certificates::make(house, &names)
        .map(drop)
        .context("openssl is not here")
}

impl Receiver {
    /// Starts one on `address`, with the certificates that lie in the house's `tmp/`.
    ///
    /// # Errors
    /// When it is not installed, or does not listen.
    pub fn start(kind: Kind, house: &House, address: &str) -> Result<Receiver> {
        let mut command = program(kind)?;
        let room = house.path(&format!("tmp/receiver-{address}"));
        fs::create_dir_all(&room)?;
        let text = match kind {
            Kind::Rsyslog => rsyslog(&room, &house.path("tmp"), address),
            Kind::SyslogNg => syslog_ng(&room, &house.path("tmp"), address),
        };
        let conf = room.join("conf");
        fs::write(&conf, text)?;
        house.settle();
        let pid = room.join("pid");
        command.arg("-f").arg(&conf);
        match kind {
            Kind::Rsyslog => command.arg("-n").arg("-i").arg(&pid),
            Kind::SyslogNg => command
                .args(["-F", "--no-caps", "-p"])
                .arg(&pid)
                .arg("-R")
                .arg(room.join("persist"))
                .arg("-c")
                .arg(room.join("ctl")),
        };
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let said = fs::File::create(room.join("said"))?;
        command
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said);
        let child = command.spawn().context("starting a log centre")?;
        let mut receiver = Receiver {
            child,
            kind,
            address: address.to_owned(),
            room,
        };
        receiver.listens()?;
        Ok(receiver)
    }

    fn listens(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let ports: &[u16] = match self.kind {
            Kind::Rsyslog => &[5514, 6514],
            Kind::SyslogNg => &[5514, 5515, 6514, 6515],
        };
        for port in ports {
            while TcpStream::connect((self.address.as_str(), *port)).is_err() {
                let said = fs::read_to_string(self.room.join("said")).unwrap_or_default();
                if let Some(status) = self.child.try_wait()? {
                    bail!("{:?} ended: {status}\n{said}", self.kind);
                }
                ensure!(Instant::now() < until, "{:?} is mute: {said}", self.kind);
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// `SYSLOG_URL` for lines of the old dialect (ended by a line feed on streams) or a new one (counted).
    #[must_use]
    pub fn url(&self, way: Way, old: bool) -> String {
        // rsyslog tells them apart by itself; syslog-ng has a port for each.
        let apart = u16::from(old && self.kind == Kind::SyslogNg);
        let (scheme, port) = match way {
            Way::Udp => ("udp", 5514 + apart),
            Way::Tcp => ("tcp", 5514 + apart),
            Way::Tls => ("tls", 6514 + apart),
        };
        format!("{scheme}://{}:{port}", self.address)
    }

    /// Messages as they came off the wire.
    #[must_use]
    pub fn raw(&self) -> Vec<String> {
        self.lines("raw")
    }

    /// Messages as it understands them: `priority|time|host|program|message id|structured data|text`.
    #[must_use]
    pub fn parsed(&self) -> Vec<String> {
        self.lines("parsed")
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let bytes = fs::read(self.room.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(str::to_owned).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn program(kind: Kind) -> Result<Command> {
    let unpacked = Path::new(TOOLS).join("syslog-ng");
    let (places, hint) = match kind {
        Kind::Rsyslog => (vec![PathBuf::from("/usr/sbin/rsyslogd")], "rsyslog"),
        Kind::SyslogNg => (
            vec![
                PathBuf::from("/usr/sbin/syslog-ng"),
                unpacked.join("usr/sbin/syslog-ng"),
            ],
            "syslog-ng",
        ),
    };
    let found = places.into_iter().find(|place| place.exists());
    let found = found.with_context(|| format!("{hint} is not here"))?;
    let mut command = Command::new(&found);
    if found.starts_with(&unpacked) {
        let libraries = unpacked.join("usr/lib/syslog-ng");
        let modules = fs::read_dir(&libraries)?.flatten().find(|entry| {
            let name = entry.file_name();
            name.to_string_lossy()
                .starts_with(|c: char| c.is_ascii_digit())
        });
        let modules = modules.context("syslog-ng without its modules")?;
        command.env("LD_LIBRARY_PATH", &libraries);
        command.arg(format!("--module-path={}", modules.path().display()));
    }
    Ok(command)
}

fn rsyslog(room: &Path, tmp: &Path, address: &str) -> String {
    let (room, tmp) = (room.display(), tmp.display());
    format!(
        r#"global(workDirectory="{room}" parser.escapeControlCharactersOnReceive="off" maxMessageSize="64k"
  defaultNetstreamDriverCAFile="{tmp}/ca.pem" defaultNetstreamDriverCertFile="{tmp}/leaf.pem" defaultNetstreamDriverKeyFile="{tmp}/leaf.key")
module(load="imudp")
module(load="imtcp")
template(name="raw" type="string" string="%rawmsg%\n")
template(name="parsed" type="string" string="%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%msgid%|%structured-data%|%msg%\n")
ruleset(name="keep") {{
  action(type="omfile" file="{room}/raw" template="raw")
  action(type="omfile" file="{room}/parsed" template="parsed")
}}
input(type="imudp" address="{address}" port="5514" ruleset="keep")
input(type="imtcp" address="{address}" port="5514" ruleset="keep")
input(type="imtcp" address="{address}" port="6514" ruleset="keep" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
"#
    )
}

fn syslog_ng(room: &Path, tmp: &Path, address: &str) -> String {
    let (room, tmp) = (room.display(), tmp.display());
    let tls = format!(
        r#"tls(key-file("{tmp}/leaf.key") cert-file("{tmp}/leaf.pem") peer-verify(optional-untrusted))"#
    );
    let keep = "flags(store-raw-message) log-msg-size(65536)";
    format!(
        r#"@version: 3.35
options {{ keep-hostname(yes); }};
source s {{
  syslog(ip("{address}") port(5514) transport("udp") {keep});
  network(ip("{address}") port(5515) transport("udp") {keep});
  syslog(ip("{address}") port(5514) transport("tcp") {keep});
  network(ip("{address}") port(5515) transport("tcp") {keep});
  syslog(ip("{address}") port(6514) transport("tls") {keep} {tls});
  network(ip("{address}") port(6515) transport("tls") {keep} {tls});
}};
destination d {{
  file("{room}/raw" template("${{RAWMSG}}\n"));
  file("{room}/parsed" template("$PRI|$S_ISODATE|$HOST|$PROGRAM|$MSGID|$SDATA|$MSG\n"));
}};
log {{ source(s); destination(d); }};
"#
    )
}
