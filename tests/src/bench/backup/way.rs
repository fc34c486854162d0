//! Ours and its peers: how a backup is made.

use super::super::Band;

/// How a backup is made.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Ours,
    /// Of the live directory.
    Tar,
    /// `.backup`, then a compressor.
    Copied(&'static str),
    /// `VACUUM INTO`, then a compressor.
    Vacuumed(&'static str),
    Restic,
}

impl Way {
    pub(super) const PEERS: [Self; 5] = [
        Self::Tar,
        Self::Copied("gzip -6"),
        Self::Copied("zstd -3 -q"),
        Self::Vacuumed("zstd -3 -q"),
        Self::Restic,
    ];

    pub(super) fn name(self) -> String {
        match self {
            Self::Ours => "ours".to_owned(),
            Self::Tar => "tar -cz".to_owned(),
            Self::Copied(compressor) => format!(".backup + {}", compressor.trim_end_matches(" -q")),
            Self::Vacuumed(compressor) => {
                format!("VACUUM INTO + {}", compressor.trim_end_matches(" -q"))
            }
            Self::Restic => "restic".to_owned(),
        }
    }

    /// Which of its rows are judged: processor time, wall time.
    pub(super) fn bands(self) -> [Band; 2] {
        match self {
            Self::Tar => [Band::Shown, Band::RatioAtMost(0.25)],
            Self::Copied("gzip -6") => [Band::RatioAtMost(0.40), Band::Shown],
            _ => [Band::Shown, Band::Shown],
        }
    }
}
