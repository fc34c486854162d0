use std::fs;

use secrecy::ExposeSecret;
use tracing::Level;

use super::*;

fn env(vars: &[(&str, &str)]) -> Env {
    Env::from_map(vars.iter().copied()).with_secrets_dir("/nonexistent")
}

#[test]
fn every_problem_is_found_at_once_with_its_cure() {
    let mut env = env(&[
        ("LOG_MAX_SIZE", "huge"),
        ("LOG_ROTATE_HOURS", "0"),
        ("TZ", "Asia/Tokio"),
        ("BOT_LANGUAGE", "fr"),
        ("LOG_LEVEL", "LOUD"),
    ]);
    env.log_settings("bot");
    env.language();
    env.required_secret("DISCORD_TOKEN", "MTIz…");
    let problems = env.finish().unwrap_err();
    let names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
    assert_eq!(
        names,
        [
            "LOG_LEVEL",
            "LOG_MAX_SIZE",
            "LOG_ROTATE_HOURS",
            "TZ",
            "BOT_LANGUAGE",
            "DISCORD_TOKEN"
        ]
    );
    let line = problems[3].line();
    assert!(
        line.contains("Asia/Tokio") && line.contains("TZ=Asia/Tokyo"),
        "{line}"
    );
}

#[test]
fn empty_and_placeholder_are_unset_and_decoration_is_forgiven() {
    let mut env = env(&[
        ("A", "  "),
        ("B", "your_token_here"),
        ("C", "\u{feff}\"value\"\r"),
        ("D", "your friend is here too"),
    ]);
    assert_eq!(env.text("A"), None);
    assert_eq!(env.text("B"), None);
    assert_eq!(env.text("C").unwrap(), "value");
    assert_eq!(env.text_or("E", "fallback"), "fallback");
    let settled = env.finish().unwrap();
    assert_eq!(settled.notices.len(), 2, "{:?}", settled.notices);
}

#[test]
fn sizes_switches_and_lists() {
    let mut env = env(&[
        ("S1", "5"),
        ("S2", "2 GB"),
        ("S3", "512kb"),
        ("ON", "TRUE"),
        ("L", "a, b,,c "),
    ]);
    assert_eq!(env.mebibytes("S1", 1, 0..=10), 5 << 20);
    assert_eq!(env.mebibytes("S2", 1, 0..=4096), 2 << 30);
    assert_eq!(env.mebibytes("S3", 1, 0..=4096), 512 << 10);
    assert!(env.switch("ON", false));
    assert!(!env.switch("UNSET", false));
    assert_eq!(env.list("L"), ["a", "b", "c"]);
    env.finish().unwrap();
}

#[test]
fn a_secret_comes_from_one_of_three_places_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let named = dir.path().join("named");
    fs::write(&named, "from-named\r\n").unwrap();
    fs::write(dir.path().join("shipped"), "from-shipped\n").unwrap();
    let path = named.to_str().unwrap();
    let vars = [
        ("GIVEN", "from-env"),
        ("NAMED_FILE", path),
        ("TWICE", "a"),
        ("TWICE_FILE", path),
    ];
    let mut env = Env::from_map(vars).with_secrets_dir(dir.path());
    let mut read = |name| {
        env.secret(name)
            .map(|secret| secret.expose_secret().to_owned())
    };
    assert_eq!(read("GIVEN").unwrap(), "from-env");
    assert_eq!(read("NAMED").unwrap(), "from-named");
    assert_eq!(read("SHIPPED").unwrap(), "from-shipped");
    assert_eq!(read("ABSENT"), None);
    assert_eq!(read("TWICE"), None);
    let debug = format!("{:?}", env.effective);
    assert!(!debug.contains("from-"), "{debug}");
    let problems = env.finish().unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].line().contains("TWICE_FILE"));
}

#[test]
fn a_secret_file_that_cannot_be_read_is_one_problem() {
    let mut env = env(&[("DISCORD_TOKEN_FILE", "/nonexistent/token")]);
    env.required_secret("DISCORD_TOKEN", "MTIz…");
    let problems = env.finish().unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].line().contains("/nonexistent/token"));
}

#[test]
fn the_predecessors_levels_are_mapped_and_reported() {
    let mut env = env(&[("LOG_LEVEL", "warning")]);
    assert_eq!(env.log_settings("bot").level, Level::WARN);
    assert_eq!(env.finish().unwrap().notices.len(), 1);
}

#[test]
fn a_retired_name_is_reported_only_when_set() {
    let mut env = env(&[("BOT_PREFIX", "!")]);
    env.retired("BOT_PREFIX", Text::new("もう使いません", "no longer used"));
    env.retired(
        "LOG_FILE",
        Text::new("もう使いません (LOG_FILE)", "no longer used (LOG_FILE)"),
    );
    assert_eq!(env.asked(), ["BOT_PREFIX", "LOG_FILE"]);
    assert_eq!(env.finish().unwrap().notices.len(), 1);
}

#[test]
fn asking_twice_shows_once() {
    let mut env = env(&[("TZ", "UTC")]);
    env.zone();
    env.zone();
    assert_eq!(env.finish().unwrap().effective.len(), 1);
}
