//! This room is `run`: it looks at the clock and at the requests every few seconds, and does one job at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use daemon_kit::boot::{House, Identity, KitSettings, Resident, build_info};
use daemon_kit::doctor::Finding;
use daemon_kit::env::Env;
use daemon_kit::{publish, time};
use jiff::{SignedDuration, Timestamp};

use crate::advice::Age;
use crate::catalog::{Catalog, Drill};
use crate::config::{Config, OnStart, SERVICE};
use crate::job::{self, Outcome};
use crate::manifest::Cause;
use crate::requests::Served;
use crate::watch::Watch;
use crate::{
    advice, collect, drill, extract, facts, forgotten, lock, prune, report, requests, restore,
    verify,
};

mod copies;
mod readme;
mod timer;

use copies::Copies;
use timer::Timer;

/// The longest pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is looked at only now and then.
const CHORES_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// How often the same complaint is told.
const REPEAT_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// The pause while there is more to do.
const SOON: Duration = Duration::from_millis(200);

/// The program behind `run`.
pub struct Sidecar;

impl Resident for Sidecar {
    type Config = Config;

    fn identity() -> Identity {
        let libraries = format!(
            "SQLite {}, zstd {}",
            verify::sqlite_version(),
            zstd::zstd_safe::version_string()
        );
        Identity {
            service: SERVICE,
            build: build_info(env!("CARGO_PKG_VERSION"), &libraries),
        }
    }

    fn configure(env: &mut Env) -> Config {
        Config::read(env)
    }

    fn kit(config: &Config) -> KitSettings {
        KitSettings {
            log: config.log.clone(),
            language: config.language,
            places: config.places(),
            allow_network_filesystem: config.allow_network_filesystem,
        }
    }

    fn check(config: &Config) -> Vec<Finding> {
        advice::check(config, time::now())
    }

    fn run(config: Config, house: House) -> anyhow::Result<()> {
        let mut rounds = Rounds::begin(config, house)?;
        loop {
            rounds.turn();
            if rounds.house.shutdown.wait(rounds.pause()) {
                return Ok(());
            }
        }
    }
}

/// The state of the loop; whatever must outlive it lies in the catalogue.
struct Rounds {
    config: Config,
    house: House,
    timer: Timer,
    /// When the newest archive was taken, as of the last look at the catalogue.
    newest_taken: Option<Timestamp>,
    waits_for_database: bool,
    trouble: Trouble,
    next_chores: Timestamp,
    copies: Copies,
    /// It was told that another job keeps the backup waiting.
    is_held_up: bool,
    announced: Option<Timestamp>,
    /// What `healthcheck` finds beside the heartbeat.
    noted: String,
    /// How the last drill went, for people.
    last_drill: Option<String>,
    /// What was said since the last hour: the same complaint is not repeated every few seconds.
    said: BTreeSet<String>,
    next_repeat: Timestamp,
    /// What the bot was told about how long archives stay.
    told: facts::Told,
}

/// Why the heartbeat says that something is wrong.
#[derive(Default)]
struct Trouble {
    restore: Option<String>,
    backup: Option<String>,
    stale: Option<String>,
    drill: Option<String>,
}

impl Trouble {
    fn gravest(&self) -> Option<String> {
        let all = [&self.restore, &self.backup, &self.stale, &self.drill];
        all.into_iter().flatten().next().cloned()
    }
}

impl Rounds {
    fn begin(config: Config, house: House) -> anyhow::Result<Self> {
        readme::write(&config.backup_dir, config.language);
        requests::close_interrupted(&config)?;
        let now = time::now();
        let catalog = prune::load(&config)?;
        let newest = catalog.latest(now).map(|(_, record)| record.taken);
        let drilled = catalog.drill.as_ref().map(|drill| drill.at);
        let last_drill = catalog
            .drill
            .as_ref()
            .map(|drill| drill.in_brief(&config.zone));
        let mut timer = Timer::new(now, newest, drilled);
        if let Some(drill) = &catalog.drill {
            timer.drilled(drill.at, drill.trouble().is_some());
        }
        match config.on_start {
            OnStart::Always => timer.want_now(Cause::Start),
            OnStart::Missed if newest.is_none() => timer.want_now(Cause::Start),
            OnStart::Missed => {}
            OnStart::Never => timer.skip_missed(now),
        }
        let trouble = Trouble {
            drill: catalog.drill.as_ref().and_then(Drill::trouble),
            ..Trouble::default()
        };
        Ok(Self {
            config,
            house,
            timer,
            newest_taken: newest,
            waits_for_database: false,
            trouble,
            next_chores: now,
            copies: Copies::at_start(now),
            is_held_up: false,
            announced: None,
            noted: String::new(),
            last_drill,
            said: BTreeSet::new(),
            next_repeat: now,
            told: facts::Told::default(),
        })
    }

    /// One look at everything.
    fn turn(&mut self) {
        let now = time::now();
        self.finish_restore();
        self.chores(now);
        self.serve_requests();
        self.backup(now);
        self.rehearse(now);
        // Last, and one archive at a time: whatever else is due goes first, also before the rest of one copy.
        let watch = self.watch().giving_way(self.others_come());
        self.copies.turn(&self.config, &watch);
        self.announce_next(time::now());
        self.note();
        self.beat();
    }

    fn pause(&self) -> Duration {
        if self.copies.goes_on() {
            return SOON;
        }
        let now = time::now();
        let due = self.timer.next_backup(&self.config, now);
        let until = due
            .map(|due| due.duration_since(now))
            .filter(SignedDuration::is_positive);
        let until = until.and_then(|until| Duration::try_from(until).ok());
        until.unwrap_or(LOOK_EVERY).clamp(SOON, LOOK_EVERY)
    }

    fn watch(&self) -> Watch {
        Watch::resident(
            self.house.heartbeat.clone(),
            self.trouble.gravest(),
            self.house.shutdown.clone(),
        )
    }

    /// Whether something to do has come since now. What waits already could not be done, and holds up no copy.
    fn others_come(&self) -> impl Fn() -> bool + Send + 'static {
        let now = time::now();
        let next = self.timer.next_backup(&self.config, now);
        let next = next.filter(|next| *next > now);
        let dir = self.config.backup_dir.clone();
        let before = requests::names(&dir);
        move || {
            let is_due = next.is_some_and(|next| time::now() >= next);
            is_due || !requests::names(&dir).is_subset(&before)
        }
    }

    fn finish_restore(&mut self) {
        match restore::recover(&self.config) {
            Ok(None) => self.trouble.restore = None,
            Ok(Some(archive)) => {
                tracing::warn!(
                    event = "restore.recovered",
                    archive,
                    "an interrupted restore was completed"
                );
                self.trouble.restore = None;
            }
            Err(error) => {
                let text = format!("an interrupted restore is not completed yet: {error:#}");
                if self.trouble.restore.is_none() {
                    tracing::error!(event = "restore.pending", error = %format!("{error:#}"), "an interrupted restore cannot be completed yet: stop the bot");
                }
                self.trouble.restore = Some(text);
            }
        }
    }

    fn chores(&mut self, now: Timestamp) {
        // After a clock that went back, now is long before the next time.
        let waits = self.next_chores > now && self.next_chores.duration_since(now) <= CHORES_EVERY;
        if waits {
            return;
        }
        self.next_chores = now.saturating_add(CHORES_EVERY).unwrap_or(now);
        if now >= self.next_repeat || self.next_repeat.duration_since(now) > REPEAT_EVERY {
            self.said.clear();
            self.next_repeat = now.saturating_add(REPEAT_EVERY).unwrap_or(now);
        }
        self.heed_forgotten(now);
        match prune::load(&self.config) {
            Ok(catalog) => {
                self.copies.retry(&self.config, &catalog, now);
                self.judge(&catalog, now);
                self.tell_facts(catalog.freeze().is_some(), now);
            }
            // The bot's last word from us grows old, and no date is promised any more.
            Err(error) => self.complain(&error),
        }
    }

    /// Requests to forget are copied beside the archives, and what was extracted before them goes.
    fn heed_forgotten(&mut self, now: Timestamp) {
        let copied = forgotten::copy(&self.config.sources.data, &self.config.backup_dir);
        if let Err(error) = copied {
            self.complain(&error);
        }
        match extract::clear(&self.config.backup_dir, now) {
            Ok(0) => {}
            Ok(folders) => tracing::info!(
                event = "extract.removed",
                folders,
                "extracted folders removed"
            ),
            Err(error) => self.complain(&error),
        }
    }

    /// Whoever asks the bot to forget is to hear until when archives can hold the words.
    fn tell_facts(&mut self, frozen: bool, now: Timestamp) {
        let facts = facts::Facts::of(&self.config, frozen, now);
        if let Err(error) = self.told.tell(&self.config, facts, now) {
            self.complain(&error);
        }
    }

    /// What the catalogue says about the archives and the last drill, whoever made and held them.
    fn judge(&mut self, catalog: &Catalog, now: Timestamp) {
        self.trouble.stale = self
            .config
            .schedule
            .as_ref()
            .and_then(|_| Age::of(&self.config, catalog, now).trouble());
        self.newest_taken = catalog.latest(now).map(|(_, record)| record.taken);
        let Some(drill) = &catalog.drill else { return };
        self.trouble.drill = drill.trouble();
        self.last_drill = Some(drill.in_brief(&self.config.zone));
        // A drill dated ahead was held under a clock that was wrong.
        if drill.at <= now {
            self.timer.drilled(drill.at, drill.trouble().is_some());
        }
    }

    /// Tells what went wrong beside the backups, once an hour at most.
    fn complain(&mut self, error: &anyhow::Error) {
        let error = format!("{error:#}");
        if self.said.insert(error.clone()) {
            tracing::warn!(
                event = "chores.failed",
                error,
                "something beside the backups could not be done"
            );
        }
    }

    fn serve_requests(&mut self) {
        let watch = self.watch();
        match requests::serve(&self.config, &watch) {
            Ok(Served::Nothing) => {}
            Ok(Served::Something) => self.next_chores = Timestamp::UNIX_EPOCH,
            Ok(Served::Renewal) => self.look_again(),
            Err(error) => self.complain(&error),
        }
    }

    /// Somebody made a backup or a restore: the newest archive may be another one, and what was wrong is mended.
    fn look_again(&mut self) {
        let newest = prune::load(&self.config)
            .ok()
            .and_then(|catalog| catalog.latest(time::now()).map(|(_, record)| record.taken));
        if let Some(newest) = newest {
            self.timer.served_by_another(newest);
            self.waits_for_database = false;
            self.trouble.backup = None;
        }
        self.copies.due_now();
        self.next_chores = Timestamp::UNIX_EPOCH;
    }

    fn backup(&mut self, now: Timestamp) {
        if self.trouble.restore.is_some() || (self.waits_for_database && !self.database_came()) {
            return;
        }
        let Some((cause, due)) = self.timer.due(&self.config, now) else {
            return;
        };
        if !self.is_held_up {
            announce(cause, due);
        }
        let watch = self.watch();
        let result = job::run(&self.config, cause, &watch);
        report::conclude(&self.config, cause, &result, &watch);
        if watch.is_stopping() && result.is_err() {
            return;
        }
        self.hold_up(matches!(&result, Err(failure) if failure.is_busy()));
        let after = time::now();
        match result {
            Ok(Outcome::Published(done)) => {
                self.waits_for_database = false;
                let damaged = || {
                    format!(
                        "the database in {} is damaged: restore an older archive",
                        done.name
                    )
                };
                self.trouble.backup = (!done.manifest.is_sound()).then(damaged);
                self.timer.served(done.manifest.created_utc);
                self.copies.due_now();
                self.next_chores = Timestamp::UNIX_EPOCH;
            }
            Ok(Outcome::NoDatabaseYet) => {
                self.waits_for_database = true;
                self.timer.want_now(Cause::Start);
            }
            Err(failure) => {
                if !failure.is_busy() {
                    self.trouble.backup = Some(format!(
                        "the last backup failed ({}): {failure}",
                        failure.stage
                    ));
                }
                self.timer.failed(&self.config, after, failure.is_busy());
            }
        }
    }

    /// Another job may take long, such as the owner's look at every archive: told once, and tried again soon.
    fn hold_up(&mut self, is_held_up: bool) {
        if is_held_up && !self.is_held_up {
            tracing::warn!(
                event = "backup.held_up",
                "another job is at work; the backup follows when it is done"
            );
        }
        self.is_held_up = is_held_up;
    }

    fn database_came(&self) -> bool {
        collect::collect(&self.config.sources).is_ok_and(|found| !found.databases.is_empty())
    }

    fn rehearse(&mut self, now: Timestamp) {
        if !self
            .timer
            .drill_is_due(&self.config, now, self.newest_taken)
        {
            return;
        }
        let Ok(Some(_lock)) = lock::take(&self.config.backup_dir, Duration::ZERO) else {
            return;
        };
        let watch = self.watch();
        let result = drill::run(&self.config, &watch);
        if watch.is_stopping() {
            return; // The next start holds it.
        }
        self.timer.drilled(
            time::now(),
            !matches!(&result, Ok((drill, _)) if drill.trouble().is_none()),
        );
        self.trouble.drill = match result {
            Ok((drill, _)) => {
                self.last_drill = Some(drill.in_brief(&self.config.zone));
                drill.trouble()
            }
            Err(error) => {
                let error = format!("the drill could not be held: {error:#}");
                tracing::error!(event = "drill.failed", error, "the drill could not be held");
                Some(error)
            }
        };
    }

    fn announce_next(&mut self, now: Timestamp) {
        let next = self.timer.next_backup(&self.config, now);
        if next == self.announced {
            return;
        }
        self.announced = next;
        // While another job holds it up, it is tried again every few seconds.
        let Some(next) = next.filter(|_| !self.is_held_up) else {
            return;
        };
        let (local, utc) = self.shown(next);
        tracing::info!(
            event = "backup.next",
            local,
            utc,
            "the next backup is planned"
        );
    }

    fn shown(&self, at: Timestamp) -> (String, String) {
        let local = at
            .to_zoned_datetime(self.config.zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S %Z")
            .to_string();
        (local, at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// What `healthcheck` adds to the heartbeat: written when it changes, into memory like the heartbeat.
    fn note(&mut self) {
        let next = self.announced.map(|next| {
            let (local, utc) = self.shown(next);
            format!("next backup {local} ({utc})")
        });
        let parts: Vec<String> = next.into_iter().chain(self.last_drill.clone()).collect();
        let note = parts.join("; ");
        if note != self.noted {
            publish::write(&note_path(), note.as_bytes(), 0o600).ok();
            self.noted = note;
        }
    }

    fn beat(&self) {
        match self.trouble.gravest() {
            Some(reason) => self.house.heartbeat.unhealthy(&reason),
            None => self.house.heartbeat.beat(),
        }
    }
}

fn announce(cause: Cause, due: Timestamp) {
    if cause == Cause::Missed {
        tracing::warn!(event = "backup.missed", due = %due, "a scheduled backup could not happen at its time; it is made now");
    }
    tracing::info!(
        event = "backup.started",
        reason = cause.word(),
        "a backup begins"
    );
}

/// Where `run` notes the next backup and the last drill for `healthcheck`, beside the heartbeat.
#[must_use]
pub fn note_path() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("{SERVICE}.next"))
}
