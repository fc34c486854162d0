//! The engine itself ends and comes back: the stack does too, as it was.

use tests::World;
use tests::engine::{Engine, OwnEngine};
use tests::skipped;
use tests::stack::{Stack, owner};

use crate::nas_life::in_the_long_form;

#[test]
fn the_stack_comes_back_as_it_was_when_the_engine_does() {
    if !in_the_long_form("the engine ends and comes back") {
        return;
    }
    let own = Engine::find().and_then(|machines| OwnEngine::start(&machines));
    let mut own = match own {
        Ok(own) => own,
        Err(reason) => {
            skipped(&format!("the engine ends and comes back: {reason}"));
            return;
        }
    };
    let gateway = own.engine().gateway().unwrap();
    let world = World::start_on(&format!("{gateway}:0"));
    let stack = Stack::new(own.engine(), &world, owner(), "");
    stack.up(&[]);
    let at_work = ["bot", "backup-sidecar"];
    for service in at_work {
        stack.healthy(service);
    }
    stack.healthy("log-shipper");
    let hana = world.member("花");
    let said = world.mention(hana, world.general(), "動いている。");
    world.answer(said, "動いている");
    // What its owner stopped stays stopped.
    stack.compose(&["stop", "log-shipper"]);

    own.stop();
    let said = world.mention(hana, world.general(), "止まっている間に。");
    own.wake().unwrap();
    for service in at_work {
        stack.healthy(service);
    }
    world.answer(said, "止まっている間に");
    assert_eq!(world.answers(said).len(), 1);
    assert_eq!(stack.inspect("log-shipper", "{{.State.Running}}"), "false");

    let report = stack.exec("backup-sidecar", &["backup"]);
    assert!(!stack.archives().is_empty(), "{report}");
    for service in at_work {
        let logs = stack.logs(service);
        assert!(!logs.contains(" - ERROR - "), "{service}: {logs}");
    }
    drop(stack);
    drop(own);
    world.expect_all();
    world.finish();
}
