//! The logs against a model: random programs of everything that can happen, and every system call that can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use tests::House;
use tests::chaos::logs::{self, shelf};
use tests::chaos::scribe::{self, Beginning, Scribe};

use crate::logs_life::{give, kill_rounds};

/// `KILL_ROUNDS=10000` (or `cargo chaos logs --rounds 10000 --seed 1`) for the long form.
#[test]
fn logs_random_programs_keep_every_line_in_exactly_one_place() {
    const VERBS: [&str; 10] = [
        "write",
        "rotate",
        "crash writer",
        "kill shipper",
        "sweep",
        "jump clock",
        "prune",
        "search",
        "backup reads",
        "fill disk",
    ];
    let (rounds, asked) = (14, kill_rounds() as usize);
    let rounds = if asked > rounds { asked } else { rounds };
    let outcome = logs::run(rounds, 20_261_128, |said| eprintln!("{said}")).unwrap();
    eprintln!("{}", outcome.summary());
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    let missing: Vec<&str> = VERBS
        .into_iter()
        .chain(["remount read-only"])
        .filter(|verb| !outcome.verbs.contains_key(verb))
        .collect();
    if let Some(why) = &outcome.without_disk {
        tests::skipped(&format!(
            "no disks here, so no random program filled one or made it read-only: {why}"
        ));
        assert_eq!(missing, ["fill disk", "remount read-only"]);
    } else {
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

pub(crate) fn strace_works() -> bool {
    let tried = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e"])
        .args(["inject=getcwd:error=EIO:when=9", "true"])
        .output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        tests::skipped("strace is not here (or may not trace), so no system call was made to fail");
    }
    works
}

/// What is done to the n-th call of a kind.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// An error, once.
    Once(&'static str),
    /// An error from then on.
    Ever(&'static str),
    /// kill -9 in it.
    Kill,
}

impl Fault {
    fn expression(self, calls: &str, number: usize) -> String {
        match self {
            Fault::Once(error) => format!("inject={calls}:error={error}:when={number}"),
            Fault::Ever(error) => format!("inject={calls}:error={error}:when={number}+"),
            Fault::Kill => format!("inject={calls}:signal=KILL:when={number}"),
        }
    }
}

/// A directory as a hard life leaves it, with 700 lines in closed segments and 20 in the active one.
fn hard_life(house: &House, dir: &Path) {
    let texts = |from: u64, to: u64| -> String {
        let lines =
            (from..to).map(|number| scribe::line(number, jiff::Timestamp::UNIX_EPOCH) + "\n");
        lines.collect()
    };
    let segment = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    segment("tester.20260301T000001.000Z.log", &texts(0, 600));
    segment("tester.20260301T000002.000Z.log", &texts(600, 650));
    segment("tester.log", &texts(700, 720));
    // Published, and the original not yet removed; and a compression that was broken off.
    let both = texts(650, 700);
    segment("tester.20260301T000003.000Z.log", &both);
    let packed = zstd::encode_all(both.as_bytes(), 1).unwrap();
    fs::write(dir.join("tester.20260301T000003.000Z.log.zst"), &packed).unwrap();
    fs::write(
        dir.join("tester.20260301T000002.000Z.log.zst.partial"),
        &packed[..packed.len() / 2],
    )
    .unwrap();
    house.settle();
}

fn fresh(from: &Path, to: &Path) {
    fs::remove_dir_all(to).ok();
    fs::create_dir(to).unwrap();
    give(to);
    for entry in fs::read_dir(from).unwrap().flatten() {
        let copy = to.join(entry.file_name());
        fs::copy(entry.path(), &copy).unwrap();
        give(&copy);
    }
}

fn each_once(dir: &Path, why: &str) {
    let mut counts = BTreeMap::new();
    let shelf = shelf(dir).unwrap_or_else(|error| panic!("{why}: {error:#}"));
    for number in shelf.values().flatten() {
        *counts.entry(*number).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 720, "{why}");
    assert!(counts.values().all(|count| *count == 1), "{why}");
}

/// Fails the n-th call of a sweep, for every n there is (`stride` spares some of the many); how many were failed.
fn fail_sweeps(house: &House, calls: &str, fault: Fault, stride: usize) -> usize {
    let (original, logs) = (house.path("original"), house.logs());
    let trace = house.path("tmp/trace");
    let mut failed = 0;
    for number in (1..).step_by(stride) {
        fresh(&original, &logs);
        let why = fault.expression(calls, number);
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &why,
            "-o",
        ];
        let words = strace.map(str::to_owned).into_iter();
        let launch = house.program("log-shipper").args(["sweep"]);
        let swept = launch
            .under(words.chain([trace.display().to_string()]))
            .run();
        let told = fs::read_to_string(&trace).unwrap_or_default();
        if !told.contains("(INJECTED)") && swept.signal != Some(9) && swept.code != Some(137) {
            // The sweep has no n-th call: every one before it was failed.
            assert_eq!(swept.code, Some(0), "{why}: {}", swept.stderr);
            return failed;
        }
        failed += 1;
        each_once(&logs, &why);
        house
            .program("log-shipper")
            .args(["sweep"])
            .run()
            .expect_code(0);
        each_once(&logs, &format!("{why}, and a sweep"));
        let names = fs::read_dir(&logs).unwrap().flatten();
        let left: Vec<String> = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with("Z.log") || name.ends_with(".partial"))
            .collect();
        assert!(left.is_empty(), "{why}: {left:?}");
    }
    failed
}

/// `KILL_ROUNDS=100` (or more) leaves no call out.
#[test]
fn logs_any_system_call_of_a_sweep_may_fail_or_be_the_last() {
    if !strace_works() {
        return;
    }
    let house = House::alone();
    fs::create_dir(house.path("original")).unwrap();
    hard_life(&house, &house.path("original"));
    let thorough = kill_rounds() >= 100;
    let stride = |many: usize| if thorough { 1 } else { many };
    for (calls, least, faults) in [
        (
            "fsync",
            6,
            [Fault::Once("EIO"), Fault::Ever("EIO"), Fault::Kill],
        ),
        (
            "write",
            4,
            [Fault::Once("ENOSPC"), Fault::Ever("ENOSPC"), Fault::Kill],
        ),
        (
            "?rename,renameat,renameat2",
            2,
            [Fault::Once("EIO"), Fault::Ever("EROFS"), Fault::Kill],
        ),
        (
            "?unlink,unlinkat",
            4,
            [Fault::Once("EIO"), Fault::Ever("EROFS"), Fault::Kill],
        ),
        (
            "pread64",
            4,
            [Fault::Once("EIO"), Fault::Ever("EIO"), Fault::Kill],
        ),
        (
            "openat",
            4,
            [Fault::Once("EIO"), Fault::Ever("EMFILE"), Fault::Kill],
        ),
        (
            "getdents64",
            2,
            [Fault::Once("EIO"), Fault::Ever("EIO"), Fault::Kill],
        ),
    ] {
        let step = match calls {
            "openat" | "pread64" => stride(6),
            "write" | "fsync" => stride(2),
            _ => 1,
        };
        for fault in faults {
            let failed = fail_sweeps(&house, calls, fault, step);
            assert!(failed * step >= least, "{calls} {fault:?}: only {failed}");
        }
    }
}

/// The writer under the same faults: what it says is written is there once, what it says is refused is nowhere.
#[test]
fn logs_a_writer_whose_disk_fails_knows_what_is_written() {
    if !strace_works() {
        return;
    }
    let house = House::alone();
    let trace = house.path("tmp/trace").display().to_string();
    let active = house.logs().join("tester.log").display().to_string();
    let mut injected = 0;
    for (calls, narrow, fault) in [
        ("write", true, Fault::Once("EIO")),
        ("write", true, Fault::Ever("ENOSPC")),
        ("write", true, Fault::Kill),
        ("fsync,fdatasync", true, Fault::Once("EIO")),
        ("?rename,renameat,renameat2", false, Fault::Once("EROFS")),
        ("?rename,renameat,renameat2", false, Fault::Kill),
        ("ftruncate", true, Fault::Once("EIO")),
    ] {
        for number in [1, 2, 7] {
            fs::remove_dir_all(house.logs()).unwrap();
            fs::create_dir(house.logs()).unwrap();
            house.settle();
            let why = fault.expression(calls, number);
            let only = format!("trace={calls}");
            let mut under = vec!["strace", "-f", "-qq", "-o", &trace, "-e", &only, "-e", &why];
            if narrow {
                under.extend(["-P", &active]);
            }
            let beginning = Beginning {
                dir: &house.logs(),
                first: 0,
                max_bytes: 12_000,
                ahead_ms: 0,
            };
            let mut maybe = true;
            let mut refused = BTreeSet::new();
            if let Some(mut scribe) = Scribe::start(beginning, &under).unwrap() {
                if let Some(numbers) = scribe.write(300).unwrap() {
                    (maybe, refused) = (false, numbers.into_iter().collect());
                }
                scribe.kill();
            }
            let told = fs::read_to_string(&trace).unwrap_or_default();
            injected += usize::from(told.contains("(INJECTED)") || maybe);
            let next = Beginning {
                first: 300,
                ..beginning
            };
            let mut scribe = Scribe::start(next, &[]).unwrap().unwrap();
            assert_eq!(scribe.write(10).unwrap(), Some(Vec::new()), "{why}");
            scribe.leave();
            let shelf = shelf(&house.logs()).unwrap_or_else(|error| panic!("{why}: {error:#}"));
            let mut counts = BTreeMap::new();
            for number in shelf.values().flatten() {
                *counts.entry(*number).or_insert(0) += 1;
            }
            for number in 0..310 {
                let times = counts.get(&number).copied().unwrap_or(0);
                let right = match (refused.contains(&number), maybe && number < 300) {
                    (true, _) => times == 0,
                    (false, true) => times <= 1,
                    (false, false) => times == 1,
                };
                assert!(right, "{why}: line {number} is there {times} times");
            }
        }
    }
    assert!(injected >= 12, "only {injected} faults hit anything");
}
