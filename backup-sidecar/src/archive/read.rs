//! This room reads an archive that may be torn, forged or hostile: bounded memory, no path that leaves, no links, and
//! nothing that its manifest does not promise.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::pump::{Moved, Pump};
use super::{BLOCK, check_claim};
use crate::manifest::{self, FileEntry, Manifest};
use crate::seal::Identities;
use crate::watch::Watch;

/// No honest archive needs a larger window: bounds the decoder's memory at 16 MiB.
const MAX_WINDOW_LOG: u32 = 24;

/// How every sealed archive begins.
const AGE_MAGIC: &[u8] = b"age-encryption.org/";

/// Where the files of an archive go.
pub trait Sink {
    /// Whether what is written is to outlive a power cut, so that the disk should begin while the archive is read.
    fn lasts(&self) -> bool {
        false
    }

    /// The manifest was read and checked; nothing was written yet.
    ///
    /// # Errors
    /// Ends the reading.
    fn begin(&mut self, manifest: &Manifest) -> anyhow::Result<()>;

    /// A file begins: where to write it, or `None` to hash it only.
    ///
    /// # Errors
    /// Ends the reading.
    fn open(&mut self, entry: &FileEntry) -> anyhow::Result<Option<File>>;

    /// A file ended and its hash was right.
    ///
    /// # Errors
    /// Ends the reading.
    fn close(&mut self, entry: &FileEntry, file: Option<File>) -> anyhow::Result<()>;
}

type Tar<'a> = tar::Archive<Box<dyn Read + 'a>>;

/// Reads a whole archive, proves every file against the manifest, and hands it to `sink`.
///
/// # Errors
/// With the first reason for which the archive cannot be trusted.
pub fn read(
    path: &Path,
    keys: Option<&Identities>,
    watch: &Watch,
    sink: &mut dyn Sink,
) -> anyhow::Result<Manifest> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot look at {}", path.display()))?
        .len();
    let mut tar = open(path, keys)?;
    let mut entries = tar.entries()?.raw(true);
    let manifest = read_manifest(entries.next())?;
    check_claim(manifest.total_bytes(), bytes)?;
    sink.begin(&manifest)?;
    watch.stage("verify", manifest.total_bytes());
    let mut missing: BTreeMap<&str, &FileEntry> = manifest
        .files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let pump = Pump::start(sink.lasts());
    let mut long_name = None;
    for entry in entries {
        let mut entry = entry.context("the archive is torn")?;
        match entry.header().entry_type() {
            tar::EntryType::GNULongName if long_name.is_none() => {
                long_name = Some(read_long_name(&mut entry)?);
                continue;
            }
            tar::EntryType::Regular => {}
            other => bail!("it holds something that is no file ({other:?}): refused"),
        }
        let header_name = || entry.header().path_bytes().into_owned();
        let name = String::from_utf8(long_name.take().unwrap_or_else(header_name))
            .context("a name is not UTF-8")?;
        let promised = missing.remove(name.as_str()).with_context(|| {
            format!("it holds {name:?}, which its manifest does not name, or twice")
        })?;
        ensure!(
            entry.size() == promised.size,
            "{name}: the size is not what the manifest says"
        );
        let file = sink.open(promised)?;
        let moved = move_file(&mut entry, promised, file, &pump, watch)?;
        ensure!(
            moved.sha256 == promised.sha256,
            "{name}: the hash is not what the manifest says"
        );
        sink.close(promised, moved.file)?;
    }
    ensure!(long_name.is_none(), "the archive is torn");
    if let Some(name) = missing.keys().next() {
        bail!("{name} is missing");
    }
    check_end(tar.into_inner())?;
    watch.finish();
    Ok(manifest)
}

/// Reads the manifest alone.
///
/// # Errors
/// When the archive has none that can be trusted.
pub fn manifest_of(path: &Path, keys: Option<&Identities>) -> anyhow::Result<Manifest> {
    let mut tar = open(path, keys)?;
    let mut entries = tar.entries()?.raw(true);
    read_manifest(entries.next())
}

fn open<'a>(path: &Path, keys: Option<&'a Identities>) -> anyhow::Result<Tar<'a>> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let is_sealed = is_sealed(&mut file)?;
    let compressed: Box<dyn Read + 'a> = match (is_sealed, keys) {
        (false, _) => Box::new(file),
        (true, Some(keys)) => keys.open(file)?,
        (true, None) => bail!("it is sealed: set BACKUP_AGE_IDENTITY_FILE to open it"),
    };
    let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(BLOCK, compressed))?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(tar::Archive::new(Box::new(decoder)))
}

/// Goes by the first bytes: an unfinished archive has not its final name yet.
fn is_sealed(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::with_capacity(AGE_MAGIC.len());
    Read::take(&mut *file, AGE_MAGIC.len() as u64).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(head == AGE_MAGIC)
}

fn read_manifest<R: Read>(
    first: Option<io::Result<tar::Entry<'_, R>>>,
) -> anyhow::Result<Manifest> {
    let first = first.context("it is empty")?;
    let mut entry = first.context("it is not one of our archives")?;
    let is_manifest = entry.header().entry_type() == tar::EntryType::Regular
        && *entry.header().path_bytes() == *manifest::NAME.as_bytes();
    ensure!(
        is_manifest,
        "it does not begin with {}: it is not one of our archives",
        manifest::NAME
    );
    ensure!(
        entry.size() <= manifest::MAX_BYTES,
        "its manifest is too large"
    );
    let mut bytes = Vec::new();
    let length = entry.size();
    (&mut entry)
        .take(length)
        .read_to_end(&mut bytes)
        .context("its manifest is torn")?;
    ensure!(bytes.len() as u64 == length, "its manifest is torn");
    Manifest::parse(&bytes)
}

fn read_long_name<R: Read>(entry: &mut tar::Entry<'_, R>) -> anyhow::Result<Vec<u8>> {
    ensure!(entry.size() <= 8_192, "a name in it is too long");
    let mut name = Vec::new();
    entry
        .read_to_end(&mut name)
        .context("the archive is torn")?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// Moves one file out of the archive; writing and hashing run beside the decoder.
fn move_file(
    entry: &mut impl Read,
    promised: &FileEntry,
    file: Option<File>,
    pump: &Pump,
    watch: &Watch,
) -> anyhow::Result<Moved> {
    let unwritten = || format!("cannot write {}", promised.path);
    pump.begin(file).with_context(unwritten)?;
    let mut left = promised.size;
    while left > 0 {
        let mut block = pump.spare_block();
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        block.resize(want, 0);
        entry
            .read_exact(&mut block)
            .with_context(|| format!("{}: the archive is torn", promised.path))?;
        pump.push(block).with_context(unwritten)?;
        left -= want as u64;
        watch.advance(want as u64)?;
    }
    pump.end().with_context(unwritten)
}

/// After the last file there may be padding, and then the end; the rest is read so that zstd checks its checksum.
fn check_end(mut rest: Box<dyn Read + '_>) -> anyhow::Result<()> {
    let mut tail = Vec::new();
    let limit: u64 = 1 << 20;
    (&mut rest)
        .take(limit)
        .read_to_end(&mut tail)
        .context("the archive is torn at its end")?;
    let is_clean = (tail.len() as u64) < limit && tail.iter().all(|byte| *byte == 0);
    ensure!(is_clean, "it goes on after its end");
    Ok(())
}
