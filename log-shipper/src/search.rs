//! This room finds lines in everything there is: active, closed and compressed, without unpacking any file.

pub mod show;

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use regex::bytes::{Regex, RegexBuilder};

use crate::frames;
use crate::line::{self, Level};
use crate::segment::{Listing, Segment};
use crate::source::{Block, Source};

/// What a pattern may cost: a hostile one is refused instead of eating the NAS.
const PATTERN_BYTES: usize = 4 << 20;

/// What to find.
#[derive(Debug)]
pub struct Query {
    pattern: Regex,
    /// The pattern says something about the ends of the text: only whole lines may be asked then.
    line_by_line: bool,
    /// No earlier than this, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Earlier than this.
    pub until: Option<i64>,
    /// Of this service alone.
    pub service: Option<String>,
    /// At least as grave as this.
    pub level: Option<Level>,
    /// With these values.
    pub fields: Vec<(String, String)>,
    /// Lines around each hit.
    pub context: usize,
    /// Newest first.
    pub newest: bool,
}

impl Query {
    /// A query for a pattern alone; `literal` takes it as it stands.
    pub fn new(pattern: &str, literal: bool, ignore_case: bool) -> Result<Query, regex::Error> {
        let escaped = literal.then(|| regex::escape(pattern));
        let built = RegexBuilder::new(escaped.as_deref().unwrap_or(pattern))
            .multi_line(true)
            .case_insensitive(ignore_case)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .build()?;
        let line_by_line = !literal && (pattern.contains("\\A") || pattern.contains("\\z"));
        Ok(Query {
            pattern: built,
            line_by_line,
            since: None,
            until: None,
            service: None,
            level: None,
            fields: Vec::new(),
            context: 0,
            newest: false,
        })
    }

    /// What is looked for, to be made to stand out.
    #[must_use]
    pub fn pattern(&self) -> &Regex {
        &self.pattern
    }

    fn wants_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    fn in_time(&self, millis: Option<i64>) -> bool {
        if !self.wants_time() {
            return true;
        }
        millis.is_some_and(|at| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
        })
    }

    /// Whether a block can hold a hit, going by its times.
    fn may_hold(&self, block: Block) -> bool {
        block.times.is_none_or(|(first, last)| {
            self.since.is_none_or(|since| last >= since)
                && self.until.is_none_or(|until| first < until)
        })
    }

    /// Whether a line that holds the pattern meets the other conditions.
    fn accepts(&self, line: &[u8]) -> bool {
        if self.wants_time() || self.level.is_some() {
            let seen = line::glance(line);
            if !self.in_time(seen.millis) {
                return false;
            }
            if self
                .level
                .is_some_and(|wanted| seen.level.is_none_or(|level| level > wanted))
            {
                return false;
            }
        }
        if self.fields.is_empty() {
            return true;
        }
        line::parse(line).is_some_and(|line| {
            self.fields
                .iter()
                .all(|(name, value)| line.shown(name).as_deref() == Some(value.as_str()))
        })
    }

    /// The hits of a block, as ranges of whole lines without their ends, in order.
    fn hits(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut hits = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let from = if self.line_by_line {
                at
            } else {
                match self.pattern.find_at(text, at) {
                    Some(found) if found.start() < text.len() => found.start(),
                    _ => break,
                }
            };
            let start = memchr::memrchr(b'\n', &text[at..from]).map_or(at, |end| at + end + 1);
            let end = memchr::memchr(b'\n', &text[from..]).map_or(text.len(), |end| from + end);
            let line = &text[start..end];
            // The pattern may have matched across a line end: what counts is the line alone.
            if self.pattern.is_match(line) && self.accepts(line) {
                hits.push((start, end));
            }
            at = end + 1;
        }
        hits
    }
}

/// One line to show.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Without its end.
    pub line: &'a [u8],
    /// It holds the pattern; otherwise it stands near one that does.
    pub hit: bool,
    /// Lines are missing between the one before and this one.
    pub gap: bool,
}

/// Takes what is found; an error ends the search.
pub trait Taker {
    /// A line.
    fn found(&mut self, found: Found<'_>) -> io::Result<()>;
    /// So many of so many bytes of text are looked through.
    fn progress(&mut self, _done: u64, _all: u64) {}
}

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Searched {
    /// Lines that hold the pattern and meet the conditions.
    pub hits: u64,
    /// Bytes of text looked through.
    pub bytes: u64,
    /// Segments that could not be read.
    pub unreadable: u64,
    /// Segments looked at.
    pub segments: u64,
}

enum Part<'a> {
    Closed(&'a Segment),
    Active(usize),
}

/// Searches the directory.
pub fn search(dir: &Path, query: &Query, taker: &mut dyn Taker) -> io::Result<Searched> {
    let listing = Listing::names(dir)?;
    let wanted = |service: &str| query.service.as_deref().is_none_or(|only| only == service);
    let closed = listing
        .closed
        .iter()
        .filter(|segment| wanted(&segment.service));
    let mut parts: Vec<Part<'_>> = closed.map(Part::Closed).collect();
    parts.extend(
        (0..listing.active.len())
            .filter(|at| wanted(&listing.active[*at].service))
            .map(Part::Active),
    );
    if query.newest {
        parts.reverse();
    }
    let all: u64 = parts.len() as u64;
    let mut searched = Searched {
        segments: all,
        ..Searched::default()
    };
    for (number, part) in parts.iter().enumerate() {
        let source = match part {
            Part::Closed(segment) => Source::closed(dir, segment),
            Part::Active(at) => Source::active(&listing.active[*at]).map(Some),
        };
        match source.and_then(|source| {
            source.map_or(Ok(()), |source| {
                segment(source, query, taker, &mut searched)
            })
        }) {
            Ok(()) => {}
            // A broken file hides its own lines only; the number of such files is told at the end.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => searched.unreadable += 1,
            Err(error) => return Err(error),
        }
        taker.progress(number as u64 + 1, all);
    }
    Ok(searched)
}

fn segment(
    mut source: Source,
    query: &Query,
    taker: &mut dyn Taker,
    searched: &mut Searched,
) -> io::Result<()> {
    if query.context > 0 {
        return with_context(source, query, taker, searched);
    }
    let mut blocks: Vec<Block> = source
        .blocks()
        .iter()
        .copied()
        .filter(|block| query.may_hold(*block))
        .collect();
    if query.newest {
        blocks.reverse();
    }
    let mut text = Vec::new();
    for block in blocks {
        source.read(block, &mut text)?;
        searched.bytes += text.len() as u64;
        let mut hits = query.hits(&text);
        if query.newest {
            hits.reverse();
        }
        for (start, end) in hits {
            searched.hits += 1;
            taker.found(Found {
                line: &text[start..end],
                hit: true,
                gap: false,
            })?;
        }
    }
    Ok(())
}

/// Groups of lines around hits; within one segment, because neighbours in time are neighbours in a file.
fn with_context(
    mut source: Source,
    query: &Query,
    taker: &mut dyn Taker,
    searched: &mut Searched,
) -> io::Result<()> {
    // Without a hit there is nothing to stand beside.
    if !source.blocks().iter().any(|block| query.may_hold(*block)) {
        return Ok(());
    }
    let mut groups = Groups {
        width: query.context,
        ..Groups::default()
    };
    let mut text = Vec::new();
    for block in source.blocks().to_vec() {
        // A block out of time is still read: its first or last lines may stand beside a hit.
        source.read(block, &mut text)?;
        searched.bytes += text.len() as u64;
        let hits = query.hits(&text);
        let mut next = hits.iter().peekable();
        let mut at = 0;
        for line in frames::lines(&text) {
            let hit = next.next_if(|(start, _)| *start == at).is_some();
            searched.hits += u64::from(hit);
            groups.line(line.strip_suffix(b"\n").unwrap_or(line), hit);
            at += line.len();
            if !query.newest {
                groups.pass_on(taker)?;
            }
        }
    }
    groups.finish(query.newest, taker)
}

#[derive(Default)]
struct Groups {
    width: usize,
    before: VecDeque<Vec<u8>>,
    after: usize,
    open: bool,
    passed: bool,
    done: Vec<Vec<(Vec<u8>, bool)>>,
}

impl Groups {
    fn line(&mut self, line: &[u8], hit: bool) {
        if hit {
            if !self.open {
                self.done.push(Vec::new());
            }
            let group = self.done.last_mut();
            if let Some(group) = group {
                group.extend(self.before.drain(..).map(|line| (line, false)));
                group.push((line.to_vec(), true));
            }
            self.open = true;
            self.after = self.width;
            return;
        }
        if self.open && self.after > 0 {
            self.after -= 1;
            if let Some(group) = self.done.last_mut() {
                group.push((line.to_vec(), false));
            }
            return;
        }
        self.before.push_back(line.to_vec());
        // The group stays open while the lines between could still join it to the next one.
        if self.before.len() > self.width {
            self.before.pop_front();
            self.open = false;
        }
    }

    /// Hands out what is finished, oldest first.
    fn pass_on(&mut self, taker: &mut dyn Taker) -> io::Result<()> {
        if self.open || self.done.is_empty() {
            return Ok(());
        }
        self.hand_out(taker)
    }

    fn hand_out(&mut self, taker: &mut dyn Taker) -> io::Result<()> {
        for group in self.done.drain(..) {
            for (number, (line, hit)) in group.iter().enumerate() {
                taker.found(Found {
                    line,
                    hit: *hit,
                    gap: number == 0 && self.passed,
                })?;
            }
            self.passed = true;
        }
        Ok(())
    }

    fn finish(mut self, newest: bool, taker: &mut dyn Taker) -> io::Result<()> {
        if newest {
            self.done.reverse();
        }
        self.hand_out(taker)
    }
}

#[cfg(test)]
mod tests;
