//! Every command, menu and button in both languages: for its asker, for somebody else, without permission, and with the
//! model failing. No answer mixes the languages, none frightens, all are seen by the one who asked alone.

use serde_json::{Value, json};
use tests::world::{Act, Id, OWNER};
use tests::{House, World};

use crate::story::{settled, stored, words};

const MANAGE_CHANNELS: u64 = 1 << 4;

/// What belongs to one language.
struct Tongue {
    code: &'static str,
    says: &'static str,
    menus: [&'static str; 2],
    /// The beginning of the kind note.
    sorry: &'static str,
    /// Refusals: settings, usage, reset, delete, stop, again.
    refusals: [&'static str; 6],
}

const JAPANESE: Tongue = Tongue {
    code: "ja",
    says: "しずかな返事です。",
    menus: ["やさしく説明", "返事を一緒に考える"],
    sorry: "すみません",
    refusals: [
        "チャンネルの管理",
        "持ち主だけ",
        "はじめた人か",
        "聞いた人だけ",
        "聞いた人だけ",
        "聞いた人だけ",
    ],
};

const ENGLISH: Tongue = Tongue {
    code: "en",
    says: "A quiet answer.",
    menus: ["Explain gently", "Draft a reply together"],
    sorry: "I am sorry",
    refusals: [
        "Manage Channels",
        "Only the owner",
        "Only the one who began",
        "Only the one who asked",
        "Only the one who asked",
        "Only the one who asked",
    ],
};

/// Names, ids and commands are the same in every language.
fn prose(text: &str) -> String {
    let plain = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let words = plain
        .split_whitespace()
        .filter(|word| !word.contains(['/', '#', '_', '<']));
    words.collect::<Vec<_>>().join(" ")
}

fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ff00}'..='\u{ff9f}' | '\u{3000}'..='\u{303f}')
}

/// Fails when `text` holds the other language.
fn check_language(text: &str, tongue: &Tongue, what: &str) {
    let prose = prose(text);
    if tongue.code == "en" {
        assert!(!prose.chars().any(is_japanese), "{what} in English: {text}");
        return;
    }
    // A sentence of English: three words with nothing Japanese between them.
    let words: Vec<&str> = prose.split(' ').collect();
    let latin =
        |word: &&str| word.len() > 1 && word.chars().all(|c| c.is_ascii_alphabetic() || c == '\'');
    let english = words.windows(3).find(|three| three.iter().all(latin));
    assert!(english.is_none(), "{what} in Japanese: {text}");
}

/// Everything that one may read of an answer: words, and what is written on buttons.
fn read(world: &World, asked: Id, tongue: &Tongue, what: &str) -> String {
    let text = words(world, asked);
    assert!(!text.trim().is_empty(), "{what} says nothing");
    check_language(&text, tongue, what);
    let answered = world.answered(asked);
    for answer in &answered.answers {
        labels(&answer.body["components"], tongue, what);
    }
    text
}

fn labels(components: &Value, tongue: &Tongue, what: &str) {
    let rows = components.as_array().into_iter().flatten();
    for button in rows.flat_map(|row| row["components"].as_array().into_iter().flatten()) {
        check_language(button["label"].as_str().unwrap(), tongue, what);
    }
}

/// Every slash command, as anybody may use it.
fn commands() -> Vec<(&'static str, Value)> {
    let one = |name: &str, value: Value| json!([{"name": name, "value": value}]);
    let part = |name: &str| json!([{"name": name, "type": 1, "options": []}]);
    vec![
        ("ask", one("text", json!("?"))),
        ("chat", part("status")),
        ("chat", part("reset")),
        ("chat", part("start")),
        ("forget", one("where", json!("here"))),
        ("forget", one("where", json!("everywhere"))),
        ("mydata", json!([])),
        ("settings", json!([])),
        ("settings", one("persona", json!("nobody"))),
        ("settings", one("model", json!("nobody"))),
        ("usage", json!([])),
        ("why", json!([])),
        ("help", json!([])),
    ]
}

/// One bot that speaks one language, a thread with an answer in it, and everybody who may press.
struct Stage<'a> {
    world: &'a World,
    house: &'a House,
    tongue: &'a Tongue,
    hana: Id,
    taro: Id,
    /// Her question, whose thread has the same id.
    said: Id,
    /// The answer.
    reply: Id,
}

impl<'a> Stage<'a> {
    fn set(world: &'a World, house: &'a House, tongue: &'a Tongue) -> Self {
        let (hana, taro) = (world.member("a"), world.member("b"));
        world.with(|state| state.powers.insert(OWNER, MANAGE_CHANNELS));
        world.model(1, Act::Say(tongue.says.to_owned()));
        let said = world.mention(hana, world.general(), "?");
        let reply = world.answer(said, tongue.says).id;
        settled(house, said);
        Self {
            world,
            house,
            tongue,
            hana,
            taro,
            said,
            reply,
        }
    }

    fn read(&self, asked: Id, what: &str) -> String {
        read(self.world, asked, self.tongue, what)
    }

    fn expect(&self, asked: Id, with: &str, what: &str) {
        let text = self.read(asked, what);
        assert!(text.contains(with), "{what}: {text}");
    }

    /// The model answers, or fails, from now on.
    fn model(&self, answers: bool) {
        self.world.with(|state| state.model.heal());
        let act = if answers {
            Act::Say(self.tongue.says.to_owned())
        } else {
            Act::Status(401)
        };
        self.world.model(999, act);
    }

    fn press(&self, who: Id, button: &str) -> Id {
        let id = format!("{button}:{}", self.said);
        self.world.press(who, self.reply, &id)
    }

    fn reset(&self, who: Id) -> Id {
        let part = json!([{"name": "reset", "type": 1, "options": []}]);
        self.world.command(who, self.said, "chat", &part)
    }
}

fn what_is_offered(stage: &Stage<'_>) {
    let tongue = stage.tongue;
    let (commands, reply) = stage.world.with(|state| {
        let reply = state.messages[&stage.reply].clone();
        (state.commands.clone(), reply)
    });
    check_language(&reply.content, tongue, "the first answer");
    labels(&reply.components, tongue, "its buttons");
    for command in commands {
        check_language(&command["description"].to_string(), tongue, "a description");
        for option in command["options"].as_array().into_iter().flatten() {
            check_language(&option["description"].to_string(), tongue, "an option");
        }
    }
}

/// For the one who began the thread, for somebody else, and for the owner, who may everything.
fn slash_commands(stage: &Stage<'_>) {
    let tongue = stage.tongue;
    for answers in [true, false] {
        stage.model(answers);
        for (name, options) in commands() {
            for who in [stage.hana, stage.taro, OWNER] {
                let what = format!("/{name} {options}");
                let asked = stage.world.command(who, stage.said, name, &options);
                let text = stage.read(asked, &what);
                let wanted = if answers { tongue.says } else { tongue.sorry };
                assert!(name != "ask" || text.contains(wanted), "{text}");
            }
        }
    }
}

fn refusals(stage: &Stage<'_>) {
    let (world, hana, taro) = (stage.world, stage.hana, stage.taro);
    let [settings, usage, reset, delete, _, again] = stage.tongue.refusals;
    for (name, with) in [("settings", settings), ("usage", usage)] {
        let asked = world.command(hana, stage.said, name, &json!([]));
        stage.expect(asked, with, name);
    }
    stage.expect(stage.reset(taro), reset, "reset");
    stage.expect(stage.press(taro, "delete"), delete, "delete");
    stage.expect(stage.press(taro, "again"), again, "again");
}

fn menus(stage: &Stage<'_>) {
    let (world, hana, tongue) = (stage.world, stage.hana, stage.tongue);
    let other = world.say(stage.taro, world.general(), "?");
    for menu in tongue.menus {
        stage.model(false);
        stage.expect(world.menu(hana, other, menu), tongue.sorry, menu);
        stage.model(true);
        let asked = world.menu(hana, other, menu);
        stage.expect(asked, tongue.says, menu);
        let more = world.press_quietly(hana, asked, "more");
        stage.expect(more, tongue.says, "more");
        stage.read(world.press_quietly(hana, more, "thanks"), "thanks");
        stage.model(false);
        let more = world.press_quietly(hana, asked, "more");
        stage.expect(more, tongue.sorry, "more");
    }
}

fn buttons(stage: &Stage<'_>) {
    let (world, hana, taro) = (stage.world, stage.hana, stage.taro);
    stage.model(false);
    stage.expect(stage.press(hana, "again"), stage.tongue.sorry, "again");
    let began = stage.reset(hana);
    stage.read(began, "reset");
    stage.read(world.press_quietly(hana, began, "reset:undo"), "undo");
    let forget = |who: Id, button: &str| {
        let place = button.split(':').nth(1).unwrap_or("here");
        let place = json!([{"name": "where", "value": place}]);
        let asked = world.command(who, stage.said, "forget", &place);
        stage.read(asked, "forget");
        stage.read(world.press_quietly(who, asked, button), button);
    };
    forget(hana, "keep");
    let kept = stored(stage.house, stage.tongue.says);
    forget(taro, "forget:everywhere");
    forget(taro, "forget:here");
    let says = stage.tongue.says;
    assert_eq!(stored(stage.house, says), kept, "nobody else's words go");
}

/// Somebody else's press does nothing; the asker's ends it.
fn stop(stage: &Stage<'_>) {
    let (world, tongue) = (stage.world, stage.tongue);
    world.with(|state| state.model.heal());
    let twice = format!("{} {}", tongue.says, tongue.says);
    world.model(1, Act::Hold(twice, String::new()));
    let said = world.mention(stage.hana, world.general(), "?");
    let growing = world.answer(said, tongue.says);
    labels(&growing.components, tongue, "stop");
    let button = format!("stop:{said}");
    let pressed = world.press(stage.taro, growing.id, &button);
    stage.expect(pressed, tongue.refusals[4], "stop");
    stage.read(world.press(stage.hana, growing.id, &button), "stop");
    settled(stage.house, said);
}

fn drive(tongue: &Tongue) {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(
        &world,
        &[("BOT_LANGUAGE", tongue.code), ("LLM_MAX_RETRIES", "0")],
    );
    let stage = Stage::set(&world, &house, tongue);
    what_is_offered(&stage);
    slash_commands(&stage);
    refusals(&stage);
    menus(&stage);
    buttons(&stage);
    stop(&stage);
    stage.read(stage.press(stage.hana, "delete"), "delete");
    assert!(world.with(|state| state.messages[&stage.reply].deleted));
    for message in world.spoken() {
        check_language(&message.content, tongue, "a message");
    }
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn every_command_menu_and_button_speaks_japanese() {
    drive(&JAPANESE);
}

#[test]
fn every_command_menu_and_button_speaks_english() {
    drive(&ENGLISH);
}

#[test]
fn a_member_who_types_nothing_asks_is_answered_follows_up_and_thanks() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    let said = world.say(taro, world.general(), "明日の会は中止です");
    let before = world.with(|state| state.messages.len());
    let asked = world.menu(hana, said, JAPANESE.menus[0]);
    assert!(!words(&world, asked).is_empty());
    let more = world.press_quietly(hana, asked, "more");
    assert!(!words(&world, more).is_empty());
    let draft = world.menu(hana, said, JAPANESE.menus[1]);
    assert!(!words(&world, draft).is_empty());
    let thanks = world.press_quietly(hana, draft, "thanks");
    assert!(words(&world, thanks).contains("ありがとう"));
    bot.stop().expect_code(0);
    assert_eq!(
        world.with(|state| state.messages.len()),
        before,
        "nobody else saw a word of it"
    );
    assert_eq!(stored(&house, "%"), 0, "nothing of it is kept");
    world.finish();
}
