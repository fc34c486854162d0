//! The sidecar's clock jumps a year ahead, back, and a year behind: each scheduled run happens once, and nothing that is
//! good goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;
use tests::archives::{archives, chat, forge};
use tests::house::Launch;
use tests::{House, Running, skipped};

/// A clock that the programs of a house believe; it goes on by itself.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// Whether there can be one: the library stands where Debian puts it.
    fn of(house: &House) -> Option<Self> {
        let found = fs::read_dir("/usr/lib").ok()?.flatten().find_map(|entry| {
            let library = entry.path().join("faketime/libfaketime.so.1");
            library.exists().then_some(library)
        })?;
        Some(Self {
            library: found,
            file: house.path("tmp/clock"),
        })
    }

    /// Sets it.
    fn set(&self, to: &str) {
        let wanted: Timestamp = to.parse().unwrap();
        let ahead = wanted.duration_since(Timestamp::now());
        let seconds = ahead.as_secs_f64();
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+.3}")).unwrap();
        rustix::fs::rename(next, &self.file).unwrap();
    }

    /// The program, under this clock; its waits are as long as ever.
    fn in_launch(&self, launch: Launch) -> Launch {
        launch
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
    }
}

/// The reasons of all backups so far.
fn reasons(sidecar: &Running) -> Vec<String> {
    let done = sidecar.events().into_iter();
    done.filter(|line| line["event"] == "backup.done")
        .map(|line| line["reason"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn wait_for(sidecar: &mut Running, expected: &[&str]) {
    sidecar.poll("the next backup", |running| {
        (reasons(running).len() >= expected.len()).then_some(())
    });
    assert_eq!(reasons(sidecar), expected);
}

/// Lets the sidecar look at its clock: it does so every five seconds.
fn looks(sidecar: &mut Running) {
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert!(sidecar.alive());
}

#[test]
fn a_clock_a_year_ahead_back_and_behind_costs_no_archive_and_no_run() {
    let house = House::alone();
    let Some(clock) = Clock::of(&house) else {
        return skipped("libfaketime is not here, so no clock jumped under a running sidecar");
    };
    chat(&house, 60);
    let nights: Vec<String> = (2..=10)
        .map(|day| format!("backup_202603{day:02}_020000.tar.zst"))
        .collect();
    for (day, name) in (1..).zip(&nights) {
        forge(&house, name, &format!("2026-03-{day:02}T17:00:00Z"), 30);
    }
    let program = || {
        let launch = house.program("backup-sidecar");
        clock.in_launch(launch.env("BACKUP_RETENTION_DAYS", "7"))
    };
    let listed = || {
        let list = clock.in_launch(house.program("backup-sidecar").args(["list", "--json"]));
        let told = list.run().expect_code(0).stdout;
        let listed: Value = serde_json::from_str(&told).unwrap();
        listed["latest"].as_str().unwrap().to_owned()
    };
    let there = || archives(&house).into_iter().collect::<BTreeSet<String>>();
    // Whatever has to be built is built before the clock is set.
    house
        .program("backup-sidecar")
        .args(["--version"])
        .run()
        .expect_code(0);
    clock.set("2026-03-11T01:59:58+09:00");
    let mut sidecar = program().start();
    wait_for(&mut sidecar, &["schedule"]);
    let before = there();
    assert!(before.len() >= 7, "{before:?}");

    // A year ahead: the night that seems to have been missed is made up for, once.
    clock.set("2027-03-11T12:00:00+09:00");
    wait_for(&mut sidecar, &["schedule", "missed"]);
    assert!(there().is_superset(&before), "{:?}", there());

    // And back: the next night has its run, and its archive is the latest.
    clock.set("2026-03-11T12:00:00+09:00");
    looks(&mut sidecar);
    clock.set("2026-03-12T01:59:58+09:00");
    wait_for(&mut sidecar, &["schedule", "missed", "schedule"]);
    looks(&mut sidecar);
    assert!(listed().starts_with("backup_20260312_0200"), "{}", listed());
    let kept = there();
    assert!(
        kept.iter().any(|name| name.starts_with("backup_2027")),
        "{kept:?}"
    );

    // A year behind: the same, and what seems to come from the future stays.
    clock.set("2025-03-11T12:00:00+09:00");
    looks(&mut sidecar);
    clock.set("2025-03-12T02:00:01+09:00");
    wait_for(
        &mut sidecar,
        &["schedule", "missed", "schedule", "schedule"],
    );
    looks(&mut sidecar);
    assert!(there().is_superset(&kept), "{:?}", there());
    clock.set("2026-03-12T12:00:00+09:00");
    wait_for(
        &mut sidecar,
        &["schedule", "missed", "schedule", "schedule", "missed"],
    );
    looks(&mut sidecar);
    assert_eq!(reasons(&sidecar).len(), 5, "nothing more was due");
    assert!(listed().starts_with("backup_20260312_12"), "{}", listed());
    let young = kept.iter().filter(|name| name.as_str() > "backup_20260306");
    assert!(
        there().is_superset(&young.cloned().collect()),
        "{:?}",
        there()
    );
    sidecar.stop().expect_code(0);
}
