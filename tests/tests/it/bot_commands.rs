//! Commands, menus and quiet buttons: for the asker, for someone else, without permission, with the model failing.

use serde_json::{Value, json};
use tests::world::model::echo;
use tests::world::{Act, OWNER, permission};
use tests::{House, World};

use crate::story::{files, stored, words};

const MANAGE_CHANNELS: u64 = 1 << 4;
const MANAGE_THREADS: u64 = 1 << 34;

fn none() -> Value {
    json!([])
}

fn option(name: &str, value: impl Into<Value>) -> Value {
    json!([{"name": name, "value": value.into()}])
}

fn part(name: &str) -> Value {
    json!([{"name": name, "type": 1, "options": []}])
}

#[test]
fn commands_are_written_only_when_they_changed() {
    let world = World::start();
    let house = House::new(&world);
    let calls = |method: &str| {
        world.with(|state| {
            let list = |what: &str| what.starts_with(method) && what.ends_with("/commands");
            let calls = state.rest.calls.iter();
            calls.filter(|call| list(&call.what)).count()
        })
    };
    let mut bot = house.bot(&world);
    bot.wait_event("commands.registered");
    assert_eq!((calls("GET"), calls("PUT")), (1, 1));
    let ids = |world: &World| {
        world.with(|state| {
            let commands = state.commands.iter();
            commands
                .map(|command| command["id"].clone())
                .collect::<Vec<_>>()
        })
    };
    let first = ids(&world);
    assert_eq!(first.len(), 10);
    bot.stop().expect_code(0);
    // Nothing changed: they are looked at, and left alone.
    let mut bot = house.bot(&world);
    bot.wait_event("commands.known");
    assert_eq!((calls("GET"), calls("PUT")), (2, 1));
    assert_eq!(ids(&world), first);
    bot.stop().expect_code(0);
    // Somebody took one away, or the language changed: they are written, all of them.
    world.with(|state| state.commands.pop());
    let mut bot = house.bot(&world);
    bot.poll("the commands to be written", |_| {
        (calls("PUT") == 2).then_some(())
    });
    bot.stop().expect_code(0);
    let mut bot = house.bot_with(&world, &[("BOT_LANGUAGE", "en")]);
    bot.poll("the commands to be written", |_| {
        (calls("PUT") == 3).then_some(())
    });
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn asking_following_up_and_thanking_need_no_word_in_public() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let asked = world.command(
        hana,
        world.general(),
        "ask",
        &option("text", "こっそり聞きたい"),
    );
    assert!(words(&world, asked).contains(&echo("こっそり聞きたい")));
    let more = world.press_quietly(hana, asked, "more");
    assert!(!words(&world, more).is_empty());
    let seen = world.asked().pop().unwrap();
    assert!(
        seen.raw.contains("こっそり聞きたい"),
        "what stands there is what is gone on from"
    );
    let thanks = world.press_quietly(hana, more, "thanks");
    assert!(words(&world, thanks).contains("ありがとう"));
    bot.stop().expect_code(0);
    assert_eq!(stored(&house, "%"), 0, "nothing of it is kept");
    assert!(world.spoken().is_empty());
    world.finish();
}

#[test]
fn menus_explain_and_draft_for_the_asker_alone() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    let said = world.say(
        taro,
        world.general(),
        "忖度 canary-menu してください @everyone",
    );
    for menu in ["やさしく説明", "返事を一緒に考える"] {
        let asked = world.menu(hana, said, menu);
        assert!(!words(&world, asked).is_empty());
        let prompt = world.asked().pop().unwrap();
        assert!(prompt.last().contains("<quoted>") && prompt.last().contains("canary-menu"));
    }
    let empty = world.say(taro, world.general(), "");
    let asked = world.menu(hana, empty, "やさしく説明");
    assert!(words(&world, asked).contains("読める言葉がありません"));
    bot.stop().expect_code(0);
    assert_eq!(stored(&house, "%"), 0);
    world.finish();
}

#[test]
fn a_failing_model_is_a_kind_note_here_too() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("LLM_MAX_RETRIES", "0")]);
    world.model(1, Act::Status(401));
    let asked = world.command(
        world.member("花"),
        world.general(),
        "ask",
        &option("text", "届いていますか"),
    );
    let answer = words(&world, asked);
    assert!(
        answer.contains("すみません") && !answer.contains("401"),
        "{answer}"
    );
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn another_wording_is_not_waited_for_long_here_either() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    // Nothing of it may be shown, and the other wording never comes.
    world.model(1, Act::Say("頑張って！".to_owned()));
    world.model(1, Act::Stall);
    let hana = world.member("花");
    let text = option("text", "ながい一日だった");
    let asked = world.command(hana, world.general(), "ask", &text);
    let answer = words(&world, asked);
    assert!(answer.contains("ちゃんと読みました。"), "{answer}");
    assert_eq!(world.asked().len(), 2);
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn own_words_are_shown_and_forgotten_and_nobody_elses() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    for (who, text) in [(hana, "canary-hana"), (taro, "canary-taro")] {
        let said = world.mention(who, world.general(), text);
        world.answer(said, text);
    }
    world.wait("both turns to be kept", |_| {
        (stored(&house, "%") == 4).then_some(())
    });
    let asked = world.command(hana, world.general(), "mydata", &none());
    assert!(words(&world, asked).contains("2 件"));
    let data = files(&world, asked);
    assert!(
        data.contains("canary-hana") && !data.contains("canary-taro"),
        "{data}"
    );

    let asked = world.command(
        hana,
        world.general(),
        "forget",
        &option("where", "everywhere"),
    );
    assert!(words(&world, asked).contains("元には戻せません"));
    assert_eq!(
        stored(&house, "%"),
        4,
        "nothing is forgotten before it is confirmed"
    );
    let kept = world.press_quietly(hana, asked, "keep");
    assert!(words(&world, kept).contains("そのまま"));
    let gone = world.press_quietly(hana, asked, "forget:everywhere");
    let answer = words(&world, gone);
    assert!(
        answer.contains("忘れました (メッセージ 2 件)") && answer.contains("バックアップ"),
        "{answer}"
    );
    let data = words(
        &world,
        world.command(hana, world.general(), "mydata", &none()),
    );
    assert!(data.contains("何も覚えていません"));
    bot.stop().expect_code(0);
    for path in tests::house::walk(&house.data()) {
        let bytes = std::fs::read(&path).unwrap();
        let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        assert!(!has(b"canary-hana"), "in {}", path.display());
    }
    assert!(house.path("data/forgotten.jsonl").exists());
    world.expect_all();
    world.finish();
}

#[test]
fn a_new_beginning_leaves_the_prompt_and_can_be_taken_back() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    let thread = world.mention(hana, world.general(), "canary-before");
    world.answer(thread, "canary-before");
    let refused = world.command(taro, thread, "chat", &part("reset"));
    assert!(words(&world, refused).contains("はじめた人か"));
    let reset = world.command(hana, thread, "chat", &part("reset"));
    assert!(words(&world, reset).contains("はじめからにしました"));
    let next = world.say(hana, thread, "おぼえてますか");
    world.answer(next, "おぼえてますか");
    assert!(!world.asked().pop().unwrap().raw.contains("canary-before"));
    let asked = world.command(hana, thread, "mydata", &none());
    words(&world, asked);
    assert!(
        files(&world, asked).contains("canary-before"),
        "it stays in /mydata"
    );
    let back = world.press_quietly(hana, reset, "reset:undo");
    assert!(words(&world, back).contains("元に戻しました"));
    let last = world.say(hana, thread, "こんどはどうかな");
    world.answer(last, "こんどはどうかな");
    assert!(world.asked().pop().unwrap().raw.contains("canary-before"));
    world.with(|state| state.powers.insert(taro, MANAGE_THREADS));
    let allowed = world.command(taro, thread, "chat", &part("reset"));
    assert!(words(&world, allowed).contains("はじめからにしました"));
    let status = words(&world, world.command(hana, thread, "chat", &part("status")));
    assert!(
        status.contains("スレッド") && status.contains(" 0 件"),
        "{status}"
    );
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn settings_of_a_channel_need_permission_and_survive_a_restart() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    world.with(|state| state.powers.insert(hana, MANAGE_CHANNELS));
    let off = option("threads", false);
    let refused = world.command(taro, world.general(), "settings", &off);
    assert!(words(&world, refused).contains("チャンネルの管理"));
    let changed = world.command(hana, world.general(), "settings", &off);
    assert!(words(&world, changed).contains("スレッドをひらく: しない"));
    let wrong = world.command(
        hana,
        world.general(),
        "settings",
        &option("model", "nobody"),
    );
    assert!(words(&world, wrong).contains("提供元/モデル名"));
    bot.stop().expect_code(0);
    let bot = house.bot(&world);
    let said = world.mention(taro, world.general(), "ここで答えて");
    let reply = world.answer(said, &echo("ここで答えて"));
    assert_eq!(reply.channel, world.general(), "no thread any more");
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn usage_is_for_the_owner() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let asked = world.command(
        world.member("花"),
        world.general(),
        "ask",
        &option("text", "いくら"),
    );
    words(&world, asked);
    let refused = world.command(world.member("花"), world.general(), "usage", &none());
    assert!(words(&world, refused).contains("持ち主だけ"));
    let shown = words(
        &world,
        world.command(OWNER, world.general(), "usage", &none()),
    );
    assert!(
        shown.contains("合計: 1 回") && shown.contains("anthropic/"),
        "{shown}"
    );
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_place_for_two_needs_no_mention_and_a_direct_message_stands_in() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let started = world.command(hana, world.general(), "chat", &part("start"));
    let answer = words(&world, started);
    let welcome = world.expect("the welcome", |message| {
        message.content.contains("あなたとわたし")
    });
    assert!(answer.contains(&format!("<#{}>", welcome.channel)));
    assert_eq!(
        world.with(|state| state.channels[&welcome.channel].parent),
        Some(world.general())
    );
    let said = world.say(hana, welcome.channel, "ここなら話せる");
    world.answer(said, &echo("ここなら話せる"));

    world.deny(world.general(), permission::THREADS);
    let started = world.command(hana, world.general(), "chat", &part("start"));
    words(&world, started);
    let direct = world.with(|state| state.direct_with(hana));
    world.expect("the welcome by direct message", |message| {
        message.channel == direct
    });
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn help_says_what_is_kept_and_everything_speaks_english_too() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("BOT_LANGUAGE", "en")]);
    let hana = world.member("Hana");
    let help = words(
        &world,
        world.command(hana, world.general(), "help", &none()),
    );
    assert!(
        help.contains("What I keep")
            && help.contains("/forget")
            && help.contains("Who can read it")
    );
    let why = words(&world, world.command(hana, world.general(), "why", &none()));
    assert!(why.contains("I speak only when"));
    let said = world.say(hana, world.general(), "hard words");
    let asked = world.menu(hana, said, "Explain gently");
    assert!(!words(&world, asked).is_empty());
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn an_answer_can_be_deleted_by_its_asker_alone() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    let said = world.mention(hana, world.general(), "canary-delete");
    let reply = world.answer(said, "canary-delete");
    assert_eq!(crate::story::settled(&house, said), 1);
    let id = format!("delete:{said}");
    let stands = world.wait("buttons under the answer", |state| {
        let now = state.messages[&reply.id].clone();
        now.components.to_string().contains(&id).then_some(now)
    });
    assert!(!stands.components.to_string().contains("\"more\""));
    let refused = world.press(taro, reply.id, &id);
    assert!(words(&world, refused).contains("聞いた人だけ"));
    let gone = world.press(hana, reply.id, &id);
    assert!(words(&world, gone).contains("消しました"));
    assert!(world.with(|state| state.messages[&reply.id].deleted));
    assert_eq!(stored(&house, "%"), 0);
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_cut_answer_offers_more_to_whoever_presses() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    world.model(1, Act::Say("これは静かな文です。".repeat(60)));
    let said = world.mention(hana, world.general(), "ひとつ聞かせて");
    let reply = world.answer(said, "続きがあります");
    assert!(reply.words().chars().count() <= 300, "{}", reply.content);
    world.wait("a button for more", |state| {
        let components = state.messages[&reply.id].components.to_string();
        components.contains("\"more\"").then_some(())
    });
    let more = world.press(hana, reply.id, "more");
    assert!(!words(&world, more).is_empty());
    let asked = world.asked().pop().unwrap();
    assert!(asked.raw.contains("これは静かな文です。"));
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}
