use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::text::Text;

#[derive(Clone)]
struct Config {
    log: LogSettings,
}

struct Sample;

impl Resident for Sample {
    type Config = Config;

    fn identity() -> Identity {
        Identity {
            service: "sample",
            build: build_info("0.0.0", ""),
        }
    }

    fn configure(env: &mut Env) -> Config {
        env.secret("SAMPLE_TOKEN");
        Config {
            log: env.log_settings("sample"),
        }
    }

    fn kit(config: &Config) -> KitSettings {
        let place = Place {
            name: "logs",
            path: config.log.dir.clone(),
            write: true,
            local: false,
            min_free_bytes: 1,
        };
        KitSettings {
            log: config.log.clone(),
            language: Language::En,
            places: vec![place],
            allow_network_filesystem: false,
        }
    }

    fn check(_: &Config) -> Vec<Finding> {
        vec![Finding::fine("sample", Text::new("", ""), "")]
    }

    fn run(_: Config, _: House) -> anyhow::Result<()> {
        Ok(())
    }
}

fn env(dir: &Path, token: &str) -> Env {
    let vars = BTreeMap::from([("LOG_DIR", dir.to_str().unwrap()), ("SAMPLE_TOKEN", token)]);
    Env::from_map(vars)
}

#[test]
fn a_good_house_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let ready = prepare::<Sample>(&env(dir.path(), "a")).unwrap_or_else(|_| panic!("trouble"));
    let looked_at: Vec<_> = ready
        .report
        .findings
        .iter()
        .map(|finding| finding.id)
        .collect();
    assert_eq!(looked_at, ["clock", "directory", "free-space", "sample"]);
}

#[test]
fn a_missing_directory_is_trouble_and_is_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let env = env(&logs, "a");
    let trouble = prepare::<Sample>(&env).err().expect("no directory yet");
    assert!(format!("{trouble:?}").contains("mkdir -p logs"));
    std::fs::create_dir(&logs).unwrap();
    assert!(prepare::<Sample>(&env).is_ok());
}

#[test]
fn the_fingerprint_changes_with_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let of = |token| {
        prepare::<Sample>(&env(dir.path(), token))
            .unwrap_or_else(|_| panic!("trouble"))
            .fingerprint
    };
    assert_eq!(of("a"), of("a"));
    assert_ne!(of("a"), of("b"));
}

#[test]
fn a_hold_is_told_from_a_crash() {
    let finding = Finding::error("lock", Text::new("", "taken"), "", Text::new("", "wait"));
    let held = conclude(Err(Hold::and_retry(finding).into()), Duration::ZERO, 1);
    assert!(held.is_err());
    let crashed = conclude(Err(anyhow::anyhow!("boom")), Duration::ZERO, 1);
    assert_eq!(crashed.unwrap(), ExitCode::FAILURE);
}
