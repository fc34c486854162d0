//! This room knows the names in `logs/` and lists them: the directory is the truth, everything else is a hint.
//!
//! `<service>.log` is active (its writer writes there), `<service>.<stamp>.log` is closed for ever,
//! `<service>.<stamp>.log.zst` is its compressed form. Whatever has another name is none of our business.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon_kit::segments::SegmentName;
use rustix::fs::OFlags;
use rustix::io::Errno;

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

impl Active {
    /// Opens a service's active file; `None` when there is none.
    fn open(dir: &Path, service: &str) -> io::Result<Option<Active>> {
        let path = dir.join(format!("{service}.log"));
        // Looked at before it is opened: to open a device or a pipe may already do something.
        if regular(&path)?.is_none() {
            return Ok(None);
        }
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) if is_none(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let facts = file.metadata()?;
        Ok(facts.is_file().then(|| Active {
            service: service.to_owned(),
            inode: facts.ino(),
            bytes: facts.len(),
            file,
        }))
    }
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
    /// Services whose active file belongs to somebody else and may not be read.
    pub barred: Vec<String>,
}

/// So often a directory is listed that changes meanwhile.
const LISTINGS: u32 = 3;

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

    /// The active files alone, for whoever had read everything at `read` and looks again at `now`: when nothing has
    /// happened since but that these files grew. `None` = something else did, list the directory.
    ///
    /// What is opened is the very file that was read at `read`. Should its writer close it in this moment, its lines
    /// are the same under the other name.
    pub fn grown(dir: &Path, read: &Glimpse, now: &Glimpse) -> io::Result<Option<Listing>> {
        if read.dir.is_none() || read.dir != now.dir || !read.active.keys().eq(now.active.keys()) {
            return Ok(None);
        }
        let mut active = Vec::with_capacity(read.active.len());
        for (service, facts) in &read.active {
            let opened = Active::open(dir, service)?;
            if opened.as_ref().map(|file| file.inode) != facts.map(|(inode, _)| inode) {
                return Ok(None);
            }
            active.extend(opened);
        }
        Ok(Some(Listing {
            active,
            ..Listing::default()
        }))
    }

    /// A listing during which a segment changes its name may hold neither name: where anything moved, it is made again.
    fn to(dir: &Path, depth: Depth) -> io::Result<Listing> {
        let mut left = LISTINGS;
        loop {
            left -= 1;
            let before = changed(dir)?;
            let mut listing = Listing::once(dir, depth)?;
            let vanished = listing.drop_rotated()?;
            if left == 0 || (!vanished && changed(dir)? == before) {
                return Ok(listing);
            }
        }
    }

    fn once(dir: &Path, depth: Depth) -> io::Result<Listing> {
        let (mut active, mut barred) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(dir)? {
            let name = entry?.file_name();
            let Some(service) = name.to_str().and_then(active_service) else {
                continue;
            };
            match Active::open(dir, service) {
                // One file of somebody else's must not hide all the others.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    barred.push(service.to_owned());
                }
                opened => active.extend(opened?),
            }
        }
        active.sort_by(|a, b| a.service.cmp(&b.service));
        let listing = list(dir, active, depth)?;
        Ok(Listing { barred, ..listing })
    }

    /// What was opened as active and got its closed name (or was compressed and removed) while we were listing is
    /// not active any more. True = a file has no name at all any more.
    fn drop_rotated(&mut self) -> io::Result<bool> {
        let closed: BTreeSet<u64> = self
            .closed
            .iter()
            .filter_map(|segment| segment.inode)
            .collect();
        let mut vanished = false;
        let mut kept = Vec::with_capacity(self.active.len());
        for active in self.active.drain(..) {
            let nameless = active.file.metadata()?.nlink() == 0;
            vanished |= nameless;
            if !nameless && !closed.contains(&active.inode) {
                kept.push(active);
            }
        }
        self.active = kept;
        Ok(vanished)
    }

    /// Bytes of all closed segments.
    #[must_use]
    pub fn closed_bytes(&self) -> u64 {
        self.closed.iter().map(Segment::bytes).sum()
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
        let Some(mut kind) = kind_of(name) else {
            continue;
        };
        let Some((bytes, inode)) = facts(&entry, &mut kind, depth)? else {
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

/// Size and identity of a regular file; `None` when it is none, or gone. A raw segment that was compressed since its
/// name was read is found, and made known, as that.
fn facts(entry: &DirEntry, kind: &mut Kind, depth: Depth) -> io::Result<Option<(u64, u64)>> {
    if depth == Depth::Names && matches!(kind, Kind::Closed { packed: true, .. }) {
        return Ok(entry.file_type()?.is_file().then_some((0, 0)));
    }
    let path = entry.path();
    if let Some(facts) = regular(&path)? {
        return Ok(Some((facts.len(), facts.ino())));
    }
    let Kind::Closed { packed, .. } = kind else {
        return Ok(None);
    };
    if std::mem::replace(packed, true) {
        return Ok(None);
    }
    let facts = regular(&path.with_extension("log.zst"))?;
    Ok(facts.map(|facts| match depth {
        Depth::Names => (0, 0),
        Depth::Sizes => (facts.len(), facts.ino()),
    }))
}

/// What stands under a name, when that is a regular file. Through no symlink: a name of ours that leads elsewhere is
/// not ours.
fn regular(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(facts) => Ok(facts.is_file().then_some(facts)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file that could not be opened is gone, or is a link or a socket that took its name in this moment.
fn is_none(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    error.kind() == io::ErrorKind::NotFound || is(Errno::LOOP) || is(Errno::NXIO)
}

/// A directory's own time: another one means that a name in it was made or taken away.
fn changed(dir: &Path) -> io::Result<(i64, i64)> {
    let facts = std::fs::metadata(dir)?;
    Ok((facts.mtime(), facts.mtime_nsec()))
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

    /// Whether both looks saw the same time, though another change may hide behind it.
    #[must_use]
    pub fn says_the_same_as(self, other: DirStamp) -> bool {
        self.modified == other.modified && self.inode == other.inode
    }
}

impl PartialEq for DirStamp {
    fn eq(&self, other: &DirStamp) -> bool {
        self.settled && other.settled && self.says_the_same_as(*other)
    }
}

impl Eq for DirStamp {}

/// What a glance from outside shows; two equal glimpses mean that nothing was written or renamed in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    dir: Option<DirStamp>,
    active: BTreeMap<String, Option<(u64, u64)>>,
}

impl Glimpse {
    /// Looks at the directory's time and at the identities and lengths of these services' active files.
    pub fn of<'a>(dir: &Path, services: impl Iterator<Item = &'a str>) -> Glimpse {
        let dir_stamp = DirStamp::of(dir);
        let active = services.map(|service| {
            let facts = std::fs::symlink_metadata(dir.join(format!("{service}.log"))).ok();
            let facts = facts.map(|facts| (facts.ino(), facts.len()));
            (service.to_owned(), facts)
        });
        Glimpse {
            active: active.collect(),
            dir: dir_stamp,
        }
    }

    /// Bytes of the active files.
    #[must_use]
    pub fn active_bytes(&self) -> u64 {
        let facts = self.active.values().flatten();
        facts.map(|(_, bytes)| bytes).sum()
    }
}

/// Opens a file for reading, never through a symlink; a pipe under such a name keeps nobody waiting.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
}

#[cfg(test)]
mod tests;
