//! This room knows the format of `….log.zst`: independent zstd frames, then an index in a skippable frame.
//!
//! Any `zstd -dc` reads the file for ever; the index only spares us reading what a search by time does not need.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use zstd::zstd_safe;

/// Raw bytes a frame holds, about: it ends at the first line end after that.
pub const FRAME_BYTES: usize = 1 << 20;
/// Raw bytes a frame may hold at most, whatever the line's length: bounds every buffer.
pub const FRAME_LIMIT: usize = 16 << 20;

const SKIPPABLE: u32 = 0x184D_2A5B;
const FOOTER: &[u8; 4] = b"KTN1";
/// More than this is no index of ours (200 MB of logs have about 200 frames).
const INDEX_LIMIT: u32 = 64 << 20;

/// One frame: where it is, what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Bytes in the file.
    pub packed: u32,
    /// Bytes of text.
    pub raw: u32,
    /// Line ends in it.
    pub lines: u32,
    /// Earliest time of a line, in milliseconds since 1970.
    pub first: Option<i64>,
    /// Latest time of a line.
    pub last: Option<i64>,
}

/// The index of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Index {
    /// Version of this format.
    pub v: u32,
    /// The frames in order.
    pub frames: Vec<Frame>,
    /// Lines by level, in the order of [`crate::line::Level::ALL`], then those without one.
    pub levels: [u64; 6],
    /// Lines by hour since 1970.
    pub hours: Vec<(i64, u64)>,
}

impl Index {
    /// Bytes of text in all.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.raw)).sum()
    }

    /// Line ends in all.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.lines)).sum()
    }

    /// The skippable frame that holds this index.
    pub fn to_frame(&self) -> io::Result<Vec<u8>> {
        let body = serde_json::to_vec(self)?;
        let length = u32::try_from(body.len() + 8).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(body.len() + 16);
        frame.extend_from_slice(&SKIPPABLE.to_le_bytes());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&body);
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.extend_from_slice(FOOTER);
        Ok(frame)
    }

    /// Reads the index at the end of a file; a file without one is walked frame by frame.
    pub fn of(file: &File) -> io::Result<Index> {
        let size = file.metadata()?.len();
        match read_index(file, size)? {
            Some(index) => Ok(index),
            None => walk(file, size),
        }
    }
}

fn read_index(file: &File, size: u64) -> io::Result<Option<Index>> {
    if size < 16 {
        return Ok(None);
    }
    let mut footer = [0_u8; 8];
    file.read_exact_at(&mut footer, size - 8)?;
    let length = u32::from_le_bytes([footer[0], footer[1], footer[2], footer[3]]);
    if &footer[4..] != FOOTER || length > INDEX_LIMIT || u64::from(length) + 16 > size {
        return Ok(None);
    }
    let start = size - u64::from(length) - 16;
    let mut frame = vec![0_u8; length as usize + 8];
    file.read_exact_at(&mut frame, start)?;
    if frame[..4] != SKIPPABLE.to_le_bytes() || frame[4..8] != (length + 8).to_le_bytes() {
        return Ok(None);
    }
    let Ok(index) = serde_json::from_slice::<Index>(&frame[8..]) else {
        return Ok(None);
    };
    let packed: u64 = index
        .frames
        .iter()
        .map(|frame| u64::from(frame.packed))
        .sum();
    // An index that does not describe this very file is worth less than none.
    Ok((packed == start
        && index
            .frames
            .iter()
            .all(|frame| frame.raw as usize <= FRAME_LIMIT))
    .then_some(index))
}

/// Makes the index of a file that has none, by decoding it once.
fn walk(file: &File, size: u64) -> io::Result<Index> {
    if size > u64::from(INDEX_LIMIT) {
        return Err(invalid(
            "a compressed file without an index is too large to be ours",
        ));
    }
    let mut bytes = vec![0_u8; size as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let mut tally = Tally::default();
    let mut rest = &bytes[..];
    let (mut decoder, mut text) = (Decoder::default(), Vec::new());
    while !rest.is_empty() {
        let length = zstd_safe::find_frame_compressed_size(rest)
            .map_err(|_| invalid("not a whole zstd frame"))?;
        let (frame, after) = rest.split_at(length.min(rest.len()));
        if is_skippable(frame) {
            // Frames with text only: what we skip here must keep its length in the sum of offsets.
            tally.frame(length as u32, &[]);
        } else {
            decoder.decode(frame, &mut text)?;
            tally.frame(length as u32, &text);
        }
        rest = after;
    }
    Ok(tally.index())
}

fn is_skippable(frame: &[u8]) -> bool {
    frame.len() >= 4 && frame[1..4] == [0x2A, 0x4D, 0x18] && frame[0] & 0xF0 == 0x50
}

/// Decodes frames; keeps its working memory from one to the next.
pub struct Decoder(zstd_safe::DCtx<'static>);

impl Default for Decoder {
    fn default() -> Self {
        Decoder(zstd_safe::DCtx::create())
    }
}

impl Decoder {
    /// Decodes one frame into `text`, which it replaces. What holds more than [`FRAME_LIMIT`] is refused.
    pub fn decode(&mut self, frame: &[u8], text: &mut Vec<u8>) -> io::Result<()> {
        text.clear();
        if is_skippable(frame) {
            return Ok(());
        }
        let known =
            zstd_safe::get_frame_content_size(frame).map_err(|_| invalid("not a zstd frame"))?;
        let size = known.map_or(FRAME_LIMIT, |size| {
            usize::try_from(size).unwrap_or(usize::MAX)
        });
        if size > FRAME_LIMIT {
            return Err(invalid("a frame holds more than any of ours"));
        }
        text.reserve(size);
        self.0
            .decompress(text, frame)
            .map_err(|code| invalid(zstd_safe::get_error_name(code)))?;
        Ok(())
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// Counts what goes into the index while frames are written.
#[derive(Debug, Default)]
pub struct Tally {
    index: Index,
}

impl Tally {
    /// Adds a frame of `packed` bytes that holds `text`.
    pub fn frame(&mut self, packed: u32, text: &[u8]) {
        let mut frame = Frame {
            packed,
            raw: text.len() as u32,
            lines: 0,
            first: None,
            last: None,
        };
        for line in lines(text) {
            frame.lines += u32::from(line.ends_with(b"\n"));
            let seen = crate::line::glance(line.strip_suffix(b"\n").unwrap_or(line));
            self.index.levels[seen.level.map_or(5, |level| level as usize)] += 1;
            let Some(millis) = seen.millis else { continue };
            frame.first = Some(frame.first.map_or(millis, |first| first.min(millis)));
            frame.last = Some(frame.last.map_or(millis, |last| last.max(millis)));
            self.hour(millis.div_euclid(3_600_000));
        }
        self.index.frames.push(frame);
    }

    fn hour(&mut self, hour: i64) {
        match self.index.hours.last_mut() {
            Some((last, count)) if *last == hour => *count += 1,
            _ => self.index.hours.push((hour, 1)),
        }
    }

    /// The index, hours in order and each once.
    #[must_use]
    pub fn index(mut self) -> Index {
        self.index.v = 1;
        self.index.hours.sort_unstable();
        self.index.hours.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 += later.1;
            }
            same
        });
        self.index
    }
}

/// The lines of a text, each with its line end.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn frame(text: &str) -> Vec<u8> {
        zstd::bulk::compress(text.as_bytes(), 1).unwrap()
    }

    #[test]
    fn an_index_survives_writing_and_reading() {
        let mut tally = Tally::default();
        let text = "{\"ts\":\"2026-01-01T00:00:00.000Z\",\"level\":\"INFO\"}\nnot json\n";
        let packed = frame(text);
        tally.frame(packed.len() as u32, text.as_bytes());
        let index = tally.index();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&packed).unwrap();
        file.write_all(&index.to_frame().unwrap()).unwrap();
        let read = Index::of(&file).unwrap();
        assert_eq!(read, index);
        assert_eq!((read.lines(), read.raw_bytes()), (2, text.len() as u64));
        assert_eq!(read.levels, [0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn a_file_without_an_index_is_walked_and_one_with_a_wrong_index_too() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&frame("a\nb\n")).unwrap();
        file.write_all(&frame("c\n")).unwrap();
        assert_eq!(Index::of(&file).unwrap().lines(), 3);
        // An index that belongs to another file: the sum of frames does not fit.
        let mut other = Tally::default();
        other.frame(7, b"x\n");
        file.write_all(&other.index().to_frame().unwrap()).unwrap();
        let index = Index::of(&file).unwrap();
        assert_eq!((index.lines(), index.raw_bytes()), (3, 6));
    }

    #[test]
    fn rubbish_and_bombs_are_refused() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"this is not zstd at all, not at all")
            .unwrap();
        assert!(Index::of(&file).is_err());
        let bomb = zstd::bulk::compress(&vec![0_u8; FRAME_LIMIT + 1], 1).unwrap();
        let mut text = Vec::new();
        assert!(Decoder::default().decode(&bomb, &mut text).is_err());
        assert!(
            Decoder::default()
                .decode(&frame("x")[..5], &mut text)
                .is_err()
        );
    }
}
