//! The pages that promise something name the tests that hold it: those tests must exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Pages whose `room::…::test_name` spans are promises.
const PAGES: [&str; 2] = ["docs/proof.md", "docs/security.md"];

#[test]
fn every_test_that_a_page_names_exists() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = sources(workspace);
    let mut missing = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(workspace.join(page))
            .unwrap_or_else(|error| panic!("{page}: {error}"));
        let named = test_names(&text);
        assert!(!named.is_empty(), "{page} names no test at all");
        for name in named {
            let definition = format!("fn {}(", name.rsplit("::").next().unwrap());
            if !sources.iter().any(|source| source.contains(&definition)) {
                missing.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

/// Code spans of the form `room::test_name`, whose last part reads like a sentence.
fn test_names(page: &str) -> Vec<&str> {
    let spans = page.split('`').skip(1).step_by(2);
    spans
        .filter(|span| {
            let last = span.rsplit("::").next().unwrap_or_default();
            let is_path = span.contains("::") && !span.contains([' ', '/', '(']);
            is_path && last.matches('_').count() >= 2
        })
        .collect()
}

fn sources(workspace: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = [
        "daemon-kit",
        "bot",
        "backup-sidecar",
        "log-shipper",
        "release",
        "tests",
    ]
    .map(|name| workspace.join(name))
    .to_vec();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_name_is_told_from_other_code() {
    let page =
        "see `bot_ways::a_mention_is_answered`, `daemon_kit::publish`, `cargo test -- a::b_c_d`";
    assert_eq!(test_names(page), ["bot_ways::a_mention_is_answered"]);
}
