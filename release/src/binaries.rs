//! Builds the three programs as static binaries, the form an empty image can start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::image::{self, SERVICES};

/// Settings that spare a development build, which is for tests, what only speed would need.
const QUICK: [&str; 4] = [
    "profile.dev.debug=false",
    "profile.dev.package.libsqlite3-sys.opt-level=0",
    "profile.dev.package.zstd-sys.opt-level=0",
    "profile.dev.package.ring.opt-level=0",
];

/// What cargo tells a program that it runs, as this one mostly is. The build script of `ring` looks at them: with those of
/// another caller it would be built anew, and everything that rests on it.
const OF_THE_CALLER: [&str; 7] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// What to build.
#[derive(Clone, Debug)]
pub struct Build {
    /// The target triple; naming it keeps the flags away from procedural macros, which cannot be static.
    pub target: String,
    /// The Cargo profile: `release`, or `dev` for tests.
    pub profile: String,
    /// Whether the stand-in world of `compose.demo.yaml` comes along.
    pub with_demo: bool,
}

impl Build {
    fn programs(&self) -> impl Iterator<Item = &'static str> {
        SERVICES
            .into_iter()
            .chain(self.with_demo.then_some(image::WORLD))
    }
}

/// Builds below the repository's `root` and copies the programs to `to`, with the one folder an image needs besides.
///
/// # Errors
/// When cargo fails or the folder cannot be written.
pub fn build(root: &Path, to: &Path, build: &Build) -> Result<()> {
    compile(root, to, build, &root.join("target/static"), &[])
}

/// The triple of [`build_arm64`].
const ARM64: &str = "aarch64-unknown-linux-gnu";

/// Builds for arm64 with Debian's own cross tools, which `.ci/cross-arm64` unpacks below `target` on a Debian 12 machine.
///
/// # Errors
/// When they cannot be had, cargo fails, or the folder cannot be written.
pub fn build_arm64(root: &Path, to: &Path, profile: String) -> Result<()> {
    let unpacked = Command::new("bash")
        .current_dir(root)
        .arg(".ci/cross-arm64")
        .status()
        .context("starting bash")?;
    ensure!(unpacked.success(), ".ci/cross-arm64 failed ({unpacked})");
    let tool = |name: &str| root.join("target/cross-arm64").join(name);
    let build = Build {
        target: ARM64.to_owned(),
        profile,
        with_demo: false,
    };
    let tools = [
        ("RUSTC", tool("rustc")),
        ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", tool("cc")),
        ("CC_aarch64_unknown_linux_gnu", tool("cc")),
        ("AR_aarch64_unknown_linux_gnu", tool("ar")),
    ];
    // Another compiler than the usual one: in the usual directory each would undo the other's work.
    compile(root, to, &build, &root.join("target/static-arm64"), &tools)
}

fn compile(
    root: &Path,
    to: &Path,
    build: &Build,
    target_dir: &Path,
    tools: &[(&str, PathBuf)],
) -> Result<()> {
    let mut cargo = Command::new("cargo");
    if build.profile == "dev" {
        cargo.args(QUICK.iter().flat_map(|setting| ["--config", setting]));
    } else {
        // What `--version` says; left out of builds for tests, which would be made anew after every commit.
        cargo.envs(commit(root).map(|commit| ("KOTONOHA_COMMIT", commit)));
    }
    for name in OF_THE_CALLER {
        cargo.env_remove(name);
    }
    let status = cargo
        .current_dir(root)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .envs(tools.iter().map(|(name, path)| (*name, path)))
        .args(["build", "--locked", "--quiet"])
        .args(SERVICES.iter().flat_map(|service| ["--package", service]))
        .args(build.with_demo.then_some("--package=tests"))
        .args(build.programs().flat_map(|program| ["--bin", program]))
        .args([
            "--target",
            &build.target,
            "--profile",
            &build.profile,
            "--target-dir",
        ])
        .arg(target_dir)
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
    for program in build.programs() {
        let (from, to) = (from.join(program), to.join(program));
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
