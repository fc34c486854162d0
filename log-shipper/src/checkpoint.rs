//! This room keeps where each sink stands: `logs/.checkpoint-<sink>.json`, moved on only after an acknowledgement.

use std::io;
use std::path::{Path, PathBuf};

use daemon_kit::publish;
use serde::{Deserialize, Serialize};

use crate::follow::Places;
use crate::segment::Segment;

/// What a sink has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of this format.
    pub v: u32,
    /// Per service, where sending goes on.
    pub places: Places,
    /// Lines acknowledged so far.
    pub sent: u64,
    /// Lines that the sink refused for good, one by one.
    pub refused: u64,
}

/// The file of a sink.
#[must_use]
pub fn path(dir: &Path, sink: &str) -> PathBuf {
    dir.join(format!(".checkpoint-{sink}.json"))
}

impl Checkpoint {
    /// Reads a sink's checkpoint; one that is absent or unreadable begins at the oldest line (at-least-once).
    pub fn load(dir: &Path, sink: &str) -> io::Result<Checkpoint> {
        match std::fs::read(path(dir, sink)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Checkpoint::default()),
            Err(error) => Err(error),
        }
    }

    /// Makes it durable.
    pub fn save(&mut self, dir: &Path, sink: &str) -> io::Result<()> {
        self.v = 1;
        publish::write(&path(dir, sink), &serde_json::to_vec(self)?, 0o600)
    }

    /// Whether the sink has acknowledged all of a closed segment.
    #[must_use]
    pub fn covers(&self, segment: &Segment) -> bool {
        self.places
            .get(&segment.service)
            .is_some_and(|place| place.after >= segment.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::Place;

    #[test]
    fn it_survives_and_a_damaged_one_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut checkpoint = Checkpoint::load(dir.path(), "loki").unwrap();
        checkpoint.sent = 12;
        let place = Place {
            after: "20260301T000000.000Z".into(),
            offset: 4,
            head: Some(7),
        };
        checkpoint.places.insert("bot".into(), place);
        checkpoint.save(dir.path(), "loki").unwrap();
        let read = Checkpoint::load(dir.path(), "loki").unwrap();
        assert_eq!(read, checkpoint);
        let segment = |stamp: &str| Segment {
            service: "bot".into(),
            stamp: stamp.into(),
            raw: None,
            packed: Some(1),
            inode: None,
        };
        assert!(read.covers(&segment("20260301T000000.000Z")));
        assert!(!read.covers(&segment("20260301T000000.001Z")));
        std::fs::write(path(dir.path(), "loki"), "{").unwrap();
        assert_eq!(
            Checkpoint::load(dir.path(), "loki").unwrap(),
            Checkpoint::default()
        );
    }
}
