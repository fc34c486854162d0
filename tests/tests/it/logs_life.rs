//! The log shipper at work: compression with proof, search, tail, prune, its configuration, and kill -9 at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::House;

/// Writes a segment as its writer does: under another name first, then by one rename.
pub(crate) fn close_segment(house: &House, name: &str, text: &str) {
    let draft = house.path(&format!("tmp/{name}"));
    fs::write(&draft, text).unwrap();
    give(&draft);
    rustix::fs::rename(&draft, house.logs().join(name)).unwrap();
}

pub(crate) fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(tests::house::NOBODY), Some(tests::house::NOBODY))
            .unwrap();
    }
}

/// Lines of a service that only a test knows, numbered.
pub(crate) fn lines(from: usize, count: usize) -> String {
    let line = |number: usize| {
        let second = number % 60;
        format!(
            "{{\"ts\":\"2026-03-01T09:{:02}:{second:02}.000+09:00\",\"level\":\"INFO\",\"service\":\"tester\",\"seq\":{number},\"start\":\"t1\",\"target\":\"tester\",\"event\":\"test.line\",\"msg\":\"line {number}\"}}\n",
            number / 60 % 60
        )
    };
    (from..from + count).map(line).collect::<Vec<_>>().concat()
}

fn names(house: &House) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(house.logs())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// How often each numbered line of the tester stands in files that can be read; a raw and a compressed form of the
/// same segment hold the same lines, of which readers take one.
fn counted(house: &House) -> BTreeMap<u64, usize> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for name in names(house) {
        let path: PathBuf = house.logs().join(&name);
        if !name.starts_with("tester.") || name.ends_with(".partial") {
            continue;
        }
        let Ok(bytes) = fs::read(&path) else { continue };
        let stem = name.trim_end_matches(".zst").to_owned();
        let text = if name.ends_with(".zst") {
            zstd::decode_all(&*bytes).unwrap()
        } else {
            bytes
        };
        texts.insert(stem, String::from_utf8(text).unwrap());
    }
    let mut counts = BTreeMap::new();
    for line in texts.values().flat_map(|text| text.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        *counts.entry(line["seq"].as_u64().unwrap()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn logs_a_closed_segment_is_compressed_with_proof_and_found() {
    let house = House::alone();
    let mut shipper = house.program("log-shipper").start();
    shipper.wait_event("start");
    let text = lines(0, 5_000);
    close_segment(&house, "tester.20260301T010203.000Z.log", &text);
    let done = shipper.wait_event_that("segment.compressed", |line| {
        line["segment"] == "tester.20260301T010203.000Z.log"
    });
    assert_eq!(
        (done["lines"].as_u64(), done["raw_bytes"].as_u64()),
        (Some(5_000), Some(text.len() as u64))
    );
    let packed = house.logs().join("tester.20260301T010203.000Z.log.zst");
    assert_eq!(
        zstd::decode_all(&*fs::read(&packed).unwrap()).unwrap(),
        text.as_bytes()
    );
    assert!(
        !house
            .logs()
            .join("tester.20260301T010203.000Z.log")
            .exists()
    );
    shipper.stop().expect_code(0);

    let search = |arguments: &[&str]| {
        let command = house
            .program("log-shipper")
            .args(["search"])
            .args(arguments.iter().copied());
        command.run().expect_code(0).stdout
    };
    assert_eq!(search(&["-c", "--service", "tester", "."]).trim(), "5000");
    assert_eq!(search(&["--json", "-F", "\"line 4321\""]), lines(4_321, 1));
    let hour = [
        "--since",
        "2026-03-01T09:10:00+09:00",
        "--until",
        "2026-03-01T09:11:00+09:00",
        "-c",
        "--service",
        "tester",
        ".",
    ];
    // Minute 10 comes once in 3,600 lines, and again in the second round.
    assert_eq!(search(&hour).trim(), "120");
    assert_eq!(
        search(&["-c", "--field", "seq=17", "--service", "tester", "line"]).trim(),
        "1"
    );
    let newest = search(&["--newest", "--json", "--service", "tester", "line"]);
    assert_eq!(newest.lines().next().unwrap(), lines(4_999, 1).trim());
    assert!(search(&["--level", "ERROR", "--service", "tester", "."]).is_empty());
    let context = search(&["-C", "1", "--service", "tester", "line 70\\b"]);
    assert_eq!(context.lines().count(), 3, "{context}");
    let stats = house
        .program("log-shipper")
        .args(["stats", "--json"])
        .run()
        .expect_code(0)
        .stdout;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["services"]["tester"]["lines"], 5_000);
}

#[test]
fn logs_tail_goes_on_across_a_rotation() {
    let house = House::alone();
    let active = house.logs().join("tester.log");
    fs::write(&active, lines(0, 30)).unwrap();
    let mut tail = house
        .program("log-shipper")
        .args(["tail", "-f", "-n", "3", "--json"])
        .start();
    tail.wait_line("line 29");
    rustix::fs::rename(
        &active,
        house.logs().join("tester.20260301T010203.000Z.log"),
    )
    .unwrap();
    fs::write(&active, lines(30, 2)).unwrap();
    tail.wait_line("line 31");
    let (out, _) = tail.output();
    assert_eq!(out, lines(27, 5));
}

#[test]
fn logs_prune_says_what_goes_and_keeps_the_newest() {
    let house = House::alone();
    for day in 1..=4 {
        fs::write(
            house
                .logs()
                .join(format!("tester.2026030{day}T000000.000Z.log")),
            "x".repeat(700_000) + "\n",
        )
        .unwrap();
    }
    house.write("logs/notes.txt", "mine");
    house.write("logs/@eaDir/x", "mine");
    let command = |verb: &[&str]| {
        let launch = house
            .program("log-shipper")
            .env("LOG_MAX_TOTAL_SIZE", "1")
            .env("LOG_RETENTION_DAYS", "36500");
        launch
            .args(verb.iter().copied())
            .run()
            .expect_code(0)
            .stdout
    };
    let plan = command(&["prune", "--dry-run"]);
    assert!(
        plan.contains("total size") && plan.contains("3 of 4 segments go"),
        "{plan}"
    );
    assert_eq!(
        names(&house)
            .iter()
            .filter(|name| name.starts_with("tester."))
            .count(),
        4
    );
    command(&["prune"]);
    let left: Vec<String> = names(&house)
        .into_iter()
        .filter(|name| name.starts_with("tester."))
        .collect();
    assert_eq!(left, ["tester.20260304T000000.000Z.log"]);
    assert!(house.logs().join("notes.txt").exists() && house.logs().join("@eaDir/x").exists());
}

#[test]
fn logs_every_problem_of_the_configuration_is_told_at_once() {
    let house = House::alone();
    let launch = house.program("log-shipper").args(["sweep"]);
    let launch = launch
        .env("SYSLOG_URL", "nas:514")
        .env("LOKI_URL", "ftp://x")
        .env("LOG_COMPRESSION_LEVEL", "fast");
    let finished = launch.env("LOG_RETENTION_DAYS", "-1").run().expect_code(78);
    for name in [
        "SYSLOG_URL",
        "LOKI_URL",
        "LOG_COMPRESSION_LEVEL",
        "LOG_RETENTION_DAYS",
    ] {
        assert!(
            finished.stderr.contains(name),
            "{name} is not in\n{}",
            finished.stderr
        );
    }
}

#[test]
fn logs_version_and_health() {
    let house = House::alone();
    let version = house
        .program("log-shipper")
        .args(["--version"])
        .run()
        .expect_code(0)
        .stdout;
    assert!(
        version.starts_with("log-shipper ") && version.contains("zstd 1."),
        "{version}"
    );
    house
        .program("log-shipper")
        .args(["healthcheck"])
        .run()
        .expect_code(1);
    let mut shipper = house.program("log-shipper").start();
    shipper.poll("health", |_| {
        (house
            .program("log-shipper")
            .args(["healthcheck"])
            .run()
            .code
            == Some(0))
        .then_some(())
    });
    house
        .program("log-shipper")
        .args(["frobnicate"])
        .run()
        .expect_code(2);
    shipper.stop().expect_code(0);
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own length, not a program's setting"
)]
pub(crate) fn kill_rounds() -> u64 {
    std::env::var("KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10)
}

/// Kills in one house: after each of them all its lines are read.
const KILLS_OF_A_HOUSE: u64 = 20;

/// `KILL_ROUNDS=10000` for the long form.
#[test]
fn logs_kill_minus_nine_loses_and_doubles_nothing() {
    let rounds = kill_rounds();
    let mut random = fastrand::Rng::with_seed(rounds);
    for first in (0..rounds).step_by(KILLS_OF_A_HOUSE as usize) {
        kill_in_one_house(first..rounds.min(first + KILLS_OF_A_HOUSE), &mut random);
    }
    eprintln!("{rounds} kills, 0 violations");
}

fn kill_in_one_house(rounds: Range<u64>, random: &mut fastrand::Rng) {
    let house = House::alone();
    let mut written = 0;
    for round in rounds {
        let shipper = house
            .program("log-shipper")
            .env("LOG_SWEEP_SECONDS", "1")
            .start();
        for segment in 0..3 {
            let count = random.usize(1..4_000);
            let stamp = format!(
                "20260301T09{:02}{:02}.{segment:03}Z",
                round / 60 % 60,
                round % 60
            );
            close_segment(
                &house,
                &format!("tester.{stamp}.log"),
                &lines(written, count),
            );
            written += count;
        }
        // A moment of the kill's own choosing; whatever it hits is right.
        let until = Instant::now() + Duration::from_millis(random.u64(0..120));
        while Instant::now() < until {
            std::thread::yield_now();
        }
        shipper.kill();
        let counts = counted(&house);
        assert_eq!(counts.len(), written, "round {round}");
        assert!(counts.values().all(|count| *count == 1), "round {round}");
    }
    house
        .program("log-shipper")
        .args(["sweep"])
        .run()
        .expect_code(0);
    assert_eq!(counted(&house).len(), written);
    let left: Vec<String> = names(&house)
        .into_iter()
        .filter(|name| name.starts_with("tester.") && !name.ends_with(".zst"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let found = house
        .program("log-shipper")
        .args(["search", "-c", "--service", "tester", "."])
        .run()
        .expect_code(0);
    assert_eq!(found.stdout.trim(), written.to_string());
}
