//! This room reads every new line once and enters it into the books: what to tell the owner, what the status page shows.
//!
//! Places and books are one file, replaced as a whole: after a crash both are what they were, so nothing is counted
//! twice. When it is lost, it is made again from the logs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon_kit::{Language, publish};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::alerts::{Alert, Watch, outbox};
use crate::follow::{self, Bounds, Places};
use crate::line;
use crate::segment::{Glimpse, Listing};
use crate::status::{self, Book, Surroundings};

const BATCH: Bounds = Bounds {
    lines: 2_000,
    bytes: 1 << 20,
};
/// Reading rests after this long, when there is much to catch up on: heartbeats and segments do not wait for books.
const TURN: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Books {
    v: u32,
    places: Places,
    watch: Watch,
    book: Book,
}

/// The books of one `logs/`.
pub struct Ledger {
    dir: PathBuf,
    zone: TimeZone,
    language: Language,
    books: Books,
    glimpse: Option<Glimpse>,
    unsaved: bool,
}

/// Raised when the shape of the books changes: older ones are made again.
const VERSION: u32 = 1;

fn path(dir: &Path) -> PathBuf {
    dir.join(".ledger.json")
}

impl Ledger {
    /// Opens the books, or begins new ones.
    pub fn open(dir: &Path, zone: TimeZone, language: Language) -> io::Result<Ledger> {
        let books = match std::fs::read(path(dir)) {
            Ok(bytes) => serde_json::from_slice::<Books>(&bytes)
                .ok()
                .filter(|books| books.v == VERSION),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let books = books.unwrap_or(Books {
            v: VERSION,
            ..Books::default()
        });
        Ok(Ledger {
            dir: dir.to_owned(),
            zone,
            language,
            books,
            glimpse: None,
            unsaved: true,
        })
    }

    /// Reads what is new. Costs a few `stat`s when nothing is.
    pub fn read(&mut self, now: i64, uptime: Duration) -> io::Result<()> {
        let glimpse = self.look();
        if self.glimpse.as_ref() == Some(&glimpse) {
            return self.tell(now, uptime);
        }
        let grown = match &self.glimpse {
            Some(read) => Listing::grown(&self.dir, read, &glimpse)?,
            None => None,
        };
        let listing = grown.map_or_else(|| Listing::names(&self.dir), Ok)?;
        let (begun, mut whole) = (Instant::now(), true);
        for service in listing.services() {
            whole &= self.read_service(&listing, &service, (now, uptime), begun)?;
        }
        // What was too much for one turn is looked for again in the next.
        self.glimpse = whole.then_some(glimpse);
        self.tell(now, uptime)
    }

    /// A glance at the files of the services that are known.
    fn look(&self) -> Glimpse {
        Glimpse::of(&self.dir, self.books.places.keys().map(String::as_str))
    }

    fn read_service(
        &mut self,
        listing: &Listing,
        service: &str,
        (now, uptime): (i64, Duration),
        begun: Instant,
    ) -> io::Result<bool> {
        while begun.elapsed() < TURN {
            let place = self.books.places.entry(service.to_owned()).or_default();
            let batch = follow::next_batch(&self.dir, listing, service, place, BATCH)?;
            if *place == batch.next {
                return Ok(true);
            }
            self.unsaved = true;
            let mut alerts = Vec::new();
            for text in &batch.lines {
                let parsed = line::parse(text);
                self.books
                    .book
                    .enter(service, text.len() as u64 + 1, parsed.as_ref(), &self.zone);
                alerts.extend(
                    self.books
                        .watch
                        .observe(service, parsed.as_ref(), now, uptime),
                );
            }
            // Alerts are files before the place moves on: a crash in between finds them there, by the same id.
            self.publish(&alerts)?;
            self.books.places.insert(service.to_owned(), batch.next);
            if batch.lines.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tell(&mut self, now: i64, uptime: Duration) -> io::Result<()> {
        let alerts = self.books.watch.tick(now, uptime);
        self.publish(&alerts)
    }

    fn publish(&mut self, alerts: &[Alert]) -> io::Result<()> {
        for alert in alerts {
            self.unsaved = true;
            if outbox::publish(&self.dir, alert)? {
                tracing::info!(event = "alert.made", id = %alert.id, kind = %alert.kind, about = %alert.service, "an alert waits for the owner");
            }
        }
        Ok(())
    }

    /// Makes the books durable and the page new, when there is something new. `surroundings` is told the bytes of the
    /// active files.
    pub fn save(
        &mut self,
        surroundings: impl FnOnce(u64) -> io::Result<Surroundings>,
    ) -> io::Result<()> {
        if !self.unsaved {
            return Ok(());
        }
        publish::write(&path(&self.dir), &serde_json::to_vec(&self.books)?, 0o600)?;
        let report = status::report(
            &self.books.book,
            &surroundings(self.look().active_bytes())?,
            self.books.watch.backup_interval(),
            &self.zone,
        );
        let page = status::page::render(&report, self.language, &self.zone);
        publish::write(
            &self.dir.join("status.json"),
            &serde_json::to_vec_pretty(&report)?,
            0o666,
        )?;
        publish::write(&self.dir.join("status.html"), page.as_bytes(), 0o666)?;
        self.unsaved = false;
        Ok(())
    }
}
