//! The compose files, `.env.example` and the documents say the same as the code, and nothing that a NAS refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use release::nas::Nas;
use serde_yaml::{Mapping, Value};
use tests::House;

const SERVICES: [&str; 3] = ["bot", "backup-sidecar", "log-shipper"];
const OVERRIDES: [&str; 6] = ["synology", "qnap", "truenas", "cpus", "build", "demo"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compose(name: &str) -> Mapping {
    let mut value: Value = serde_yaml::from_str(&read(name)).unwrap();
    value.apply_merge().unwrap();
    value.as_mapping().unwrap().clone()
}

fn service(file: &Mapping, name: &str) -> Mapping {
    file["services"][name].as_mapping().unwrap().clone()
}

/// The variables that a compose file takes from `.env`, with the default it gives each.
fn interpolated(text: &str) -> BTreeMap<String, String> {
    let uncommented = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut found = BTreeMap::new();
    for part in uncommented.flat_map(|line| line.split("${").skip(1)) {
        let (inside, _) = part.split_once('}').unwrap();
        let (name, default) = inside
            .split_once(":-")
            .unwrap_or_else(|| panic!("no default: {inside}"));
        found.insert(name.to_owned(), default.to_owned());
    }
    found
}

/// `.env.example`: name → default, in whatever state its line is.
fn example() -> BTreeMap<String, String> {
    let text = read(".env.example");
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, value)) = line.trim_start_matches('#').split_once('=')
            && !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        {
            let before = found.insert(name.to_owned(), value.trim_matches('\'').to_owned());
            assert!(before.is_none(), "{name} stands twice in .env.example");
        }
    }
    found
}

/// What each program asks for: name → effective value, without anything set but what it cannot start without.
fn asked() -> BTreeMap<&'static str, BTreeMap<String, String>> {
    let ask = |name| {
        let house = House::alone();
        let mut launch = house.program(name).args(["print-config"]);
        launch = launch
            .env("DISCORD_TOKEN", tests::world::TOKEN)
            .env("ANTHROPIC_API_KEY", "k");
        for given in [
            "TZ",
            "DATA_DIR",
            "LOG_DIR",
            "BACKUP_DIR",
            "CONFIG_FILE",
            "BACKUP_MIN_FREE",
            "LOG_MIN_FREE",
        ] {
            launch = launch.without(given);
        }
        let shown = launch.run().expect_code(0).stdout;
        let pairs = shown.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    SERVICES.into_iter().map(|name| (name, ask(name))).collect()
}

/// Names that are fixed by where the volumes are mounted, so that compose does not pass them.
const PLACES: [&str; 4] = ["DATA_DIR", "LOG_DIR", "BACKUP_DIR", "CONFIG_FILE"];

#[test]
fn each_service_is_handed_exactly_what_its_program_asks_for() {
    let base = compose("compose.yaml");
    for (name, asked) in asked() {
        let passed = service(&base, name)["environment"]
            .as_mapping()
            .unwrap()
            .clone();
        let passed: BTreeSet<&str> = passed.keys().map(|key| key.as_str().unwrap()).collect();
        let asked: BTreeSet<&str> = asked
            .keys()
            .map(String::as_str)
            .filter(|name| !PLACES.contains(name))
            .collect();
        assert_eq!(
            asked, passed,
            "{name}: left = asked by the program, right = passed by compose.yaml"
        );
    }
}

#[test]
fn the_example_lists_what_is_read_and_nothing_else() {
    let mut read_somewhere: BTreeSet<String> = asked()
        .into_values()
        .flat_map(BTreeMap::into_keys)
        .collect();
    read_somewhere.extend(interpolated(&read("compose.yaml")).into_keys());
    for name in OVERRIDES {
        read_somewhere.extend(interpolated(&read(&format!("compose.{name}.yaml"))).into_keys());
    }
    let listed: BTreeSet<String> = example().into_keys().collect();
    assert_eq!(
        read_somewhere, listed,
        "left = read by code or compose, right = listed in .env.example"
    );
}

#[test]
fn the_example_shows_the_defaults_that_are_in_force() {
    let example = example();
    // Compose sets another default than the program has; keys are given to this test.
    let others = ["ON_START_ERROR", "DISCORD_TOKEN", "ANTHROPIC_API_KEY"];
    for (program, asked) in asked() {
        for (name, value) in asked
            .iter()
            .filter(|(name, _)| !others.contains(&name.as_str()))
        {
            let shown = &example[name];
            assert!(
                shown == value,
                "{program}: {name} is {value:?}, .env.example says {shown:?}"
            );
        }
    }
}

#[test]
fn each_line_of_the_example_has_its_meaning_in_two_languages() {
    let text = read(".env.example");
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let setting = line.trim_start_matches('#');
        if setting
            .split_once('=')
            .is_some_and(|(name, _)| example().contains_key(name))
        {
            let (ja, en) = (lines[at - 2], lines[at - 1]);
            assert!(
                ja.starts_with("# ") && !ja.is_ascii(),
                "{line}: Japanese above it"
            );
            assert!(
                en.starts_with("# ") && en.is_ascii(),
                "{line}: English above it"
            );
        }
    }
}

#[test]
fn compose_passes_a_default_only_where_the_container_needs_another_one() {
    let own = ["KOTONOHA_", "PUID", "PGID", "_CONTAINER", "_NETWORK"];
    for (name, default) in interpolated(&read("compose.yaml")) {
        if !own.iter().any(|part| name.contains(part)) {
            let expected = if name == "ON_START_ERROR" { "hold" } else { "" };
            assert_eq!(
                default, expected,
                "{name}: the program's own default stands in one place"
            );
        }
    }
}

/// Keys of a service that compose 1.29.2 and 2.20 both know.
const KNOWN: [&str; 18] = [
    "image",
    "container_name",
    "user",
    "restart",
    "init",
    "read_only",
    "cap_drop",
    "security_opt",
    "tmpfs",
    "pids_limit",
    "stop_grace_period",
    "working_dir",
    "mem_limit",
    "network_mode",
    "volumes",
    "environment",
    "healthcheck",
    "labels",
];

#[test]
fn base_and_synology_hold_no_key_that_a_nas_refuses() {
    for file in [
        "compose.yaml",
        "compose.synology.yaml",
        "nas/synology/compose.yaml",
    ] {
        let file_keys = compose(file);
        for (key, _) in &file_keys {
            let key = key.as_str().unwrap();
            assert!(key == "services" || key.starts_with("x-"), "{file}: {key}");
        }
        for name in SERVICES {
            for (key, value) in &service(&file_keys, name) {
                let key = key.as_str().unwrap();
                assert!(KNOWN.contains(&key), "{file}: {name} has {key}");
                if key == "healthcheck" {
                    let known = ["test", "interval", "timeout", "retries", "start_period"];
                    for (part, _) in value.as_mapping().unwrap() {
                        assert!(
                            known.contains(&part.as_str().unwrap()),
                            "{file}: healthcheck {part:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_container_is_locked_down() {
    let base = compose("compose.yaml");
    for name in SERVICES {
        let service = service(&base, name);
        assert_eq!(service["read_only"], Value::Bool(true), "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
        assert_eq!(
            service["security_opt"][0], "no-new-privileges:true",
            "{name}"
        );
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        let volumes = service["volumes"].as_sequence().unwrap();
        let text = |volume: &Value| volume.as_str().unwrap().to_owned();
        let secrets = format!("${{KOTONOHA_HOME:-.}}/secrets/{name}:/run/secrets:ro");
        assert!(
            volumes.iter().any(|volume| text(volume) == secrets),
            "{name}"
        );
        assert!(
            volumes
                .iter()
                .all(|volume| !text(volume).contains("docker.sock")),
            "{name}"
        );
    }
    for sidecar in ["backup-sidecar", "log-shipper"] {
        let network = service(&base, sidecar)["network_mode"].clone();
        assert!(network.as_str().unwrap().ends_with(":-none}"), "{sidecar}");
    }
}

/// Walks an override beside its base: what exists already may only be replaced when it is one value.
fn only_adds(path: &str, base: &Mapping, over: &Mapping) {
    for (key, value) in over {
        let path = format!("{path}/{}", key.as_str().unwrap());
        assert!(!value.is_null(), "{path} removes");
        match (base.get(key), value) {
            (Some(Value::Mapping(old)), Value::Mapping(new)) => only_adds(&path, old, new),
            (Some(old), new) => {
                let is_scalar = |value: &Value| !value.is_mapping() && !value.is_sequence();
                assert!(
                    is_scalar(old) && is_scalar(new),
                    "{path} replaces more than one value"
                );
            }
            (None, _) => (),
        }
    }
}

#[test]
fn an_override_only_adds_or_replaces_one_value() {
    let base = compose("compose.yaml");
    for name in OVERRIDES {
        let mut over = compose(&format!("compose.{name}.yaml"));
        over.retain(|key, _| !key.as_str().unwrap().starts_with("x-"));
        only_adds(name, &base, &over);
    }
}

#[test]
fn the_committed_single_files_are_the_rendered_ones() {
    for nas in Nas::ALL {
        let sources = release::bundle::sources(&root(), nas).unwrap();
        let rendered = release::render::single_file(nas, &sources).unwrap();
        let committed = fs::read_to_string(release::bundle::committed(&root(), nas)).unwrap();
        assert!(
            rendered == committed,
            "nas/{}/compose.yaml is old: run `cargo nas render`",
            nas.name()
        );
    }
}

#[test]
fn the_same_version_stands_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let base = read("compose.yaml");
    assert_eq!(
        base.matches(&format!("${{KOTONOHA_VERSION:-{version}}}"))
            .count(),
        3
    );
    assert_eq!(base.matches("KOTONOHA_VERSION:-").count(), 3);
    assert_eq!(example()["KOTONOHA_VERSION"], version);
    assert!(
        read("compose.demo.yaml").contains(&format!("${{KOTONOHA_VERSION:-{version}}}")),
        "compose.demo.yaml"
    );
    for name in ["Dockerfile", "Dockerfile.prebuilt", "Dockerfile.demo"] {
        assert!(
            read(name).contains(&format!("image.version=\"{version}\"")),
            "{name}"
        );
    }
    assert!(read("CHANGELOG.md").contains(&format!("## {version}")));
}

#[test]
fn both_dockerfiles_make_the_same_images_and_the_bot_is_last() {
    let tail = |name| {
        let text = read(name);
        let (_, tail) = text.split_once("# --- everything below").unwrap();
        tail.split_once('\n').unwrap().1.to_owned()
    };
    assert_eq!(tail("Dockerfile"), tail("Dockerfile.prebuilt"));
    let dockerfile = read("Dockerfile");
    let last = dockerfile
        .lines()
        .rfind(|line| line.starts_with("FROM"))
        .unwrap();
    assert_eq!(last, "FROM base AS bot");
    assert!(
        !dockerfile.contains("# syntax="),
        "a frontend image would have to be fetched"
    );
}

#[test]
fn the_build_context_is_an_allow_list_without_anything_private() {
    let text = read(".dockerignore");
    let rules: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(rules[0], "*");
    for private in ["secrets", "data", "logs", "backups", ".env", "config"] {
        let lets_in = |rule: &&&str| rule.trim_start_matches('!').trim_end_matches('/') == private;
        assert!(
            !rules
                .iter()
                .any(|rule| rule.starts_with('!') && lets_in(&rule)),
            "{private}"
        );
    }
}

#[test]
fn nothing_of_the_demo_is_in_what_owners_get() {
    let dir = tempfile::tempdir().unwrap();
    for nas in Nas::ALL {
        let single = read(&format!("nas/{}/compose.yaml", nas.name()));
        assert!(!single.contains("demo") && !single.contains("world:"));
        let folder = release::bundle::lay_out(&root(), nas, &dir.path().join(nas.name())).unwrap();
        let files = tests::house::walk(&folder);
        assert!(!files.is_empty());
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!name.contains("demo"), "{name}");
        }
    }
}

#[test]
fn an_update_unpacked_over_a_folder_in_use_changes_no_setting_and_no_data() {
    let dir = tempfile::tempdir().unwrap();
    let downloads = release::bundle::bundle(&root(), dir.path(), None).unwrap();
    let unpack = |kind: &str| {
        let zip = downloads
            .iter()
            .find(|path| path.to_string_lossy().contains(kind))
            .unwrap();
        let status = std::process::Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(zip)
            .arg(dir.path())
            .status();
        status.is_ok_and(|status| status.success())
    };
    if !unpack("synology-install") {
        tests::skipped("no python3 to unpack the downloads with");
        return;
    }
    let house = dir.path().join("kotonoha-bot");
    let own = [
        ".env",
        "data/sessions.db",
        "config/kotonoha.yaml",
        "secrets/bot/discord_token",
        "backups/b",
    ];
    for name in own {
        fs::write(house.join(name), format!("mine: {name}")).unwrap();
    }
    fs::remove_file(house.join("compose.yaml")).unwrap();
    assert!(unpack("synology-update"));
    for name in own {
        assert_eq!(
            fs::read_to_string(house.join(name)).unwrap(),
            format!("mine: {name}")
        );
    }
    let rendered = fs::read_to_string(release::bundle::committed(&root(), Nas::Synology)).unwrap();
    assert_eq!(
        fs::read_to_string(house.join("compose.yaml")).unwrap(),
        rendered
    );
}
