//! An engine of the test's own, beside the machine's: it may be stopped and started again.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Engine;

/// How long an engine may take to come up or to end: it stops its containers first.
const ENGINE_PATIENCE: Duration = Duration::from_secs(120);

/// A running `dockerd`. Dropping it ends it, and removes what it kept.
#[derive(Debug)]
pub struct OwnEngine {
    engine: Engine,
    daemon: Option<Child>,
    /// Its default network. Without one of its own it would take the one of the machine's engine away.
    bridge: String,
    room: TempDir,
}

impl OwnEngine {
    /// Starts one, driven by the clients of `like`.
    ///
    /// # Errors
    /// With the reason why there can be none here.
    pub fn start(like: &Engine) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may start an engine".to_owned());
        }
        let room = tempfile::Builder::new()
            .prefix("kotonoha-engine-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let host = format!("unix://{}", room.path().join("socket").display());
        let number = std::process::id() % 50_000;
        let mut own = Self {
            engine: Engine {
                host: Some(host),
                ..like.clone()
            },
            daemon: None,
            bridge: format!("ktn{number}"),
            room,
        };
        let address = format!("10.{}.{}.1/24", 50 + number / 250, number % 250);
        ip(&["link", "add", &own.bridge, "type", "bridge"])?;
        ip(&["address", "add", &address, "dev", &own.bridge])?;
        ip(&["link", "set", &own.bridge, "up"])?;
        own.wake()?;
        Ok(own)
    }

    /// Its clients.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Starts it again, with what it kept.
    ///
    /// # Errors
    /// With what it said, when it does not come up.
    pub fn wake(&mut self) -> Result<(), String> {
        let path = |name: &str| self.room.path().join(name);
        // No rules of a firewall: the machine's own engine has its own, and containers reach this machine without.
        fs::write(path("settings.json"), "{}").map_err(|error| error.to_string())?;
        let said = fs::File::create(path("said")).map_err(|error| error.to_string())?;
        let flag = |name: &str, value: &str| format!("--{name}={}", path(value).display());
        let daemon = Command::new("dockerd")
            .args([
                flag("config-file", "settings.json"),
                flag("data-root", "data"),
                flag("exec-root", "run"),
                flag("pidfile", "pid"),
            ])
            .args(["--bridge", &self.bridge, "--iptables=false"])
            .args(["--host", self.engine.host.as_deref().unwrap_or_default()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .map_err(|error| format!("dockerd: {error}"))?;
        self.daemon = Some(daemon);
        let end = Instant::now() + ENGINE_PATIENCE;
        while !self.engine.docker(&["info"]).status.success() {
            let ended = self
                .daemon
                .as_mut()
                .is_some_and(|daemon| daemon.try_wait().is_ok_and(|status| status.is_some()));
            if ended || Instant::now() >= end {
                let said = fs::read_to_string(path("said")).unwrap_or_default();
                let last = said.lines().last().unwrap_or_default();
                return Err(format!("an engine of its own does not start: {last}"));
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(())
    }

    /// Ends it, and with it every container, as when a NAS is shut down or its container package is updated.
    pub fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        if let Some(pid) = Pid::from_raw(daemon.id().cast_signed()) {
            kill_process(pid, Signal::TERM).ok();
        }
        let end = Instant::now() + ENGINE_PATIENCE;
        while daemon.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() >= end {
                daemon.kill().ok();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What it has mounted and left.
    fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = table.lines().filter_map(|line| line.split(' ').nth(1));
        let ours = places.map(PathBuf::from);
        ours.filter(|place| place.starts_with(self.room.path()))
            .collect()
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        self.stop();
        for place in self.mounts().into_iter().rev() {
            Command::new("umount")
                .arg("--lazy")
                .arg(place)
                .status()
                .ok();
        }
        ip(&["link", "delete", &self.bridge]).ok();
    }
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let told = format!("ip {}: {}", words.join(" "), said.trim());
    output.status.success().then_some(()).ok_or(told)
}
