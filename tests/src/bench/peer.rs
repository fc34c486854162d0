//! A minimal bot on discord.py, as the stand-in for Python peers: installed by pip, run like ours.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::house::{House, Launch};

/// What pip installs; the newest that was tried. Its name in a table, too.
pub(super) const PACKAGE: &str = "discord.py==2.5.2";

/// A Python that every user may run: a privileged user's own one cannot be.
const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = include_str!("../../peers/minimal_bot.py");

/// discord.py in a directory of its own.
#[derive(Debug)]
pub(super) struct Peer {
    packages: TempDir,
}

impl Peer {
    /// Installs it.
    ///
    /// # Errors
    /// There is no Python, no pip, or nowhere to get the package from.
    pub(super) fn install() -> Result<Self> {
        let packages = tempfile::Builder::new()
            .prefix("kotonoha-peer-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()?;
        let output = Command::new(PYTHON)
            .args(["-m", "pip", "install", "--quiet", "--target"])
            .arg(packages.path())
            .arg(PACKAGE)
            .output()
            .context(PYTHON)?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { packages })
    }

    /// The bot in `house`, with the environment that ours would get.
    #[must_use]
    pub(super) fn bot(&self, house: &House) -> Launch {
        let script = house.write("tmp/minimal_bot.py", SCRIPT);
        let text = |path: &Path| path.display().to_string();
        house
            .program("bot")
            .under([PYTHON.to_owned(), text(&script)])
            .env("PYTHONPATH", text(self.packages.path()))
    }
}
