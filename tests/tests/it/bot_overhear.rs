//! Speaking unasked: to people who opted in, seldom, and nobody else's words ever leave the house.

use std::time::Duration;

use serde_json::{Value, json};
use tests::world::model::echo;
use tests::world::rest::Call;
use tests::world::{Act, Asked, BOT, Id, Kind, Message, OWNER, RestAct};
use tests::{House, Running, World};

use crate::story::{files, settled, state, words};

const MANAGE_CHANNELS: u64 = 1 << 4;
/// Told apart from the model that speaks.
const JUDGE: &str = "claude-sonnet-4-5";
const NOTICE: &str = "聞き耳を立てています";

fn is_judge(asked: &Asked) -> bool {
    asked.model == JUDGE
}

/// A bot that listens in the general channel.
fn listening(world: &World, house: &House, more: &[(&str, &str)]) -> Running {
    let general = world.general().to_string();
    let judge = format!("anthropic/{JUDGE}");
    let mut environment = vec![
        ("EAVESDROP_ENABLED_CHANNELS", general.as_str()),
        ("EAVESDROP_JUDGE_MODEL", judge.as_str()),
        // A fifth of it is what an unasked remark pays.
        ("RATE_LIMIT_CAPACITY", "100"),
        ("LLM_MAX_RETRIES", "0"),
    ];
    environment.extend_from_slice(more);
    house.bot_with(world, &environment)
}

fn notice(world: &World) -> Message {
    world.expect("the notice", |message| message.content.contains(NOTICE))
}

fn press(world: &World, who: Id, notice: &Message, button: &str) -> String {
    words(world, world.press(who, notice.id, button))
}

fn command(world: &World, who: Id, name: &str, options: &Value) -> String {
    words(world, world.command(who, world.general(), name, options))
}

/// The events of one kind that the bot has logged.
fn count(bot: &Running, event: &str) -> usize {
    let events = bot.events();
    events.iter().filter(|line| line["event"] == event).count()
}

/// Waits until thinking has ended so often in this house, by a remark or without one.
fn thought(bot: &mut Running, times: usize) {
    bot.poll("an end of thinking", |bot| {
        let quiet = count(bot, "overhear.quiet");
        let unasked = |line: &&Value| {
            line["way"] == "Unasked"
                && (line["event"] == "turn.answered" || line["event"] == "turn.undeliverable")
        };
        let spoke = bot.events().iter().filter(unasked).count();
        (quiet + spoke >= times).then_some(())
    });
}

/// Everything that was said before this has been heard: a mention is answered in its turn.
fn caught_up(world: &World, who: Id) {
    let asked = world.with(|state| state.model.asked.len());
    let text = format!("追いつき-{asked}");
    let said = world.mention(who, world.general(), &text);
    world.answer(said, &echo(&text));
}

fn judged(world: &World) -> usize {
    world.asked().iter().filter(|asked| is_judge(asked)).count()
}

/// The notice, once the bot knows that it stands: nothing is heard before.
fn ready(world: &World, bot: &mut Running) -> Message {
    let notice = notice(world);
    bot.wait_event("overhear.noticed");
    notice
}

/// A house whose bot listens in the general channel, and has said so.
fn begin() -> (World, House, Running, Message) {
    let world = World::start();
    let house = House::new(&world);
    let mut bot = listening(&world, &house, &[]);
    let notice = ready(&world, &mut bot);
    (world, house, bot, notice)
}

/// People say something in the general channel, in this order: `canary-ROUND-PERSON`.
fn talk(world: &World, people: &[Id], round: &str, order: &[usize]) {
    for number in order {
        let text = format!("canary-{round}-{number} です");
        world.say(people[*number], world.general(), &text);
    }
}

/// What models were asked since the first `before` questions.
fn asked_since(world: &World, before: usize) -> String {
    let asked = world.asked();
    asked[before..].iter().map(|asked| &*asked.raw).collect()
}

#[test]
fn only_the_words_of_those_who_opted_in_reach_any_model() {
    let (world, house, mut bot, notice) = begin();
    let people: Vec<Id> = (0..5)
        .map(|n| world.member(&format!("canary-name-{n}")))
        .collect();
    for person in &people[..3] {
        assert!(press(&world, *person, &notice, "ear:yes").contains("ありがとう"));
    }
    assert!(press(&world, people[4], &notice, "ear:no").contains("聞きません"));
    world.model_when(99, is_judge, Act::Say("QUIET".to_owned()));
    let seen = |word: &str| world.asked().iter().any(|asked| asked.raw.contains(word));
    talk(&world, &people, "one", &[0, 1, 2, 3, 4]);
    thought(&mut bot, 1);
    // The next judgement comes after as many new lines.
    talk(&world, &people, "two", &[0, 1, 2, 3, 4]);
    thought(&mut bot, 2);
    for number in 0..5 {
        assert_eq!(
            seen(&format!("canary-one-{number}")),
            number < 3,
            "{number}"
        );
    }
    let raw = world.asked().pop().unwrap().raw;
    assert!(raw.contains('…') && !raw.contains("canary-name"), "{raw}");
    assert!(people.iter().all(|id| !raw.contains(&id.to_string())));

    // An opt-out holds from the next message on, and takes along what had been heard.
    assert!(press(&world, people[2], &notice, "ear:no").contains("聞きません"));
    let before = world.asked().len();
    talk(&world, &people, "three", &[0, 1, 0, 1, 2]);
    thought(&mut bot, 3);
    talk(&world, &people, "four", &[0, 1, 0, 1, 2, 3, 4]);
    thought(&mut bot, 4);
    let later = asked_since(&world, before);
    assert!(
        later.contains("canary-three-0") && later.contains("canary-two-1"),
        "{later}"
    );
    for hidden in ["-2 です", "-3 です", "-4 です"] {
        assert!(!later.contains(hidden), "{hidden} in {later}");
    }
    bot.stop().expect_code(0);

    // Nothing of it is lost by a restart: neither the yes nor the no, and no second notice.
    let mut bot = listening(&world, &house, &[]);
    bot.wait_event("overhear.noticed");
    let before = world.asked().len();
    talk(&world, &people, "five", &[2, 0, 1, 0, 1, 4]);
    thought(&mut bot, 5);
    let later = asked_since(&world, before);
    assert!(
        later.contains("canary-five-0") && later.contains("canary-five-1"),
        "{later}"
    );
    for hidden in ["-2 です", "-3 です", "-4 です", "canary-one", "canary-four"] {
        assert!(!later.contains(hidden), "{hidden} in {later}");
    }
    bot.stop().expect_code(0);
    // What was heard is nowhere on the disk, and nobody's choice is seen by others.
    for path in tests::house::walk(&house.data()) {
        let bytes = std::fs::read(&path).unwrap();
        let has = bytes.windows(7).any(|window| window == b"canary-");
        assert!(!has, "in {}", path.display());
    }
    assert!(!house.all_logs().contains("canary-"));
    assert_eq!(world.spoken().len(), 1, "the notice alone");
    world.finish();
}

const REMARK: &str =
    "ふたりとも、集まりを楽しみにしているのですね。時間は予定表にありそうです。@everyone";

/// Three people, twelve messages, a misunderstanding at 4, winding down from 8: a judge who always says yes.
fn scripted(world: &World, bot: &mut Running, notice: &Message) -> ([Id; 3], Vec<Id>) {
    let people = ["花", "太郎", "さくら"].map(|name| world.member(name));
    for person in people {
        press(world, person, notice, "ear:yes");
    }
    world.model_when(99, is_judge, Act::Say("SPEAK".to_owned()));
    let heard = |asked: &Asked| !is_judge(asked) && asked.last().contains("<heard>");
    world.model_when(9, heard, Act::Say(format!("頑張って！ {REMARK}")));
    let script = [
        (0, "明日の集まり、何時からだっけ"),
        (1, "3時って聞いたよ"),
        (2, "え、2時じゃないの"),
        (1, "わたしがうそを言ったってこと？"),
        (2, "そんなこと言ってないよ"),
        (0, "ふたりとも、予定表を見てみようか"),
        (1, "ごめん、わたしの見まちがいだった"),
        (2, "ううん、こっちこそ。じゃあまた明日ね"),
        (0, "うん、また"),
        (1, "おやすみ"),
        (2, "よい夜を"),
        (0, "みんなもね"),
    ];
    let mut said = Vec::new();
    for (number, (who, text)) in script.iter().enumerate() {
        said.push(world.say(people[*who], world.general(), text));
        if number == 3 {
            thought(bot, 1);
        }
    }
    caught_up(world, people[0]);
    (people, said)
}

/// What the bot said in the general channel besides the notice.
fn entries(world: &World, notice: &Message) -> Vec<Message> {
    let is_entry =
        |message: &Message| message.channel == world.general() && message.id != notice.id;
    world.spoken().into_iter().filter(is_entry).collect()
}

#[test]
fn one_conversation_gets_one_entry_and_none_as_it_ends() {
    let (world, house, mut bot, notice) = begin();
    let (people, said) = scripted(&world, &mut bot, &notice);
    let spoken = entries(&world, &notice);
    assert_eq!(spoken.len(), 1, "{spoken:#?}");
    let entry = &spoken[0];
    let to = entry.reply_to.unwrap();
    assert!(said[..4].contains(&to), "after the fourth at the latest");
    assert!(
        entry.content.starts_with("ふたりとも") && !entry.content.contains("頑張って"),
        "the law holds: {}",
        entry.content
    );
    assert_eq!((entry.pings, entry.former.len()), (0, 0));
    assert_eq!(entry.buttons(), ["ear:hush", "ear:why"]);
    assert_eq!(settled(&house, to), state::ANSWERED);
    let why = words(&world, world.press(people[1], entry.id, "ear:why"));
    assert!(
        why.contains("行き違い") && why.contains("もう一度話した"),
        "{why}"
    );
    assert_eq!(judged(&world), 1, "one question was paid for, not twelve");
    let purposes: Vec<(i64, i64)> = {
        let store = house.look();
        let mut rows = store
            .prepare("SELECT purpose, calls FROM usage WHERE purpose > 0 ORDER BY purpose")
            .unwrap();
        let found = rows
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        found.map(Result::unwrap).collect()
    };
    assert_eq!(purposes, [(1, 1), (2, 1)], "its cost is booked");
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn a_remark_on_its_way_counts_as_said() {
    let (world, _house, bot, notice) = begin();
    let people = pair(&world, &notice);
    world.model_when(9, is_judge, Act::Say("SPEAK".to_owned()));
    let slow = RestAct::Slow(Duration::from_secs(2));
    world.fault("POST /channels/*/messages", slow, 1);
    let said = chat(&world, people);
    posting(&world);
    world.say(people[1], world.general(), "なるほど");
    caught_up(&world, people[0]);
    let why = command(&world, people[0], "why", &json!([]));
    assert!(
        why.contains("もう一度話した") && !why.contains("考えているところ"),
        "{why}"
    );
    world.expect("the remark", |message| message.reply_to == Some(said));
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn an_opt_out_while_a_remark_is_thought_of_ends_it() {
    let (world, _house, mut bot, notice) = begin();
    let people = pair(&world, &notice);
    let judge = Act::Hold(String::new(), "SPEAK".to_owned());
    world.model_when(1, is_judge, judge);
    chat(&world, people);
    world.wait("the judge", |state| {
        state.model.asked.iter().any(is_judge).then_some(())
    });
    press(&world, people[1], &notice, "ear:no");
    world.open_gate();
    thought(&mut bot, 1);
    assert!(entries(&world, &notice).is_empty());
    assert_eq!(world.asked().len(), 1, "no wording was asked for");
    bot.stop().expect_code(0);
    world.finish();
}

/// Waits until a message is on its way that is not the notice.
fn posting(world: &World) {
    world.wait("a post after the notice", |state| {
        let posts = |call: &&Call| call.what.starts_with("POST /channels/");
        (state.rest.calls.iter().filter(posts).count() > 1).then_some(())
    });
}

#[test]
fn what_was_heard_and_said_there_stays_there_and_is_forgotten_with_the_person() {
    let (world, house, mut bot, notice) = begin();
    let (people, _) = scripted(&world, &mut bot, &notice);
    let entry = entries(&world, &notice).remove(0);
    settled(&house, entry.reply_to.unwrap());
    let elsewhere = world.channel("別の部屋");
    for channel in [world.general(), elsewhere] {
        let asked = world.mention(people[2], channel, "なにか覚えている");
        world.answer(asked, &echo("なにか覚えている"));
        let raw = world.asked().pop().unwrap().raw;
        assert!(!raw.contains("予定表") && !raw.contains("集まり"), "{raw}");
    }
    let mydata = |who: Id| {
        let asked = world.command(who, world.general(), "mydata", &json!([]));
        let told = words(&world, asked);
        // The file for people comes in a message of its own.
        let is_whole = told.contains("何も覚えていません");
        world.wait("the file for people", |state| {
            let answers = state.interactions[&asked].answers.iter();
            let mut bodies = answers.map(|answer| answer.body.to_string());
            (is_whole || bodies.any(|body| body.contains("mydata.txt"))).then_some(())
        });
        told + &files(&world, asked)
    };
    let data = mydata(people[2]);
    assert!(
        data.contains("予定表にありそう") && data.contains("\"role\":\"consent\""),
        "{data}"
    );
    // For people, in the file that is read as it is: where, and that it may be heard there.
    let line = format!("(consent:{}) 聞き耳への同意:\n", world.general());
    assert!(
        data.contains(&line) && data.contains("聞いてよい"),
        "{data}"
    );
    let asked = world.command(
        people[2],
        world.general(),
        "forget",
        &json!([{"name": "where", "value": "everywhere"}]),
    );
    words(&world, asked);
    let gone = words(
        &world,
        world.press_quietly(people[2], asked, "forget:everywhere"),
    );
    assert!(gone.contains("聞き耳") && gone.contains("印"), "{gone}");
    let data = mydata(people[2]);
    assert!(data.contains("何も覚えていません"), "{data}");
    let data = mydata(people[1]);
    assert!(
        data.contains("\"role\":\"consent\"") && !data.contains("予定表にありそう"),
        "{data}"
    );
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

/// Two people who have opted in, talking; gives them.
fn pair(world: &World, notice: &Message) -> [Id; 2] {
    let people = ["花", "太郎"].map(|name| world.member(name));
    for person in people {
        press(world, person, notice, "ear:yes");
    }
    people
}

fn chat(world: &World, people: [Id; 2]) -> Id {
    world.say(people[0], world.general(), "そうかな");
    world.say(people[1], world.general(), "そうだと思うけど");
    world.say(people[0], world.general(), "ちがうと思う")
}

#[test]
fn in_quiet_hours_nothing_is_asked_and_why_says_so() {
    let world = World::start();
    let house = House::new(&world);
    let elsewhere = world.channel("夜も開いている");
    let general = world.general();
    house.write(
        "config/kotonoha.yaml",
        format!(
            "quiet_hours: \"00:00-24:00\"\nchannels:\n  {elsewhere}:\n    eavesdrop: on\n    quiet_hours: off\n    silent: on\n  {general}: {{silent: on, streaming: off}}\n"
        ),
    );
    let mut bot = listening(&world, &house, &[]);
    let notices: Vec<Message> = [general, elsewhere]
        .map(|channel| {
            world.expect("a notice", |message| {
                message.channel == channel && message.content.contains(NOTICE)
            })
        })
        .into();
    bot.poll("both notices", |bot| {
        (count(bot, "overhear.noticed") == 2).then_some(())
    });
    world.model_when(99, is_judge, Act::Say("SPEAK".to_owned()));
    let people = pair(&world, &notices[0]);
    chat(&world, people);
    world.say(people[0], general, "ことのは、いる？");
    caught_up(&world, people[1]);
    assert_eq!(judged(&world), 0);
    let why = command(&world, people[0], "why", &json!([]));
    assert!(
        why.contains("静かな時間") && why.contains("聞いていいことに"),
        "{why}"
    );
    // A channel may be freer than the rest; there the reply arrives without a sound.
    for person in people {
        press(&world, person, &notices[1], "ear:yes");
    }
    for (number, person) in [0, 1, 0].into_iter().enumerate() {
        world.say(people[person], elsewhere, &format!("夜の話-{number}"));
    }
    let entry = world.expect("an entry", |message| {
        message.channel == elsewhere && message.reply_to.is_some()
    });
    assert_eq!(entry.flags & 4096, 4096);
    // A mention is answered at any hour: whole, since streaming is off there, and without a sound.
    world.model(
        1,
        Act::Hold(
            "はじめの言葉です。".to_owned(),
            "おわりの言葉です。".to_owned(),
        ),
    );
    let said = world.mention(people[0], general, "よばれた");
    world.wait("the model at its gate", |state| {
        state
            .model
            .asked
            .last()
            .is_some_and(|asked| asked.raw.contains("よばれた"))
            .then_some(())
    });
    world.open_gate();
    let reply = world.answer(said, "おわりの言葉です。");
    assert_eq!((reply.former.len(), reply.flags & 4096), (0, 4096));
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn be_quiet_is_honoured_by_button_and_by_word_across_a_restart() {
    let (world, house, bot, notice) = begin();
    let people = pair(&world, &notice);
    world.model_when(99, is_judge, Act::Say("SPEAK".to_owned()));
    let stranger = world.member("通りすがり");
    assert!(press(&world, stranger, &notice, "ear:hush").contains("呼ばれないかぎり話しません"));
    chat(&world, people);
    caught_up(&world, people[0]);
    assert_eq!(judged(&world), 0);
    bot.stop().expect_code(0);
    let mut bot = listening(&world, &house, &[]);
    bot.wait_event("overhear.noticed");
    chat(&world, people);
    caught_up(&world, people[0]);
    assert_eq!(judged(&world), 0, "also after a restart");
    let why = command(&world, people[0], "why", &json!([]));
    assert!(why.contains("静かにしてほしい"), "{why}");
    let status = command(
        &world,
        people[0],
        "chat",
        &json!([{"name": "status", "type": 1, "options": []}]),
    );
    assert!(
        status.contains("聞き耳: する (聞いていいと言った人は 2 人)")
            && status.contains("静かにしています"),
        "{status}"
    );
    bot.stop().expect_code(0);

    // By word, from somebody who has not opted in: it is stored too.
    let other = House::new(&world);
    let mut bot = listening(&world, &other, &[]);
    bot.wait_event("overhear.noticed");
    let notice = world.expect("a notice of the new house", |message| {
        message.content.contains(NOTICE) && message.id != notice.id
    });
    let people = pair(&world, &notice);
    world.say(stranger, world.general(), "静かにしてください");
    bot.poll("the word in the store", |_| {
        let name = format!("ear:{}", world.general());
        let kept: Option<String> = other
            .look()
            .query_row(
                "SELECT value FROM settings WHERE name = ?1",
                [name],
                |row| row.get(0),
            )
            .ok();
        kept.filter(|kept| kept.contains("hushed_until_ms"))
    });
    chat(&world, people);
    caught_up(&world, people[0]);
    assert_eq!(judged(&world), 0);
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn a_failing_judge_or_model_is_a_silence() {
    for (judge, model) in [
        (Some(Act::Status(500)), None),
        (Some(Act::Status(401)), None),
        (Some(Act::Garbage), None),
        (Some(Act::Empty), None),
        (
            Some(Act::Say("SPEAK, because they quarrel".to_owned())),
            None,
        ),
        (Some(Act::CutAfter("SPEAK".to_owned())), None),
        (None, Some(Act::Status(529))),
        (None, Some(Act::Refuse)),
        (None, Some(Act::Say("QUIET".to_owned()))),
        (None, Some(Act::Say("頑張って！".to_owned()))),
    ] {
        let about = format!("{judge:?} {model:?}");
        let (world, _house, mut bot, notice) = begin();
        let people = pair(&world, &notice);
        let is_key = matches!(judge, Some(Act::Status(401)));
        world.model_when(9, is_judge, judge.unwrap_or(Act::Say("SPEAK".to_owned())));
        if let Some(act) = model {
            world.model(9, act);
        }
        chat(&world, people);
        thought(&mut bot, 1);
        assert!(world.asked().iter().any(is_judge), "{about}");
        if is_key {
            world.expect("a word to the owner", |message| {
                message.content.contains("EAVESDROP_JUDGE_MODEL")
            });
        }
        bot.stop().expect_code(0);
        let in_channel: Vec<Message> = world
            .spoken()
            .into_iter()
            .filter(|message| message.channel == world.general())
            .collect();
        assert_eq!(in_channel.len(), 1, "{about}: {in_channel:#?}");
        world.finish();
    }
}

#[test]
fn the_last_of_the_money_is_kept_for_those_who_call() {
    let world = World::start();
    let house = House::new(&world);
    let prices = format!(
        "prices:\n  anthropic/claude-haiku-4-5: {{input: 1000, output: 1000}}\n  anthropic/{JUDGE}: {{input: 1000, output: 1000}}\n"
    );
    house.write("config/kotonoha.yaml", prices);
    let mut bot = listening(&world, &house, &[("MONTHLY_BUDGET", "0.0001")]);
    let notice = ready(&world, &mut bot);
    let people = pair(&world, &notice);
    world.model_when(9, is_judge, Act::Say("SPEAK".to_owned()));
    let said = world.mention(people[0], world.general(), "まだある");
    world.answer(said, &echo("まだある"));
    settled(&house, said);
    chat(&world, people);
    thought(&mut bot, 1);
    assert_eq!(judged(&world), 0, "not even the judge is asked");
    let why = command(&world, people[0], "why", &json!([]));
    assert!(why.contains("呼んでくれる人のために"), "{why}");
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn our_name_is_answered_without_a_judge_and_distress_with_the_card() {
    let world = World::start();
    let house = House::new(&world);
    house.write("config/kotonoha.yaml", "distress:\n  card: 町の窓口へ\n");
    let mut bot = listening(&world, &house, &[]);
    let notice = ready(&world, &mut bot);
    let hana = world.member("花");
    press(&world, hana, &notice, "ear:yes");
    let said = world.say(
        hana,
        world.general(),
        "ことのは、きょうは canary-named の日だね",
    );
    let entry = world.expect("an answer to our name", |message| {
        message.reply_to == Some(said)
    });
    assert_eq!(entry.channel, world.general(), "no thread");
    assert_eq!(judged(&world), 0);
    assert!(world.asked()[0].raw.contains("canary-named"));
    assert!(
        world.asked()[0].system().contains("ことのは"),
        "the persona speaks"
    );
    // Somebody who has not opted in is not even answered.
    let taro = world.member("太郎");
    world.say(taro, world.general(), "ことのは、canary-other");
    caught_up(&world, hana);
    assert!(
        world
            .asked()
            .iter()
            .all(|asked| !asked.raw.contains("canary-other"))
    );
    bot.stop().expect_code(0);

    let other = House::new(&world);
    other.write("config/kotonoha.yaml", "distress:\n  card: 町の窓口へ\n");
    let mut bot = listening(&world, &other, &[]);
    bot.wait_event("overhear.noticed");
    let notice = world.expect("a notice", |message| {
        message.content.contains(NOTICE) && message.id != notice.id
    });
    press(&world, hana, &notice, "ear:yes");
    let before = world.asked().len();
    world.model(99, Act::Status(500));
    let said = world.say(hana, world.general(), "ことのは、canary-distress 消えたい");
    let card = world.expect("the card", |message| message.reply_to == Some(said));
    assert_eq!(card.content, "町の窓口へ");
    // The same for a mention: the card, and nothing of the words is kept.
    let said = world.mention(hana, world.general(), "canary-distress 死にたい");
    world.answer(said, "町の窓口へ");
    assert_eq!(settled(&other, said), state::ANSWERED);
    assert_eq!(world.asked().len(), before, "no model was asked");
    bot.stop().expect_code(0);
    for path in tests::house::walk(&other.data()) {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"canary-"));
    }
    world.expect_all();
    world.finish();
}

#[test]
fn a_remark_that_a_crash_kept_back_is_dropped_and_one_that_stands_is_kept() {
    for (act, ended) in [
        (RestAct::Hang, state::EXPIRED),
        (RestAct::LostTo502, state::ANSWERED),
    ] {
        let (world, house, mut bot, notice) = begin();
        let people = pair(&world, &notice);
        world.model_when(99, is_judge, Act::Say("SPEAK".to_owned()));
        let stands = matches!(act, RestAct::LostTo502);
        world.fault("POST /channels/*/messages", act, 1);
        let said = chat(&world, people);
        bot.poll("a remark that was begun", |_| {
            let begun: Option<i64> = house
                .look()
                .query_row(
                    "SELECT way FROM turns WHERE id = ?1",
                    [said.cast_signed()],
                    |row| row.get(0),
                )
                .ok();
            begun.filter(|way| *way == 4)
        });
        if stands {
            world.wait("the remark on Discord", |state| {
                state
                    .messages
                    .values()
                    .any(|message| message.reply_to == Some(said))
                    .then_some(())
            });
        } else {
            posting(&world);
        }
        bot.kill();
        let mut bot = listening(&world, &house, &[]);
        bot.wait_event("overhear.noticed");
        assert_eq!(settled(&house, said), ended);
        // Whatever became of it, the conversation has had its entry.
        chat(&world, people);
        chat(&world, people);
        caught_up(&world, people[0]);
        assert_eq!(judged(&world), 1);
        let standing = world.answers(said).len();
        assert_eq!(standing, usize::from(stands), "{:#?}", world.answers(said));
        let kept: i64 = house
            .look()
            .query_row(
                "SELECT count(*) FROM messages WHERE turn = ?1",
                [said.cast_signed()],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(
            kept,
            i64::from(stands),
            "what Discord accepted is in the database"
        );
        bot.stop().expect_code(0);
        world.expect_all();
        world.finish();
    }
}

/// How often the owner was told something.
fn told_to_owner(world: &World) -> usize {
    world.with(|state| {
        let is_to_owner = |message: &&Message| {
            let place = state.channels.get(&message.channel);
            place.is_some_and(|place| place.kind == Kind::Direct && place.recipient == Some(OWNER))
        };
        let ours = state
            .messages
            .values()
            .filter(|message| message.author == BOT);
        ours.filter(is_to_owner).count()
    })
}

#[test]
fn the_notice_is_posted_once_and_listening_ends_with_its_switch() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let (hana, taro) = (world.member("花"), world.member("太郎"));
    world.with(|state| state.powers.insert(hana, MANAGE_CHANNELS));
    let why = command(&world, hana, "why", &json!([]));
    assert!(why.contains("聞いてもいません"), "off by default: {why}");
    assert!(world.spoken().is_empty());
    let on = json!([{"name": "eavesdrop", "value": true}]);
    assert!(command(&world, taro, "settings", &on).contains("チャンネルの管理"));
    command(&world, hana, "settings", &on);
    let notice = notice(&world);
    assert_eq!(notice.buttons(), ["ear:yes", "ear:no", "ear:hush"]);
    assert!(notice.content.contains("家の中"), "who gets to read it");
    assert_eq!(notice.flags & 4096, 4096, "a notice rings nowhere");
    bot.stop().expect_code(0);
    for _ in 0..2 {
        let mut bot = house.bot(&world);
        bot.wait_event("overhear.noticed");
        bot.stop().expect_code(0);
    }
    assert_eq!(world.spoken().len(), 1);

    // With one who opted in it stays quiet: the owner hears why once, and whoever asks.
    let bot = house.bot(&world);
    press(&world, hana, &notice, "ear:yes");
    for number in 0..8 {
        world.say(hana, world.general(), &format!("ひとりごと-{number}"));
        world.say(taro, world.general(), &format!("聞かれない-{number}"));
    }
    world.expect("a word to the owner", |message| {
        message.content.contains("二人より少ない")
    });
    let status = command(
        &world,
        taro,
        "chat",
        &json!([{"name": "status", "type": 1, "options": []}]),
    );
    assert!(
        status.contains("1 人") && status.contains("二人より少ない"),
        "{status}"
    );
    assert_eq!(told_to_owner(&world), 1);
    assert!(world.asked().is_empty(), "nothing was paid for");

    // Switched off, the notice says so, and has no button any more.
    command(
        &world,
        hana,
        "settings",
        &json!([{"name": "eavesdrop", "value": false}]),
    );
    world.wait("the notice to be taken back", |state| {
        state.messages[&notice.id]
            .content
            .contains("もう立てていません")
            .then_some(())
    });
    assert!(world.with(|state| state.messages[&notice.id].buttons().is_empty()));
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn the_predecessors_prompts_are_used_where_they_are() {
    let world = World::start();
    let house = House::new(&world);
    house.write(
        "config/prompts/eavesdrop_judge_prompt.md",
        "# 題\n\ncanary-judge-prompt {{例}}\n{conversation_log}\n{intervention_context}\n",
    );
    house.write(
        "config/prompts/eavesdrop_response_prompt.md",
        "# 題\n\ncanary-remark-prompt\n{conversation_log}\n",
    );
    let mut bot = listening(&world, &house, &[]);
    let notice = ready(&world, &mut bot);
    let people = pair(&world, &notice);
    world.model_when(1, is_judge, Act::Say("YES".to_owned()));
    let said = chat(&world, people);
    world.expect("an entry", |message| message.reply_to == Some(said));
    let asked = world.asked();
    let judge = asked.iter().find(|asked| is_judge(asked)).unwrap().last();
    assert!(
        judge.starts_with("canary-judge-prompt {例}") && judge.contains("A: そうかな"),
        "{judge}"
    );
    assert!(judge.contains("YES か NO"));
    let remark = asked.iter().find(|asked| !is_judge(asked)).unwrap().last();
    assert!(
        remark.starts_with("canary-remark-prompt") && remark.contains("B: そうだと思うけど"),
        "{remark}"
    );
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn threads_and_what_was_said_while_away_are_not_heard() {
    let (world, house, bot, notice) = begin();
    let people = pair(&world, &notice);
    world.model_when(99, is_judge, Act::Say("SPEAK".to_owned()));
    let thread = world.thread(people[0], world.general(), "内輪の話");
    for number in 0..6 {
        world.say(
            people[number % 2],
            thread,
            &format!("スレッドの話-{number}"),
        );
    }
    caught_up(&world, people[0]);
    bot.stop().expect_code(0);
    chat(&world, people);
    chat(&world, people);
    let mut bot = listening(&world, &house, &[]);
    bot.wait_event("catch_up.done");
    caught_up(&world, people[1]);
    assert_eq!(judged(&world), 0);
    // The first live line is not yet a conversation, whatever was said before.
    world.say(people[0], world.general(), "ただいま");
    caught_up(&world, people[1]);
    assert_eq!(judged(&world), 0);
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}
