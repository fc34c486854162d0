//! The compose files as compose sees them, and the whole stack on a Docker engine where one answers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use release::image::{self, Architecture, SERVICES};
use release::nas::Nas;
use release::{binaries, bundle};
use serde_yaml::Value;
use tests::World;
use tests::engine::{self, Engine, Project, until};
use tests::world::TOKEN;

use crate::nas_files::root;

/// What compose makes of some files of this repository, with lists in a fixed order.
fn merged(compose: &[String], files: &[&str]) -> Value {
    let mut command = Command::new(&compose[0]);
    command
        .current_dir(root())
        .args(&compose[1..])
        .env("KOTONOHA_HOME", "/home/of/kotonoha");
    for file in files {
        command.args(["-f", file]);
    }
    let output = command.arg("config").output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{files:?}: {complaint}");
    let mut value: Value = serde_yaml::from_slice(&output.stdout).unwrap();
    sort_lists(&mut value);
    value
}

fn sort_lists(value: &mut Value) {
    match value {
        Value::Sequence(items) => {
            items.iter_mut().for_each(sort_lists);
            items.sort_by_key(|item| serde_yaml::to_string(item).unwrap());
        }
        Value::Mapping(mapping) => mapping.values_mut().for_each(sort_lists),
        _ => (),
    }
}

#[test]
fn compose_accepts_every_combination_and_reads_the_single_files_as_base_plus_override() {
    let Some(compose) = engine::compose() else {
        tests::skipped("no docker compose to ask about the compose files");
        return;
    };
    merged(&compose, &["compose.yaml", "compose.build.yaml"]);
    for nas in Nas::ALL {
        let over = format!("compose.{}.yaml", nas.name());
        let single = format!("nas/{}/compose.yaml", nas.name());
        let both = merged(&compose, &["compose.yaml", &over]);
        assert_eq!(
            both["services"],
            merged(&compose, &[&single])["services"],
            "{single}"
        );
        if nas != Nas::Synology {
            let limited = merged(&compose, &["compose.yaml", &over, "compose.cpus.yaml"]);
            assert!(
                serde_yaml::to_string(&limited).unwrap().contains("cpus"),
                "{over}"
            );
        }
    }
}

/// The three programs as static binaries, of the quick kind, built once for all tests here.
fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let to = root().join("target/static-programs");
        let build = binaries::Build {
            target: format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
            profile: "dev".to_owned(),
        };
        binaries::build(&root(), &to, &build).unwrap();
        to
    })
}

fn architecture() -> Architecture {
    if std::env::consts::ARCH == "aarch64" {
        Architecture::Arm64
    } else {
        Architecture::Amd64
    }
}

/// A folder as an owner has it after unpacking the download and filling it in, its containers under other names.
struct Owner {
    dir: tempfile::TempDir,
    version: String,
}

impl Owner {
    /// The owner's number on a Synology where tests run as root, else the number of whoever runs them.
    fn ids() -> (u32, u32) {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if uid.is_root() {
            (1026, 100)
        } else {
            (uid.as_raw(), gid.as_raw())
        }
    }

    fn new(world: &World) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("kotonoha-nas-")
            .tempdir()
            .unwrap();
        let version = format!("test-{}", std::process::id());
        let owner = Self { dir, version };
        bundle::lay_out(&root(), Nas::Synology, owner.dir.path()).unwrap();
        let (uid, gid) = Self::ids();
        let url = world.url();
        let version = &owner.version;
        let settings = format!(
            "DISCORD_TOKEN={TOKEN}\nANTHROPIC_API_KEY=\nPUID={uid}\nPGID={gid}\nKOTONOHA_VERSION={version}\n\
             BOT_CONTAINER=bot-{version}\nBACKUP_CONTAINER=backup-{version}\nLOG_CONTAINER=log-{version}\n\
             DISCORD_API_URL={url}\nLLM_MODEL=echo/echo\nBACKUP_SCHEDULE='@every 10s'\nBACKUP_MIN_FREE=1\n\
             LOG_MIN_FREE=1\nLOG_SWEEP_SECONDS=5\n"
        );
        fs::write(owner.folder().join(".env"), settings).unwrap();
        // As the README offers: a key in a file of its own, which only the bot's container sees.
        fs::write(owner.folder().join("secrets/bot/anthropic_api_key"), "k\n").unwrap();
        // Tests do not wait half a minute for each look at the health.
        let quick = "{healthcheck: {interval: 2s, timeout: 20s}}";
        let services = SERVICES
            .map(|service| format!("{service}: {quick}"))
            .join(", ");
        fs::write(
            owner.folder().join("quick.yaml"),
            format!("services: {{{services}}}\n"),
        )
        .unwrap();
        fs::set_permissions(owner.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        give(owner.dir.path(), uid, gid);
        owner
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("kotonoha-bot")
    }

    fn container(&self, short: &str) -> String {
        format!("{short}-{}", self.version)
    }

    /// The names of the verified archives there now.
    fn archives(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder().join("backups"))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name.starts_with("backup_") && name.ends_with(".tar.zst"))
            .collect()
    }
}

fn give(path: &Path, uid: u32, gid: u32) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(uid), Some(gid)).unwrap();
        for entry in path.read_dir().into_iter().flatten().flatten() {
            give(&entry.path(), uid, gid);
        }
    }
}

/// Loads the images of this source tree under a version of their own; the project takes them away again.
fn images(engine: &Engine, owner: &Owner, programs: &Path) -> Vec<String> {
    let tar = owner.dir.path().join("images.tar");
    let file = fs::File::create(&tar).unwrap();
    image::write_archive(file, programs, architecture(), &owner.version).unwrap();
    engine.must(&["load", "--quiet", "--input", tar.to_str().unwrap()]);
    fs::remove_file(tar).unwrap();
    SERVICES
        .map(|service| image::reference(service, &owner.version))
        .to_vec()
}

/// The engine and an address where containers find this machine, or a loud word about what is not tested.
fn engine_here() -> Option<(Engine, std::net::IpAddr)> {
    let found = Engine::find().and_then(|engine| engine.gateway().map(|gateway| (engine, gateway)));
    found
        .inspect_err(|reason| tests::skipped(&format!("the stack on a docker engine: {reason}")))
        .ok()
}

#[test]
fn the_stack_lives_on_a_docker_engine_as_an_owner_would_install_it() {
    let Some((engine, gateway)) = engine_here() else {
        return;
    };
    let world = World::start_on(&format!("{gateway}:0"));
    let owner = Owner::new(&world);
    let images = images(&engine, &owner, programs());
    let project = Project::new(
        &engine,
        &format!("kotonoha-{}", owner.version),
        &owner.folder(),
        images,
    );
    let up = [
        "-f",
        "compose.yaml",
        "-f",
        "quick.yaml",
        "up",
        "-d",
        "--no-build",
    ];
    project.compose(&up);
    let [bot, backup, log] = ["bot", "backup", "log"].map(|short| owner.container(short));
    for container in [&bot, &backup, &log] {
        project.healthy(container);
    }
    locked_down(&engine, &owner);

    let member = world.member("花");
    let said = world.mention(member, world.general(), "こんにちは");
    world.answer(said, "");
    until("a verified archive", || owner.archives().into_iter().next());

    // Each container alone, the others going on; the bot once without any warning.
    for container in [&bot, &backup, &log] {
        engine.must(&["restart", "--time", "20", container]);
        project.healthy(container);
    }
    engine.must(&["kill", "--signal", "KILL", &bot]);
    engine.must(&["start", &bot]);
    project.healthy(&bot);
    let said = world.mention(member, world.general(), "ただいま");
    world.answer(said, "");

    // What the README tells.
    let exec =
        |container: &str, words: &[&str]| engine.must(&[&["exec", container], words].concat());
    exec(&backup, &["backup-sidecar", "backup"]);
    exec(&backup, &["backup-sidecar", "list"]);
    exec(&backup, &["backup-sidecar", "verify"]);
    exec(&log, &["log-shipper", "tail", "-n", "5"]);
    exec(&log, &["log-shipper", "stats"]);
    engine.must(&["stop", "--time", "20", &bot]);
    exec(&backup, &["backup-sidecar", "restore", "latest"]);
    engine.must(&["start", &bot]);
    project.healthy(&bot);
    let said = world.mention(member, world.general(), "覚えている?");
    world.answer(said, "");

    engine.must(&["stop", "--time", "20", &bot, &backup, &log]);
    for container in [&bot, &backup, &log] {
        project.wait(container, "{{.State.ExitCode}}", "0");
        let logs = engine.must(&["logs", container]);
        assert!(
            !logs.contains(TOKEN) && !logs.contains("こんにちは"),
            "{container} tells"
        );
    }
    drop(project);
    world.expect_all();
    world.finish();
}

/// What keeps a hole in a program from becoming the NAS.
fn locked_down(engine: &Engine, owner: &Owner) {
    let (uid, gid) = Owner::ids();
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{len .HostConfig.PortBindings}}";
    for short in ["bot", "backup", "log"] {
        let seen = engine.must(&["inspect", "--format", format, &owner.container(short)]);
        assert_eq!(seen.trim(), format!("{uid}:{gid} true [ALL] 0"), "{short}");
    }
    for sidecar in ["backup", "log"] {
        let network = engine.must(&[
            "inspect",
            "--format",
            "{{.HostConfig.NetworkMode}}",
            &owner.container(sidecar),
        ]);
        assert_eq!(network.trim(), "none", "{sidecar}");
    }
    let seen = engine.must(&[
        "exec",
        &owner.container("backup"),
        "backup-sidecar",
        "print-config",
    ]);
    assert!(!seen.contains(TOKEN), "a sidecar knows the token");
}

#[test]
fn the_dockerfile_makes_all_three_images_without_a_registry() {
    let Some((engine, _)) = engine_here() else {
        return;
    };
    let context = tempfile::tempdir().unwrap();
    let prebuilt = context.path().join("prebuilt");
    fs::create_dir(&prebuilt).unwrap();
    for service in SERVICES {
        fs::copy(programs().join(service), prebuilt.join(service)).unwrap();
    }
    let tmp = prebuilt.join("root/tmp");
    fs::create_dir_all(&tmp).unwrap();
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
    for name in ["Dockerfile", "Dockerfile.prebuilt", ".dockerignore"] {
        fs::copy(root().join(name), context.path().join(name)).unwrap();
    }
    for service in SERVICES {
        let tag = format!("localhost/kotonoha-{service}:build-{}", std::process::id());
        let modern = [
            "--build-arg",
            "BINARIES=prebuilt",
            "--target",
            service,
            "--tag",
            &tag,
        ];
        let built = engine.build_kit(context.path(), &modern);
        if !built.status.success() {
            let complaint = String::from_utf8_lossy(&built.stderr).into_owned();
            tests::skipped(&format!(
                "the Dockerfile itself, no BuildKit here: {}",
                complaint.trim()
            ));
            let file = context.path().join("Dockerfile.prebuilt");
            let file = file.to_str().unwrap();
            let folder = context.path().to_str().unwrap();
            engine.must(&[
                "build", "--file", file, "--target", service, "--tag", &tag, folder,
            ]);
        }
        let version = engine.docker(&["run", "--rm", "--network", "none", &tag, "--version"]);
        engine.docker(&["image", "rm", "--force", &tag]);
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        assert!(
            version.contains(env!("CARGO_PKG_VERSION")),
            "{service}: {version:?}"
        );
    }
}
