//! Faults of single system calls: whichever call of the sidecar fails, or is its last, the promises hold.
//!
//! A short form runs with every test; `FAULT_ROUNDS=200` makes it a long one, `FAULT_SEED` repeats one.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::archives::{archives, chat, list, rows};
use tests::house::{Launch, events, walk};
use tests::inject::{Before, Calls, Fault, unavailable};
use tests::{Finished, House, PATIENCE, skipped};

use crate::backup_faults::{rounds, seed};

/// So many faults a command in the short form.
const FAULTS: usize = 8;

/// Draws faults among the calls of `launch`, and lets each happen in a house that looks as it did before. The judge also
/// hears whether the fault left the program a way to say what happened.
fn in_every_call(house: &House, launch: impl Fn() -> Launch, judge: impl Fn(&str, bool, Finished)) {
    let before = [Before::of(house.data()), Before::of(house.backups())];
    let (calls, finished) = Calls::of(house, launch());
    finished.expect_code(0);
    let mut felt = 0;
    draw(house, &before, &calls, |story, fault| {
        let log = house.path("tmp/hit");
        let finished = fault.in_launch(launch(), &log).run();
        felt += usize::from(finished.code != Some(0));
        let story = format!("{story}: {}", finished.stderr);
        judge(&story, !fault.silenced(&log), finished);
    });
    assert!(felt > 0, "no fault was felt, so nothing was shown");
}

fn draw(house: &House, before: &[Before], calls: &Calls, mut happen: impl FnMut(&str, &Fault)) {
    let seed = seed();
    let mut chance = fastrand::Rng::with_seed(seed);
    for round in 0..rounds(FAULTS) {
        for place in before {
            place.put_back();
        }
        house.settle();
        let fault = calls.choose(&mut chance);
        happen(&format!("seed {seed}, round {round}, {fault}"), &fault);
    }
}

fn can_inject() -> bool {
    unavailable()
        .map(|why| skipped(&format!("no fault can be injected here ({why})")))
        .is_none()
}

fn sidecar(house: &House, arguments: &[&str]) -> Launch {
    house
        .program("backup-sidecar")
        .args(arguments.iter().copied())
        .env("BOT_LANGUAGE", "en")
        .env("BACKUP_RETENTION_DAYS", "0")
        .env("BACKUP_KEEP_LAST", "2")
}

/// Runs a command without a fault; it must succeed.
fn well(house: &House, arguments: &[&str], story: &str) -> Finished {
    let finished = sidecar(house, arguments).run();
    assert_eq!(
        finished.code,
        Some(0),
        "{story}\n{arguments:?}: {}{}",
        finished.stdout,
        finished.stderr
    );
    finished
}

fn nothing_is_left_over(house: &House, story: &str) {
    let left: Vec<_> = walk(&house.backups())
        .into_iter()
        .chain(walk(&house.data()))
        .filter(|path| path.to_string_lossy().contains(".partial"))
        .collect();
    assert!(left.is_empty(), "{story}: {left:?}");
}

#[test]
fn a_fault_in_any_call_of_a_backup_costs_no_archive_and_harms_no_data() {
    if !can_inject() {
        return;
    }
    let house = House::alone();
    chat(&house, 200);
    well(&house, &["backup"], "first");
    let first = archives(&house);
    in_every_call(
        &house,
        || sidecar(&house, &["backup"]),
        |story, can_speak, finished| {
            assert_eq!(rows(&house.database()), 200, "{story}");
            let after = archives(&house);
            assert!(first.iter().all(|name| after.contains(name)), "{story}");
            assert!(
                !after.iter().any(|name| name.contains("damaged")),
                "a fault of the disk is no damage of the database: {story}"
            );
            if finished.code == Some(0) {
                assert_eq!(after.len(), 2, "{story}");
            } else {
                assert!(!can_speak || !finished.stderr.is_empty(), "{story}");
            }
            if !after.is_empty() {
                well(&house, &["verify"], story);
            }
            well(&house, &["backup"], story);
            nothing_is_left_over(&house, story);
            assert_eq!(archives(&house).len(), 2, "{story}");
        },
    );
}

#[test]
fn a_fault_in_any_call_of_a_prune_removes_nothing_but_what_the_plan_lets_go() {
    if !can_inject() {
        return;
    }
    let house = House::alone();
    chat(&house, 30);
    for _ in 0..5 {
        let kept = sidecar(&house, &["backup"]).env("BACKUP_KEEP_LAST", "9");
        kept.run().expect_code(0);
    }
    let all = archives(&house);
    let floor = &all[3..];
    in_every_call(
        &house,
        || sidecar(&house, &["prune"]),
        |story, _, _| {
            let after = archives(&house);
            assert!(floor.iter().all(|name| after.contains(name)), "{story}");
            assert!(after.iter().all(|name| all.contains(name)), "{story}");
            well(&house, &["verify"], story);
            well(&house, &["prune"], story);
            assert_eq!(archives(&house), floor, "{story}");
            nothing_is_left_over(&house, story);
        },
    );
}

#[test]
fn a_fault_in_any_call_of_a_restore_leaves_the_old_or_the_new_database_whole() {
    if !can_inject() {
        return;
    }
    let house = House::alone();
    chat(&house, 70);
    well(&house, &["backup"], "first");
    chat(&house, 90);
    in_every_call(
        &house,
        || sidecar(&house, &["restore"]),
        |story, can_speak, finished| {
            let held = rows(&house.database());
            assert!(held == 70 || held == 90, "{story}: {held} rows");
            match finished.code {
                Some(0) => assert_eq!(held, 70, "{story}"),
                _ => assert!(!can_speak || !finished.stderr.is_empty(), "{story}"),
            }
            well(&house, &["restore"], story);
            assert_eq!(rows(&house.database()), 70, "{story}");
            assert!(
                !house.data().join(".restore-journal.json").exists(),
                "{story}"
            );
            assert!(house.data().join(".restored").exists(), "{story}");
            nothing_is_left_over(&house, story);
            let aside = fs::read_dir(house.data()).unwrap().flatten();
            let aside = aside.filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("sessions.db.before-restore-") && !name.ends_with("-wal")
            });
            let kept: Vec<i64> = aside.map(|entry| rows(&entry.path())).collect();
            assert!(
                kept.contains(&90),
                "the old database is gone: {story}, {kept:?}"
            );
        },
    );
}

#[test]
fn a_fault_in_any_call_of_an_accept_leaves_a_freeze_or_none() {
    if !can_inject() {
        return;
    }
    let house = House::alone();
    chat(&house, 300);
    well(&house, &["backup"], "first");
    chat(&house, 3);
    well(&house, &["backup"], "second");
    let all = archives(&house);
    let frozen = list(&house)["frozen"]["archive"]
        .as_str()
        .unwrap()
        .to_owned();
    in_every_call(
        &house,
        || sidecar(&house, &["accept", &frozen]),
        |story, _, finished| {
            let listed = list(&house);
            let still = listed["frozen"]["archive"].as_str();
            assert!(still.is_none_or(|name| name == frozen), "{story}");
            assert!(finished.code != Some(0) || still.is_none(), "{story}");
            well(&house, &["accept", &frozen], story);
            assert!(list(&house)["frozen"].is_null(), "{story}");
            assert_eq!(archives(&house), all, "{story}");
            nothing_is_left_over(&house, story);
        },
    );
}

#[test]
fn a_fault_in_any_call_of_the_resident_never_loses_or_repeats_a_request() {
    if !can_inject() {
        return;
    }
    let house = House::alone();
    chat(&house, 40);
    well(&house, &["backup"], "first");
    fs::create_dir(house.backups().join("backup-now")).unwrap();
    house.settle();
    let run = || {
        sidecar(&house, &["run"])
            .env("BACKUP_SCHEDULE", "off")
            .env("BACKUP_ON_START", "never")
            .env("BACKUP_KEEP_LAST", "9")
    };
    let before = [
        Before::of(house.data()),
        Before::of(house.backups()),
        Before::of(house.logs()),
    ];
    let calls = Calls::until(&house, run(), |running| {
        running.wait_event("request.done");
    });
    draw(&house, &before, &calls, |story, fault| {
        let mut resident = fault.in_launch(run(), &house.path("tmp/hit")).start();
        let until = Instant::now() + PATIENCE / 9;
        while resident.alive() && ends(&house) == 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        let finished = resident.kill_inner();
        let story = format!("{story}: {}{}", finished.stdout, finished.stderr);
        assert_eq!(rows(&house.database()), 40, "{story}");
        let starts = |all: Vec<Value>| all.iter().filter(|line| line["event"] == "start").count();
        let earlier = starts(events(&house.logs(), "backup-sidecar"));
        let mut resident = run().start();
        // Before its start is told a signal ends it at once.
        resident.poll("its start and the end of the request", |running| {
            let waits = ["backup-now", "running-backup-now"];
            let is_served = waits
                .iter()
                .all(|name| !house.backups().join(name).exists());
            (is_served && starts(running.events()) > earlier).then_some(())
        });
        assert_eq!(ends(&house), 1, "once: {story}");
        resident.stop().expect_code(0);
        assert!(archives(&house).len() <= 2, "never twice: {story}");
        well(&house, &["verify"], &story);
        well(&house, &["backup"], &story);
        nothing_is_left_over(&house, &story);
    });
}

/// How often the request `backup-now` came to an end.
fn ends(house: &House) -> usize {
    let names = fs::read_dir(house.backups()).unwrap().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let ends = names.filter(|name| {
        let is_end = name.starts_with("done-backup-now") || name.starts_with("failed-backup-now");
        is_end && !name.ends_with(".txt")
    });
    ends.count()
}
