//! The buttons under an answer: stop and again, for the asker alone, across restarts; and what a new thread's first
//! answer says.

use std::time::Duration;

use serde_json::Value;
use tests::world::model::echo;
use tests::world::{Act, Id, Message, permission};
use tests::{House, World};

use crate::story::{only_answer, settled, state, words};

/// A model that says a first part, and a second one when the gate opens.
fn in_two(first: &str) -> Act {
    Act::Hold(first.to_owned(), "おわりの言葉です。".to_owned())
}

fn now(world: &World, message: Id) -> Message {
    world.with(|state| state.messages[&message].clone())
}

/// What the store remembers of our answers to a question.
fn remembered(house: &House, said: Id) -> Vec<String> {
    let store = house.look();
    let mut rows = store
        .prepare("SELECT text FROM messages WHERE turn = ?1 AND role = 1")
        .unwrap();
    rows.query_map([said.cast_signed()], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Calls, tokens in and tokens out, as the store has them.
fn used(house: &House) -> (i64, i64, i64) {
    house
        .look()
        .query_row(
            "SELECT coalesce(sum(calls), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) FROM usage",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap()
}

/// Waits until the model's connection is closed, which a press of the button does within a second.
fn abandoned(world: &World, number: usize, pressed: Id) {
    let (closed, pressed) = world.wait("the model's connection to be closed", |state| {
        let asked = state.model.asked.get(number)?;
        Some((asked.abandoned?, state.interactions[&pressed].sent))
    });
    let took = closed.duration_since(pressed);
    assert!(took < Duration::from_secs(1), "closed after {took:?}");
}

#[test]
fn stop_ends_the_stream_and_the_cost_and_keeps_what_was_shown() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    world.model(1, in_two("はじめの言葉です。つぎの言葉です。"));
    let said = world.mention(hana, world.general(), "ゆっくり話して");
    let growing = world.answer(said, "つぎの言葉です。");
    let stop = format!("stop:{said}");
    assert_eq!(growing.buttons(), [stop.as_str()]);
    let refused = world.press(taro, growing.id, &stop);
    assert!(words(&world, refused).contains("聞いた人だけ"));
    assert_eq!(world.asked()[0].abandoned, None, "nobody else stops it");
    let pressed = world.press(hana, growing.id, &stop);
    assert!(words(&world, pressed).contains("止めました"));
    // The gate was never opened: only we can have closed the connection.
    abandoned(&world, 0, pressed);
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, growing.id));
    assert!(
        reply
            .content
            .starts_with("はじめの言葉です。つぎの言葉です。")
            && reply.content.contains("ここで止めました"),
        "{}",
        reply.content
    );
    assert_eq!(
        reply.buttons(),
        [format!("again:{said}"), format!("delete:{said}")]
    );
    assert_eq!(
        remembered(&house, said),
        ["はじめの言葉です。つぎの言葉です。"]
    );
    let (calls, input, output) = used(&house);
    assert!(calls == 1 && input > 0 && output > 0, "paid for what came");
    let next = world.say(hana, said, "つづけよう");
    world.answer(next, &echo("つづけよう"));
    let prompt = world.asked().pop().unwrap();
    assert!(prompt.raw.contains("つぎの言葉です。") && !prompt.raw.contains("止めました"));
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn stop_before_the_first_word_closes_the_request() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    world.model(1, Act::Stall);
    let said = world.mention(hana, world.general(), "ながく待つ");
    let holding = world.answer(said, "ちゃんと届いています");
    let pressed = world.press(hana, holding.id, &format!("stop:{said}"));
    assert!(words(&world, pressed).contains("止めました"));
    abandoned(&world, 0, pressed);
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, holding.id));
    assert!(reply.content.contains("ここで止めました"));
    assert!(remembered(&house, said).is_empty(), "nothing was said");
    assert_eq!(used(&house).0, 0, "nothing came, nothing is paid");
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn an_answer_whose_question_is_deleted_in_the_middle_is_paid_for() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("THREADS", "off")]);
    world.model(1, in_two("はじめの言葉です。"));
    let said = world.mention(world.member("花"), world.general(), "やっぱり消す");
    world.answer(said, "はじめの言葉です。");
    world.delete(said);
    assert_eq!(settled(&house, said), state::REMOVED);
    world.wait("the cost in the books", |_| {
        (used(&house).0 > 0).then_some(())
    });
    bot.stop().expect_code(0);
    let (calls, input, output) = used(&house);
    assert!(calls == 1 && input > 0 && output > 0, "what nobody reads");
    world.finish();
}

#[test]
fn the_button_to_stop_works_in_the_next_life() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    world.model(2, in_two("はじめの言葉です。"));
    let said = world.mention(hana, world.general(), "とちゅうで倒れる");
    let growing = world.answer(said, "はじめの言葉です。");
    bot.kill();
    let bot = house.bot(&world);
    world.wait("the model to be asked again", |state| {
        (state.model.asked.len() == 2).then_some(())
    });
    let pressed = world.press(hana, growing.id, &format!("stop:{said}"));
    assert!(words(&world, pressed).contains("止めました"));
    abandoned(&world, 1, pressed);
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, growing.id));
    assert!(reply.content.contains("ここで止めました"));
    // Pressed once more by somebody who still sees it: nothing is written now.
    world.with(|state| {
        let shown = state.messages.get_mut(&growing.id).unwrap();
        shown.components = growing.components.clone();
    });
    let late = world.press(hana, growing.id, &format!("stop:{said}"));
    assert!(words(&world, late).contains("いまは書いていません"));
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn again_puts_a_new_answer_in_the_place_of_the_old_one() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    world.model(1, Act::Say("さいしょの答えです。".to_owned()));
    let said = world.mention(hana, world.general(), "なにか言って");
    let first = world.answer(said, "さいしょの答えです。");
    assert_eq!(settled(&house, said), state::ANSWERED);
    bot.stop().expect_code(0);
    // The button carries what it needs: it works in the next life.
    let bot = house.bot(&world);
    let again = format!("again:{said}");
    let refused = world.press(taro, first.id, &again);
    assert!(words(&world, refused).contains("聞いた人だけ"));
    world.model(1, Act::Say("つぎの答えです。".to_owned()));
    let pressed = world.press(hana, first.id, &again);
    assert!(words(&world, pressed).contains("もう一度、書きました"));
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, first.id));
    assert!(reply.content.starts_with("つぎの答えです。"));
    assert!(reply.content.contains("/chat start"), "it is the first one");
    assert_eq!(remembered(&house, said), ["つぎの答えです。"]);
    assert_eq!(used(&house).0, 2, "both were paid for");
    let next = world.say(hana, said, "おぼえてる");
    world.answer(next, &echo("おぼえてる"));
    let prompt = world.asked().pop().unwrap().raw;
    assert!(prompt.contains("つぎの答えです。") && !prompt.contains("さいしょの答えです。"));
    // What is forgotten cannot be asked for again.
    let gone = world.press(hana, first.id, &format!("delete:{said}"));
    assert!(words(&world, gone).contains("消しました"));
    world.with(|state| {
        state.messages.get_mut(&first.id).unwrap().deleted = false;
    });
    let late = world.press(hana, first.id, &again);
    assert!(words(&world, late).contains("もう覚えていません"));
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn when_no_new_answer_comes_the_old_one_stands() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(
        &world,
        &[("LLM_MAX_RETRIES", "0"), ("LLM_TIMEOUT_SECONDS", "4")],
    );
    let hana = world.member("花");
    let said = world.mention(hana, world.general(), "やさしい話");
    let first = world.answer(said, &echo("やさしい話"));
    settled(&house, said);
    let stood = now(&world, first.id);
    let again = format!("again:{said}");
    // At once, and after its beginning has been shown.
    for act in [
        Act::Status(401),
        Act::StallAfter("あたらしい言葉です。".to_owned()),
    ] {
        world.model(1, act);
        let pressed = world.press(hana, first.id, &again);
        assert!(words(&world, pressed).contains("すみません"));
        assert_eq!(settled(&house, said), state::ANSWERED);
        let after = now(&world, first.id);
        assert_eq!(
            (after.content, after.components),
            (stood.content.clone(), stood.components.clone())
        );
        assert_eq!(remembered(&house, said), [echo("やさしい話")]);
    }
    assert!(
        now(&world, first.id)
            .former
            .iter()
            .any(|text| text.contains("あたらしい言葉です。")),
        "the second one had begun to show"
    );
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn where_an_answer_cannot_be_changed_any_more_it_stays() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let said = world.mention(hana, world.general(), "むかしの話");
    let first = world.answer(said, &echo("むかしの話"));
    settled(&house, said);
    // What Discord says to many edits of an old message.
    let too_old = tests::world::RestAct::Refuse(400, 30_046);
    world.fault("PATCH /channels/*/messages/*", too_old, 9);
    world.model(1, Act::Say("あたらしい答えです。".to_owned()));
    let pressed = world.press(hana, first.id, &format!("again:{said}"));
    assert!(words(&world, pressed).contains("すみません"));
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, first.id));
    assert_eq!(remembered(&house, said), [echo("むかしの話")]);
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn again_works_where_there_is_no_thread() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("THREADS", "off")]);
    let hana = world.member("花");
    for is_direct in [false, true] {
        // One after the other: the next answer is scripted for whoever asks next.
        let said = if is_direct {
            world.direct(hana, "ふたりで")
        } else {
            world.mention(hana, world.general(), "ここで")
        };
        let first = world.answer(said, "こたえ");
        settled(&house, said);
        world.model(1, Act::Say("つぎの答えです。".to_owned()));
        let pressed = world.press(hana, first.id, &format!("again:{said}"));
        assert!(words(&world, pressed).contains("もう一度、書きました"));
        let (how, reply) = only_answer(&world, &house, said);
        assert_eq!((how, reply.id), (state::ANSWERED, first.id));
        assert_eq!(reply.content, "つぎの答えです。");
    }
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_kill_while_another_answer_is_looked_for_costs_no_answer() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let said = world.mention(hana, world.general(), "たおれても");
    let first = world.answer(said, &echo("たおれても"));
    settled(&house, said);
    world.model(
        1,
        Act::Hold(String::new(), "あたらしい答えです。".to_owned()),
    );
    world.press(hana, first.id, &format!("again:{said}"));
    world.wait("the model to be asked again", |state| {
        (state.model.asked.len() == 2).then_some(())
    });
    bot.kill();
    let bot = house.bot(&world);
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, first.id));
    assert!(reply.content.starts_with(&echo("たおれても")));
    assert_eq!(remembered(&house, said), [echo("たおれても")]);
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_failed_turn_offers_to_try_again() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("LLM_MAX_RETRIES", "0")]);
    let hana = world.member("花");
    world.model(1, Act::Status(500));
    let said = world.mention(hana, world.general(), "とどいてるかな");
    let note = world.answer(said, "すみません");
    assert_eq!(settled(&house, said), state::FAILED);
    let pressed = world.press(hana, note.id, &format!("again:{said}"));
    assert!(words(&world, pressed).contains("もう一度、書きました"));
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.id), (state::ANSWERED, note.id));
    assert!(reply.content.starts_with(&echo("とどいてるかな")));
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn a_new_threads_first_answer_says_once_how_it_is_there() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("LLM_MAX_RETRIES", "0")]);
    let hana = world.member("花");
    // 299 characters of the law's 300: the remark is none of them.
    let long = format!("{}。", "あ".repeat(298));
    world.model(1, Act::Say(long.clone()));
    let said = world.mention(hana, world.general(), "はじめまして");
    let first = world.answer(said, &long);
    let lines: Vec<&str> = first.content.lines().collect();
    assert_eq!(lines.len(), 2, "one line: {}", first.content);
    for part in ["メンションはいりません", "みんなが読めます", "/chat start"] {
        assert!(lines[1].starts_with("-# ") && lines[1].contains(part));
    }
    settled(&house, said);
    assert!(!now(&world, first.id).buttons().contains(&"more".to_owned()));
    assert_eq!(remembered(&house, said), [long.as_str()]);
    let next = world.say(hana, said, "つぎの話");
    let second = world.answer(next, &echo("つぎの話"));
    assert!(!second.content.contains("-# "), "{}", second.content);
    let asked = world.asked().pop().unwrap();
    assert!(asked.said().iter().all(|(_, text)| !text.contains("-# ")));
    // A note is no answer: the first answer after it says it.
    world.model(1, Act::Status(401));
    let failed = world.mention(hana, world.general(), "だめなとき");
    let note = world.answer(failed, "すみません");
    assert!(!note.content.contains("/chat start"));
    let then = world.say(hana, failed, "もういちど聞く");
    assert!(
        world
            .answer(then, &echo("もういちど聞く"))
            .content
            .contains("/chat start")
    );
    // Where a thread can be opened and not written in there is nothing to say of it.
    world.deny(world.general(), permission::SEND_IN_THREADS);
    let beside = world.mention(hana, world.general(), "スレッドに書けない");
    let reply = world.answer(beside, &echo("スレッドに書けない"));
    assert_eq!(reply.channel, world.general());
    assert!(!reply.content.contains("-# "), "{}", reply.content);
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn the_line_of_a_new_thread_is_counted_and_speaks_english() {
    let world = World::start();
    let house = House::new(&world);
    house.write("config/kotonoha.yaml", "manners: off\n");
    let bot = house.bot_with(&world, &[("BOT_LANGUAGE", "en")]);
    let hana = world.member("Hana");
    // Fits alone, and not with the line: the stand-in refuses more than 2,000 characters.
    world.model(1, Act::Say("word ".repeat(398)));
    let said = world.mention(hana, world.general(), "a long story");
    assert_eq!(settled(&house, said), state::ANSWERED);
    let parts = world.answers(said);
    assert_eq!(parts.len(), 2, "{parts:#?}");
    assert!(parts[1].content.contains("No mention is needed"));
    assert_eq!(parts[0].components, Value::Array(Vec::new()));
    assert_eq!(parts[1].buttons().len(), 2);
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}
