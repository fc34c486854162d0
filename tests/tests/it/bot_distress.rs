//! Words of distress: the card, at once and alone, whatever the models do, and nothing of the words is kept.

use serde_json::json;
use tests::world::Act;
use tests::world::model::echo;
use tests::{House, World};

use crate::story::{only_answer, settled, state, words};

const CARD: &str = "町の窓口へ";

/// A house whose owner has a card.
fn house(world: &World) -> House {
    let house = House::new(world);
    house.write(
        "config/kotonoha.yaml",
        format!("distress:\n  card: {CARD}\n"),
    );
    house
}

/// The built-in phrases, from where they stand: one that is added there is tried here.
fn phrases() -> Vec<String> {
    let source = include_str!("../../../bot/src/manners/lists.rs");
    let (_, list) = source.split_once("const DISTRESS: &[&str] = &[").unwrap();
    let (list, _) = list.split_once("];").unwrap();
    let phrases: Vec<String> = list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    let english = phrases.iter().filter(|phrase| phrase.is_ascii()).count();
    assert!(english > 10 && phrases.len() - english > 20, "{phrases:?}");
    phrases
}

#[test]
fn every_fixed_phrase_brings_the_card_with_every_model_down_and_is_kept_nowhere() {
    let world = World::start();
    let house = house(&world);
    let fallbacks = "openai/gpt-5-mini,ollama/llama3.2";
    let bot = house.bot_with(&world, &[("LLM_FALLBACK_MODEL", fallbacks)]);
    world.model(usize::MAX, Act::Status(500));
    let hana = world.member("花");
    let phrases = phrases();
    let said: Vec<_> = phrases
        .iter()
        .map(|phrase| world.mention(hana, world.general(), &format!("canary {phrase}")))
        .collect();
    for (phrase, said) in phrases.iter().zip(&said) {
        world.answer(*said, CARD);
        let (how, card) = only_answer(&world, &house, *said);
        assert_eq!(
            (how, card.content.as_str()),
            (state::ANSWERED, CARD),
            "{phrase}"
        );
        let title = world.with(|state| state.channels[said].name.clone());
        assert_eq!(title, "会話", "a title that everybody reads");
    }
    assert!(world.asked().is_empty(), "no model is asked about distress");
    bot.stop().expect_code(0);
    let logs = house.all_logs();
    let files = tests::house::walk(&house.data());
    let files: Vec<_> = files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for phrase in phrases.iter().map(String::as_str).chain(["canary"]) {
        let is_in = |bytes: &Vec<u8>| {
            bytes
                .windows(phrase.len())
                .any(|at| at == phrase.as_bytes())
        };
        assert!(!files.iter().any(is_in), "{phrase} in data");
        assert!(!logs.contains(phrase), "{phrase} in the logs");
    }
    world.finish();
}

#[test]
fn a_command_with_words_of_distress_brings_the_card_with_every_model_down() {
    let world = World::start();
    let house = house(&world);
    let bot = house.bot(&world);
    world.model(9, Act::Status(500));
    let text = json!([{"name": "text", "type": 3, "value": "もう消えたい"}]);
    let asked = world.command(world.member("花"), world.general(), "ask", &text);
    assert_eq!(words(&world, asked), CARD);
    assert!(world.asked().is_empty(), "no model was asked");
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn the_card_stands_alone_and_the_line_of_a_new_thread_comes_with_the_next_answer() {
    let world = World::start();
    let house = house(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let said = world.mention(hana, world.general(), "もう消えたい");
    assert_eq!(world.answer(said, CARD).content, CARD);
    settled(&house, said);
    // Once more before anything else is said: still the card alone.
    let again = world.say(hana, said, "死にたい");
    assert_eq!(world.answer(again, CARD).content, CARD);
    settled(&house, again);
    let mut lines = Vec::new();
    for text in ["きょうは雨だった", "あしたは晴れるって"] {
        let next = world.say(hana, said, text);
        let reply = world.answer(next, &echo(text));
        lines.push(reply.content.contains("/chat start"));
        settled(&house, next);
    }
    assert_eq!(lines, [true, false]);
    for asked in world.asked() {
        assert!(!asked.raw.contains("消えたい") && !asked.raw.contains("死にたい"));
        assert!(asked.said().iter().all(|(_, text)| !text.trim().is_empty()));
    }
    bot.stop().expect_code(0);
    world.finish();
}
