//! This room reads every line once, in order, from where it left off: across rotation, compression and restarts.
//!
//! A place is "after this closed segment, so many bytes into the next one": the next one is the active file until
//! its writer gives it a stamp, and then the file with that stamp, and later its compressed form. Bytes are bytes of
//! text, so none of these steps moves the place.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::frames;
use crate::segment::{Active, Listing, Segment};
use crate::source::Source;

/// Bytes that tell a segment from every other: a first line holds the instant, the start and the `seq`.
const HEAD_BYTES: usize = 4096;

/// Where reading one service's lines goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// Stamp of the last closed segment that is done; empty before the first.
    pub after: String,
    /// Bytes of the next one that are done.
    pub offset: u64,
    /// Fingerprint of that one's first line: another one means that pruning took it unread.
    pub head: Option<u64>,
}

/// The places of all services.
pub type Places = BTreeMap<String, Place>;

/// Lines of one service, and where to go on when they are dealt with.
#[derive(Debug, Default)]
pub struct Batch {
    /// The lines, without their ends.
    pub lines: Vec<Vec<u8>>,
    /// Where to go on.
    pub next: Place,
    /// Segments that were gone before we could read them.
    pub missed: u64,
}

/// How much a batch may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Lines.
    pub lines: usize,
    /// Bytes; one line more than this is still given, alone.
    pub bytes: usize,
}

/// The next lines of a service after `place`. A batch never spans two segments.
pub fn next_batch(
    dir: &Path,
    listing: &Listing,
    service: &str,
    place: &Place,
    bounds: Bounds,
) -> io::Result<Batch> {
    let mut place = place.clone();
    let mut missed = 0;
    // The list is in the order of stamps: what is done is skipped without being looked at.
    let done = listing
        .closed
        .partition_point(|segment| segment.stamp <= place.after);
    let closed = listing.closed[done..].iter();
    for segment in closed.filter(|segment| segment.service == service) {
        let done = Place {
            after: segment.stamp.clone(),
            ..Place::default()
        };
        match read_closed(dir, segment, &mut place, bounds) {
            Ok(Some((lines, lost))) => {
                missed += u64::from(lost);
                if !lines.is_empty() {
                    return Ok(Batch {
                        lines,
                        next: place,
                        missed,
                    });
                }
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
            // Pruned in this very moment; or broken, and then it must not block what comes after it.
            Ok(None) | Err(_) => {
                missed += 1;
                place = done;
            }
        }
    }
    let Some(active) = listing
        .active
        .iter()
        .find(|active| active.service == service)
    else {
        return Ok(Batch {
            next: place,
            missed,
            ..Batch::default()
        });
    };
    read_active(active, place, missed, bounds)
}

/// Lines of a closed segment, and whether its predecessor was missed; moves the place on. `None` = it is gone.
fn read_closed(
    dir: &Path,
    segment: &Segment,
    place: &mut Place,
    bounds: Bounds,
) -> io::Result<Option<(Vec<Vec<u8>>, bool)>> {
    let Some(mut source) = Source::closed(dir, segment)? else {
        return Ok(None);
    };
    let lost = settle(place, &mut source)?;
    // A closed segment whose last line lacks its end will never get one: it counts as a line.
    let (lines, offset) = lines_from(&mut source, place.offset, bounds, true)?;
    if offset >= source.length() {
        *place = Place {
            after: segment.stamp.clone(),
            ..Place::default()
        };
    } else {
        place.offset = offset;
    }
    Ok(Some((lines, lost)))
}

fn read_active(
    active: &Active,
    mut place: Place,
    mut missed: u64,
    bounds: Bounds,
) -> io::Result<Batch> {
    let mut source = Source::active(active)?;
    missed += u64::from(settle(&mut place, &mut source)?);
    let (lines, offset) = lines_from(&mut source, place.offset, bounds, false)?;
    place.offset = offset;
    Ok(Batch {
        lines,
        next: place,
        missed,
    })
}

/// Checks that the place belongs to this file; if not, starts at its beginning. True = something was missed.
fn settle(place: &mut Place, source: &mut Source) -> io::Result<bool> {
    let head = head(source)?;
    if place.offset == 0 {
        place.head = head;
        return Ok(false);
    }
    if place.head == head && place.offset <= source.length() {
        return Ok(false);
    }
    place.offset = 0;
    place.head = head;
    Ok(true)
}

/// The fingerprint of a file's first line (of its first page, if that is shorter), when that much is there.
pub fn head(source: &mut Source) -> io::Result<Option<u64>> {
    let start = source.prefix(HEAD_BYTES)?;
    let end = memchr::memchr(b'\n', &start).or((start.len() == HEAD_BYTES).then_some(HEAD_BYTES));
    Ok(end.map(|end| fingerprint(&start[..end])))
}

/// FNV-1a: stable for ever, which the standard library's hasher does not promise.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn lines_from(
    source: &mut Source,
    offset: u64,
    bounds: Bounds,
    closed: bool,
) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let (mut lines, mut at, mut bytes, mut text) = (Vec::new(), offset, 0, Vec::new());
    for block in source.blocks().to_vec() {
        if block.start + u64::from(block.length) <= at {
            continue;
        }
        source.read(block, &mut text)?;
        for line in frames::lines(&text[(at - block.start) as usize..]) {
            // A piece of a line longer than any buffer is passed on as it is, so that it blocks nothing.
            let whole = line.ends_with(b"\n") || closed || line.len() >= frames::FRAME_LIMIT;
            if !whole {
                return Ok((lines, at));
            }
            if lines.len() >= bounds.lines
                || (bytes + line.len() > bounds.bytes && !lines.is_empty())
            {
                return Ok((lines, at));
            }
            at += line.len() as u64;
            bytes += line.len();
            lines.push(line.strip_suffix(b"\n").unwrap_or(line).to_vec());
        }
    }
    Ok((lines, at))
}

/// The place at the present end of everything: what comes after it is new.
pub fn end_of(listing: &Listing, service: &str) -> io::Result<Place> {
    let mut place = Place::default();
    if let Some(newest) = listing
        .closed
        .iter()
        .rfind(|segment| segment.service == service)
    {
        place.after.clone_from(&newest.stamp);
    }
    if let Some(active) = listing
        .active
        .iter()
        .find(|active| active.service == service)
    {
        let mut source = Source::active(active)?;
        let (mut end, mut text) = (0, Vec::new());
        if let Some(last) = source.blocks().last().copied() {
            source.read(last, &mut text)?;
            end = last.start + memchr::memrchr(b'\n', &text).map_or(0, |at| at as u64 + 1);
        }
        place.offset = end;
        place.head = if end > 0 { head(&mut source)? } else { None };
    }
    Ok(place)
}

#[cfg(test)]
mod tests;
