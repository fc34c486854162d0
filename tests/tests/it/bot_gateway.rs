//! Whatever the gateway does, the bot comes back, never storms it, and parks where coming back cannot help.

use serde_json::json;
use tests::world::model::echo;
use tests::{House, Running, World};

use crate::story::{settled, state};

fn answers(world: &World, house: &House, token: &str) {
    let said = world.mention(world.member("花"), world.general(), token);
    world.answer(said, &echo(token));
    assert_eq!(settled(house, said), state::ANSWERED);
    assert_eq!(world.answers(said).len(), 1);
}

/// Closes with each code, says something while nobody listens, and waits for its answer.
fn closes(codes: &[u16]) {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    answers(&world, &house, "はじめ");
    for code in codes {
        let before = world.with(|state| {
            let before = state.gateway.identifies + state.gateway.resumes;
            state.gateway.close(*code);
            before
        });
        let words = format!("閉-{code}");
        let said = world.mention(world.member("太郎"), world.general(), &words);
        world.wait(&format!("the return after {code}"), |state| {
            let back = state.gateway.identifies + state.gateway.resumes > before;
            (back && state.gateway.connected() > 0).then_some(())
        });
        world.answer(said, &echo(&words));
        assert_eq!(settled(&house, said), state::ANSWERED);
        assert_eq!(world.answers(said).len(), 1, "{code}");
    }
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn after_a_close_that_keeps_the_session_it_is_resumed_and_nothing_missed() {
    closes(&[1006, 4000, 4001, 4002, 4005, 4008]);
}

// The unit tests of the gateway hold every code; these two show that the way back by IDENTIFY misses nothing.
#[test]
fn after_a_close_that_ends_the_session_a_new_one_misses_nothing() {
    closes(&[1000, 4009]);
}

#[test]
fn reconnect_and_invalid_session_are_obeyed() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    for (op, data) in [(7, json!(null)), (9, json!(true)), (9, json!(false))] {
        let before = world.with(|state| {
            state.gateway.send_op(op, &data);
            state.gateway.connects
        });
        world.wait(&format!("the return after op {op}"), |state| {
            (state.gateway.connects > before && state.gateway.connected() > 0).then_some(())
        });
        answers(&world, &house, &format!("op-{op}-{data}"));
    }
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn hostile_frames_do_no_harm() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let huge = format!(
        "{{\"op\":0,\"s\":null,\"t\":\"MESSAGE_CREATE\",\"d\":{{\"id\":\"1\",\"content\":\"{}\"}}}}",
        "x".repeat(4 << 20)
    );
    let frames = [
        "",
        "not json",
        "{\"op\":0}",
        "{\"op\":0,\"s\":-1,\"t\":\"MESSAGE_CREATE\",\"d\":7}",
        "{\"op\":99,\"d\":{}}",
        &huge,
    ];
    for (number, frame) in frames.iter().enumerate() {
        world.wait("a session", |state| {
            (state.gateway.connected() > 0).then_some(())
        });
        world.with(|state| state.gateway.send_raw(frame));
        answers(&world, &house, &format!("害-{number}"));
    }
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_connection_without_hello_is_given_up_and_tried_again() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.gateway.no_hello = 1);
    let bot = house.bot(&world);
    assert!(world.with(|state| state.gateway.connects) >= 2);
    answers(&world, &house, "やっとつながった");
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_silent_gateway_is_noticed_and_left() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.gateway.heartbeat_ms = 1_000);
    let bot = house.bot(&world);
    answers(&world, &house, "まえ");
    let before = world.with(|state| {
        state.gateway.silent = true;
        state.gateway.connects
    });
    world.wait("another connection", |state| {
        (state.gateway.connects > before).then_some(())
    });
    let said = world.mention(world.member("太郎"), world.general(), "静けさのなか");
    world.with(|state| {
        state.gateway.silent = false;
        state.gateway.close(4000);
    });
    world.answer(said, &echo("静けさのなか"));
    bot.stop().expect_code(0);
    assert!(world.with(|state| state.gateway.identifies) < 20);
    world.finish();
}

#[test]
fn without_the_content_intent_the_bot_goes_on_with_fewer_features() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.gateway.grant_content = false);
    let bot = house.bot(&world);
    world.wait("a session without the intent", |state| {
        (state.gateway.connected() > 0).then_some(())
    });
    let said = world.mention(world.member("花"), world.general(), "呼べば聞こえる");
    world.answer(said, &echo("呼べば聞こえる"));
    let alone = world.direct(world.member("太郎"), "ふたりなら聞こえる");
    world.answer(alone, &echo("ふたりなら聞こえる"));
    bot.stop().expect_code(0);
    // The owner is told once.
    world.expect_all();
    world.finish();
}

fn parked(world: &World, house: &House, hold: bool) -> Running {
    let mut launch = house.program("bot");
    if hold {
        launch = launch.env("ON_START_ERROR", "hold");
    }
    let before = world.with(|state| state.gateway.connects + state.rest.calls.len());
    let bot = launch.start();
    world.wait("a first try", |state| {
        (state.gateway.connects + state.rest.calls.len() > before).then_some(())
    });
    bot
}

#[test]
fn a_rejected_token_ends_with_78_or_holds_and_never_loops() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.token = "another".to_owned());
    let ended = parked(&world, &house, false).ended().expect_code(78);
    assert!((ended.stdout + &ended.stderr).contains("DISCORD_TOKEN"));
    let mut bot = parked(&world, &house, true);
    bot.wait_line("DISCORD_TOKEN");
    assert!(bot.alive());
    bot.poll("an unhealthy mark", |_| {
        let health = house.program("bot").args(["healthcheck"]).run();
        (health.code == Some(1)).then_some(())
    });
    bot.stop().expect_code(0);
    assert!(world.with(|state| state.gateway.identifies) <= 2);
    world.finish();
}

#[test]
fn fatal_close_codes_park_instead_of_looping() {
    for code in [4004, 4010, 4011, 4012, 4013] {
        let world = World::start();
        let house = House::new(&world);
        world.with(|state| state.gateway.refuse_always = Some(code));
        let bot = parked(&world, &house, false);
        // Outside compose it ends with 78; a supervisor that recognises the code late may need a few tries.
        bot.ended().expect_code(78);
        assert!(world.with(|state| state.gateway.identifies) <= 8, "{code}");
        world.finish();
    }
}

#[test]
fn an_empty_budget_of_identifies_is_respected() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.gateway.remaining = 0);
    let bot = parked(&world, &house, true);
    let mut bot = bot;
    world.wait("the question how many starts are left", |state| {
        state
            .rest
            .calls
            .iter()
            .any(|call| call.what == "GET /gateway/bot")
            .then_some(())
    });
    bot.poll("a line about it", |bot| {
        (!bot.output().0.is_empty()).then_some(())
    });
    bot.stop();
    assert_eq!(world.with(|state| state.gateway.identifies), 0);
    world.finish();
}
