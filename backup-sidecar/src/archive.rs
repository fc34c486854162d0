//! This room writes and reads the archive: a tar of `MANIFEST.json` and the files, in zstd that stock tools open.
//!
//! The manifest is the first entry but is known last. Its place is kept free at the front and filled at the end: one
//! zstd frame with the manifest, then a skippable frame, which every zstd ignores, as padding up to the files' frame.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use zstd::stream::raw::CParameter;

use crate::manifest::{self, FileEntry, Manifest};
use crate::watch::Watch;

mod pump;
mod read;

pub use read::{Sink, manifest_of, read};

/// Bytes of one tar block.
const TAR_BLOCK: usize = 512;

/// The head of a skippable zstd frame: magic and length.
const SKIPPABLE_HEAD: usize = 8;

/// Compression works on pieces of this size: small enough to bound memory, large enough for the ratio.
const PIECE_BYTES: u32 = 2 << 20;

/// How much is read at a time.
const BLOCK: usize = 1 << 18;

/// An archive that is being written.
pub struct Writer<'a> {
    tar: tar::Builder<zstd::Encoder<'static, &'a mut File>>,
    kept_free: usize,
    files: Vec<FileEntry>,
}

impl<'a> Writer<'a> {
    /// Begins an archive in an empty file, whose manifest will take at most `manifest_bytes`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(file: &'a mut File, manifest_bytes: usize, level: i32) -> anyhow::Result<Self> {
        let kept_free = zstd::zstd_safe::compress_bound(tar_bytes(manifest_bytes)) + SKIPPABLE_HEAD;
        file.seek(SeekFrom::Start(kept_free as u64))?;
        let mut encoder = zstd::Encoder::new(file, level)?;
        encoder.include_checksum(true)?;
        encoder.multithread(2)?;
        encoder.set_parameter(CParameter::JobSize(PIECE_BYTES))?;
        let mut tar = tar::Builder::new(encoder);
        tar.mode(tar::HeaderMode::Deterministic);
        Ok(Self {
            tar,
            kept_free,
            files: Vec::new(),
        })
    }

    /// Adds what `source` holds now, up to its present length; a file that shrinks meanwhile is filled up with zeros.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn add(&mut self, path: &str, source: &mut File, watch: &Watch) -> anyhow::Result<()> {
        let facts = source.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(facts.len());
        header.set_mode(if path.starts_with("data/") {
            0o600
        } else {
            0o644
        });
        let modified = facts
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        header.set_mtime(modified.map_or(0, |time| time.as_secs()));
        let mut reader = HashingReader {
            inner: source,
            left: facts.len(),
            hash: Sha256::new(),
            watch,
        };
        self.tar
            .append_data(&mut header, path, &mut reader)
            .with_context(|| format!("cannot archive {path}"))?;
        self.files.push(FileEntry {
            path: path.to_owned(),
            size: facts.len(),
            sha256: hex(&reader.hash.finalize()),
        });
        Ok(())
    }

    /// Ends the files' part and tells what went into it.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish_files(self) -> anyhow::Result<Pending<'a>> {
        let file = self.tar.into_inner()?.finish()?;
        Ok(Pending {
            file,
            kept_free: self.kept_free,
            files: self.files,
        })
    }
}

/// An archive that lacks its manifest alone.
pub struct Pending<'a> {
    file: &'a mut File,
    kept_free: usize,
    /// The files in it.
    pub files: Vec<FileEntry>,
}

impl Pending<'_> {
    /// Fills in the manifest.
    ///
    /// # Errors
    /// When it is larger than was foreseen, or writing fails.
    pub fn finish(self, manifest: &Manifest) -> anyhow::Result<()> {
        let bytes = manifest.to_bytes()?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(manifest.created_utc.as_second().unsigned_abs());
        header.set_path(manifest::NAME)?;
        header.set_cksum();
        let mut plain = header.as_bytes().to_vec();
        plain.extend_from_slice(&bytes);
        plain.resize(tar_bytes(bytes.len()), 0);
        let mut encoder = zstd::Encoder::new(Vec::new(), 3)?;
        encoder.include_checksum(true)?;
        encoder.write_all(&plain)?;
        let mut front = encoder.finish()?;
        let padding = self.kept_free.checked_sub(front.len() + SKIPPABLE_HEAD);
        let padding = padding.context("the manifest is larger than its place in the archive")?;
        front.extend_from_slice(&0x184D_2A50_u32.to_le_bytes());
        front.extend_from_slice(&u32::try_from(padding)?.to_le_bytes());
        front.resize(self.kept_free, 0);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&front)?;
        Ok(())
    }
}

/// At least as many bytes as a manifest of so many files, path bytes, tables and databases takes.
#[must_use]
pub fn manifest_bound(
    files: usize,
    path_bytes: usize,
    databases: usize,
    schema_bytes: usize,
) -> usize {
    // A path may be escaped (six bytes for one) and stands twice for a database.
    16_384 + files * 200 + path_bytes * 12 + databases * 2_048 + schema_bytes * 8
}

fn tar_bytes(content: usize) -> usize {
    TAR_BLOCK + content.div_ceil(TAR_BLOCK) * TAR_BLOCK
}

struct HashingReader<'a> {
    inner: &'a mut File,
    left: u64,
    hash: Sha256,
    watch: &'a Watch,
}

impl Read for HashingReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        if want == 0 {
            return Ok(0);
        }
        let mut length = self.inner.read(&mut into[..want])?;
        if length == 0 {
            into[..want].fill(0);
            length = want;
        }
        self.hash.update(&into[..length]);
        self.left -= length as u64;
        self.watch
            .advance(length as u64)
            .map_err(io::Error::other)?;
        Ok(length)
    }
}

/// A writer that knows the SHA-256 and the length of what went through it.
pub struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
    length: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            length: 0,
        }
    }

    /// The hash in hexadecimal, and the length.
    pub fn finish(self) -> (String, u64) {
        (hex(&self.hash.finalize()), self.length)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.length += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The SHA-256 of a whole file.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path, watch: &Watch) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    watch.stage("hash", file.metadata()?.len());
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let length = file
            .read(&mut block)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if length == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&block[..length]);
        watch.advance(length as u64)?;
    }
}

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a string cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
}

/// Refuses an archive that claims to hold more than any honest one of its size could.
///
/// # Errors
/// With both sizes.
pub fn check_claim(claimed: u64, archive_bytes: u64) -> anyhow::Result<()> {
    let bound = archive_bytes.saturating_mul(2_000).max(1 << 30);
    ensure!(
        claimed <= bound,
        "it claims to hold {claimed} bytes in {archive_bytes}: no honest archive does"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
