//! This room writes log segments: the writer alone rotates, names and seals them.
//!
//! Active: `<service>.log`. Closed: `<service>.<YYYYMMDDTHHMMSS.mmmZ>.log`, a name given by `rename` after the last
//! byte was synced; nobody ever writes to that file again. A torn last line, left by a crash, is cut off into
//! `<service>.<instant>.torn` before the file is sealed.

mod name;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use name::{SegmentName, active_name};

use crate::lock::DirLock;
use crate::publish::{self, Partial};

/// Permission bits of log files, before the umask: the owner's share account may read them.
const FILE_MODE: u32 = 0o666;

/// After a failed rotation the next one waits this long; lines go on into the active file.
const ROTATION_RETRY: SignedDuration = SignedDuration::from_secs(60);

/// When a segment is closed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A line that would make the segment larger goes into the next one, in bytes.
    pub max_size_bytes: u64,
    /// A segment is closed when its first line is this old.
    pub rotate_after: Duration,
}

/// The single writer of one service's log.
#[derive(Debug)]
pub struct SegmentWriter {
    dir: PathBuf,
    service: String,
    limits: Limits,
    lock: DirLock,
    active: Option<Active>,
    last_stamp: Timestamp,
    no_rotation_before: Timestamp,
}

#[derive(Debug)]
struct Active {
    file: File,
    /// Bytes of whole lines; anything beyond is half a line that a failing disk left.
    bytes: u64,
    /// When the first line was written.
    begun: Timestamp,
}

impl SegmentWriter {
    /// Takes the log of `service` in `dir`: seals what an earlier process left, and opens a new active segment.
    /// `None` when another process is its writer.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn open(
        dir: &Path,
        service: &str,
        limits: Limits,
        now: Timestamp,
    ) -> io::Result<Option<Self>> {
        let Some(lock) = DirLock::try_take(&dir.join(format!(".{service}.lock")))? else {
            return Ok(None);
        };
        let newest = newest_stamp(dir, service)?.max(remembered_stamp(&lock));
        let mut writer = Self {
            dir: dir.to_owned(),
            service: service.to_owned(),
            limits,
            lock,
            active: None,
            last_stamp: newest,
            no_rotation_before: Timestamp::MIN,
        };
        writer.seal_left_over(now)?;
        writer.active = Some(writer.open_active(now)?);
        Ok(Some(writer))
    }

    /// Appends one line (without its newline) in one write, rotating first when it is time.
    ///
    /// # Errors
    /// When the line was not written; the file then holds whole lines only, or is mended before the next one.
    pub fn write_line(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        if self.is_due(bytes.len() as u64, now) && self.rotate(now).is_err() {
            self.no_rotation_before = now.saturating_add(ROTATION_RETRY).unwrap_or(now);
        }
        let active = match &mut self.active {
            Some(active) => active,
            empty => empty.insert(open_active(&self.dir, &self.service, now)?),
        };
        active.append(&bytes, now)
    }

    /// Closes the active segment, so that it can be compressed, and opens the next; nothing when it has no line.
    ///
    /// # Errors
    /// When a sync or the rename fails; lines then go on into the same segment.
    pub fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            self.active = Some(self.open_active(now)?);
            return Ok(());
        };
        active.mend()?;
        if active.bytes == 0 {
            return Ok(());
        }
        active.file.sync_data()?;
        self.seal(now)?;
        // The old file must not be written again, even when the new one cannot be made now.
        self.active = None;
        self.active = Some(self.open_active(now)?);
        Ok(())
    }

    fn is_due(&self, more: u64, now: Timestamp) -> bool {
        let Some(active) = &self.active else {
            return false;
        };
        let age = now.duration_since(active.begun);
        let old =
            SignedDuration::try_from(self.limits.rotate_after).is_ok_and(|limit| age >= limit);
        let full = active.bytes + more > self.limits.max_size_bytes;
        active.bytes > 0 && (full || old) && now >= self.no_rotation_before
    }

    /// Gives the active file a closed name that was never given before, also when the clock went back.
    fn seal(&mut self, now: Timestamp) -> io::Result<()> {
        let active = self.dir.join(active_name(&self.service));
        loop {
            let stamp = self.next_stamp(now);
            // Remembered before it is used: a name must not be given twice after its file was pruned.
            self.lock
                .file()
                .write_all_at(stamp.as_millisecond().to_string().as_bytes(), 0)?;
            self.last_stamp = stamp;
            let closed = self
                .dir
                .join(SegmentName::closed(&self.service, stamp).to_string());
            match publish::rename(&active, &closed) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Somebody deleted the active file by hand: there is nothing left to seal.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => return other,
            }
        }
    }

    fn next_stamp(&self, now: Timestamp) -> Timestamp {
        let floor = self.last_stamp.as_millisecond().saturating_add(1);
        Timestamp::from_millisecond(now.as_millisecond().max(floor)).unwrap_or(now)
    }

    fn seal_left_over(&mut self, now: Timestamp) -> io::Result<()> {
        let path = self.dir.join(active_name(&self.service));
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if self.is_sealed(&file)? {
            return publish::remove(&path);
        }
        let whole = whole_lines(&mut file)?;
        if whole < file.metadata()?.len() {
            let stamp = self.next_stamp(now);
            let torn = SegmentName::closed(&self.service, stamp).torn();
            self.set_aside(&mut file, whole, &torn)?;
            file.set_len(whole)?;
        }
        file.sync_all()?;
        if whole > 0 { self.seal(now) } else { Ok(()) }
    }

    /// Whether the active file has its closed name already. Where a file system cannot rename into a free name, a kill
    /// can come between giving the new name and taking the old one away.
    fn is_sealed(&self, file: &File) -> io::Result<bool> {
        let active = file.metadata()?;
        if active.nlink() < 2 {
            return Ok(false);
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let parsed = name.to_str().and_then(SegmentName::parse);
            if parsed.is_some_and(|name| name.service == self.service) {
                let closed = fs::symlink_metadata(entry.path());
                let identity = (active.dev(), active.ino());
                if closed.is_ok_and(|closed| (closed.dev(), closed.ino()) == identity) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn set_aside(&self, file: &mut File, from: u64, name: &str) -> io::Result<()> {
        let mut partial = Partial::create(&self.dir.join(name), FILE_MODE)?;
        file.seek(SeekFrom::Start(from))?;
        io::copy(file, partial.file())?;
        partial.replace()
    }

    fn open_active(&self, now: Timestamp) -> io::Result<Active> {
        open_active(&self.dir, &self.service, now)
    }
}

fn open_active(dir: &Path, service: &str, now: Timestamp) -> io::Result<Active> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(dir.join(active_name(service)))?;
    publish::sync_dir(dir)?;
    let bytes = file.metadata()?.len();
    Ok(Active {
        file,
        bytes,
        begun: now,
    })
}

impl Active {
    fn append(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        self.mend()?;
        if self.bytes == 0 {
            self.begun = now;
        }
        match self.file.write(line) {
            Ok(written) if written == line.len() => {
                self.bytes += written as u64;
                Ok(())
            }
            Ok(_) => {
                self.mend()?;
                Err(io::ErrorKind::StorageFull.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Cuts half a line off that a full disk left.
    fn mend(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.bytes {
            self.file.set_len(self.bytes)?;
        }
        Ok(())
    }
}

/// The length of the whole lines of `file`, in bytes: up to and with its last newline.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let piece = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        if let Some(newline) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn newest_stamp(dir: &Path, service: &str) -> io::Result<Timestamp> {
    let mut newest = Timestamp::MIN;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let parsed = name.to_str().and_then(SegmentName::parse);
        if let Some(name) = parsed.filter(|name| name.service == service) {
            newest = newest.max(name.closed_at);
        }
    }
    Ok(newest)
}

fn remembered_stamp(lock: &DirLock) -> Timestamp {
    let mut text = [0; 32];
    let read = lock.file().read_at(&mut text, 0).unwrap_or(0);
    std::str::from_utf8(&text[..read])
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MIN)
}
