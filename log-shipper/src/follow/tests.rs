//! Every line once, whatever happens to the files in between.

use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::path::PathBuf;

const BOUNDS: Bounds = Bounds {
    lines: 7,
    bytes: 400,
};

struct Desk {
    dir: tempfile::TempDir,
    written: Vec<String>,
    read: Vec<String>,
    place: Place,
    closed: u32,
    missed: u64,
}

impl Desk {
    fn new() -> Desk {
        let dir = tempfile::tempdir().unwrap();
        Desk {
            dir,
            written: vec![],
            read: vec![],
            place: Place::default(),
            closed: 0,
            missed: 0,
        }
    }

    fn active(&self) -> PathBuf {
        self.dir.path().join("bot.log")
    }

    fn write(&mut self, count: usize) {
        let mut text = std::fs::read_to_string(self.active()).unwrap_or_default();
        for _ in 0..count {
            let line = format!("line {}", self.written.len());
            writeln!(text, "{line}").unwrap();
            self.written.push(line);
        }
        std::fs::write(self.active(), text).unwrap();
    }

    fn rotate(&mut self) {
        if self.active().exists() {
            self.closed += 1;
            let name = format!(
                "bot.20260301T{:02}{:02}{:02}.000Z.log",
                self.closed / 3600,
                self.closed / 60 % 60,
                self.closed % 60
            );
            move_file(&self.active(), &self.dir.path().join(name));
        }
    }

    fn compress(&self) {
        for segment in Listing::closed(self.dir.path()).unwrap().closed {
            let raw = self.dir.path().join(segment.raw_name());
            if raw.exists() {
                crate::compress::compress(&raw, &self.dir.path().join(segment.packed_name()), 1)
                    .unwrap();
                std::fs::remove_file(raw).unwrap();
            }
        }
    }

    fn read(&mut self, batches: usize) {
        for _ in 0..batches {
            let listing = Listing::whole(self.dir.path()).unwrap();
            let batch = next_batch(self.dir.path(), &listing, "bot", &self.place, BOUNDS).unwrap();
            self.read.extend(
                batch
                    .lines
                    .into_iter()
                    .map(|line| String::from_utf8(line).unwrap()),
            );
            self.place = batch.next;
            self.missed += batch.missed;
        }
    }
}

fn move_file(from: &Path, to: &Path) {
    std::fs::hard_link(from, to).unwrap();
    std::fs::remove_file(from).unwrap();
}

#[test]
fn a_torn_line_waits_for_its_end() {
    let mut desk = Desk::new();
    std::fs::write(desk.active(), "whole\nhal").unwrap();
    desk.read(2);
    assert_eq!(desk.read, ["whole"]);
    std::fs::write(desk.active(), "whole\nhalf\n").unwrap();
    desk.read(1);
    assert_eq!(desk.read, ["whole", "half"]);
}

#[test]
fn a_segment_that_was_pruned_unread_is_noticed() {
    let mut desk = Desk::new();
    desk.write(10);
    desk.read(1);
    desk.rotate();
    std::fs::remove_file(desk.dir.path().join("bot.20260301T000001.000Z.log")).unwrap();
    desk.write(12);
    desk.read(4);
    assert_eq!(desk.missed, 1);
    assert_eq!(desk.read[7..], desk.written[10..]);
}

#[test]
fn a_broken_segment_blocks_nothing() {
    let mut desk = Desk::new();
    desk.write(3);
    desk.rotate();
    desk.compress();
    std::fs::write(
        desk.dir.path().join("bot.20260301T000001.000Z.log.zst"),
        b"rubbish, long enough to be a file",
    )
    .unwrap();
    desk.write(4);
    desk.read(3);
    assert_eq!(desk.read, desk.written[3..]);
    assert_eq!(desk.missed, 1);
}

#[test]
fn the_end_is_after_everything() {
    let mut desk = Desk::new();
    desk.write(3);
    desk.rotate();
    desk.write(4);
    desk.place = end_of(&Listing::whole(desk.dir.path()).unwrap(), "bot").unwrap();
    desk.read(2);
    assert!(desk.read.is_empty());
    desk.write(2);
    desk.rotate();
    desk.read(2);
    assert_eq!(desk.read, desk.written[7..]);
    assert_eq!(desk.missed, 0);
}

proptest! {
    #[test]
    fn every_line_is_read_exactly_once(steps in proptest::collection::vec((0_u8..4, 1_usize..20), 1..24)) {
        let mut desk = Desk::new();
        for (step, count) in steps {
            match step {
                0 => desk.write(count),
                1 => desk.rotate(),
                2 => desk.compress(),
                _ => desk.read(count % 4),
            }
        }
        desk.read(120);
        prop_assert_eq!(&desk.read, &desk.written);
        prop_assert_eq!(desk.missed, 0);
    }
}
