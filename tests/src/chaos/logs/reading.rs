//! What stands in `logs/`, read without any code of the programs: names, stock zstd, and the sum in each line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::chaos::scribe::{self, SERVICE};

/// Numbers of lines by segment; the active file under its own name.
pub type Shelf = BTreeMap<String, Vec<u64>>;

/// How often a directory is listed anew when a file is gone between the listing and the look.
const LOOKS: usize = 500;

/// Reads everything of the tester, also while a sweep is at work.
///
/// # Errors
/// When a file under a final name is not whole, or a raw file and its compressed form differ.
pub fn shelf(dir: &Path) -> Result<Shelf> {
    for _ in 0..LOOKS {
        if let Some(shelf) = look(dir)? {
            return Ok(shelf);
        }
    }
    bail!("{} never stands still", dir.display())
}

/// One look; `None` when a file went away meanwhile.
fn look(dir: &Path) -> Result<Option<Shelf>> {
    let mut shelf = Shelf::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| is_segment(name)) else {
            continue;
        };
        let text = match fs::read(dir.join(name)) {
            Ok(bytes) if name.ends_with(".zst") => {
                zstd::decode_all(&*bytes).with_context(|| format!("{name} is not whole"))?
            }
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| name.to_owned()),
        };
        let numbers = numbers(&text, name)?;
        let stem = name.trim_end_matches(".zst").to_owned();
        if let Some(other) = shelf.insert(stem, numbers.clone()) {
            ensure!(other == numbers, "{name} and its original differ");
        }
    }
    Ok(Some(shelf))
}

/// Whether a name is that of the tester's active file, or of a closed segment in either form.
fn is_segment(name: &str) -> bool {
    name.strip_prefix(SERVICE)
        .is_some_and(|rest| rest.ends_with(".log") || rest.ends_with(".log.zst"))
}

/// The numbers of the lines of a text. Half a line at the end of an active file is a crash's, and nobody's.
fn numbers(text: &[u8], name: &str) -> Result<Vec<u64>> {
    let end = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    ensure!(
        end == text.len() || name == format!("{SERVICE}.log"),
        "{name} ends in half a line"
    );
    text[..end]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| scribe::number(line).with_context(|| name.to_owned()))
        .collect()
}

/// The numbers in the output of a search, `--json`.
///
/// # Errors
/// When a line of it is not whole.
pub fn found(output: &str) -> Result<Vec<u64>> {
    let mut lines: Vec<&str> = output.lines().collect();
    // A kill or a crash in a write leaves half a line at the end of the active file; it is shown as it stands, until the
    // next writer sets it aside.
    if lines.last().is_some_and(|line| !line.ends_with('}')) {
        lines.pop();
    }
    lines
        .into_iter()
        .map(|line| scribe::number(line.as_bytes()))
        .collect()
}

/// Bytes that count against `LOG_MAX_TOTAL_SIZE`, and how many closed segments each service has.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn taken(dir: &Path) -> Result<(u64, BTreeMap<String, usize>)> {
    let (mut bytes, mut closed) = (0, BTreeMap::<String, BTreeSet<String>>::new());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let counts = [".log", ".log.zst", ".torn"];
        if counts.iter().any(|ending| name.ends_with(ending)) {
            bytes += entry.metadata()?.len();
        }
        let stem = name.trim_end_matches(".zst");
        if let Some((service, stamp)) = stem.split_once('.')
            && stamp.ends_with("Z.log")
        {
            let stems = closed.entry(service.to_owned()).or_default();
            stems.insert(stem.to_owned());
        }
    }
    let counts = closed.into_iter();
    Ok((
        bytes,
        counts
            .map(|(service, stems)| (service, stems.len()))
            .collect(),
    ))
}
