use std::fs;
use std::path::PathBuf;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use daemon_kit::env::Env;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::collect::Collection;
use crate::job::{self, Outcome};
use crate::manifest::Cause;
use crate::room;

struct Home {
    root: TempDir,
    config: Config,
    watch: Watch,
}

impl Home {
    fn new(recipient: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |dir: &str| root.path().join(dir).to_string_lossy().into_owned();
        for dir in ["data", "backups", "logs"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        let mut env = Env::from_map([
            ("DATA_DIR", path("data")),
            ("BACKUP_DIR", path("backups")),
            ("LOG_DIR", path("logs")),
            ("BACKUP_MIN_FREE", "0".to_owned()),
            ("BACKUP_RETENTION_DAYS", "0".to_owned()),
            ("BACKUP_KEEP_LAST", "1".to_owned()),
            ("BACKUP_AGE_RECIPIENTS", recipient.to_owned()),
        ]);
        let mut config = Config::read(&mut env);
        config.sources.config = None;
        let connection = Connection::open(root.path().join("data/sessions.db")).unwrap();
        let made = "CREATE TABLE messages (n); INSERT INTO messages VALUES (1), (2), (3)";
        connection.execute_batch(made).unwrap();
        Self {
            root,
            config,
            watch: Watch::command(),
        }
    }

    /// Makes archives that all stay, oldest first.
    fn backups<const N: usize>(&mut self) -> [String; N] {
        self.config.policy.last = 100;
        let names = std::array::from_fn(|_| {
            match job::run(&self.config, Cause::Manual, &self.watch).unwrap() {
                Outcome::Published(done) => done.name.to_string(),
                Outcome::NoDatabaseYet => panic!("no database"),
            }
        });
        self.config.policy.last = 1;
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.backup_dir.join(name)
    }

    fn lose_catalogue(&self) {
        fs::remove_file(self.path(crate::catalog::FILE)).unwrap();
    }

    fn lend(&mut self, identity: &Identity) {
        let key = self.root.path().join("key");
        fs::write(&key, identity.to_string().expose_secret()).unwrap();
        self.config.identity_file = Some(key);
    }

    fn proved(&self) -> Catalog {
        load_proved(&self.config, &self.watch).unwrap()
    }

    /// Turns one byte in the middle.
    fn rot(&self, name: &str) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 0xFF;
        fs::write(self.path(name), bytes).unwrap();
    }
}

#[test]
fn a_sealed_archive_of_another_size_is_bad_and_its_hash_is_remembered() {
    let key = Identity::generate();
    let mut home = Home::new(&key.to_public().to_string());
    let [older, newer] = home.backups();
    let whole = fs::read(home.path(&newer)).unwrap();
    fs::write(home.path(&newer), &whole[..whole.len() - 1]).unwrap();
    let mut catalog = home.proved();
    let record = &catalog.archives[&newer];
    let bad = record.bad.as_deref().unwrap();
    assert!(bad.starts_with("its size changed from "), "{bad}");
    assert!(record.sha256.is_some());
    let newest = |catalog: &Catalog| catalog.latest(time::now()).unwrap().0.to_string();
    assert_eq!(newest(&catalog), older);
    carry_out(&home.config, &mut catalog, time::now()).unwrap();
    assert!(home.path(&older).exists(), "it is the newest good one");
    // The right file comes back: its hash says so.
    fs::write(home.path(&newer), whole).unwrap();
    let mut catalog = home.proved();
    let name: ArchiveName = newer.parse().unwrap();
    let proof = prove(&home.config, &mut catalog, &name, None, &home.watch);
    note(&mut catalog, &name, proof);
    assert_eq!(newest(&catalog), newer);
}

#[test]
fn a_sealed_archive_that_nobody_can_prove_is_neither_bad_nor_good() {
    let key = Identity::generate();
    let mut home = Home::new(&key.to_public().to_string());
    let [name] = home.backups();
    home.lose_catalogue();
    let mut catalog = home.proved();
    let before = catalog.clone();
    let record = &catalog.archives[&name];
    assert_eq!((&record.verified, &record.bad), (&None, &None));
    assert!(catalog.newest_proved(time::now()).is_none());
    prove_newest(&home.config, &mut catalog, &home.watch).unwrap();
    let unknown = verify::sealed(&home.path(&name), None, &home.watch);
    note(&mut catalog, &name.parse().unwrap(), unknown);
    assert_eq!(catalog, before);
    // Another's key opens nothing, and is no proof against it.
    home.lend(&Identity::generate());
    assert_eq!(home.proved(), before);
    // A successor that was proved may push it out, and the other way round never.
    let [proved] = home.backups();
    let mut catalog = home.proved();
    let gone = carry_out(&home.config, &mut catalog, time::now()).unwrap();
    assert_eq!(gone, [name]);
    assert!(home.path(&proved).exists());
}

#[test]
fn with_its_key_a_sealed_archive_is_proved_and_known_again() {
    let key = Identity::generate();
    let mut home = Home::new(&key.to_public().to_string());
    let [name] = home.backups();
    let before = load(&home.config).unwrap();
    home.lose_catalogue();
    home.proved();
    home.lend(&key);
    let known = &home.proved().archives[&name];
    assert!(known.verified.is_some());
    assert_eq!(known.databases, before.archives[&name].databases);
    assert_eq!(known.sha256, before.archives[&name].sha256);
    // One that does not hold what it promises is found out.
    home.lose_catalogue();
    home.rot(&name);
    assert!(home.proved().archives[&name].bad.is_some());
}

#[test]
fn a_proof_that_could_not_be_held_says_nothing_and_is_tried_again() {
    let mut home = Home::new("");
    let [name] = home.backups();
    home.lose_catalogue();
    // There is no place for the scratch file.
    let scratch = home.path(".scratch-verify.db.partial");
    fs::create_dir(&scratch).unwrap();
    let hindered = home.proved();
    let record = &hindered.archives[&name];
    assert_eq!((&record.verified, &record.bad), (&None, &None));
    fs::remove_dir(&scratch).unwrap();
    assert!(home.proved().archives[&name].verified.is_some());
    // What is proved stays proved, whatever hinders the next look.
    fs::create_dir(&scratch).unwrap();
    let mut catalog = home.proved();
    let before = catalog.clone();
    let look = verify::whole(
        &home.path(&name),
        &home.config.backup_dir,
        None,
        &home.watch,
    );
    note(&mut catalog, &name.parse().unwrap(), look.map(|_| ()));
    assert_eq!(catalog, before);
}

#[test]
fn room_is_made_only_behind_a_successor_that_is_proved_now() {
    let mut home = Home::new("");
    let [first, second, rotten] = home.backups();
    home.rot(&rotten);
    home.config.min_free_bytes = u64::MAX >> 8;
    let mut catalog = home.proved();
    let nothing = Collection::default();
    let error = room::make(&home.config, &mut catalog, &nothing, &home.watch).unwrap_err();
    assert!(format!("{error:#}").contains("MB are free"), "{error:#}");
    assert!(!home.path(&first).exists() && home.path(&second).exists());
    let saved = load(&home.config).unwrap();
    assert!(saved.archives[&rotten].bad.is_some());
}
