//! This room reads what a segment holds, raw or compressed, in blocks of whole lines.
//!
//! A position counts bytes of text, so it means the same before and after compression.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::frames::{Decoder, FRAME_BYTES, FRAME_LIMIT, Frame, Index};
use crate::segment::{self, Active, Segment};

/// A piece of a segment: whole lines (or, beyond [`FRAME_LIMIT`], a piece of one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Where its text begins in the segment.
    pub start: u64,
    /// Bytes of text.
    pub length: u32,
    /// Earliest and latest time in it, where an index says so; `None` = not known.
    pub times: Option<(i64, i64)>,
    at: u64,
    packed: u32,
}

/// A segment, open for reading.
pub struct Source {
    file: File,
    packed: bool,
    blocks: Vec<Block>,
    decoder: Decoder,
    frame: Vec<u8>,
}

impl Source {
    /// Opens a closed segment: the raw file, or else the compressed one. `None` when pruning took both.
    pub fn closed(dir: &Path, segment: &Segment) -> io::Result<Option<Source>> {
        // The raw file goes only after the compressed one is in place, so looking in this order finds one.
        match segment::open(&dir.join(segment.raw_name())) {
            Ok(file) => return Source::raw(file, None).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match segment::open(&dir.join(segment.packed_name())) {
            Ok(file) => Source::packed(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an active file as far as it went when it was listed.
    pub fn active(active: &Active) -> io::Result<Source> {
        Source::raw(active.file.try_clone()?, Some(active.bytes))
    }

    fn raw(file: File, bytes: Option<u64>) -> io::Result<Source> {
        let size = match bytes {
            Some(bytes) => bytes,
            None => file.metadata()?.len(),
        };
        let blocks = cut(&file, size)?;
        Ok(Source {
            file,
            packed: false,
            blocks,
            decoder: Decoder::default(),
            frame: Vec::new(),
        })
    }

    /// Reads a compressed file.
    pub fn packed(file: File) -> io::Result<Source> {
        let index = Index::of(&file)?;
        let (mut at, mut start) = (0, 0);
        let mut blocks = Vec::with_capacity(index.frames.len());
        for Frame {
            packed,
            raw,
            first,
            last,
            ..
        } in index.frames
        {
            if raw > 0 {
                let times = Some(first.zip(last).unwrap_or((i64::MAX, i64::MIN)));
                blocks.push(Block {
                    start,
                    length: raw,
                    times,
                    at,
                    packed,
                });
            }
            at += u64::from(packed);
            start += u64::from(raw);
        }
        Ok(Source {
            file,
            packed: true,
            blocks,
            decoder: Decoder::default(),
            frame: Vec::new(),
        })
    }

    /// The blocks in order.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Bytes of text in all.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.blocks
            .last()
            .map_or(0, |block| block.start + u64::from(block.length))
    }

    /// The first `length` bytes of text, or all there are.
    pub fn prefix(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let Some(first) = self.blocks.first().copied() else {
            return Ok(Vec::new());
        };
        let mut text = Vec::new();
        let wanted = length.min(first.length as usize);
        if self.packed {
            self.read(first, &mut text)?;
            text.truncate(wanted);
        } else {
            text.resize(wanted, 0);
            self.file.read_exact_at(&mut text, 0)?;
        }
        Ok(text)
    }

    /// Reads a block's text into `text`, which it replaces.
    pub fn read(&mut self, block: Block, text: &mut Vec<u8>) -> io::Result<()> {
        if self.packed {
            self.frame.resize(block.packed as usize, 0);
            self.file.read_exact_at(&mut self.frame, block.at)?;
            self.decoder.decode(&self.frame, text)?;
            if text.len() != block.length as usize {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a frame does not hold what its index says",
                ));
            }
            return Ok(());
        }
        text.resize(block.length as usize, 0);
        self.file.read_exact_at(text, block.at)
    }
}

/// Cuts a raw file into blocks that end at line ends.
fn cut(file: &File, size: u64) -> io::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < size {
        let end = line_end_after(file, start, size)?;
        blocks.push(Block {
            start,
            length: (end - start) as u32,
            times: None,
            at: start,
            packed: 0,
        });
        start = end;
    }
    Ok(blocks)
}

/// The first line end at least [`FRAME_BYTES`] after `start`, or the limit, or the end.
fn line_end_after(file: &File, start: u64, size: u64) -> io::Result<u64> {
    let limit = size.min(start + FRAME_LIMIT as u64);
    let mut at = start + FRAME_BYTES as u64 - 1;
    let mut window = [0_u8; 4096];
    while at < limit {
        let wanted = window.len().min((limit - at) as usize);
        let count = file.read_at(&mut window[..wanted], at)?;
        if count == 0 {
            break;
        }
        if let Some(found) = memchr::memchr(b'\n', &window[..count]) {
            return Ok(at + found as u64 + 1);
        }
        at += count as u64;
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn blocks_end_at_line_ends_and_hold_everything() {
        let mut file = tempfile::tempfile().unwrap();
        let mut written = Vec::new();
        for number in 0..40_000 {
            writeln!(written, "line {number} {}", "x".repeat(number % 90)).unwrap();
        }
        file.write_all(&written).unwrap();
        let mut source = Source::raw(file, None).unwrap();
        assert!(source.blocks().len() >= 2);
        let (mut all, mut text) = (Vec::new(), Vec::new());
        for block in source.blocks().to_vec() {
            source.read(block, &mut text).unwrap();
            assert!(text.ends_with(b"\n"));
            all.extend_from_slice(&text);
        }
        assert_eq!(all, written);
        assert_eq!(source.length(), written.len() as u64);
    }

    #[test]
    fn a_line_longer_than_any_buffer_is_read_in_pieces() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'y'; FRAME_LIMIT + 10]).unwrap();
        let source = Source::raw(file, None).unwrap();
        assert_eq!(
            source
                .blocks()
                .iter()
                .map(|block| block.length as usize)
                .collect::<Vec<_>>(),
            [FRAME_LIMIT, 10]
        );
    }
}
