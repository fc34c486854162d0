//! The compose files as compose sees them, and the whole stack on a Docker engine where one answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use release::image::SERVICES;
use release::nas::Nas;
use serde_yaml::Value;
use tests::World;
use tests::engine::{self, Engine, until};
use tests::stack::{Stack, owner, programs};
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
    merged(&compose, &["compose.yaml", "compose.demo.yaml"]);
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

/// A value without what differs between composes though it means the same: empty parts, numbers as text, the project's
/// own name and network, and sizes and times in other units.
fn meaning(value: &Value) -> Value {
    match value {
        Value::Mapping(mapping) => {
            let kept = mapping.iter().filter_map(|(key, value)| {
                let value = match (key.as_str().unwrap_or_default(), meaning(value)) {
                    // The newer one writes out what the older one leaves to the engine.
                    ("networks" | "name" | "create_host_path" | "command" | "entrypoint", _)
                    | (_, Value::Null) => return None,
                    ("mem_limit", Value::String(text)) => Value::String(bytes(&text).to_string()),
                    ("cpus", Value::String(text)) => {
                        Value::String(text.parse::<f64>().unwrap_or_default().to_string())
                    }
                    ("dockerfile", Value::String(text)) if text == "Dockerfile" => return None,
                    ("volumes", Value::Sequence(items)) => {
                        let mut items: Vec<String> = items.iter().map(mount).collect();
                        items.sort();
                        Value::Sequence(items.into_iter().map(Value::String).collect())
                    }
                    (_, value) => value,
                };
                Some((key.clone(), value))
            });
            Value::Mapping(kept.collect())
        }
        Value::Sequence(items) => {
            let mut items: Vec<Value> = items.iter().map(meaning).collect();
            items.sort_by_key(|item| serde_yaml::to_string(item).unwrap());
            Value::Sequence(items)
        }
        Value::String(text) => Value::String(text.clone()),
        Value::Null => Value::Null,
        scalar => Value::String(serde_yaml::to_string(scalar).unwrap().trim().to_owned()),
    }
}

fn bytes(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        other => panic!("a size in {other:?}"),
    };
    digits.parse::<u64>().unwrap() * unit
}

/// `/host/data:/app/data:rw` and its long form, as one text.
fn mount(volume: &Value) -> String {
    match volume {
        Value::String(short) => short.trim_end_matches(":rw").to_owned(),
        Value::Mapping(long) => {
            let part = |name: &str| long.get(name).and_then(Value::as_str).unwrap_or_default();
            let mode = if part("read_only") == "true" {
                ":ro"
            } else {
                ""
            };
            format!("{}:{}{mode}", part("source"), part("target"))
        }
        other => panic!("a volume like {other:?}"),
    }
}

#[test]
fn a_newer_compose_makes_the_same_of_every_file() {
    let (Some(old), Some(new)) = (engine::compose(), engine::newer_compose()) else {
        tests::skipped("no second compose to compare with: bash .ci/compose-2 unpacks one");
        return;
    };
    for nas in Nas::ALL {
        let over = format!("compose.{}.yaml", nas.name());
        let single = format!("nas/{}/compose.yaml", nas.name());
        for files in [&["compose.yaml", &*over][..], &[&*single]] {
            let [old, new] =
                [&old, &new].map(|compose| meaning(&merged(compose, files)["services"]));
            assert_eq!(old, new, "{files:?}");
        }
    }
    let limited = ["compose.yaml", "compose.qnap.yaml", "compose.cpus.yaml"];
    let demo = ["compose.yaml", "compose.build.yaml", "compose.demo.yaml"];
    for files in [&limited[..], &demo] {
        let [old, new] = [&old, &new].map(|compose| meaning(&merged(compose, files)["services"]));
        assert_eq!(old, new, "{files:?}");
    }
}

#[test]
fn the_stack_lives_on_a_docker_engine_as_an_owner_would_install_it() {
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let world = World::start_on(&format!("{gateway}:0"));
    let stack = Stack::new(&engine, &world, owner(), "BACKUP_SCHEDULE='@every 10s'");
    // As the README offers: a key in a file of its own, which only the bot's container sees.
    stack.write("secrets/bot/anthropic_api_key", "k\n");
    stack.up(&[]);
    for service in SERVICES {
        stack.healthy(service);
    }
    locked_down(&stack);

    let member = world.member("花");
    let said = world.mention(member, world.general(), "こんにちは");
    world.answer(said, "");
    until("a verified archive", || stack.archives().into_iter().next());

    // Each container alone, the others going on; the bot once without any warning.
    for service in SERVICES {
        engine.must(&["restart", "--time", "20", &stack.container(service)]);
        stack.healthy(service);
    }
    engine.must(&["kill", "--signal", "KILL", &stack.container("bot")]);
    engine.must(&["start", &stack.container("bot")]);
    stack.healthy("bot");
    let said = world.mention(member, world.general(), "ただいま");
    world.answer(said, "");

    // What the README tells.
    stack.exec("backup-sidecar", &["backup"]);
    stack.exec("backup-sidecar", &["list"]);
    stack.exec("backup-sidecar", &["verify"]);
    stack.exec("log-shipper", &["tail", "-n", "5"]);
    stack.exec("log-shipper", &["stats"]);
    stack.compose(&["stop", "bot"]);
    stack.exec("backup-sidecar", &["restore", "latest"]);
    stack.compose(&["start", "bot"]);
    stack.healthy("bot");
    let said = world.mention(member, world.general(), "覚えている?");
    world.answer(said, "");

    stack.compose(&["stop"]);
    for service in SERVICES {
        stack.wait(service, "{{.State.ExitCode}}", "0");
        let logs = stack.logs(service);
        assert!(
            !logs.contains(TOKEN) && !logs.contains("こんにちは"),
            "{service} tells"
        );
    }
    drop(stack);
    world.expect_all();
    world.finish();
}

/// What keeps a hole in a program from becoming the NAS.
fn locked_down(stack: &Stack) {
    let (uid, gid) = owner();
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{len .HostConfig.PortBindings}}";
    for service in SERVICES {
        let seen = stack.inspect(service, format);
        assert_eq!(seen, format!("{uid}:{gid} true [ALL] 0"), "{service}");
        // One program and empty folders: no shell, no library, nothing else that could be written or run.
        let files = tempfile::NamedTempFile::new().unwrap();
        let to = files.path().to_str().unwrap();
        stack
            .engine
            .must(&["export", "--output", to, &stack.container(service)]);
        let listed = Command::new("tar").arg("-tf").arg(to).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let of_the_engine = [
            "etc/",
            "dev/",
            "proc/",
            "sys/",
            "run/",
            ".dockerenv",
            "sbin/",
        ];
        let ours: Vec<&str> = listed
            .lines()
            .filter(|name| !name.ends_with('/'))
            .filter(|name| !of_the_engine.iter().any(|known| name.starts_with(known)))
            .collect();
        assert_eq!(ours, [format!("usr/local/bin/{service}")], "{service}");
    }
    for sidecar in ["backup-sidecar", "log-shipper"] {
        let network = stack.inspect(sidecar, "{{.HostConfig.NetworkMode}}");
        assert_eq!(network, "none", "{sidecar}");
    }
    let seen = stack.exec("backup-sidecar", &["print-config"]);
    assert!(!seen.contains(TOKEN), "a sidecar knows the token");
}

#[test]
fn the_dockerfile_makes_all_three_images_without_a_registry() {
    let Some((engine, _)) = Engine::here() else {
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
