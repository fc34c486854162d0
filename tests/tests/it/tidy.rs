//! The rules that hold the walls: which file names which library, what documents promise, how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::nas_files::{read, root};

/// Every source file of a package outside its tests, below the repository.
fn sources(package: &str) -> Vec<(String, String)> {
    let dir = root().join(package).join("src");
    let mut found = Vec::new();
    for path in tests::house::walk(&dir) {
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        if name.ends_with(".rs") && !is_test {
            found.push((name, production(&fs::read_to_string(&path).unwrap())));
        }
    }
    assert!(!found.is_empty(), "{package} has sources");
    found.sort();
    found
}

/// A source without its comments and without the tests at its end.
fn production(text: &str) -> String {
    let until_tests = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let lines = until_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a source names a crate: `name::…` as a path of its own.
fn names(source: &str, name: &str) -> bool {
    let path = format!("{name}::");
    source.match_indices(&path).any(|(at, _)| {
        let before = source[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn only_these_rooms(package: &str, library: &str, rooms: &[&str]) {
    let mut used = false;
    for (file, source) in sources(package) {
        if names(&source, library) {
            used = true;
            let is_room = rooms
                .iter()
                .any(|room| file.starts_with(&format!("{package}/src/{room}")));
            assert!(is_room, "{file} names {library}, which only {rooms:?} may");
        }
    }
    assert!(used, "nothing in {package} uses {library}");
}

#[test]
fn each_library_is_named_in_its_rooms_alone() {
    only_these_rooms("bot", "serenity", &["discord"]);
    only_these_rooms("bot", "serde_yaml", &["settings"]);
    only_these_rooms("bot", "rusqlite", &["store"]);
    only_these_rooms("bot", "clap", &["cli", "main"]);
    only_these_rooms("backup-sidecar", "clap", &["cli", "main"]);
    only_these_rooms("backup-sidecar", "rusqlite", &["snapshot", "verify"]);
    only_these_rooms("backup-sidecar", "tar", &["archive"]);
    only_these_rooms("backup-sidecar", "age", &["seal"]);
    only_these_rooms("backup-sidecar", "rusty_s3", &["offsite/s3"]);
    only_these_rooms("backup-sidecar", "ureq", &["web", "offsite/s3"]);
    only_these_rooms("log-shipper", "clap", &["cli", "main"]);
    only_these_rooms("log-shipper", "rustls", &["forward"]);
    only_these_rooms("log-shipper", "ureq", &["forward/http"]);
    only_these_rooms("log-shipper", "regex", &["search", "redact"]);
    only_these_rooms("log-shipper", "notify", &["wake"]);
}

#[test]
fn residents_never_import_one_another() {
    let residents = ["bot", "backup-sidecar", "log-shipper"];
    for package in residents {
        let manifest = read(&format!("{package}/Cargo.toml"));
        for other in residents.iter().filter(|other| **other != package) {
            assert!(
                !manifest.contains(&format!("\n{other}")),
                "{package} depends on {other}"
            );
        }
    }
    for (file, source) in sources("daemon-kit") {
        for noun in ["rusqlite", "serenity", "reqwest", "zstd"] {
            assert!(!names(&source, noun), "{file} knows of {noun}");
        }
    }
}

/// The packages that were ordered by name, and where each does its work.
#[test]
fn the_ordered_packages_are_in_real_use() {
    for (library, package) in [
        ("serenity", "bot"),
        ("tokio", "bot"),
        ("rusqlite", "bot"),
        ("reqwest", "bot"),
        ("serde_yaml", "bot"),
        ("clap", "bot"),
        ("rusqlite", "backup-sidecar"),
        ("tar", "backup-sidecar"),
        ("zstd", "backup-sidecar"),
        ("tracing", "daemon-kit"),
        ("tracing_subscriber", "daemon-kit"),
        ("notify", "log-shipper"),
        ("zstd", "log-shipper"),
    ] {
        let manifest = read(&format!("{package}/Cargo.toml"));
        let entry = library.replace("tracing_subscriber", "tracing-subscriber");
        let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
        let direct = dependencies.lines().any(|line| {
            line.starts_with(&format!("{entry}.")) || line.starts_with(&format!("{entry} "))
        });
        assert!(direct, "{entry} is a direct dependency of {package}");
        assert!(
            sources(package)
                .iter()
                .any(|(_, source)| names(source, library)),
            "{package} uses {library}"
        );
    }
}

#[test]
fn files_stay_short_and_say_what_they_are() {
    for package in [
        "daemon-kit",
        "bot",
        "backup-sidecar",
        "log-shipper",
        "release",
    ] {
        for (file, _) in sources(package) {
            let text = read(&file);
            let lines = text.lines().count();
            assert!(lines <= 550, "{file} has {lines} lines: split it");
            assert!(
                text.starts_with("//!"),
                "{file} does not begin with what it is"
            );
            for word in ["TODO", "FIXME", "XXX"] {
                assert!(!text.contains(word), "{file} holds {word}");
            }
        }
    }
}

/// The lines inside fenced shell blocks, without their comments.
fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let command = line.split(" #").next().unwrap_or_default().trim();
            found.push(command.to_owned());
        }
    }
    found
}

fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [
        "README.md",
        "README.ja.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .iter()
    .map(|name| root().join(name))
    .collect();
    let docs = tests::house::walk(&root().join("docs"));
    found.extend(
        docs.into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "md")),
    );
    found
}

#[test]
fn both_languages_give_the_same_commands() {
    let pair = |ja: &str, en: &str| {
        let (ja_text, en_text) = (commands(&read(ja)), commands(&read(en)));
        assert_eq!(ja_text, en_text, "{ja} and {en} differ");
    };
    pair("README.ja.md", "README.md");
    for path in documents() {
        let name = path
            .strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let en = name.replace(".ja.md", ".md");
        if en != name && root().join(&en).exists() {
            pair(&name, &en);
        }
    }
    let all = commands(&read("README.md"));
    for command in [
        "cargo test --locked --workspace",
        "cargo demo",
        "docker compose up -d",
    ] {
        assert!(
            all.iter().any(|line| line == command),
            "the README tells {command}"
        );
    }
}

#[test]
fn the_readmes_name_every_setting() {
    let example = read(".env.example");
    let settings: BTreeSet<&str> = example
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    assert!(settings.len() > 60);
    for readme in ["README.md", "README.ja.md"] {
        let text = read(readme);
        for name in &settings {
            assert!(
                text.contains(&format!("`{name}`")),
                "{readme} does not name {name}"
            );
        }
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for path in documents() {
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for part in text.split("](").skip(1) {
            let target = part.split([')', ' ', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let leads_to = path.parent().unwrap_or(Path::new(".")).join(target);
            assert!(leads_to.exists(), "{} links to {target}", path.display());
        }
    }
}

#[test]
fn every_box_of_the_owners_plan_is_answered_in_its_order() {
    let plan = read("tests/fixtures/plan-boxes.txt");
    let answers = read("docs/plan.ja.md");
    let answered: Vec<&str> = answers
        .lines()
        .filter_map(|line| {
            line.strip_prefix("- [x] ")
                .or_else(|| line.strip_prefix("- [ ] "))
        })
        .map(|line| line.split(" — ").next().unwrap_or_default())
        .collect();
    assert_eq!(answered, plan.lines().collect::<Vec<_>>());
}

#[test]
fn the_map_fits_on_a_few_screens_and_names_every_room() {
    let map = read("ARCHITECTURE.md");
    assert!(map.lines().count() <= 200, "ARCHITECTURE.md is for reading");
    for package in ["daemon-kit", "bot", "backup-sidecar", "log-shipper"] {
        for (file, _) in sources(package) {
            // A room is a file directly in src; what is below it belongs to it.
            let room = file.strip_prefix(&format!("{package}/src/")).unwrap();
            let room = room.trim_end_matches(".rs");
            if !room.contains('/') && !["lib", "main"].contains(&room) {
                assert!(
                    map.contains(&format!("`{room}`")),
                    "ARCHITECTURE.md does not name {package}'s {room}"
                );
            }
        }
    }
}
