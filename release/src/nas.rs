//! The three systems, and what differs between them.

use clap::ValueEnum;

/// A NAS that gets its own single file and its own downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Nas {
    /// DSM 7.2 or newer with Container Manager.
    Synology,
    /// QTS or `QuTS` hero with Container Station 3.
    Qnap,
    /// `TrueNAS` 24.10 or newer.
    Truenas,
}

impl Nas {
    /// All of them, in the order of the guides.
    pub const ALL: [Self; 3] = [Self::Synology, Self::Qnap, Self::Truenas];

    /// The name in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Synology => "synology",
            Self::Qnap => "qnap",
            Self::Truenas => "truenas",
        }
    }

    /// The name people know it by.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Synology => "Synology Container Manager",
            Self::Qnap => "QNAP Container Station",
            Self::Truenas => "TrueNAS (Install via YAML)",
        }
    }

    /// Where the folder lies when the owner did not say. Container Manager reads relative paths from the project's
    /// folder; the other two resolve them inside folders of their own that no owner ever finds.
    #[must_use]
    pub fn home(self) -> &'static str {
        match self {
            Self::Synology => ".",
            Self::Qnap => "/share/Container/kotonoha-bot",
            Self::Truenas => "/mnt/tank/apps/kotonoha-bot",
        }
    }

    /// Whether the owner edits the file itself, so that each setting needs its meaning beside it.
    #[must_use]
    pub fn is_edited_in_place(self) -> bool {
        self != Self::Synology
    }

    /// `PUID` and `PGID` that its folders usually belong to.
    #[must_use]
    pub fn owner(self) -> (u32, u32) {
        match self {
            Self::Synology => (1026, 100),
            Self::Qnap => (1000, 100),
            Self::Truenas => (568, 568),
        }
    }
}
