//! Starts, ends and sudden ends: nothing accepted is lost, nothing is said twice.

use std::time::Duration;

use tests::world::Act;
use tests::world::model::echo;
use tests::{House, World};

use crate::story::{settled, state, stored};

#[test]
fn a_turn_cut_off_by_kill_9_is_answered_once_by_the_next_life() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(
        1,
        Act::StallAfter("途中まで話しました。それから".to_owned()),
    );
    let said = world.mention(world.member("花"), world.general(), "最後まで話して");
    world.expect("the first words", |message| {
        message.content.contains("途中まで")
    });
    bot.kill();
    let bot = house.bot(&world);
    world.answer(said, &echo("最後まで話して"));
    assert_eq!(settled(&house, said), state::ANSWERED);
    bot.stop().expect_code(0);
    assert_eq!(world.answers(said).len(), 1);
    world.finish();
}

#[test]
fn words_of_distress_cut_off_by_kill_9_bring_the_card_in_the_next_life() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.fault(
        "POST /channels/*/messages",
        tests::world::RestAct::Refuse(503, 0),
        99,
    );
    let said = world.mention(world.member("花"), world.general(), "もう消えたい");
    world.wait("the card on its way", |state| {
        let mut calls = state.rest.calls.iter();
        calls
            .any(|call| call.what.starts_with("POST") && call.what.ends_with("/messages"))
            .then_some(())
    });
    bot.kill();
    world.with(|state| state.rest.heal());
    // The words were never stored: they are read again where they stand.
    let bot = house.bot(&world);
    assert_eq!(settled(&house, said), state::ANSWERED);
    bot.stop().expect_code(0);
    assert_eq!(world.answers(said).len(), 1);
    assert!(world.asked().is_empty(), "no model is asked about distress");
    world.expect_all();
    world.finish();
}

#[test]
fn a_reply_that_discord_took_before_the_kill_is_not_sent_again() {
    let world = World::start();
    let house = House::new(&world);
    // Discord forgets nonces: only asking it can tell.
    world.with(|state| state.nonce_memory = Duration::ZERO);
    let bot = house.bot_with(&world, &[("STREAMING", "off"), ("THREADS", "off")]);
    // The message stands, but the bot never hears so.
    world.fault(
        "POST /channels/*/messages",
        tests::world::RestAct::LostAnswer,
        99,
    );
    let said = world.mention(world.member("花"), world.general(), "一度だけ");
    world.answer(said, &echo("一度だけ"));
    bot.kill();
    world.with(|state| state.rest.heal());
    let bot = house.bot_with(&world, &[("STREAMING", "off"), ("THREADS", "off")]);
    settled(&house, said);
    bot.stop().expect_code(0);
    assert_eq!(world.answers(said).len(), 1);
    world.finish();
}

#[test]
fn what_was_said_while_away_is_answered_within_the_bound() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let bot = house.bot(&world);
    let thread = world.mention(hana, world.general(), "はじめまして");
    world.answer(thread, "はじめまして");
    let direct = world.direct(hana, "こっそり");
    world.answer(direct, "こっそり");
    bot.stop().expect_code(0);
    let missed = world.mention(world.member("太郎"), world.general(), "留守中に呼んだ");
    let follow = world.say(hana, thread, "留守中の続き");
    let alone = world.direct(hana, "留守中のひとこと");
    let unasked = world.say(hana, world.general(), "誰にでもなく");
    let bot = house.bot(&world);
    world.answer(missed, &echo("留守中に呼んだ"));
    world.answer(follow, &echo("留守中の続き"));
    world.answer(alone, &echo("留守中のひとこと"));
    bot.stop().expect_code(0);
    // Another start finds nothing left to say.
    let bot = house.bot(&world);
    let last = world.mention(hana, world.general(), "もう大丈夫");
    world.answer(last, "もう大丈夫");
    bot.stop().expect_code(0);
    assert!(world.answers(unasked).is_empty());
    world.finish();
}

#[test]
fn what_is_too_old_is_closed_unanswered_and_what_is_not_is_answered() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(9, Act::Stall);
    let open = world.mention(world.member("花"), world.general(), "答えかけの質問");
    world.wait("the request", |state| {
        (!state.model.asked.is_empty()).then_some(())
    });
    bot.kill();
    let missed = world.mention(world.member("太郎"), world.general(), "留守の初めに呼んだ");
    let later = |minutes| world.with(|state| state.ahead += Duration::from_mins(minutes));
    later(50);
    let late = world.mention(
        world.member("次郎"),
        world.general(),
        "留守の終わりに呼んだ",
    );
    later(20);
    world.with(|state| state.model.heal());
    let bot = house.bot(&world);
    // Seventy minutes have passed by Discord's clock, twenty since the last mention.
    world.answer(late, &echo("留守の終わりに呼んだ"));
    assert_eq!(settled(&house, open), state::EXPIRED);
    bot.stop().expect_code(0);
    assert!(world.answers(missed).is_empty() && world.answers(open).is_empty());
    world.finish();
}

#[test]
fn a_question_taken_back_while_away_gets_no_answer_and_is_not_kept() {
    let world = World::start();
    let house = House::new(&world);
    // In place: a thread on what was deleted cannot be opened anyway.
    let settings = [("THREADS", "off"), ("STREAMING", "off")];
    let hana = world.member("花");
    let bot = house.bot_with(&world, &settings);
    world.model(9, Act::Stall);
    let begun = [
        world.mention(hana, world.general(), "canary-back 途中で消す"),
        world.direct(hana, "canary-back こちらも消す"),
    ];
    world.wait("both requests", |state| {
        (state.model.asked.len() == 2).then_some(())
    });
    bot.kill();
    let missed = world.mention(hana, world.general(), "canary-back 留守中に言って消す");
    for said in begun.into_iter().chain([missed]) {
        world.delete(said);
    }
    world.with(|state| state.model.heal());
    let bot = house.bot_with(&world, &settings);
    for said in begun {
        assert_eq!(settled(&house, said), state::REMOVED);
    }
    let last = world.mention(hana, world.general(), "これは消さない");
    world.answer(last, &echo("これは消さない"));
    bot.stop().expect_code(0);
    assert_eq!(world.asked().len(), 3, "nobody is asked about them again");
    for said in begun.into_iter().chain([missed]) {
        assert!(world.answers(said).is_empty());
    }
    assert_eq!(stored(&house, "%canary-back%"), 0);
    world.finish();
}

#[test]
fn a_new_store_answers_nothing_from_before_its_first_start() {
    let world = World::start();
    let house = House::new(&world);
    let old = world.say_ago(
        world.member("花"),
        world.general(),
        &format!("<@{}> むかしの話", tests::world::BOT),
        Duration::from_mins(30),
    );
    let bot = house.bot(&world);
    let said = world.mention(world.member("太郎"), world.general(), "いまの話");
    world.answer(said, &echo("いまの話"));
    bot.stop().expect_code(0);
    // Unanswered for sure, it may be answered; answered twice it may not be.
    assert!(world.answers(old).len() <= 1);
    world.expect_all();
    world.finish();
}

#[test]
fn sigterm_lets_a_running_answer_finish() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(
        1,
        Act::Hold("はじめに。それから".to_owned(), "さいごまで。".to_owned()),
    );
    let said = world.mention(world.member("花"), world.general(), "終わる前に");
    world.answer(said, "はじめに。");
    bot.terminate();
    world.open_gate();
    let ended = bot.ended().expect_code(0);
    assert_eq!(ended.signal, None);
    world.answer(said, "はじめに。それからさいごまで。");
    assert_eq!(settled(&house, said), state::ANSWERED);
    world.finish();
}

#[test]
fn sigterm_ends_a_bot_that_never_reached_the_gateway() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| state.gateway.silent = true);
    let bot = house.program("bot").start();
    world.wait("a connection", |state| {
        (state.gateway.connects > 0).then_some(())
    });
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn an_answer_that_cannot_finish_in_the_grace_is_finished_by_the_next_life() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(1, Act::Stall);
    let said = world.mention(world.member("花"), world.general(), "間に合わない");
    world.wait("the request", |state| {
        (!state.model.asked.is_empty()).then_some(())
    });
    bot.terminate();
    bot.terminate();
    bot.ended();
    let bot = house.bot(&world);
    world.answer(said, &echo("間に合わない"));
    bot.stop().expect_code(0);
    assert_eq!(world.answers(said).len(), 1);
    world.finish();
}

#[test]
fn a_second_bot_on_the_same_data_keeps_out() {
    let world = World::start();
    let house = House::new(&world);
    let first = house.bot(&world);
    let ended = house.program("bot").run().expect_code(78);
    assert!(!(ended.stdout + &ended.stderr).is_empty());
    let mut second = house.program("bot").env("ON_START_ERROR", "hold").start();
    second.poll("a word about it", |bot| {
        (!bot.output().0.is_empty() || !bot.output().1.is_empty()).then_some(())
    });
    let said = world.mention(world.member("花"), world.general(), "ひとりだけ");
    world.answer(said, &echo("ひとりだけ"));
    second.stop().expect_code(0);
    first.stop().expect_code(0);
    assert_eq!(world.with(|state| state.gateway.identifies), 1);
    world.finish();
}

#[test]
fn the_database_is_sound_after_any_end() {
    let world = World::start();
    let house = House::new(&world);
    for round in 0..3 {
        let bot = house.bot(&world);
        let said = world.mention(world.member("花"), world.general(), &format!("回-{round}"));
        world.answer(said, &format!("回-{round}"));
        bot.kill();
        let sound: String = house
            .look()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
    world.finish();
}

#[test]
fn a_replayed_message_and_a_threads_starter_are_answered_once() {
    let world = World::start();
    let house = House::new(&world);
    world.with(|state| {
        state.gateway.replay_share = 1.0;
        state.gateway.whole_starter = true;
    });
    let bot = house.bot(&world);
    let said: Vec<_> = (0..8)
        .map(|number| {
            world.mention(
                world.member("花"),
                world.general(),
                &format!("重複-{number}"),
            )
        })
        .collect();
    for (number, said) in said.iter().enumerate() {
        world.answer(*said, &echo(&format!("重複-{number}")));
    }
    bot.stop().expect_code(0);
    for said in &said {
        assert_eq!(world.answers(*said).len(), 1);
    }
    assert_eq!(world.asked().len(), said.len());
    world.finish();
}
