//! Names, listings, and what stands in `logs/` that is none of ours.

use super::*;

fn touch(dir: &Path, name: &str) {
    std::fs::write(dir.join(name), name).unwrap();
}

#[test]
fn only_growth_needs_no_listing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    touch(dir.path(), "bot.log");
    let glimpse = |services: &[&str]| Glimpse::of(dir.path(), services.iter().copied());
    let grown = |read: &Glimpse, services: &[&str]| {
        Listing::grown(dir.path(), read, &glimpse(services)).unwrap()
    };
    let young = glimpse(&["bot"]);
    assert!(
        grown(&young, &["bot"]).is_none(),
        "a change may hide behind a young stamp"
    );
    settle(dir.path(), 1_000);
    let read = glimpse(&["bot", "gone"]);
    std::fs::write(dir.path().join("bot.log"), "more lines").unwrap();
    let listing = grown(&read, &["bot", "gone"]).expect("nothing but growth");
    assert_eq!(listing.active.len(), 1);
    assert_eq!(listing.active[0].bytes, 10);
    assert!(
        grown(&read, &["bot", "gone", "new"]).is_none(),
        "a service nobody had read"
    );
    touch(other.path(), "bot.log");
    std::fs::copy(other.path().join("bot.log"), dir.path().join("next")).unwrap();
    std::fs::remove_file(dir.path().join("bot.log")).unwrap();
    std::fs::hard_link(dir.path().join("next"), dir.path().join("bot.log")).unwrap();
    settle(dir.path(), 1_000);
    assert!(
        grown(&read, &["bot", "gone"]).is_none(),
        "another file under the name"
    );
    touch(dir.path(), "bot.20260301T000000.000Z.log");
    settle(dir.path(), 2_000);
    assert!(
        grown(&read, &["bot", "gone"]).is_none(),
        "the directory changed"
    );
}

/// Says that a directory's last change was long ago, so many seconds after 1970.
fn settle(dir: &Path, secs: u64) {
    let then = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    File::open(dir).unwrap().set_modified(then).unwrap();
}

#[test]
fn only_the_writers_names_count() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "bot.log",
        "bot.20260301T000000.000Z.log",
        "bot.20260301T000000.000Z.log.zst",
        "bot.20260302T000000.000Z.log.zst",
        "log-shipper.20260228T235959.999Z.log",
        "bot.20260303T000000.000Z.log.zst.partial",
        "@eaDir",
        "#recycle",
        ".DS_Store",
        "bot.20260301.log",
        "bot.log.1",
        "bot.2026XX01T000000.000Z.log",
        "notes.txt",
        "status.html",
        "bot.20260301T000000.000Z.log.gz",
        "bot.20260301T000000.000Z.log.partial",
    ] {
        touch(dir.path(), name);
    }
    std::fs::create_dir(dir.path().join("bot.20260304T000000.000Z.log")).unwrap();
    std::os::unix::fs::symlink(
        "/etc/passwd",
        dir.path().join("bot.20260305T000000.000Z.log"),
    )
    .unwrap();
    let listing = Listing::whole(dir.path()).unwrap();
    let names: Vec<String> = listing.closed.iter().map(Segment::raw_name).collect();
    assert_eq!(
        names,
        [
            "log-shipper.20260228T235959.999Z.log",
            "bot.20260301T000000.000Z.log",
            "bot.20260302T000000.000Z.log"
        ]
    );
    assert!(listing.closed[1].raw.is_some() && listing.closed[1].packed.is_some());
    assert!(listing.closed[2].raw.is_none());
    assert_eq!(listing.partials.len(), 1);
    assert_eq!(
        listing
            .active
            .iter()
            .map(|active| active.service.as_str())
            .collect::<Vec<_>>(),
        ["bot"]
    );
    assert_eq!(listing.services(), ["bot", "log-shipper"]);
}

#[test]
fn a_stamp_is_an_instant() {
    assert_eq!(stamp_millis("19700101T000001.500Z"), Some(1_500));
    assert_eq!(stamp_millis("garbage"), None);
}

/// A closed segment's name, raw and compressed.
const RAW: &str = "bot.20260301T000000.000Z.log";
const PACKED: &str = "bot.20260301T000000.000Z.log.zst";

#[test]
fn what_only_has_the_name_of_an_active_file_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), "bot.log");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.log")).unwrap();
    std::os::unix::fs::symlink("round.log", dir.path().join("round.log")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe.log"), fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket.log")).unwrap();
    std::fs::create_dir(dir.path().join("folder.log")).unwrap();
    for listing in [Listing::whole(dir.path()), Listing::names(dir.path())] {
        let listing = listing.unwrap();
        assert_eq!(listing.services(), ["bot"]);
        assert!(listing.barred.is_empty());
    }
}

#[test]
fn a_file_of_somebody_else_is_named_and_hides_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), "bot.log");
    touch(dir.path(), "other.log");
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(dir.path().join("other.log"), closed).unwrap();
    // The superuser reads everything: there is nothing to see then.
    let may_read = File::open(dir.path().join("other.log")).is_ok();
    let listing = Listing::whole(dir.path()).unwrap();
    if may_read {
        assert_eq!(listing.services(), ["bot", "other"]);
    } else {
        assert_eq!(listing.services(), ["bot"]);
        assert_eq!(listing.barred, ["other"]);
    }
}

#[test]
fn a_segment_that_is_compressed_while_it_is_listed_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), RAW);
    let entry = std::fs::read_dir(dir.path()).unwrap().next().unwrap();
    let entry = entry.unwrap();
    // Its name is read; now it is published as the other one.
    touch(dir.path(), PACKED);
    std::fs::remove_file(dir.path().join(RAW)).unwrap();
    for (depth, bytes) in [(Depth::Sizes, PACKED.len() as u64), (Depth::Names, 0)] {
        let mut kind = kind_of(RAW).unwrap();
        let found = facts(&entry, &mut kind, depth).unwrap();
        assert_eq!(found.map(|(bytes, _)| bytes), Some(bytes));
        assert!(matches!(kind, Kind::Closed { packed: true, .. }));
    }
    std::fs::remove_file(dir.path().join(PACKED)).unwrap();
    let mut kind = kind_of(RAW).unwrap();
    assert!(facts(&entry, &mut kind, Depth::Sizes).unwrap().is_none());
}

#[test]
fn an_active_file_without_a_name_is_a_reason_to_list_again() {
    let dir = tempfile::tempdir().unwrap();
    touch(dir.path(), "bot.log");
    let mut listing = Listing::once(dir.path(), Depth::Names).unwrap();
    assert!(!listing.drop_rotated().unwrap());
    std::fs::remove_file(dir.path().join("bot.log")).unwrap();
    assert!(listing.drop_rotated().unwrap());
    assert!(listing.active.is_empty());
    assert!(Listing::whole(dir.path()).unwrap().active.is_empty());
}
