//! Faults of single system calls, injected from outside by strace: the n-th call fails, or the process dies in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::{Finished, House, Launch, NOBODY, Running};

/// Calls that touch files; the question mark lets strace skip those that this machine does not have.
const CALLS: [&str; 26] = [
    "openat",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "lseek",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "ftruncate",
    "fallocate",
    "flock",
    "fcntl",
    "getdents64",
    "statfs",
    "newfstatat",
    "statx",
];

/// What happens in the call.
const FAULTS: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=KILL"];

/// Why there can be no injection here, if so.
#[must_use]
pub fn unavailable() -> Option<String> {
    let mut probe = Command::new("strace");
    probe.args([
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=?rmdir:error=EIO:when=1",
        "true",
    ]);
    if rustix::process::geteuid().is_root() {
        probe.uid(NOBODY).gid(NOBODY);
    }
    match probe.output() {
        Err(error) => Some(format!("strace: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "strace: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// One fault: which call, the how-manyth of its thread, and what happens in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    call: String,
    number: u32,
    what: &'static str,
}

impl Fault {
    /// Whether the process dies of it.
    #[must_use]
    pub fn kills(&self) -> bool {
        self.what == "signal=KILL"
    }

    /// Whether the program could not even say what happened: it died, or the fault hit the very call that writes the
    /// message. The same number of a call comes in each of its threads, so that this may be a second hit.
    ///
    /// # Panics
    /// When strace left no list of calls in `log`.
    #[must_use]
    pub fn silenced(&self, log: &Path) -> bool {
        let text = fs::read_to_string(log).expect("what strace wrote");
        // A call that another thread's line interrupts is told in two lines.
        let mut interrupted = BTreeSet::new();
        let mut hit_the_message = |line: &str| {
            let (thread, rest) = line.split_once(' ').unwrap_or_default();
            let call = rest.trim_start();
            let is_message = call.starts_with("write(2,")
                || (call.starts_with("<... write resumed>") && interrupted.remove(thread));
            if is_message && call.ends_with("<unfinished ...>") {
                interrupted.insert(thread.to_owned());
            }
            is_message && call.ends_with("(INJECTED)")
        };
        self.kills() || text.lines().any(&mut hit_the_message)
    }

    /// The program, with this fault on its way. What it hits is written to `log`.
    #[must_use]
    pub fn in_launch(&self, launch: Launch, log: &Path) -> Launch {
        let Self { call, number, what } = self;
        let arguments = ["strace", "-f", "--seccomp-bpf", "-o"].map(OsString::from);
        let rest = [
            "-e".into(),
            format!("trace={call}").into(),
            "-e".into(),
            format!("inject={call}:{what}:when={number}").into(),
        ];
        let log = [log.as_os_str().to_owned()];
        launch.under(arguments.into_iter().chain(log).chain(rest))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {} number {}", self.what, self.call, self.number)
    }
}

/// The calls of a program that runs to its end, so that faults can be chosen among them.
pub struct Calls(BTreeMap<String, u32>);

impl Calls {
    /// Runs the program once, undisturbed, and counts.
    pub fn of(house: &House, launch: Launch) -> (Self, Finished) {
        let log = house.path("tmp/calls");
        let finished = watched(launch, &log).run();
        (Self::in_log(&log), finished)
    }

    /// The same for a program that does not end by itself: until `enough` returns.
    pub fn until(house: &House, launch: Launch, enough: impl FnOnce(&mut Running)) -> Self {
        let log = house.path("tmp/calls");
        let mut running = watched(launch, &log).start();
        enough(&mut running);
        running.kill_inner();
        Self::in_log(&log)
    }

    fn in_log(log: &Path) -> Self {
        let calls = Self(count(log));
        fs::remove_file(log).expect("the list of calls");
        assert!(!calls.0.is_empty(), "strace saw nothing");
        calls
    }

    /// A fault by chance: every kind of call as often as every other, and of one kind every call.
    pub fn choose(&self, chance: &mut fastrand::Rng) -> Fault {
        let all: Vec<(&String, &u32)> = self.0.iter().collect();
        let (call, count) = all[chance.usize(..all.len())];
        Fault {
            call: call.clone(),
            number: chance.u32(1..=*count),
            what: FAULTS[chance.usize(..FAULTS.len())],
        }
    }
}

fn watched(launch: Launch, log: &Path) -> Launch {
    let all: Vec<String> = CALLS.iter().map(|call| format!("?{call}")).collect();
    let first = ["strace", "-f", "--seccomp-bpf", "-o"].map(OsString::from);
    let rest = ["-e".into(), format!("trace={}", all.join(",")).into()];
    let log = [log.as_os_str().to_owned()];
    launch.under(first.into_iter().chain(log).chain(rest))
}

/// The most calls that one thread made, by name: strace counts each thread by itself.
fn count(log: &Path) -> BTreeMap<String, u32> {
    let text = fs::read_to_string(log).expect("what strace wrote");
    let mut by_thread: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let call = rest.trim_start().split('(').next().unwrap_or_default();
        if CALLS.contains(&call) {
            *by_thread.entry((thread, call)).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let entry = most.entry(call.to_owned()).or_insert(0);
        *entry = count.max(*entry);
    }
    most
}

/// A copy of a directory, to put back before every fault.
pub struct Before {
    from: PathBuf,
    kept: tempfile::TempDir,
}

impl Before {
    /// Keeps a directory as it is now.
    pub fn of(from: PathBuf) -> Self {
        let kept = tempfile::tempdir().expect("a directory");
        copy(&from, &kept.path().join("kept"));
        Self { from, kept }
    }

    /// Puts it back as it was.
    pub fn put_back(&self) {
        fs::remove_dir_all(&self.from).expect("a directory that can be removed");
        copy(&self.kept.path().join("kept"), &self.from);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
