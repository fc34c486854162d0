//! A Docker engine, if one answers: loads images, runs compose projects, and takes everything away again.
//!
//! Several clients may be installed; the engine's own is taken, because a newer one asks for plug-ins that are not there.

mod own;

use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::PATIENCE;

pub use own::OwnEngine;

/// How long a container may take for anything: engines on busy machines are slower than programs.
const CONTAINER_PATIENCE: Duration = Duration::from_secs(180);

/// The client and compose that were found.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: String,
    compose: Vec<String>,
    /// Where it listens, when that is not where clients look by themselves.
    host: Option<String>,
}

/// The words that start compose here: `docker-compose`, or `docker compose`.
#[must_use]
pub fn compose() -> Option<Vec<String>> {
    let docker = client();
    let candidates = [
        vec!["docker-compose".to_owned()],
        vec![
            docker.unwrap_or_else(|| "docker".to_owned()),
            "compose".to_owned(),
        ],
    ];
    candidates.into_iter().find(|words| {
        let asked = Command::new(&words[0])
            .args(&words[1..])
            .arg("version")
            .output();
        asked.is_ok_and(|answer| answer.status.success())
    })
}

/// The client whose version is the engine's, or else the first that reaches an engine.
fn client() -> Option<String> {
    let reaching = ["/usr/bin/docker", "docker"]
        .into_iter()
        .filter_map(|client| {
            let format = "{{.Client.Version}} {{.Server.Version}}";
            let answer = Command::new(client)
                .args(["version", "--format", format])
                .output()
                .ok()?;
            let text = String::from_utf8_lossy(&answer.stdout).into_owned();
            let (own, engine) = text.trim().split_once(' ')?;
            answer
                .status
                .success()
                .then(|| (client.to_owned(), own == engine))
        });
    let reaching: Vec<(String, bool)> = reaching.collect();
    let best = reaching.iter().find(|(_, same)| *same).or(reaching.first());
    best.map(|(client, _)| client.clone())
}

/// The compose of a newer release, unpacked by `.ci/compose-2`, if it is there.
#[must_use]
pub fn newer_compose() -> Option<Vec<String>> {
    let path = crate::stack::root().join("target/compose-2/docker-compose");
    path.exists().then(|| vec![path.display().to_string()])
}

impl Engine {
    /// The engine and an address where containers find this machine, or a loud word about what is not tested.
    #[must_use]
    pub fn here() -> Option<(Self, IpAddr)> {
        let found =
            Self::find().and_then(|engine| engine.gateway().map(|gateway| (engine, gateway)));
        found
            .inspect_err(|reason| {
                crate::skipped(&format!("the stack on a docker engine: {reason}"));
            })
            .ok()
    }

    /// The engine, or the reason why there is none to use.
    ///
    /// # Errors
    /// With that reason, for a test to print.
    pub fn find() -> Result<Self, String> {
        let docker = client().ok_or("no docker engine")?;
        let compose = compose().ok_or("no docker compose")?;
        Ok(Self {
            docker,
            compose,
            host: None,
        })
    }

    /// An address of this machine that containers reach: the gateway of the engine's default network.
    ///
    /// # Errors
    /// With the reason, when the engine runs on another machine or has no such network.
    pub fn gateway(&self) -> Result<IpAddr, String> {
        // Some engines name the gateway, others the subnet alone; then it is the first address.
        let format = "{{range .IPAM.Config}}{{.Gateway}} {{.Subnet}} {{end}}";
        let answer = self.docker(&["network", "inspect", "bridge", "--format", format]);
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let address: IpAddr = text
            .split_whitespace()
            .find_map(|word| word.parse().ok().or_else(|| first_address(word)))
            .ok_or("the docker engine has no default network")?;
        TcpListener::bind((address, 0))
            .map(|_| address)
            .map_err(|error| {
                format!("the docker engine is not on this machine ({address}: {error})")
            })
    }

    /// The words that start its client.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.docker
    }

    /// The words that start compose.
    #[must_use]
    pub fn compose_words(&self) -> &[String] {
        &self.compose
    }

    /// The same engine, driven by another compose.
    #[must_use]
    pub fn with_compose(&self, words: Vec<String>) -> Self {
        Self {
            compose: words,
            ..self.clone()
        }
    }

    /// Whether both are clients of one engine.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.host == other.host
    }

    /// A program that talks to this engine.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Runs a docker command.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        self.command(&self.docker)
            .args(arguments)
            .output()
            .expect("the docker client")
    }

    /// Runs a docker command that must succeed, and gives what it said.
    pub fn must(&self, arguments: &[&str]) -> String {
        said(&format!("docker {arguments:?}"), &self.docker(arguments))
    }

    /// Builds an image with `BuildKit`; some clients and engines cannot.
    pub fn build_kit(&self, context: &Path, arguments: &[&str]) -> Output {
        self.command(&self.docker)
            .env("DOCKER_BUILDKIT", "1")
            .arg("build")
            .args(arguments)
            .arg(context)
            .output()
            .expect("the docker client")
    }
}

fn first_address(subnet: &str) -> Option<IpAddr> {
    let network: std::net::Ipv4Addr = subnet.split_once('/')?.0.parse().ok()?;
    Some(std::net::Ipv4Addr::from_bits(network.to_bits() + 1).into())
}

/// What a command said, on both channels; fails when it failed.
fn said(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{all}", output.status);
    all
}

/// A compose project in a folder of its own. Dropping it takes down its containers and networks.
#[derive(Debug)]
pub struct Project {
    engine: Engine,
    name: String,
    folder: PathBuf,
}

impl Project {
    /// A project named `name` that lives in `folder`.
    #[must_use]
    pub fn new(engine: &Engine, name: &str, folder: &Path) -> Self {
        Self {
            engine: engine.clone(),
            name: name.to_owned(),
            folder: folder.to_owned(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let words = &self.engine.compose;
        let mut command = self.engine.command(&words[0]);
        command
            .current_dir(&self.folder)
            .args(&words[1..])
            .args(["-p", &self.name]);
        command.args(arguments);
        command
    }

    /// Runs a compose command that must succeed, and gives what it said.
    pub fn compose(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("compose");
        said(&format!("compose {arguments:?}"), &output)
    }

    /// Asks the engine about a container until the answer is as wished.
    pub fn wait(&self, container: &str, format: &str, wished: &str) {
        let end = Instant::now() + CONTAINER_PATIENCE;
        loop {
            let answer = self
                .engine
                .docker(&["inspect", "--format", format, container]);
            let seen = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            if seen == wished {
                return;
            }
            if Instant::now() >= end {
                let logs = self.engine.docker(&["logs", "--tail", "40", container]);
                let text = [logs.stdout, logs.stderr].concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                panic!("{container}: {format} is {seen:?}, not {wished:?}\n{text}");
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // By label, whatever files made them: a failure here leaves names for the engine's owner to see.
        let label = format!("label=com.docker.compose.project={}", self.name);
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "--force", "--volumes"][..]),
            (&["network", "ls", "-q"], &["network", "rm"]),
        ] {
            let found = self.engine.docker(&[list, &["--filter", &label]].concat());
            let ids = String::from_utf8_lossy(&found.stdout).into_owned();
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                self.engine.docker(&[remove, &ids[..]].concat());
            }
        }
    }
}

/// Waits until `look` finds something; fails after the bound.
pub fn until<R>(what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let end = Instant::now() + PATIENCE.max(CONTAINER_PATIENCE);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(250));
    }
}
