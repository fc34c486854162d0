//! The settings that all residents share.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::Level;

use super::Env;
use crate::logging::LogSettings;
use crate::text::Text;

/// What happens when the start finds something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStartError {
    /// End with 78, the default outside of compose.
    Exit,
    /// Stay up, unhealthy, and look again: no restart storm.
    Hold,
}

impl Env {
    /// `TZ`: the zone of schedules, names and readable times; from the zone database inside the binary.
    pub fn zone(&mut self) -> TimeZone {
        let expected = Text::new(
            "時間帯の名前を指定してください",
            "must be the name of a time zone",
        );
        let read = |name: &str| TimeZone::get(name.trim_start_matches(':')).ok();
        self.parsed("TZ", "Asia/Tokyo", &expected, "Asia/Tokyo", read)
            .unwrap_or(TimeZone::UTC)
    }

    /// `ON_START_ERROR`.
    pub fn on_start_error(&mut self) -> OnStartError {
        let expected = Text::new("exit か hold を指定してください", "must be exit or hold");
        let read = |text: &str| match text.to_ascii_lowercase().as_str() {
            "exit" => Some(OnStartError::Exit),
            "hold" => Some(OnStartError::Hold),
            _ => None,
        };
        self.parsed("ON_START_ERROR", "exit", &expected, "exit", read)
            .unwrap_or(OnStartError::Exit)
    }

    /// `EXTRA_CA_FILE`: a root certificate to trust besides the built-in ones. It must be readable when set.
    pub fn extra_ca(&mut self) -> Option<PathBuf> {
        let path = self.optional_path("EXTRA_CA_FILE")?;
        if let Err(error) = std::fs::File::open(&path) {
            let shown = path.display();
            let expected = Text::new(
                format!("証明書ファイル {shown} を読めません ({error})"),
                format!("the certificate file {shown} cannot be read ({error})"),
            );
            self.problem("EXTRA_CA_FILE", expected, "/app/config/ca.pem");
        }
        Some(path)
    }

    /// `ALLOW_NETWORK_FILESYSTEM`: whether a database or log on NFS or SMB is the owner's own wish.
    pub fn allow_network_filesystem(&mut self) -> bool {
        self.switch("ALLOW_NETWORK_FILESYSTEM", false)
    }

    /// `UMASK`: permission bits that new files do not get.
    pub fn umask(&mut self) -> u32 {
        let expected = Text::new(
            "8 進数の umask を指定してください",
            "must be an octal umask",
        );
        let read = |text: &str| {
            u32::from_str_radix(text, 8)
                .ok()
                .filter(|mask| *mask <= 0o777)
        };
        self.parsed("UMASK", "022", &expected, "022", read)
            .unwrap_or(0o022)
    }

    /// `LOG_DIR`, `LOG_LEVEL`, `LOG_MAX_SIZE`, `LOG_ROTATE_HOURS` and `TZ`, for the log of `service`.
    pub fn log_settings(&mut self, service: &'static str) -> LogSettings {
        LogSettings {
            service,
            dir: self.path("LOG_DIR", "./logs"),
            level: self.log_level(),
            max_size_bytes: self.mebibytes("LOG_MAX_SIZE", 10, 1..=1024),
            rotate_after: Duration::from_secs(
                self.number("LOG_ROTATE_HOURS", 24_u64, 1..=8_760) * 3_600,
            ),
            zone: self.zone(),
        }
    }

    fn log_level(&mut self) -> Level {
        let expected = Text::new(
            "DEBUG, INFO, WARN, ERROR のどれかを指定してください",
            "must be DEBUG, INFO, WARN or ERROR",
        );
        let level = self
            .parsed("LOG_LEVEL", "INFO", &expected, "INFO", read_level)
            .unwrap_or(Level::INFO);
        let given = self
            .value("LOG_LEVEL")
            .unwrap_or_default()
            .to_ascii_uppercase();
        if ["WARNING", "CRITICAL", "FATAL"].contains(&given.as_str()) {
            self.notice(Text::new(
                format!("LOG_LEVEL={given} は {level} として扱います"),
                format!("LOG_LEVEL={given} is taken as {level}"),
            ));
        }
        level
    }
}

fn read_level(text: &str) -> Option<Level> {
    match text.to_ascii_uppercase().as_str() {
        "TRACE" | "DEBUG" => Some(Level::DEBUG),
        "INFO" => Some(Level::INFO),
        "WARN" | "WARNING" => Some(Level::WARN),
        "ERROR" | "CRITICAL" | "FATAL" => Some(Level::ERROR),
        _ => None,
    }
}
