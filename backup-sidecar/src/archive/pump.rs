//! This room moves the bytes of files from the decoder to the disk and into their hash: decoding, writing, hashing and
//! the disk's own work each have a thread, and a bounded number of blocks lies between them.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow};
use sha2::{Digest, Sha256};

use super::{BLOCK, hex};

/// Blocks that may wait before each thread: 2 MiB.
const BLOCKS_AHEAD: usize = 8;

/// The disk begins to work when so much is unwritten; the rest is then little at the end.
const WRITE_BACK_BYTES: usize = 32 << 20;

/// A file that went through.
pub(super) struct Moved {
    /// The hash of its bytes.
    pub(super) sha256: String,
    /// The file that they were written to, when there was one.
    pub(super) file: Option<File>,
}

/// The threads; they end by themselves when this is dropped.
pub(super) struct Pump {
    steps: SyncSender<Step>,
    spare: Receiver<Vec<u8>>,
    moved: Receiver<io::Result<Moved>>,
}

enum Step {
    Begin(Option<File>),
    Block(Vec<u8>),
    End,
}

enum Written {
    Block(Vec<u8>),
    End(Option<File>),
    Failed(io::Error),
}

impl Pump {
    /// Starts the threads. `lasts`: what is written is to outlive a power cut, so the disk begins early.
    pub(super) fn start(lasts: bool) -> Self {
        let (steps, incoming) = sync_channel(BLOCKS_AHEAD);
        let (written, hashed) = sync_channel(BLOCKS_AHEAD);
        let (give_back, spare) = sync_channel(BLOCKS_AHEAD * 2);
        let (out, moved) = sync_channel(1);
        thread::spawn(move || write(incoming, &written, lasts));
        thread::spawn(move || hash(hashed, &give_back, &out));
        Self {
            steps,
            spare,
            moved,
        }
    }

    /// A file begins: where its bytes go, or `None` to hash them only.
    pub(super) fn begin(&self, file: Option<File>) -> anyhow::Result<()> {
        self.step(Step::Begin(file))
    }

    /// A block to fill, of any length.
    pub(super) fn spare_block(&self) -> Vec<u8> {
        self.spare
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BLOCK))
    }

    /// The next bytes of the file.
    pub(super) fn push(&self, block: Vec<u8>) -> anyhow::Result<()> {
        self.step(Step::Block(block))
    }

    /// The file ended: waits until every byte was written and hashed.
    pub(super) fn end(&self) -> anyhow::Result<Moved> {
        self.step(Step::End)?;
        Ok(self.moved.recv().context("a thread ended early")??)
    }

    fn step(&self, step: Step) -> anyhow::Result<()> {
        if self.steps.send(step).is_ok() {
            return Ok(());
        }
        // The writer ended: why, it told before.
        let reason = match self.moved.recv() {
            Ok(Err(error)) => error.into(),
            _ => anyhow!("a thread ended early"),
        };
        Err(reason)
    }
}

fn write(steps: Receiver<Step>, next: &SyncSender<Written>, lasts: bool) {
    let mut output: Option<Output> = None;
    for step in steps {
        let done = match step {
            Step::Begin(file) => {
                output = file.map(|file| Output::new(file, lasts));
                continue;
            }
            Step::Block(block) => {
                let written = output
                    .as_mut()
                    .map_or(Ok(()), |output| output.write(&block));
                written.map(|()| Written::Block(block))
            }
            Step::End => {
                let ended = output.take().map(Output::end).transpose();
                ended.map(Written::End)
            }
        };
        let is_failed = done.is_err();
        let sent = next.send(done.unwrap_or_else(Written::Failed));
        if is_failed || sent.is_err() {
            return;
        }
    }
}

fn hash(
    written: Receiver<Written>,
    give_back: &SyncSender<Vec<u8>>,
    out: &SyncSender<io::Result<Moved>>,
) {
    let mut hash = Sha256::new();
    for step in written {
        let sent = match step {
            Written::Block(block) => {
                hash.update(&block);
                // One block more than are ever under way is simply let go.
                give_back.try_send(block).ok();
                continue;
            }
            Written::End(file) => out.send(Ok(Moved {
                sha256: hex(&std::mem::take(&mut hash).finalize()),
                file,
            })),
            Written::Failed(error) => out.send(Err(error)),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A file that is being written, and the thread that sends it to the disk meanwhile.
struct Output {
    file: File,
    lasts: bool,
    unsynced: usize,
    syncer: Option<Syncer>,
}

struct Syncer {
    wanted: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Output {
    fn new(file: File, lasts: bool) -> Self {
        Self {
            file,
            lasts,
            unsynced: 0,
            syncer: None,
        }
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all(block)?;
        self.unsynced += block.len();
        if self.lasts && self.unsynced >= WRITE_BACK_BYTES {
            let syncer = match &mut self.syncer {
                Some(syncer) => syncer,
                none => none.insert(Syncer::start(self.file.try_clone()?)),
            };
            // When the disk is still at work, it is asked again after the next block.
            if syncer.wanted.try_send(()).is_ok() {
                self.unsynced = 0;
            }
        }
        Ok(())
    }

    /// The kernel tells an error of the disk once: here it must not be lost.
    fn end(self) -> io::Result<File> {
        if let Some(Syncer { wanted, thread }) = self.syncer {
            drop(wanted);
            thread
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))??;
        }
        Ok(self.file)
    }
}

impl Syncer {
    fn start(file: File) -> Self {
        let (wanted, asked) = sync_channel(1);
        let thread = thread::spawn(move || asked.iter().try_for_each(|()| file.sync_data()));
        Self { wanted, thread }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn every_byte_is_written_and_hashed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let pump = Pump::start(true);
        for round in 0..3_u8 {
            let path = dir.path().join(format!("{round}"));
            pump.begin(Some(File::create(&path).unwrap())).unwrap();
            let mut all = Sha256::new();
            for number in 0..300_u32 {
                let mut block = pump.spare_block();
                block.clear();
                block.resize(BLOCK, round);
                block[..4].copy_from_slice(&number.to_be_bytes());
                all.update(&block);
                pump.push(block).unwrap();
            }
            let moved = pump.end().unwrap();
            assert_eq!(moved.sha256, hex(&all.finalize()));
            let mut first = [0; 4];
            let mut read = File::open(&path).unwrap();
            assert_eq!(read.metadata().unwrap().len(), 300 * BLOCK as u64);
            read.read_exact(&mut first).unwrap();
            assert_eq!(first, [0; 4]);
            assert!(moved.file.is_some());
        }
        pump.begin(None).unwrap();
        let moved = pump.end().unwrap();
        assert!(moved.file.is_none() && moved.sha256.starts_with("e3b0c442"));
    }

    #[test]
    fn what_cannot_be_written_is_told_and_nothing_more_is_taken() {
        let pump = Pump::start(false);
        let full = File::options().write(true).open("/dev/full").unwrap();
        pump.begin(Some(full)).unwrap();
        let error = loop {
            if let Err(error) = pump.push(vec![1; BLOCK]) {
                break error;
            }
        };
        let error = error.downcast::<io::Error>().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
