//! Small real disks: they can be filled, made read-only, or lose power in the middle of the work.
//!
//! A disk is an ext4 file system in a file, mounted through a loop device. Losing power is the file system's own
//! shutdown ioctl without flushing the journal: whatever was not synced is gone after the next mount, as it would be
//! after a cut. This needs root and loop devices; [`Disk::unavailable`] says why when there are none.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// `EXT4_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`, and its flag "do not flush the journal". Says when it began.
const SHUTDOWN: &str = "import fcntl,struct,sys,os,time;\
    disk=os.open(sys.argv[1], os.O_RDONLY);\
    print(time.clock_gettime_ns(time.CLOCK_MONOTONIC));\
    fcntl.ioctl(disk, 0x8004587D, struct.pack('I', 2))";

/// A process that was killed may hold the mount for a moment.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(30);

/// A mounted disk; unmounted and gone when dropped.
#[derive(Debug)]
pub struct Disk {
    room: tempfile::TempDir,
}

impl Disk {
    /// Why there can be no disks here, if so.
    #[must_use]
    pub fn unavailable() -> Option<String> {
        Self::new(8).err().map(|error| format!("{error:#}"))
    }

    /// Makes and mounts a disk of `mebibytes`, whose root anyone may write.
    ///
    /// # Errors
    /// Without root, loop devices or `mkfs.ext4`.
    pub fn new(mebibytes: u64) -> Result<Self> {
        let disk = Self {
            room: tempfile::tempdir()?,
        };
        File::create(disk.image())?.set_len(mebibytes << 20)?;
        let image = disk.image();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image))?;
        fs::create_dir(disk.path())?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.room.path().join("disk")
    }

    /// Makes a directory on it that belongs to `uid`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, name: &str, uid: u32) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir_all(&path)?;
        chown(&path, Some(uid), Some(uid))?;
        Ok(path)
    }

    /// Fills it to the last block; the answer, when removed, makes room again.
    ///
    /// # Errors
    /// For any other reason than that the disk is full.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.path().join("filling");
        let mut file = File::create(&path)?;
        // Allocation is delayed: a sync may give blocks back, until a whole pass finds none.
        loop {
            let before = file.metadata()?.len();
            for block in [1_usize << 20, 4096, 1] {
                pour(&mut file, block)?;
            }
            file.sync_all().ok();
            if file.metadata()?.len() == before {
                return Ok(path);
            }
        }
    }

    /// Turns writing off or on again, as a worried kernel does.
    ///
    /// # Errors
    /// When the remount is refused.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let mode = if read_only {
            "remount,ro"
        } else {
            "remount,rw"
        };
        run(Command::new("mount").args(["-o", mode]).arg(self.path()))
    }

    /// Cuts the power, and says at which [`moment`] that began. Programs that use the disk see errors from now on.
    ///
    /// What was synced before this moment is there after [`Self::restore_power`]. A sync that is under way in it may be
    /// called good although its bytes are lost: the kernel drops them without an error once the file system is shut
    /// down. No real cut would leave anyone who could hear that. `cargo chaos power control` counts how often this
    /// happens to a file without any program of ours.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn cut_power(&self) -> Result<Duration> {
        let moment = said(
            Command::new("python3")
                .args(["-c", SHUTDOWN])
                .arg(self.path()),
        )?;
        let nanoseconds = moment.trim().parse().context("the moment of the cut")?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Brings the power back: mounts again, with the journal replayed. Nobody may use the disk.
    ///
    /// # Errors
    /// When the disk is still in use, or cannot be mounted.
    pub fn restore_power(&self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn image(&self) -> PathBuf {
        self.room.path().join("image")
    }

    fn mount(&self) -> Result<()> {
        let image = self.image();
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(self.path()))?;
        let anyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(self.path(), anyone).context("opening the disk to everyone")
    }

    fn unmount(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match run(Command::new("umount").arg(self.path())) {
                Err(_) if begun.elapsed() < UNMOUNT_PATIENCE => {
                    thread::sleep(Duration::from_millis(50));
                }
                outcome => return outcome,
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if is_mounted(&self.path()) {
            // A lazy unmount leaves nothing behind even when a program still has a file open.
            run(Command::new("umount").arg("-l").arg(self.path())).ok();
        }
    }
}

/// Now, on the clock that [`Disk::cut_power`] goes by: since an arbitrary point, the same for all processes.
#[must_use]
pub fn moment() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// Writes blocks until there is no room for another one.
fn pour(file: &mut File, block_bytes: usize) -> Result<()> {
    let bytes = vec![0x5A; block_bytes];
    loop {
        match file.write(&bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let wanted = path.to_string_lossy();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(wanted.as_ref()))
}

fn run(command: &mut Command) -> Result<()> {
    said(command).map(drop)
}

/// What the command printed.
fn said(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", complaint.trim());
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Option<Disk> {
        if let Some(why) = Disk::unavailable() {
            eprintln!("SKIPPED: no loop disks here: {why}");
            return None;
        }
        Some(Disk::new(16).unwrap())
    }

    #[test]
    fn it_fills_and_empties() {
        let Some(disk) = disk() else { return };
        let filling = disk.fill().unwrap();
        let refused = fs::write(disk.path().join("more"), vec![1; 8192]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        fs::remove_file(filling).unwrap();
        // Blocks are free again once their removal is in the journal.
        File::open(disk.path()).unwrap().sync_all().unwrap();
        fs::write(disk.path().join("more"), vec![1; 8192]).unwrap();
    }

    #[test]
    fn it_turns_read_only_and_back() {
        let Some(disk) = disk() else { return };
        disk.set_read_only(true).unwrap();
        let refused = fs::write(disk.path().join("more"), "x").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        disk.set_read_only(false).unwrap();
        fs::write(disk.path().join("more"), "x").unwrap();
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_nothing_else() {
        let Some(disk) = disk() else { return };
        let mut kept = File::create(disk.path().join("kept")).unwrap();
        kept.write_all(b"kept").unwrap();
        kept.sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        fs::write(disk.path().join("gone"), b"gone").unwrap();
        drop(kept);
        disk.cut_power().unwrap();
        assert!(fs::write(disk.path().join("later"), b"x").is_err());
        disk.restore_power().unwrap();
        assert_eq!(fs::read(disk.path().join("kept")).unwrap(), b"kept");
        assert!(!disk.path().join("gone").exists());
    }
}
