//! This room knows the names in `logs/` and lists them: the directory is the truth, everything else is a hint.
//!
//! `<service>.log` is active (its writer writes there), `<service>.<stamp>.log` is closed for ever,
//! `<service>.<stamp>.log.zst` is its compressed form. Whatever has another name is none of our business.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon_kit::segments::SegmentName;
use rustix::fs::OFlags;

/// A closed segment: raw, compressed, or (after a crash between two steps) both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Who wrote it.
    pub service: String,
    /// When it was closed, as its name says it: sorts by time.
    pub stamp: String,
    /// Bytes of the raw file, while there is one.
    pub raw: Option<u64>,
    /// Bytes of the compressed file, when there is one.
    pub packed: Option<u64>,
    /// The raw file's identity, while there is one.
    pub inode: Option<u64>,
}

impl Segment {
    /// `<service>.<stamp>.log`
    #[must_use]
    pub fn raw_name(&self) -> String {
        format!("{}.{}.log", self.service, self.stamp)
    }

    /// `<service>.<stamp>.log.zst`
    #[must_use]
    pub fn packed_name(&self) -> String {
        format!("{}.zst", self.raw_name())
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.raw.unwrap_or(0) + self.packed.unwrap_or(0)
    }

    /// The instant in the name, in milliseconds since 1970.
    #[must_use]
    pub fn closed_millis(&self) -> i64 {
        stamp_millis(&self.stamp).unwrap_or(0)
    }
}

/// An active file, opened when it was listed, so that a rotation a moment later cannot swap it for another.
#[derive(Debug)]
pub struct Active {
    /// Who writes it.
    pub service: String,
    /// Open for reading.
    pub file: File,
    /// Its identity, which its name after the rotation shares.
    pub inode: u64,
    /// Bytes when it was listed.
    pub bytes: u64,
}

/// What stands in the directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Files being written, by service.
    pub active: Vec<Active>,
    /// Closed segments, oldest first (by stamp, then service).
    pub closed: Vec<Segment>,
    /// Unfinished compressions: `….log.zst.partial`.
    pub partials: Vec<PathBuf>,
    /// Lines that a crash tore and the writer set aside: `….torn`.
    pub torn: Vec<(PathBuf, u64)>,
}

impl Listing {
    /// Lists closed segments only.
    pub fn closed(dir: &Path) -> io::Result<Listing> {
        list(dir, Vec::new(), Depth::Sizes)
    }

    /// Lists everything; active files are opened before the closed ones are listed: a file that is rotated
    /// in between is then in both, which its inode tells, and never in neither.
    pub fn whole(dir: &Path) -> io::Result<Listing> {
        Listing::to(dir, Depth::Sizes)
    }

    /// As [`Listing::whole`], but nobody asks how large compressed files are (they count as 0 bytes): beside
    /// thousands of them that would be most of the cost of looking for new lines.
    pub fn names(dir: &Path) -> io::Result<Listing> {
        Listing::to(dir, Depth::Names)
    }

    fn to(dir: &Path, depth: Depth) -> io::Result<Listing> {
        let mut active = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let Some(service) = entry
                .file_name()
                .to_str()
                .and_then(active_service)
                .map(str::to_owned)
            else {
                continue;
            };
            let file = match open(&entry.path()) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let facts = file.metadata()?;
            if facts.is_file() {
                active.push(Active {
                    service,
                    inode: facts.ino(),
                    bytes: facts.len(),
                    file,
                });
            }
        }
        active.sort_by(|a, b| a.service.cmp(&b.service));
        let mut listing = list(dir, active, depth)?;
        listing.drop_rotated()?;
        Ok(listing)
    }

    /// What was opened as active and got its closed name (or was compressed and removed) while we were listing is
    /// not active any more.
    fn drop_rotated(&mut self) -> io::Result<()> {
        let closed: BTreeSet<u64> = self
            .closed
            .iter()
            .filter_map(|segment| segment.inode)
            .collect();
        let mut kept = Vec::with_capacity(self.active.len());
        for active in self.active.drain(..) {
            if !closed.contains(&active.inode) && active.file.metadata()?.nlink() > 0 {
                kept.push(active);
            }
        }
        self.active = kept;
        Ok(())
    }

    /// Every service that has a file here.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let active = self.active.iter().map(|active| active.service.clone());
        let closed = self.closed.iter().map(|segment| segment.service.clone());
        let all: BTreeSet<String> = active.chain(closed).collect();
        all.into_iter().collect()
    }
}

/// How much of each file a listing looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Names,
    Sizes,
}

fn list(dir: &Path, active: Vec<Active>, depth: Depth) -> io::Result<Listing> {
    let mut listing = Listing {
        active,
        ..Listing::default()
    };
    let mut closed: BTreeMap<(String, String), Segment> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(kind) = kind_of(name) else { continue };
        let Some((bytes, inode)) = facts(&entry, &kind, depth)? else {
            continue;
        };
        match kind {
            Kind::Partial => listing.partials.push(entry.path()),
            Kind::Torn => listing.torn.push((entry.path(), bytes)),
            Kind::Closed {
                service,
                stamp,
                packed,
            } => {
                let segment = closed.entry((stamp.clone(), service.clone()));
                let segment = segment.or_insert(Segment {
                    service,
                    stamp,
                    raw: None,
                    packed: None,
                    inode: None,
                });
                if packed {
                    segment.packed = Some(bytes);
                } else {
                    (segment.raw, segment.inode) = (Some(bytes), Some(inode));
                }
            }
        }
    }
    listing.closed = closed.into_values().collect();
    Ok(listing)
}

/// Size and identity of a regular file; `None` when it is none, or gone. Through no symlink: a name of ours that leads
/// elsewhere is not ours.
fn facts(entry: &DirEntry, kind: &Kind, depth: Depth) -> io::Result<Option<(u64, u64)>> {
    if depth == Depth::Names && matches!(kind, Kind::Closed { packed: true, .. }) {
        return Ok(entry.file_type()?.is_file().then_some((0, 0)));
    }
    match std::fs::symlink_metadata(entry.path()) {
        Ok(facts) if facts.is_file() => Ok(Some((facts.len(), facts.ino()))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

enum Kind {
    Closed {
        service: String,
        stamp: String,
        packed: bool,
    },
    Partial,
    Torn,
}

fn kind_of(name: &str) -> Option<Kind> {
    if let Some(stem) = name.strip_suffix(".zst.partial") {
        return split(stem).map(|_| Kind::Partial);
    }
    if let Some(stem) = name.strip_suffix(".torn") {
        let known = split(stem).is_some()
            || split(&format!("{stem}.log")).is_some()
            || active_service(stem).is_some();
        return known.then_some(Kind::Torn);
    }
    let (stem, packed) = name
        .strip_suffix(".zst")
        .map_or((name, false), |stem| (stem, true));
    split(stem).map(|(service, stamp)| Kind::Closed {
        service,
        stamp,
        packed,
    })
}

/// Whether a name is that of a closed segment, raw or compressed: what a wake-up is worth listening to.
#[must_use]
pub fn is_closed_name(name: &str) -> bool {
    matches!(kind_of(name), Some(Kind::Closed { .. }))
}

/// `<service>.<stamp>.log` as its two parts, when the writer could have made it.
fn split(name: &str) -> Option<(String, String)> {
    SegmentName::parse(name).filter(|name| !name.compressed)?;
    let (service, stamp) = name.strip_suffix(".log")?.split_once('.')?;
    Some((service.to_owned(), stamp.to_owned()))
}

/// The service of `<service>.log`.
fn active_service(name: &str) -> Option<&str> {
    let service = name.strip_suffix(".log")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (!service.is_empty() && !service.starts_with('-') && service.bytes().all(plain))
        .then_some(service)
}

/// `YYYYMMDDTHHMMSS.mmmZ` in milliseconds since 1970.
#[must_use]
pub fn stamp_millis(stamp: &str) -> Option<i64> {
    if stamp.len() != 20 || !stamp.is_ascii() {
        return None;
    }
    let text = format!(
        "{}-{}-{}T{}:{}:{}",
        &stamp[0..4],
        &stamp[4..6],
        &stamp[6..8],
        &stamp[9..11],
        &stamp[11..13],
        &stamp[13..]
    );
    crate::line::millis_of(text.as_bytes())
}

/// A directory's own time and identity. Clocks of file systems are coarse: a stamp that is only a moment old equals
/// none, not even itself, because another change may hide behind it.
#[derive(Debug, Clone, Copy)]
pub struct DirStamp {
    modified: (i64, i64),
    inode: u64,
    settled: bool,
}

impl DirStamp {
    /// Coarse clocks tick every 10 ms; FAT every 2 s.
    const COARSE: Duration = Duration::from_secs(3);

    /// Looks; `None` when the directory is not there.
    #[must_use]
    pub fn of(dir: &Path) -> Option<DirStamp> {
        let facts = std::fs::metadata(dir).ok()?;
        let age = facts.modified().ok().and_then(|at| at.elapsed().ok());
        Some(DirStamp {
            modified: (facts.mtime(), facts.mtime_nsec()),
            inode: facts.ino(),
            settled: age.is_some_and(|age| age > Self::COARSE),
        })
    }
}

impl PartialEq for DirStamp {
    fn eq(&self, other: &DirStamp) -> bool {
        self.settled
            && other.settled
            && self.modified == other.modified
            && self.inode == other.inode
    }
}

impl Eq for DirStamp {}

/// What a glance from outside shows; two equal glimpses mean that nothing was written or renamed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    dir: Option<DirStamp>,
    active: Vec<Option<(u64, u64)>>,
}

impl Glimpse {
    /// Looks at the directory's time and at the lengths of these services' active files.
    pub fn of<'a>(dir: &Path, services: impl Iterator<Item = &'a str>) -> Glimpse {
        let dir_stamp = DirStamp::of(dir);
        let active = services.map(|service| {
            let facts = std::fs::symlink_metadata(dir.join(format!("{service}.log"))).ok()?;
            Some((facts.ino(), facts.len()))
        });
        Glimpse {
            active: active.collect(),
            dir: dir_stamp,
        }
    }
}

/// Opens a file for reading, never through a symlink.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(dir: &Path, name: &str) {
        std::fs::write(dir.join(name), name).unwrap();
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
}
