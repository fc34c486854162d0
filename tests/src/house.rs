//! A house for the three programs: directories that go away by themselves, and processes that die with the test.

mod binaries;
mod program;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::world::{TOKEN, World};

pub use binaries::binary;
pub use program::{Finished, Launch, Running, events};

/// The user that programs run as when the tests run as root.
pub const NOBODY: u32 = 65_534;

/// Directories as on a NAS: `data/ logs/ backups/ config/ secrets/ tmp/`.
pub struct House {
    root: TempDir,
    environment: Vec<(String, String)>,
}

impl House {
    /// A house whose bot lives in `world`.
    pub fn new(world: &World) -> Self {
        let mut house = Self::alone();
        let url = world.url();
        for (name, value) in [
            ("DISCORD_TOKEN", TOKEN.to_owned()),
            ("DISCORD_API_URL", url.to_owned()),
            ("ANTHROPIC_API_KEY", "canary-anthropic-key".to_owned()),
            ("ANTHROPIC_BASE_URL", format!("{url}/anthropic")),
            ("OPENAI_API_KEY", "canary-openai-key".to_owned()),
            ("OPENAI_BASE_URL", format!("{url}/openai/v1")),
            ("GEMINI_API_KEY", "canary-gemini-key".to_owned()),
            ("GEMINI_BASE_URL", format!("{url}/gemini/v1beta/openai")),
            ("OLLAMA_BASE_URL", format!("{url}/ollama")),
            // Tests talk faster than people do.
            ("RATE_LIMIT_CAPACITY", "100000".to_owned()),
            ("RATE_LIMIT_REFILL", "1000".to_owned()),
            ("USER_RATE_LIMIT", "10000".to_owned()),
            ("LLM_RETRY_DELAY_BASE", "0.1".to_owned()),
        ] {
            house.environment.push((name.to_owned(), value));
        }
        house
    }

    /// A house without a world: for sidecars and commands.
    pub fn alone() -> Self {
        let root = tempfile::Builder::new()
            .prefix("kotonoha-house-")
            .tempdir()
            .expect("a temporary directory");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("an open door");
        let mut house = Self {
            root,
            environment: Vec::new(),
        };
        for name in ["data", "logs", "backups", "config", "secrets", "tmp"] {
            fs::create_dir(house.path(name)).expect("a directory");
        }
        let text = |path: PathBuf| path.display().to_string();
        house.environment = [
            ("TZ", "Asia/Tokyo".to_owned()),
            ("TMPDIR", text(house.path("tmp"))),
            ("DATA_DIR", text(house.data())),
            ("LOG_DIR", text(house.logs())),
            ("BACKUP_DIR", text(house.backups())),
            ("CONFIG_FILE", text(house.path("config/kotonoha.yaml"))),
            // A busy builder's disk may be nearly full; tests of free space set their own.
            ("BACKUP_MIN_FREE", "1".to_owned()),
            ("LOG_MIN_FREE", "1".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        house
    }

    /// A path below the house.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// `data/`
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// `logs/`
    pub fn logs(&self) -> PathBuf {
        self.path("logs")
    }

    /// `backups/`
    pub fn backups(&self) -> PathBuf {
        self.path("backups")
    }

    /// The bot's database.
    pub fn database(&self) -> PathBuf {
        self.path("data/sessions.db")
    }

    /// Opens the bot's database for reading.
    pub fn look(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open_with_flags(
            self.database(),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .expect("the database");
        connection.busy_timeout(crate::PATIENCE).expect("patience");
        connection
    }

    /// Prepares a program with the house's environment; `start` or `run` it.
    pub fn program(&self, name: &str) -> Launch {
        self.settle();
        Launch::new(name, &self.environment, &self.logs())
    }

    /// The bot, started, connected to the world.
    pub fn bot(&self, world: &World) -> Running {
        self.bot_with(world, &[])
    }

    /// The bot with more environment, started, connected to the world.
    pub fn bot_with(&self, world: &World, environment: &[(&str, &str)]) -> Running {
        let before = world.with(|state| state.gateway.identifies);
        let mut launch = self.program("bot");
        for (name, value) in environment {
            launch = launch.env(name, value);
        }
        let running = launch.start();
        world.wait("the bot's IDENTIFY", |state| {
            (state.gateway.identifies > before && state.gateway.connected() > 0).then_some(())
        });
        running
    }

    /// Writes a file below the house.
    pub fn write(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, content).expect("a file");
        self.settle();
        path
    }

    /// Gives everything in the house to the user that programs run as.
    pub fn settle(&self) {
        if rustix::process::geteuid().is_root() {
            give(self.root.path());
        }
    }

    /// Everything in every log of the house, compressed ones too.
    pub fn all_logs(&self) -> String {
        let mut text = String::new();
        let mut names: Vec<PathBuf> = walk(&self.logs());
        names.sort();
        for path in names {
            let Ok(bytes) = fs::read(&path) else { continue };
            let bytes = if path.extension().is_some_and(|end| end == "zst") {
                zstd::decode_all(&*bytes).unwrap_or_default()
            } else {
                bytes
            };
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        text
    }
}

fn give(path: &Path) {
    // Files may vanish while a program works: what is gone needs no owner.
    chown(path, Some(NOBODY), Some(NOBODY)).ok();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give(&entry.path());
        }
    }
}

/// Every regular file below a directory.
#[must_use]
pub fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
