//! The three programs, built once per test run: cargo builds no other package's binaries for a test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What cargo tells a test about its package. Build scripts that look at these would take the programs' build for
/// another one than the test command's, and make everything anew.
const OF_THE_TEST: [&str; 14] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_AUTHORS",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_HOMEPAGE",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_NAME",
    "CARGO_PKG_REPOSITORY",
    "CARGO_PKG_RUST_VERSION",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

static BUILT: OnceLock<PathBuf> = OnceLock::new();

/// The path of a program that is as new as its source.
pub fn binary(name: &str) -> PathBuf {
    BUILT.get_or_init(build).join(name)
}

fn build() -> PathBuf {
    let me = std::env::current_exe().expect("the path of this program");
    // target/<profile>/deps/it-… for tests, target/<profile>/demo for programs.
    let mut profile = me.parent().expect("a directory").to_owned();
    let in_test = profile.ends_with("deps");
    if in_test {
        profile.pop();
    }
    let target = profile.parent().expect("the target directory").to_owned();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned();
    let release = profile.ends_with("release");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--quiet", "--target-dir"])
        .arg(&target);
    for name in OF_THE_TEST {
        cargo.env_remove(name);
    }
    if in_test {
        // The same choice of packages and features as the test command's: nothing is compiled a second time.
        cargo.args(["--workspace", "--bins", "--tests"]);
    } else {
        cargo.args(["-p", "bot", "-p", "backup-sidecar", "-p", "log-shipper"]);
    }
    if release {
        cargo.arg("--release");
    }
    // Cargo itself holds a lock on the target directory, so several test programs may ask at once.
    let status = cargo.status().expect("cargo");
    assert!(status.success(), "the three programs do not build");
    let built = target.join(if release { "release" } else { "debug" });
    if rustix::process::geteuid().is_root() && !open_to_all(&built) {
        reachable(&built)
    } else {
        built
    }
}

/// Whether every directory up to the root lets everybody pass.
fn open_to_all(path: &Path) -> bool {
    path.ancestors().all(|part| {
        part.metadata()
            .is_ok_and(|facts| facts.permissions().mode() & 0o001 != 0)
    })
}

/// Copies the programs to where an unprivileged user can reach them.
fn reachable(built: &Path) -> PathBuf {
    let place = std::env::temp_dir().join(format!("kotonoha-programs-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).expect("an open door");
    for name in ["bot", "backup-sidecar", "log-shipper"] {
        std::fs::copy(built.join(name), place.join(name)).expect("a copy");
    }
    // The chaos runs start themselves again as a writer; other programs have no need of it.
    if built.join("chaos").exists() {
        std::fs::copy(built.join("chaos"), place.join("chaos")).expect("a copy");
    }
    place
}
