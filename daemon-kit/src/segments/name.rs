//! The names of segments.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The name of the segment that is being written.
#[must_use]
pub fn active_name(service: &str) -> String {
    format!("{service}.log")
}

/// The name of a closed segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Which program wrote it.
    pub service: String,
    /// When it was closed, to the millisecond.
    pub closed_at: Timestamp,
    /// Whether it is the compressed form (`….log.zst`).
    pub compressed: bool,
}

impl SegmentName {
    /// The name of a segment of `service` that was closed at `closed_at`, uncompressed.
    #[must_use]
    pub fn closed(service: &str, closed_at: Timestamp) -> Self {
        Self {
            service: service.to_owned(),
            closed_at,
            compressed: false,
        }
    }

    /// The same segment's compressed name.
    #[must_use]
    pub fn to_compressed(&self) -> Self {
        Self {
            compressed: true,
            ..self.clone()
        }
    }

    /// The same segment's uncompressed name.
    #[must_use]
    pub fn to_plain(&self) -> Self {
        Self {
            compressed: false,
            ..self.clone()
        }
    }

    /// `<service>.<instant>`: what the plain and the compressed form share.
    #[must_use]
    pub fn stem(&self) -> String {
        let instant = self.closed_at.to_zoned_datetime(TimeZone::UTC);
        format!(
            "{}.{}",
            self.service,
            instant.strftime("%Y%m%dT%H%M%S.%3fZ")
        )
    }

    /// Where a torn last line is kept.
    #[must_use]
    pub fn torn(&self) -> String {
        format!("{}.torn", self.stem())
    }

    /// Reads a name strictly: what is not exactly ours is `None`, and never touched.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, compressed) = match name.strip_suffix(".log.zst") {
            Some(stem) => (stem, true),
            None => (name.strip_suffix(".log")?, false),
        };
        let (service, instant) = stem.split_once('.')?;
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if service.is_empty() || !service.chars().all(known) {
            return None;
        }
        let civil = DateTime::strptime("%Y%m%dT%H%M%S.%fZ", instant).ok()?;
        let closed_at = civil.to_zoned_datetime(TimeZone::UTC).ok()?.timestamp();
        let parsed = Self {
            service: service.to_owned(),
            closed_at,
            compressed,
        };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = if self.compressed { "log.zst" } else { "log" };
        write!(f, "{}.{ending}", self.stem())
    }
}
