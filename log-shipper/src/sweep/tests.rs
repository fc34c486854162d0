//! A model of `logs/`: whatever is written, rotated, swept, pruned and broken off in between, every line is in exactly
//! one place that can be read, or in a segment that a rule gave up.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::*;
use crate::follow::Place;
use crate::search::{self, Found, Query, Taker};

const NOW: i64 = 1_772_323_200_000;
const SERVICES: [&str; 2] = ["bot", "log-shipper"];

fn sweeper(dir: &Path, total_bytes: u64) -> Sweeper {
    let policy = Policy {
        days: 3_650,
        total_bytes,
        free_bytes: 0,
    };
    Sweeper {
        dir: dir.to_owned(),
        policy,
        level: 1,
        sinks: Vec::new(),
    }
}

fn sweep(sweeper: &Sweeper) -> Swept {
    sweeper
        .sweep(NOW, &Shutdown::new(), &mut Grudges::default())
        .unwrap()
}

#[derive(Default)]
struct All(Vec<String>);

impl Taker for All {
    fn found(&mut self, found: Found<'_>) -> io::Result<()> {
        self.0
            .push(String::from_utf8_lossy(found.line).into_owned());
        Ok(())
    }
}

struct Desk {
    dir: tempfile::TempDir,
    /// Lines by stem; the active file's under the service alone.
    model: BTreeMap<String, Vec<String>>,
    counter: u64,
    stamps: u32,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            dir: tempfile::tempdir().unwrap(),
            model: BTreeMap::new(),
            counter: 0,
            stamps: 0,
        }
    }

    fn write(&mut self, service: &str, count: usize) {
        let path = self.dir.path().join(format!("{service}.log"));
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        for _ in 0..count {
            let line = format!(
                "{service} {} {}",
                self.counter,
                "pad ".repeat((self.counter % 7) as usize)
            );
            text.push_str(&line);
            text.push('\n');
            self.counter += 1;
            self.model.entry(service.to_owned()).or_default().push(line);
        }
        fs::write(path, text).unwrap();
    }

    fn rotate(&mut self, service: &str) {
        let Some(lines) = self.model.remove(service) else {
            return;
        };
        self.stamps += 1;
        let stem = format!(
            "{service}.20260301T{:02}{:02}{:02}.000Z",
            self.stamps / 3600,
            self.stamps / 60 % 60,
            self.stamps % 60
        );
        let active = self.dir.path().join(format!("{service}.log"));
        publish::rename(&active, &self.dir.path().join(format!("{stem}.log"))).unwrap();
        self.model.insert(stem, lines);
    }

    /// Leaves what a sweep leaves that is broken off after `step`, in the oldest segment that is still raw.
    fn broken_off(&self, step: usize) {
        let listing = Listing::closed(self.dir.path()).unwrap();
        let Some(segment) = listing.closed.iter().find(|segment| segment.raw.is_some()) else {
            return;
        };
        let (raw, packed) = (
            self.dir.path().join(segment.raw_name()),
            self.dir.path().join(segment.packed_name()),
        );
        let partial = self
            .dir
            .path()
            .join(format!("{}.partial", segment.packed_name()));
        if segment.packed.is_none() {
            compress::compress(&raw, &packed, 1).unwrap();
        }
        let whole = fs::read(&packed).unwrap();
        match step {
            // Before, while, and after the frames were written.
            0 => fs::write(&partial, b"").unwrap(),
            1 => fs::write(&partial, &whole[..whole.len() / 2]).unwrap(),
            2 => fs::write(&partial, &whole).unwrap(),
            // Published, and the original not yet removed.
            3 => return,
            // A disk that lied about its syncs.
            4 => {
                fs::write(&packed, &whole[..whole.len() / 2]).unwrap();
                return;
            }
            // A file that is none of ours took the name's place in between.
            _ => {
                fs::write(&packed, b"rubbish").unwrap();
                return;
            }
        }
        fs::remove_file(&packed).unwrap();
    }

    fn readable(&self) -> Vec<String> {
        let mut all = All::default();
        search::search(
            self.dir.path(),
            &Query::new("", true, false).unwrap(),
            &mut all,
        )
        .unwrap();
        all.0.sort();
        all.0
    }

    fn wanted(&self) -> Vec<String> {
        let mut all: Vec<String> = self.model.values().flatten().cloned().collect();
        all.sort();
        all
    }

    /// Takes what a sweep pruned out of the model; the newest of each service must not be among it.
    fn account_for(&mut self) {
        let there: Vec<String> = Listing::closed(self.dir.path())
            .unwrap()
            .closed
            .iter()
            .map(Segment::raw_name)
            .collect();
        let closed: Vec<String> = self
            .model
            .keys()
            .filter(|stem| stem.contains('.'))
            .cloned()
            .collect();
        for stem in &closed {
            if !there.contains(&format!("{stem}.log")) {
                let service = stem.split('.').next().unwrap();
                let newest = closed
                    .iter()
                    .rfind(|other| other.split('.').next() == Some(service))
                    .unwrap();
                assert_ne!(stem, newest, "the newest closed segment was pruned");
                self.model.remove(stem);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_line_is_in_exactly_one_place(
        steps in proptest::collection::vec((0_usize..6, 0_usize..2, 1_usize..12), 1..30),
        total_bytes in prop_oneof![Just(u64::MAX / 4), 200_u64..3_000],
    ) {
        let mut desk = Desk::new();
        let sweeper = sweeper(desk.dir.path(), total_bytes);
        for (step, service, count) in steps {
            match step {
                0 | 1 => desk.write(SERVICES[service], count),
                2 => desk.rotate(SERVICES[service]),
                3 => desk.broken_off(count % 6),
                4 => { sweeper.prune_now(NOW).unwrap(); }
                _ => { prop_assert_eq!(sweep(&sweeper).failed, 0); }
            }
            desk.account_for();
            prop_assert_eq!(desk.readable(), desk.wanted());
        }
        sweep(&sweeper);
        desk.account_for();
        prop_assert_eq!(desk.readable(), desk.wanted());
        let listing = Listing::closed(desk.dir.path()).unwrap();
        prop_assert!(listing.partials.is_empty());
        prop_assert!(listing.closed.iter().all(|segment| segment.raw.is_none()));
        // What is compressed is what stock zstd reads.
        for segment in &listing.closed {
            let file = fs::File::open(desk.dir.path().join(segment.packed_name())).unwrap();
            let text = String::from_utf8(zstd::stream::decode_all(file).unwrap()).unwrap();
            let stem = segment.raw_name().trim_end_matches(".log").to_owned();
            prop_assert_eq!(text.lines().collect::<Vec<_>>(), desk.model[&stem].iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

#[test]
fn foreign_names_and_symlinks_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious.log");
    fs::write(&precious, "precious\n").unwrap();
    std::os::unix::fs::symlink(&precious, dir.path().join("bot.20260301T000000.000Z.log")).unwrap();
    for name in ["notes.txt", "bot.2026.log.zst", "bot.log.1", "x.partial"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(dir.path().join("@eaDir")).unwrap();
    let swept = sweep(&sweeper(dir.path(), 1));
    let nothing = Swept {
        closed_bytes: Some(0),
        ..Swept::default()
    };
    assert_eq!(swept, nothing);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious\n");
    assert!(dir.path().join("x.partial").exists() && dir.path().join("bot.log.1").exists());
}

#[test]
fn what_a_sink_has_not_acknowledged_waits() {
    let dir = tempfile::tempdir().unwrap();
    for second in 1..=3 {
        fs::write(
            dir.path()
                .join(format!("bot.20260301T00000{second}.000Z.log")),
            "x\n".repeat(300),
        )
        .unwrap();
    }
    let mut sweeper = sweeper(dir.path(), 400);
    sweeper.sinks = vec!["loki"];
    let swept = sweep(&sweeper);
    assert_eq!((swept.compressed, swept.pruned), (3, 0));
    assert!(swept.waiting > 0, "{swept:?}");
    let mut checkpoint = Checkpoint::default();
    let place = Place {
        after: "20260301T000001.000Z".into(),
        ..Place::default()
    };
    checkpoint.places.insert("bot".into(), place);
    checkpoint.save(dir.path(), "loki").unwrap();
    assert_eq!(sweep(&sweeper).pruned, 1);
}

#[test]
fn an_open_reader_keeps_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    for second in 1..=2 {
        fs::write(
            dir.path()
                .join(format!("bot.20260301T00000{second}.000Z.log")),
            "x\n".repeat(300),
        )
        .unwrap();
    }
    let mut held = fs::File::open(dir.path().join("bot.20260301T000001.000Z.log")).unwrap();
    assert_eq!(sweep(&sweeper(dir.path(), 1)).pruned, 1);
    let mut text = String::new();
    io::Read::read_to_string(&mut held, &mut text).unwrap();
    assert_eq!(text.len(), 600);
}

#[test]
fn a_sweep_that_is_broken_off_prunes_nothing_that_would_fit_when_compressed() {
    let dir = tempfile::tempdir().unwrap();
    for second in 1..=5 {
        let name = format!("bot.20260301T00000{second}.000Z.log");
        fs::write(dir.path().join(name), "the same line\n".repeat(1_000)).unwrap();
    }
    let sweeper = sweeper(dir.path(), 20_000);
    let told_to_stop = Shutdown::new();
    told_to_stop.begin();
    let swept = sweeper
        .sweep(NOW, &told_to_stop, &mut Grudges::default())
        .unwrap();
    assert!(swept.unfinished && swept.closed_bytes.is_none());
    assert_eq!((swept.compressed, swept.pruned), (0, 0));
    let swept = sweep(&sweeper);
    assert!(!swept.unfinished && swept.closed_bytes.is_some());
    assert_eq!((swept.compressed, swept.pruned), (5, 0));
    // On a disk without room, room comes first.
    for second in 1..=5 {
        let name = format!("bot.20260302T00000{second}.000Z.log");
        fs::write(dir.path().join(name), "the same line\n".repeat(1_000)).unwrap();
    }
    let mut tight = sweeper;
    tight.policy.free_bytes = u64::MAX;
    let swept = tight
        .sweep(NOW, &told_to_stop, &mut Grudges::default())
        .unwrap();
    assert!(swept.pruned > 0);
}

#[test]
fn what_was_pruned_for_room_is_no_failed_compression() {
    let dir = tempfile::tempdir().unwrap();
    let huge = fs::File::create(dir.path().join("bot.20260301T000001.000Z.log")).unwrap();
    // More than a quarter of it is free nowhere here; it takes no room itself.
    let free = free_bytes(dir.path()).unwrap();
    if huge.set_len(free.saturating_mul(8)).is_err() {
        return;
    }
    fs::write(dir.path().join("bot.20260301T000002.000Z.log"), "x\n").unwrap();
    let swept = sweep(&sweeper(dir.path(), 1 << 20));
    assert_eq!((swept.pruned, swept.compressed, swept.failed), (1, 1, 0));
}

#[test]
fn a_segment_that_still_has_its_writers_name_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (active, closed) = ("bot.log", "bot.20260301T000001.000Z.log");
    fs::write(dir.path().join(active), "x\n").unwrap();
    fs::hard_link(dir.path().join(active), dir.path().join(closed)).unwrap();
    let swept = sweep(&sweeper(dir.path(), 1 << 20));
    assert_eq!((swept.compressed, swept.failed), (0, 0));
    fs::remove_file(dir.path().join(active)).unwrap();
    assert_eq!(sweep(&sweeper(dir.path(), 1 << 20)).compressed, 1);
}
