//! The compose files as compose sees them, and the whole stack on a Docker engine where one answers.

use std::process::Command;

use release::nas::Nas;
use serde_yaml::Value;
use tests::engine;

use crate::nas_files::root;

/// What compose makes of some files of this repository, with lists in a fixed order.
fn merged(compose: &[String], files: &[&str]) -> Value {
    let mut command = Command::new(&compose[0]);
    command
        .current_dir(root())
        .args(&compose[1..])
        .env("KOTONOHA_HOME", "/home/of/kotonoha");
    for file in files {
        command.args(["-f", file]);
    }
    let output = command.arg("config").output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{files:?}: {complaint}");
    let mut value: Value = serde_yaml::from_slice(&output.stdout).unwrap();
    sort_lists(&mut value);
    value
}

fn sort_lists(value: &mut Value) {
    match value {
        Value::Sequence(items) => {
            items.iter_mut().for_each(sort_lists);
            items.sort_by_key(|item| serde_yaml::to_string(item).unwrap());
        }
        Value::Mapping(mapping) => mapping.values_mut().for_each(sort_lists),
        _ => (),
    }
}

#[test]
fn compose_accepts_every_combination_and_reads_the_single_files_as_base_plus_override() {
    let Some(compose) = engine::compose() else {
        tests::skipped("no docker compose to ask about the compose files");
        return;
    };
    merged(&compose, &["compose.yaml", "compose.build.yaml"]);
    for nas in Nas::ALL {
        let over = format!("compose.{}.yaml", nas.name());
        let single = format!("nas/{}/compose.yaml", nas.name());
        let both = merged(&compose, &["compose.yaml", &over]);
        assert_eq!(
            both["services"],
            merged(&compose, &[&single])["services"],
            "{single}"
        );
        if nas != Nas::Synology {
            let limited = merged(&compose, &["compose.yaml", &over, "compose.cpus.yaml"]);
            assert!(
                serde_yaml::to_string(&limited).unwrap().contains("cpus"),
                "{over}"
            );
        }
    }
}
