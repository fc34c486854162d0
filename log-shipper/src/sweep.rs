//! The straight line: list → [compress → verify → publish → delete] → prune.
//!
//! Whatever state a crash left, the same line ends in the same place: a partial is cleared, a raw file beside a
//! compressed one is compared with it, a raw file alone is compressed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use daemon_kit::lock::DirLock;
use daemon_kit::{Shutdown, publish};

use crate::alerts::outbox;
use crate::checkpoint::Checkpoint;
use crate::compress::{self, Packed};
use crate::prune::{self, Candidate, Plan, Policy, Reason, Room};
use crate::segment::{self, Listing, Segment};
use crate::status::Surroundings;

/// What a sweep works with.
#[derive(Debug, Clone)]
pub struct Sweeper {
    /// `logs/`.
    pub dir: PathBuf,
    /// The owner's rules.
    pub policy: Policy,
    /// zstd's level.
    pub level: i32,
    /// Names of the sinks whose acknowledgement pruning waits for.
    pub sinks: Vec<&'static str>,
}

/// What a sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Segments compressed, verified and published.
    pub compressed: u64,
    /// Bytes before.
    pub raw_bytes: u64,
    /// Bytes after.
    pub packed_bytes: u64,
    /// Segments pruned.
    pub pruned: u64,
    /// Segments that failed, and stay as they are.
    pub failed: u64,
    /// Segments that pruning wants and a sink still needs.
    pub waiting: u64,
    /// There was more than fits into one turn: sweep again at once.
    pub unfinished: bool,
    /// Bytes of the closed segments that are left; `None` when nobody looked.
    pub closed_bytes: Option<u64>,
}

impl Swept {
    /// Adds another turn's numbers; failures and waiting ones are counted as they stand now.
    pub fn add(&mut self, other: &Swept) {
        self.compressed += other.compressed;
        self.raw_bytes += other.raw_bytes;
        self.packed_bytes += other.packed_bytes;
        self.pruned += other.pruned;
        self.failed = other.failed;
        self.waiting = other.waiting;
    }

    /// Whether anything in the directory changed.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.compressed + self.pruned > 0
    }
}

/// Failures by segment: a segment that cannot be compressed is told once an hour, not once a minute.
#[derive(Debug, Default)]
pub struct Grudges(BTreeMap<String, Instant>);

const GRUDGE: Duration = Duration::from_secs(3_600);
/// Pruning rests a few commands' worth of time when another sweep runs.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// A sweep rests after this long, so that the heartbeat of a program with a mountain of segments stays fresh.
const TURN: Duration = Duration::from_secs(20);
/// Free bytes that a compression needs beyond a quarter of the segment.
const SLACK_BYTES: u64 = 1 << 20;

impl Sweeper {
    /// One sweep. `now` is the wall clock, in milliseconds since 1970.
    pub fn sweep(
        &self,
        now: i64,
        shutdown: &Shutdown,
        grudges: &mut Grudges,
    ) -> anyhow::Result<Swept> {
        let Some(_lock) = self.lock()? else {
            return Ok(Swept::default());
        };
        let (begun, mut swept) = (Instant::now(), Swept::default());
        let listing =
            Listing::whole(&self.dir).with_context(|| format!("listing {}", self.dir.display()))?;
        grudges.tell_barred(&listing.barred);
        clear(&listing.partials)?;
        for segment in listing
            .closed
            .iter()
            .filter(|segment| segment.raw.is_some())
        {
            swept.unfinished = shutdown.is_soft() || begun.elapsed() > TURN;
            if swept.unfinished {
                break;
            }
            self.make_room(segment, now, &mut swept)?;
            if !self.is_ready(segment) {
                continue;
            }
            match self.settle(segment) {
                Ok(packed) => {
                    swept.compressed += 1;
                    swept.raw_bytes += packed.raw_bytes;
                    swept.packed_bytes += packed.packed_bytes;
                }
                Err(error) => {
                    swept.failed += 1;
                    grudges.tell(segment, &error);
                }
            }
        }
        // Before everything is compressed nobody knows what fits: most of a history would go that has room.
        if swept.unfinished && !self.is_tight() {
            return Ok(swept);
        }
        let untouched = swept == Swept::default();
        // Listing is most of the work of a sweep that finds nothing to do: once is enough then.
        let listing = if untouched {
            listing
        } else {
            Listing::whole(&self.dir)?
        };
        self.prune(&listing, now, &mut swept)?;
        Ok(swept)
    }

    /// Whether a segment is still there as it was listed (pruning for room may have taken it), and its writer is done
    /// with it: where a file system cannot rename into a free name, both names are one file for a moment, and until
    /// the next start of a writer that was killed in it, which must find them like that.
    fn is_ready(&self, segment: &Segment) -> bool {
        let inode = |name: &str| {
            let facts = std::fs::symlink_metadata(self.dir.join(name));
            facts.ok().map(|facts| facts.ino())
        };
        let active = daemon_kit::segments::active_name(&segment.service);
        let raw = inode(&segment.raw_name());
        raw.is_some() && raw != inode(&active)
    }

    /// One segment, from whatever state it is in to compressed alone.
    fn settle(&self, segment: &Segment) -> anyhow::Result<Packed> {
        let (raw, packed) = (
            self.dir.join(segment.raw_name()),
            self.dir.join(segment.packed_name()),
        );
        let started = Instant::now();
        let source = segment::open(&raw)?;
        if segment.packed.is_some() {
            match compress::verify(&source, &packed) {
                Ok(()) => {
                    publish::remove(&raw)?;
                    return Ok(Packed {
                        raw_bytes: segment.raw.unwrap_or(0),
                        packed_bytes: segment.packed.unwrap_or(0),
                        lines: 0,
                    });
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(event = "segment.mismatch", segment = %segment.raw_name(), error, "a compressed file differs from its original: it is made again");
                    publish::remove(&packed)?;
                }
            }
        }
        let made = compress::compress(&raw, &packed, self.level)?;
        publish::remove(&raw).context("removing the original")?;
        let ms = started.elapsed().as_millis() as u64;
        tracing::info!(event = "segment.compressed", segment = %segment.raw_name(), lines = made.lines, raw_bytes = made.raw_bytes, bytes = made.packed_bytes, ms, "segment compressed and verified");
        Ok(made)
    }

    /// Compressing needs room for the result: when there is none, pruning comes first.
    fn make_room(&self, segment: &Segment, now: i64, swept: &mut Swept) -> anyhow::Result<()> {
        let needed = segment.raw.unwrap_or(0) / 4 + SLACK_BYTES;
        if free_bytes(&self.dir).is_some_and(|free| free < needed) {
            self.prune(&Listing::whole(&self.dir)?, now, swept)?;
        }
        Ok(())
    }

    fn prune(&self, listing: &Listing, now: i64, swept: &mut Swept) -> anyhow::Result<()> {
        let plan = self.plan(listing, now)?;
        swept.waiting = plan.waiting as u64;
        let mut closed_bytes = listing.closed_bytes();
        for (segment, reason) in doomed(listing, &plan) {
            self.delete(segment)?;
            swept.pruned += 1;
            closed_bytes -= segment.bytes();
            let (name, bytes, why) = (segment.raw_name(), segment.bytes(), reason.to_string());
            if reason == Reason::HardCap {
                tracing::error!(event = "prune.unforwarded", segment = %name, bytes, reason = %why, "a segment was pruned before every sink had it");
            } else {
                tracing::info!(event = "segment.pruned", segment = %name, bytes, reason = %why, "segment pruned");
            }
        }
        swept.closed_bytes = Some(closed_bytes);
        let oldest = now - i64::from(self.policy.days) * 86_400_000;
        outbox::prune(&self.dir, oldest).context("pruning delivered alerts")?;
        for (path, _) in &listing.torn {
            if modified_millis(path).is_some_and(|modified| modified < oldest) {
                remove(path)?;
            }
        }
        Ok(())
    }

    /// Prunes alone, under the lock; how many went.
    pub fn prune_now(&self, now: i64) -> anyhow::Result<u64> {
        let mut swept = Swept::default();
        let Some(_lock) = self.lock()? else {
            anyhow::bail!("another sweep holds the lock")
        };
        self.prune(&Listing::whole(&self.dir)?, now, &mut swept)?;
        Ok(swept.pruned)
    }

    /// Whether a closed segment waits for compression.
    #[must_use]
    pub fn has_raw(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return true;
        };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| !name.ends_with(".zst") && segment::is_closed_name(name))
        })
    }

    /// How the disk stands, for the owner's page; `log_bytes` is what the logs take.
    #[must_use]
    pub fn surroundings(&self, now: i64, log_bytes: u64) -> Surroundings {
        Surroundings {
            now,
            free_bytes: free_bytes(&self.dir),
            wanted_bytes: self.policy.free_bytes,
            logs: (log_bytes, self.policy.total_bytes),
        }
    }

    /// Whether the disk has less free than the owner wants.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        free_bytes(&self.dir).is_some_and(|free| free < self.policy.free_bytes)
    }

    /// What pruning would do, and to which segments.
    pub fn plan(&self, listing: &Listing, now: i64) -> anyhow::Result<Plan> {
        let checkpoints: Vec<Checkpoint> = self
            .sinks
            .iter()
            .map(|sink| Checkpoint::load(&self.dir, sink))
            .collect::<io::Result<_>>()?;
        let candidates: Vec<Candidate> = listing
            .closed
            .iter()
            .map(|segment| Candidate {
                service: segment.service.clone(),
                closed: segment.closed_millis(),
                bytes: segment.bytes(),
                forwarded: checkpoints
                    .iter()
                    .all(|checkpoint| checkpoint.covers(segment)),
            })
            .collect();
        let other_bytes = listing
            .active
            .iter()
            .map(|active| active.bytes)
            .sum::<u64>()
            + listing.torn.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let room = Room {
            other_bytes,
            free: free_bytes(&self.dir),
            now,
        };
        Ok(prune::plan(&candidates, &self.policy, &room))
    }

    /// Removes a segment: the compressed file last, so that a crash in between leaves one that is whole.
    fn delete(&self, segment: &Segment) -> anyhow::Result<()> {
        for (there, name) in [
            (segment.raw, segment.raw_name()),
            (segment.packed, segment.packed_name()),
        ] {
            if there.is_some() {
                remove(&self.dir.join(&name)).with_context(|| format!("removing {name}"))?;
            }
        }
        Ok(())
    }

    /// `sweep` and `run` may meet; one waits for the other. `None` = the other took too long, it does our work.
    pub fn lock(&self) -> anyhow::Result<Option<DirLock>> {
        let path = self.dir.join(".sweep.lock");
        DirLock::wait(&path, LOCK_WAIT).with_context(|| format!("locking {}", path.display()))
    }
}

/// The segments that a plan gives up, with the reason.
pub fn doomed<'a>(
    listing: &'a Listing,
    plan: &'a Plan,
) -> impl Iterator<Item = (&'a Segment, Reason)> {
    listing
        .closed
        .iter()
        .zip(&plan.fates)
        .filter_map(|(segment, fate)| fate.map(|reason| (segment, reason)))
}

fn clear(partials: &[PathBuf]) -> anyhow::Result<()> {
    for partial in partials {
        remove(partial).with_context(|| format!("clearing {}", partial.display()))?;
    }
    Ok(())
}

/// Removes a file; one that somebody else removed in this moment is as good.
fn remove(path: &Path) -> io::Result<()> {
    match publish::remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Free bytes for an unprivileged program, when the file system says so.
#[must_use]
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(dir).ok()?;
    // Some network file systems report zero blocks in all: that is "unknown", not "full".
    (facts.f_blocks > 0).then(|| facts.f_bavail.saturating_mul(facts.f_frsize))
}

fn modified_millis(path: &Path) -> Option<i64> {
    let modified = std::fs::symlink_metadata(path).ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_millis() as i64)
}

impl Grudges {
    /// Active files that belong to somebody else and may not be read.
    fn tell_barred(&mut self, services: &[String]) {
        self.0.retain(|_, told| told.elapsed() < GRUDGE);
        for service in services {
            let name = daemon_kit::segments::active_name(service);
            if let Entry::Vacant(empty) = self.0.entry(name) {
                tracing::warn!(event = "segment.barred", segment = %empty.key(), "a log file may not be read by this program; it is left out");
                empty.insert(Instant::now());
            }
        }
    }

    fn tell(&mut self, segment: &Segment, error: &anyhow::Error) {
        self.0.retain(|_, told| told.elapsed() < GRUDGE);
        let name = segment.raw_name();
        if let Entry::Vacant(empty) = self.0.entry(name) {
            let error = format!("{error:#}");
            tracing::error!(event = "segment.failed", segment = %empty.key(), error, "a segment could not be compressed; it stays as it is");
            empty.insert(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
