//! This room is `run`: it looks at the clock and at the requests every few seconds, and does one job at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use daemon_kit::boot::{House, Identity, KitSettings, Resident, build_info};
use daemon_kit::doctor::Finding;
use daemon_kit::env::Env;
use daemon_kit::{publish, time};
use jiff::{SignedDuration, Timestamp};

use crate::catalog::Drill;
use crate::config::{Config, OnStart, SERVICE};
use crate::job::{self, Outcome};
use crate::manifest::Cause;
use crate::watch::Watch;
use crate::{
    advice, collect, drill, extract, facts, forgotten, lock, offsite, prune, report, requests,
    restore, verify,
};

mod readme;
mod timer;

use timer::Timer;

/// The longest pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is looked at only now and then.
const CHORES_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// How often copies that could not be made are tried again.
const OFFSITE_EVERY: SignedDuration = SignedDuration::from_hours(1);

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
    waits_for_database: bool,
    trouble: Trouble,
    next_chores: Timestamp,
    next_offsite: Timestamp,
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
            waits_for_database: false,
            trouble,
            next_chores: now,
            next_offsite: now,
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
        self.announce_next(time::now());
        self.note();
        self.beat();
    }

    fn pause(&self) -> Duration {
        let now = time::now();
        let due = self.timer.next_backup(&self.config, now);
        let until = due
            .map(|due| due.duration_since(now))
            .filter(SignedDuration::is_positive);
        let until = until.and_then(|until| Duration::try_from(until).ok());
        until
            .unwrap_or(LOOK_EVERY)
            .clamp(Duration::from_millis(200), LOOK_EVERY)
    }

    fn watch(&self) -> Watch {
        Watch::resident(
            self.house.heartbeat.clone(),
            self.trouble.gravest(),
            self.house.shutdown.clone(),
        )
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
        let copied = forgotten::copy(&self.config.sources.data, &self.config.backup_dir);
        let cleared =
            copied.and_then(|is_new| extract::clear(&self.config.backup_dir, now, is_new));
        match cleared {
            Ok(0) => {}
            Ok(folders) => tracing::info!(
                event = "extract.removed",
                folders,
                "extracted folders removed"
            ),
            Err(error) => self.complain(&error),
        }
        if now >= self.next_repeat || self.next_repeat.duration_since(now) > OFFSITE_EVERY {
            self.said.clear();
            self.next_repeat = now.saturating_add(OFFSITE_EVERY).unwrap_or(now);
        }
        self.retry_offsite(now);
        self.judge_age(now);
        self.tell_facts(now);
    }

    /// Whoever asks the bot to forget is to hear until when archives can hold the words.
    fn tell_facts(&mut self, now: Timestamp) {
        let frozen = prune::load(&self.config).is_ok_and(|catalog| catalog.freeze().is_some());
        let facts = facts::Facts::of(&self.config, frozen, now);
        if let Err(error) = self.told.tell(&self.config, facts, now) {
            self.complain(&error);
        }
    }

    fn retry_offsite(&mut self, now: Timestamp) {
        if self.config.remote.is_none()
            || (self.next_offsite > now && self.next_offsite.duration_since(now) <= OFFSITE_EVERY)
        {
            return;
        }
        self.next_offsite = now.saturating_add(OFFSITE_EVERY).unwrap_or(now);
        let behind = prune::load(&self.config)
            .is_ok_and(|catalog| offsite::is_behind(&self.config, &catalog));
        if !behind {
            return;
        }
        let Ok(Some(_lock)) = lock::take(&self.config.backup_dir, Duration::ZERO) else {
            return;
        };
        let watch = self.watch();
        if let Ok(mut catalog) = prune::load(&self.config) {
            offsite::follow(&self.config, &mut catalog, &watch);
            self.save(&catalog);
        }
    }

    fn save(&mut self, catalog: &crate::catalog::Catalog) {
        if let Err(error) = catalog.save(&self.config.backup_dir) {
            self.complain(&error);
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
            Ok(false) => {}
            Ok(true) => self.look_again(),
            Err(error) => self.complain(&error),
        }
    }

    /// Somebody else made or accepted something: the newest archive may be another one.
    fn look_again(&mut self) {
        let newest = prune::load(&self.config)
            .ok()
            .and_then(|catalog| catalog.latest(time::now()).map(|(_, record)| record.taken));
        if let Some(newest) = newest {
            self.timer.served(newest);
            self.waits_for_database = false;
            self.trouble.backup = None;
        }
        self.next_chores = Timestamp::UNIX_EPOCH;
    }

    fn backup(&mut self, now: Timestamp) {
        if self.trouble.restore.is_some() || (self.waits_for_database && !self.database_came()) {
            return;
        }
        let Some((cause, due)) = self.timer.due(&self.config, now) else {
            return;
        };
        if cause == Cause::Missed {
            tracing::warn!(event = "backup.missed", due = %due, "a scheduled backup could not happen at its time; it is made now");
        }
        tracing::info!(
            event = "backup.started",
            reason = cause.word(),
            "a backup begins"
        );
        let watch = self.watch();
        let result = job::run(&self.config, cause, &watch);
        if self.house.shutdown.is_soft() && result.is_err() {
            tracing::info!(
                event = "backup.stopped",
                "the program ends before the backup was done; the next start makes it"
            );
            return;
        }
        report::conclude(&self.config, cause, &result);
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
                self.next_chores = Timestamp::UNIX_EPOCH;
            }
            Ok(Outcome::NoDatabaseYet) => {
                self.waits_for_database = true;
                self.timer.want_now(Cause::Start);
            }
            Err(failure) => {
                let is_busy = failure.source.is::<lock::Busy>();
                if !is_busy {
                    self.trouble.backup = Some(format!(
                        "the last backup failed ({}): {failure}",
                        failure.stage
                    ));
                }
                self.timer.failed(&self.config, after, is_busy);
            }
        }
    }

    fn database_came(&self) -> bool {
        collect::collect(&self.config.sources).is_ok_and(|found| !found.databases.is_empty())
    }

    fn judge_age(&mut self, now: Timestamp) {
        let Some(schedule) = &self.config.schedule else {
            return;
        };
        let Ok(catalog) = prune::load(&self.config) else {
            return;
        };
        let newest = catalog
            .newest_first()
            .into_iter()
            .find(|(name, record)| !name.damaged && record.bad.is_none() && record.taken <= now);
        self.trouble.stale = newest.and_then(|(name, record)| {
            let fresh_until = schedule.fresh_until(
                record.taken,
                SignedDuration::from_hours(1),
                &self.config.zone,
            )?;
            (fresh_until < now).then(|| {
                format!("the newest good backup is {name}, older than the schedule allows")
            })
        });
    }

    fn rehearse(&mut self, now: Timestamp) {
        if !self.timer.drill_is_due(&self.config, now) {
            return;
        }
        let Ok(Some(_lock)) = lock::take(&self.config.backup_dir, Duration::ZERO) else {
            return;
        };
        let watch = self.watch();
        let result = drill::run(&self.config, &watch).context("the drill could not be held");
        if self.house.shutdown.is_soft() {
            return;
        }
        self.timer.drilled(time::now());
        if let Ok((drill, _)) = &result {
            self.last_drill = Some(drill.in_brief(&self.config.zone));
        }
        self.trouble.drill = match result {
            Ok((drill, _)) => drill.trouble(),
            Err(error) => {
                tracing::error!(event = "drill.failed", error = %format!("{error:#}"), "the drill could not be held");
                Some(format!("{error:#}"))
            }
        };
    }

    fn announce_next(&mut self, now: Timestamp) {
        let next = self.timer.next_backup(&self.config, now);
        if next == self.announced {
            return;
        }
        self.announced = next;
        let Some(next) = next else { return };
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

/// Where `run` notes the next backup and the last drill for `healthcheck`, beside the heartbeat.
#[must_use]
pub fn note_path() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("{SERVICE}.next"))
}
