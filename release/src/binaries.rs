//! Builds the three programs as static binaries, the form an empty image can start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::image::SERVICES;

/// Settings that spare a development build, which is for tests, what only speed would need.
const QUICK: [&str; 4] = [
    "profile.dev.debug=false",
    "profile.dev.package.libsqlite3-sys.opt-level=0",
    "profile.dev.package.zstd-sys.opt-level=0",
    "profile.dev.package.ring.opt-level=0",
];

/// What to build.
#[derive(Clone, Debug)]
pub struct Build {
    /// The target triple; naming it keeps the flags away from procedural macros, which cannot be static.
    pub target: String,
    /// The Cargo profile: `release`, or `dev` for tests.
    pub profile: String,
}

/// Builds below the repository's `root` and copies the programs to `to`, with the one folder an image needs besides.
///
/// # Errors
/// When cargo fails or the folder cannot be written.
pub fn build(root: &Path, to: &Path, build: &Build) -> Result<()> {
    let target_dir = root.join("target/static");
    let mut cargo = Command::new("cargo");
    if build.profile == "dev" {
        cargo.args(QUICK.iter().flat_map(|setting| ["--config", setting]));
    } else {
        // What `--version` says; left out of builds for tests, which would be made anew after every commit.
        cargo.envs(commit(root).map(|commit| ("KOTONOHA_COMMIT", commit)));
    }
    let status = cargo
        .current_dir(root)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["build", "--locked", "--quiet"])
        .args(SERVICES.iter().flat_map(|service| ["--package", service]))
        .args([
            "--target",
            &build.target,
            "--profile",
            &build.profile,
            "--target-dir",
        ])
        .arg(&target_dir)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "cargo build failed ({status})");
    let folder = if build.profile == "dev" {
        "debug"
    } else {
        &build.profile
    };
    let from = target_dir.join(&build.target).join(folder);
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for service in SERVICES {
        let (from, to) = (from.join(service), to.join(service));
        fs::copy(&from, &to)
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    let tmp = to.join("root/tmp");
    fs::create_dir_all(&tmp).with_context(|| format!("creating {}", tmp.display()))?;
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).context("opening root/tmp")
}

fn commit(root: &Path) -> Option<String> {
    let asked = Command::new("git")
        .current_dir(root)
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    let answer = asked.ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}
