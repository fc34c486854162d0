//! The stack in containers, as an owner has it after unpacking the download and filling it in.
//!
//! Each stack is a compose project of its own with names of its own; one set of images, built from this source tree, is
//! shared by all of them and goes away with the last one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use release::image::{self, Architecture, SERVICES};
use release::nas::Nas;
use release::{binaries, bundle};

use crate::World;
use crate::engine::{Engine, Project, until};
use crate::world::TOKEN;

/// The top of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    here.canonicalize().expect("the repository")
}

/// The three programs and the stand-in world as static binaries of the quick kind, built once for all tests.
pub fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| static_programs("dev", "target/static-programs"))
}

/// The same as an owner gets them, for figures. Takes minutes.
#[must_use]
pub fn released_programs() -> PathBuf {
    static_programs("release", "target/released-programs")
}

fn static_programs(profile: &str, to: &str) -> PathBuf {
    let to = root().join(to);
    binaries::build(&root(), &to, &build(profile)).expect("static programs");
    to
}

fn build(profile: &str) -> binaries::Build {
    binaries::Build {
        target: format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
        profile: profile.to_owned(),
        with_demo: profile == "dev",
    }
}

/// The programs of a former commit, of the quick kind.
///
/// # Errors
/// When this copy of the repository does not reach back so far.
pub fn former_programs(commit: &str) -> anyhow::Result<PathBuf> {
    // Both are built in one directory, so that libraries are compiled once: never at the same time.
    programs();
    let room = root().join("target/former").join(commit);
    let (sources, to) = (room.join("sources"), room.join("programs"));
    fs::create_dir_all(&sources)?;
    let tar = room.join("sources.tar").display().to_string();
    let run = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        let status = command.current_dir(root()).args(words).status()?;
        anyhow::ensure!(status.success(), "{program} {words:?}: {status}");
        Ok(())
    };
    run("git", &["archive", "--output", &tar, commit])?;
    run("tar", &["-xf", &tar, "-C", &sources.to_string_lossy()])?;
    if !sources.join("target").exists() {
        symlink(root().join("target"), sources.join("target"))?;
    }
    binaries::build(&sources, &to, &build("dev"))?;
    Ok(to)
}

/// The processor of this machine.
#[must_use]
pub fn architecture() -> Architecture {
    if std::env::consts::ARCH == "aarch64" {
        Architecture::Arm64
    } else {
        Architecture::Amd64
    }
}

/// The images of this source tree in the engine, under a version of their own.
#[derive(Debug)]
pub struct Images {
    engine: Engine,
    /// What stands behind the colon of their names.
    pub version: String,
}

impl Images {
    /// The images, loaded by whoever needs them first.
    #[must_use]
    pub fn shared(engine: &Engine) -> Arc<Self> {
        static LOADED: Mutex<Weak<Images>> = Mutex::new(Weak::new());
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(images) = loaded.upgrade() {
            if images.engine.is_same_as(engine) {
                return images;
            }
            return Arc::new(Self::with_world(engine));
        }
        let images = Arc::new(Self::with_world(engine));
        *loaded = Arc::downgrade(&images);
        images
    }

    fn with_world(engine: &Engine) -> Self {
        let version = format!("test-{}", std::process::id());
        let (programs, arch) = (programs(), architecture());
        load(engine, &|file| {
            image::write_world(file, programs, arch, &version)
        });
        Self::of(engine, programs, &version)
    }

    /// The images of other programs than those of the tests, under a version that nobody else uses.
    #[must_use]
    pub fn of(engine: &Engine, programs: &Path, version: &str) -> Self {
        load(engine, &|file| {
            image::write_archive(file, programs, architecture(), version)
        });
        Self {
            engine: engine.clone(),
            version: version.to_owned(),
        }
    }

    /// The reference of a program's image.
    #[must_use]
    pub fn reference(&self, program: &str) -> String {
        image::reference(program, &self.version)
    }

    /// Gives the same images another version, as a newer release would have.
    pub fn retag(&self, version: &str) {
        for service in SERVICES {
            let newer = image::reference(service, version);
            self.engine.must(&["tag", &self.reference(service), &newer]);
        }
    }

    /// Takes such a version away again.
    pub fn untag(&self, version: &str) {
        for service in SERVICES {
            self.engine
                .docker(&["image", "rm", &image::reference(service, version)]);
        }
    }
}

fn load(engine: &Engine, write: &dyn Fn(fs::File) -> anyhow::Result<()>) {
    let room = tempfile::tempdir().expect("a directory");
    let tar = room.path().join("images.tar");
    write(fs::File::create(&tar).expect("a file")).expect("an archive of images");
    engine.must(&["load", "--quiet", "--input", &tar.to_string_lossy()]);
}

impl Drop for Images {
    fn drop(&mut self) {
        for program in SERVICES.into_iter().chain([image::WORLD]) {
            let name = self.reference(program);
            self.engine.docker(&["image", "rm", "--force", &name]);
        }
    }
}

/// The owner's number on a Synology where tests run as root, else the number of whoever runs them.
#[must_use]
pub fn owner() -> (u32, u32) {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        (1026, 100)
    } else {
        (uid.as_raw(), gid.as_raw())
    }
}

/// Gives a path and everything below it to somebody, where tests run as root.
pub fn give(path: &Path, (uid, gid): (u32, u32)) {
    if rustix::process::geteuid().is_root() {
        // What a program removes meanwhile needs no owner.
        chown(path, Some(uid), Some(gid)).ok();
        for entry in path.read_dir().into_iter().flatten().flatten() {
            give(&entry.path(), (uid, gid));
        }
    }
}

/// One owner's folder and compose project. Dropping it takes everything away.
#[derive(Debug)]
pub struct Stack {
    // First, so that its containers are gone before the images that they run.
    project: Project,
    /// The engine it lives on.
    pub engine: Engine,
    /// Its images.
    pub images: Arc<Images>,
    files: Vec<&'static str>,
    name: String,
    folder: PathBuf,
    // Last, so that the folder outlives the containers.
    _room: tempfile::TempDir,
}

impl Stack {
    /// A folder as unpacked for `nas`, owned by `ids`, with a `.env` that holds `settings` and the project's names.
    /// Nothing is started.
    #[must_use]
    pub fn unpack(engine: &Engine, nas: Nas, ids: (u32, u32), settings: &str) -> Self {
        let mut stack = Self::lay_out(engine, Images::shared(engine), nas);
        // Tests do not wait half a minute for each look at the health.
        let quick = "{healthcheck: {interval: 2s, timeout: 20s}}";
        let services = SERVICES.map(|service| format!("{service}: {quick}"));
        stack.write(
            "quick.yaml",
            format!("services: {{{}}}\n", services.join(", ")),
        );
        stack.add_file("quick.yaml");
        stack.settings(ids, settings);
        give(&stack.folder, ids);
        stack
    }

    /// The same with other images and at the pace of a NAS: nothing is hurried for tests.
    #[must_use]
    pub fn as_shipped(images: Arc<Images>, nas: Nas, ids: (u32, u32), settings: &str) -> Self {
        let stack = Self::lay_out(&images.engine.clone(), images, nas);
        stack.write(".env", format!("{settings}\n{}", stack.names_of(ids)));
        give(&stack.folder, ids);
        stack
    }

    fn lay_out(engine: &Engine, images: Arc<Images>, nas: Nas) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let room = tempfile::Builder::new()
            .prefix("kotonoha-nas-")
            .tempdir()
            .expect("a directory");
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).expect("an open door");
        let folder = bundle::lay_out(&root(), nas, room.path()).expect("the download");
        let name = format!("kotonoha-{}-{number}", images.version);
        Self {
            engine: engine.clone(),
            project: Project::new(engine, &name, &folder),
            images,
            files: vec!["compose.yaml"],
            name,
            folder,
            _room: room,
        }
    }

    /// A Synology owner's folder whose bot lives in `world` and answers by itself.
    #[must_use]
    pub fn new(engine: &Engine, world: &World, ids: (u32, u32), settings: &str) -> Self {
        let url = world.url();
        let talk = format!("DISCORD_API_URL={url}\nLLM_MODEL=echo/echo\n{settings}");
        let token = if settings.contains("DISCORD_TOKEN=") {
            String::new()
        } else {
            format!("DISCORD_TOKEN={TOKEN}\n")
        };
        Self::unpack(engine, Nas::Synology, ids, &format!("{token}{talk}"))
    }

    /// Writes `.env` anew: the given lines, the owner, and names that no other stack has.
    pub fn settings(&self, ids: (u32, u32), settings: &str) {
        let names = self.names_of(ids);
        let text = format!(
            "{settings}\n{names}BACKUP_MIN_FREE=1\nLOG_MIN_FREE=1\nLOG_SWEEP_SECONDS=5\nRATE_LIMIT_CAPACITY=100000\n\
             RATE_LIMIT_REFILL=1000\nUSER_RATE_LIMIT=10000\n"
        );
        self.write(".env", &text);
    }

    /// The lines of `.env` that keep stacks apart.
    fn names_of(&self, (uid, gid): (u32, u32)) -> String {
        let version = &self.images.version;
        let [bot, backup, log] = SERVICES.map(|service| self.container(service));
        format!(
            "PUID={uid}\nPGID={gid}\nKOTONOHA_VERSION={version}\nBOT_CONTAINER={bot}\nBACKUP_CONTAINER={backup}\n\
             LOG_CONTAINER={log}\n"
        )
    }

    /// Adds a compose file to those that every command reads.
    pub fn add_file(&mut self, name: &'static str) {
        self.files.push(name);
    }

    /// Its name as a compose project.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The owner's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the owner's folder.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.join(below)
    }

    /// Writes a file there, which anyone may read.
    pub fn write(&self, below: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(below), text).unwrap_or_else(|error| panic!("{below}: {error}"));
    }

    /// The name of a service's container.
    #[must_use]
    pub fn container(&self, service: &str) -> String {
        format!("{}-{service}", self.name)
    }

    /// A compose command on this project that must succeed; what it said.
    pub fn compose(&self, arguments: &[&str]) -> String {
        let files = self.files.iter().flat_map(|file| ["-f", *file]);
        let words: Vec<&str> = files.chain(arguments.iter().copied()).collect();
        self.project.compose(&words)
    }

    /// Creates and starts services; all of them when none is named.
    pub fn up(&self, services: &[&str]) {
        self.compose(&[&["up", "-d", "--no-build"], services].concat());
    }

    /// Writes another version into `.env`, as an owner does, and puts it in force.
    pub fn to_version(&self, version: &str) {
        let env = fs::read_to_string(self.path(".env")).expect("settings");
        let lines = env.lines().map(|line| match line.split_once('=') {
            Some((name @ "KOTONOHA_VERSION", _)) => format!("{name}={version}\n"),
            _ => format!("{line}\n"),
        });
        self.write(".env", lines.collect::<String>());
        self.up(&[]);
        for service in SERVICES {
            let image = self.inspect(service, "{{.Config.Image}}");
            assert!(image.ends_with(&format!(":{version}")), "{image}");
        }
    }

    /// Waits until a service says of itself that it works.
    pub fn healthy(&self, service: &str) {
        self.project.wait(
            &self.container(service),
            "{{.State.Health.Status}}",
            "healthy",
        );
    }

    /// Waits until the engine calls a service unhealthy.
    pub fn unhealthy(&self, service: &str) {
        self.project.wait(
            &self.container(service),
            "{{.State.Health.Status}}",
            "unhealthy",
        );
    }

    /// Waits until the engine answers something about a service as wished.
    pub fn wait(&self, service: &str, format: &str, wished: &str) {
        self.project.wait(&self.container(service), format, wished);
    }

    /// Asks the engine about a service's container.
    #[must_use]
    pub fn inspect(&self, service: &str, format: &str) -> String {
        let name = self.container(service);
        let said = self.engine.must(&["inspect", "--format", format, &name]);
        said.trim().to_owned()
    }

    /// Everything that a service has printed in the life of its container.
    #[must_use]
    pub fn logs(&self, service: &str) -> String {
        self.engine.must(&["logs", &self.container(service)])
    }

    /// Waits until a service has printed `text`; the row.
    pub fn said(&self, service: &str, text: &str) -> String {
        until(&format!("{text:?} from {service}"), || {
            let logs = self.logs(service);
            logs.lines()
                .find(|row| row.contains(text))
                .map(str::to_owned)
        })
    }

    /// Runs a program in its container; it must succeed.
    pub fn exec(&self, service: &str, words: &[&str]) -> String {
        let name = self.container(service);
        self.engine
            .must(&[&["exec", &*name, service], words].concat())
    }

    /// The names of the verified archives there now, oldest first.
    #[must_use]
    pub fn archives(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .names("backups")
            .into_iter()
            .filter(|name| name.starts_with("backup_") && name.ends_with(".tar.zst"))
            .collect();
        names.sort();
        names
    }

    /// The names in one of its folders.
    #[must_use]
    pub fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(below))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}
