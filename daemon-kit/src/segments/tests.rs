use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn open(dir: &Path, max_size_bytes: u64, now: Timestamp) -> SegmentWriter {
    let limits = Limits {
        max_size_bytes,
        rotate_after: HOUR,
    };
    SegmentWriter::open(dir, "bot", limits, now)
        .unwrap()
        .unwrap()
}

/// Every segment's content by name, the active one last.
fn contents(dir: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| !entry.file_name().to_str().unwrap().starts_with('.'))
        .map(|entry| {
            let text = fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect()
}

fn lines(dir: &Path) -> Vec<String> {
    let all = contents(dir);
    let active = all.get("bot.log").cloned().unwrap_or_default();
    let closed = all
        .iter()
        .filter(|(name, _)| SegmentName::parse(name).is_some());
    let closed: String = closed.map(|(_, text)| text.as_str()).collect();
    (closed + &active).lines().map(str::to_owned).collect()
}

#[test]
fn names_are_strict() {
    let name = "bot.20261128T090000.123Z.log";
    let parsed = SegmentName::parse(name).unwrap();
    assert_eq!(parsed.service, "bot");
    assert_eq!(parsed.closed_at.to_string(), "2026-11-28T09:00:00.123Z");
    assert_eq!(parsed.to_string(), name);
    assert_eq!(parsed.to_compressed().to_string(), format!("{name}.zst"));
    assert_eq!(
        SegmentName::parse(&format!("{name}.zst"))
            .unwrap()
            .to_plain(),
        parsed
    );
    for foreign in [
        "bot.log",
        "bot.20261128T090000Z.log",
        "bot.20261128T090000.1Z.log",
        "bot.20261328T090000.123Z.log",
        "bot.20261128T090000.123Z.log.zst.partial",
        "Bot.20261128T090000.123Z.log",
        ".20261128T090000.123Z.log",
        "@eaDir",
    ] {
        assert_eq!(SegmentName::parse(foreign), None, "{foreign}");
    }
}

#[test]
fn it_rotates_by_size_and_by_age() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), 10, at(0));
    writer.write_line(b"12345", at(0)).unwrap();
    writer.write_line(b"6789", at(1)).unwrap();
    assert_eq!(
        contents(dir.path()).len(),
        2,
        "six and five bytes are more than ten"
    );
    writer.write_line(b"a", at(2)).unwrap();
    assert_eq!(contents(dir.path()).len(), 2);
    writer.write_line(b"b", at(3_601)).unwrap();
    assert_eq!(contents(dir.path()).len(), 3, "an hour has passed");
    assert_eq!(lines(dir.path()), ["12345", "6789", "a", "b"]);
}

#[test]
fn a_second_writer_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = open(dir.path(), 100, at(0));
    let limits = Limits {
        max_size_bytes: 100,
        rotate_after: HOUR,
    };
    assert!(
        SegmentWriter::open(dir.path(), "bot", limits, at(0))
            .unwrap()
            .is_none()
    );
    assert!(
        SegmentWriter::open(dir.path(), "log-shipper", limits, at(0))
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_torn_line_is_kept_aside_and_the_rest_sealed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bot.log"), "whole\nto").unwrap();
    let mut writer = open(dir.path(), 100, at(0));
    writer.write_line(b"new", at(1)).unwrap();
    assert_eq!(lines(dir.path()), ["whole", "new"]);
    let torn = contents(dir.path())
        .into_iter()
        .find(|(name, _)| name.ends_with(".torn"));
    assert_eq!(torn.unwrap().1, "to");
}

#[test]
fn half_a_line_that_a_full_disk_left_is_cut_off_before_anything_follows() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), 100, at(0));
    let leave_half = || {
        let active = dir.path().join("bot.log");
        let mut active = OpenOptions::new().append(true).open(active).unwrap();
        active.write_all(b"hal").unwrap();
    };
    writer.write_line(b"a", at(0)).unwrap();
    leave_half();
    writer.write_line(b"b", at(1)).unwrap();
    assert_eq!(lines(dir.path()), ["a", "b"]);
    leave_half();
    writer.rotate(at(2)).unwrap();
    writer.write_line(b"c", at(3)).unwrap();
    assert_eq!(lines(dir.path()), ["a", "b", "c"]);
}

#[test]
fn a_clock_that_goes_back_gives_no_name_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), 100, at(100));
    for line in ["a", "b", "c"] {
        writer.write_line(line.as_bytes(), at(50)).unwrap();
        writer.rotate(at(50)).unwrap();
    }
    assert_eq!(lines(dir.path()), ["a", "b", "c"]);
    drop(writer);
    let before: Vec<String> = contents(dir.path()).into_keys().collect();
    for name in before
        .iter()
        .filter(|name| SegmentName::parse(name).is_some())
    {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    // The very instant of the names that are gone: nothing but memory knows them.
    let mut writer = open(dir.path(), 100, at(50));
    writer.write_line(b"d", at(50)).unwrap();
    writer.rotate(at(50)).unwrap();
    let after: Vec<String> = contents(dir.path()).into_keys().collect();
    assert!(
        after
            .iter()
            .filter(|name| *name != "bot.log")
            .all(|name| !before.contains(name))
    );
}

#[test]
fn a_deleted_active_file_does_not_stop_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), 100, at(0));
    writer.write_line(b"gone", at(0)).unwrap();
    fs::remove_file(dir.path().join("bot.log")).unwrap();
    writer.rotate(at(1)).unwrap();
    writer.write_line(b"kept", at(2)).unwrap();
    assert_eq!(lines(dir.path()), ["kept"]);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Rotate,
    Restart,
    Crash(usize),
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..40).prop_map(Step::Write),
        1 => Just(Step::Rotate),
        1 => Just(Step::Restart),
        1 => (0_usize..5).prop_map(Step::Crash),
        1 => (-5_000_i64..5_000).prop_map(Step::Clock),
    ]
}

proptest! {
    // Each step syncs, so a few programs must do.

    /// Whatever happens, every line is there exactly once, in order.
    #[test]
    fn no_line_is_lost_or_doubled(steps in proptest::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut now = 10_000;
        let mut written = Vec::new();
        let mut writer = open(dir.path(), 64, at(now));
        for step in steps {
            match step {
                Step::Write(length) => {
                    let line = format!("{}:{}", written.len(), "x".repeat(length));
                    writer.write_line(line.as_bytes(), at(now)).unwrap();
                    written.push(line);
                }
                Step::Rotate => writer.rotate(at(now)).unwrap(),
                Step::Restart => {
                    drop(writer);
                    writer = open(dir.path(), 64, at(now));
                }
                Step::Crash(torn) => {
                    drop(writer);
                    let mut active = OpenOptions::new().append(true).create(true).open(dir.path().join("bot.log")).unwrap();
                    active.write_all(&b"torn!"[..torn]).unwrap();
                    writer = open(dir.path(), 64, at(now));
                }
                Step::Clock(by) => now += by,
            }
        }
        prop_assert_eq!(lines(dir.path()), written);
    }
}

#[test]
fn a_kill_between_the_new_name_and_the_old_one_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path(), 1 << 20, at(0));
    writer.write_line(b"one", at(1)).unwrap();
    writer.rotate(at(2)).unwrap();
    writer.write_line(b"two", at(3)).unwrap();
    drop(writer);
    // Where there is no renameat2, the closed name is a second link for a moment.
    let closed = SegmentName::closed("bot", at(4)).to_string();
    fs::hard_link(dir.path().join("bot.log"), dir.path().join(&closed)).unwrap();
    let mut writer = open(dir.path(), 1 << 20, at(5));
    writer.write_line(b"three", at(6)).unwrap();
    assert_eq!(lines(dir.path()), ["one", "two", "three"]);
    assert_eq!(contents(dir.path())[&closed], "two\n");
    drop(writer);
    // A link that somebody made elsewhere, of a backup perhaps, is no closed name of ours.
    fs::hard_link(dir.path().join("bot.log"), dir.path().join("copy")).unwrap();
    drop(open(dir.path(), 1 << 20, at(7)));
    assert_eq!(lines(dir.path()), ["one", "two", "three"]);
}
