//! Where lines go: a segment, standard output, and what is remembered when the disk refuses.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::Level;

use super::LogSettings;
use super::line::Record;
use crate::segments::{Limits, SegmentWriter};
use crate::time;

/// Lines of the start that wait for the log directory to be known; more than this are counted as lost.
const MAX_EARLY_LINES: usize = 1_000;

/// The writer's side of one process's log.
pub(super) struct Sink {
    service: &'static str,
    /// Tells the lines of this process start from those of others.
    start: String,
    seq: u64,
    zone: TimeZone,
    out: Box<dyn io::Write + Send>,
    writer: Option<SegmentWriter>,
    /// Lines from before the log was opened; `None` afterwards.
    early: Option<VecDeque<String>>,
    lost: Option<Lost>,
}

/// Lines that the disk refused.
struct Lost {
    count: u64,
    first_seq: u64,
    last_seq: u64,
    reason: String,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("service", &self.service)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Sink {
    pub(super) fn new(service: &'static str, out: Box<dyn io::Write + Send>) -> Self {
        // The hasher's seed is the random number that the standard library offers.
        let start = format!("{:08x}", RandomState::new().build_hasher().finish() as u32);
        Self {
            service,
            start,
            seq: 0,
            zone: TimeZone::UTC,
            out,
            writer: None,
            early: Some(VecDeque::new()),
            lost: None,
        }
    }

    pub(super) fn open(&mut self, settings: &LogSettings) -> io::Result<bool> {
        self.zone = settings.zone.clone();
        if self.writer.is_some() {
            return Ok(true);
        }
        let limits = Limits {
            max_size_bytes: settings.max_size_bytes,
            rotate_after: settings.rotate_after,
        };
        let now = time::now();
        self.writer = SegmentWriter::open(&settings.dir, settings.service, limits, now)?;
        if self.writer.is_none() {
            return Ok(false);
        }
        for line in self.early.take().unwrap_or_default() {
            self.append(&line, now);
        }
        Ok(true)
    }

    pub(super) fn set_zone(&mut self, zone: TimeZone) {
        self.zone = zone;
    }

    pub(super) fn rotate(&mut self) -> io::Result<()> {
        self.writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.rotate(time::now()))
    }

    /// No segment will ever be opened: nothing waits for one.
    pub(super) fn keep_none(&mut self) {
        self.early = None;
    }

    pub(super) fn write(&mut self, record: &Record, shown: bool) {
        let now = time::now();
        if self.lost.is_some() {
            self.report_loss(now);
        }
        if shown {
            let row = record.readable(now, &self.zone);
            // Whoever reads standard output may have gone; the segment is what counts.
            writeln!(self.out, "{row}")
                .and_then(|()| self.out.flush())
                .ok();
        }
        let line = self.number(record, now);
        match &mut self.early {
            Some(early) if early.len() < MAX_EARLY_LINES => early.push_back(line),
            Some(_) => self.lose(&"too many lines before the log was opened"),
            None => self.append(&line, now),
        }
    }

    fn number(&mut self, record: &Record, now: Timestamp) -> String {
        self.seq += 1;
        record.json(now, &self.zone, self.service, self.seq, &self.start)
    }

    fn append(&mut self, line: &str, now: Timestamp) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        if let Err(error) = writer.write_line(line.as_bytes(), now) {
            self.lose(&error);
        }
    }

    fn lose(&mut self, reason: &dyn fmt::Display) {
        let seq = self.seq;
        let lost = self.lost.get_or_insert_with(|| Lost {
            count: 0,
            first_seq: seq,
            last_seq: seq,
            reason: reason.to_string(),
        });
        lost.count += 1;
        lost.last_seq = seq;
    }

    /// Says what was lost, with the next number. When the disk refuses that too, it counts among the lost.
    fn report_loss(&mut self, now: Timestamp) {
        let (Some(lost), Some(writer)) = (&self.lost, &mut self.writer) else {
            return;
        };
        let record = Record {
            level: Level::ERROR,
            target: "daemon_kit::logging".to_owned(),
            event: "log.lost".to_owned(),
            message: "lines could not be written to the log file".to_owned(),
            fields: vec![
                ("count", lost.count.into()),
                ("first_seq", lost.first_seq.into()),
                ("last_seq", lost.last_seq.into()),
                ("reason", Value::from(lost.reason.clone())),
            ],
        };
        let line = record.json(now, &self.zone, self.service, self.seq + 1, &self.start);
        if writer.write_line(line.as_bytes(), now).is_ok() {
            self.seq += 1;
            self.lost = None;
            writeln!(self.out, "{}", record.readable(now, &self.zone)).ok();
        }
    }
}
