//! `compose.demo.yaml`: a stranger sees the stack talk, without an account and without a way out.

use std::fs;

use release::nas::Nas;
use tests::engine::Engine;
use tests::stack::{Stack, give, owner};

use crate::nas_files::{read, root};

#[test]
fn the_demo_override_shows_the_stack_talking_on_a_network_that_leads_nowhere() {
    let Some((engine, _)) = Engine::here() else {
        return;
    };
    // A fresh clone, as far as compose is concerned.
    let mut stack = Stack::unpack(&engine, Nas::Synology, owner(), "");
    for name in ["compose.yaml", "compose.demo.yaml"] {
        fs::copy(root().join(name), stack.path(name)).unwrap();
    }
    give(stack.folder(), owner());
    stack.add_file("compose.demo.yaml");
    stack.up(&[]);
    stack.healthy("bot");
    let listed = stack.compose(&["ps", "-q", "world"]);
    let world = listed.split_whitespace().last().unwrap_or_default();
    let heard = tests::engine::until("an answer in the world's log", || {
        let logs = engine.must(&["logs", world]);
        let is_answer =
            |row: &str| row.contains("kotonoha: ") && row.contains("こたえ「こんにちは、");
        logs.lines().any(is_answer).then_some(logs)
    });
    assert!(heard.contains("花: @kotonoha"), "{heard}");

    // Nobody outside is reached or reaches in, and no database in use is touched.
    let names = stack.inspect(
        "bot",
        "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}",
    );
    let networks: Vec<&str> = names.split_whitespace().collect();
    assert_eq!(networks.len(), 1, "{names}");
    let internal = engine.must(&[
        "network",
        "inspect",
        "--format",
        "{{.Internal}}",
        networks[0],
    ]);
    assert_eq!(internal.trim(), "true");
    let ports = engine.must(&[
        "inspect",
        "--format",
        "{{len .HostConfig.PortBindings}}",
        world,
    ]);
    assert_eq!(ports.trim(), "0");
    let data = stack.names("data");
    assert!(data.iter().any(|name| name == "demo.db"), "{data:?}");
    assert!(!data.iter().any(|name| name == "sessions.db"), "{data:?}");
}

#[test]
fn the_demos_token_is_the_one_its_world_accepts() {
    let demo = read("compose.demo.yaml");
    assert!(demo.contains(&format!("DISCORD_TOKEN: {}", tests::world::TOKEN)));
}
