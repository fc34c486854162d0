//! A member says something, the bot answers: every way in.

use serde_json::json;
use tests::world::model::echo;
use tests::world::{Act, BOT, permission};
use tests::{House, World};

use crate::story::{only_answer, settled, state};

#[test]
fn a_mention_opens_a_thread_and_is_answered_there() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let said = world.mention(
        world.member("花"),
        world.general(),
        "おはよう。今日もよろしく",
    );
    let reply = world.answer(said, &echo("おはよう。今日もよろしく"));
    assert_eq!(reply.channel, said, "a thread on a message has its id");
    world.with(|state| {
        let thread = &state.channels[&said];
        assert_eq!(
            (thread.name.as_str(), thread.auto_archive),
            ("おはよう", 1440)
        );
        assert!(
            state.typing.get(&said).is_some_and(|times| *times > 0)
                || state.typing.contains_key(&world.general())
        );
    });
    bot.stop().expect_code(0);
    assert_eq!(world.answers(said).len(), 1);
    world.finish();
}

#[test]
fn a_follow_up_needs_no_mention_and_remembers() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let said = world.mention(hana, world.general(), "猫の名前はミケです");
    world.answer(said, "ミケ");
    let next = world.say(hana, said, "名前、覚えてる");
    world.answer(next, "覚えてる");
    let prompt = world.asked().pop().unwrap();
    let words: Vec<String> = prompt.said().into_iter().map(|(_, text)| text).collect();
    assert!(
        words.iter().any(|text| text.contains("猫の名前はミケです")),
        "{words:?}"
    );
    assert!(
        words
            .iter()
            .any(|text| text.contains("こたえ「猫の名前はミケです」")),
        "{words:?}"
    );
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_direct_message_is_answered_and_remembered() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let first = world.direct(hana, "ここだけの話");
    let reply = world.answer(first, &echo("ここだけの話"));
    let second = world.direct(hana, "続きです");
    world.answer(second, &echo("続きです"));
    assert!(world.asked().pop().unwrap().raw.contains("ここだけの話"));
    assert_eq!(reply.channel, world.with(|state| state.direct_with(hana)));
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn a_mention_in_a_forum_post_or_a_foreign_thread_is_answered_in_place() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let post = world.post(
        hana,
        world.forum(),
        "眠れない",
        &format!("<@{BOT}> どうしたらいいかな"),
    );
    let reply = world.answer(post, "どうしたらいいかな");
    assert_eq!(reply.channel, post);
    let thread = world.thread(hana, world.general(), "花のスレッド");
    let said = world.mention(hana, thread, "ここでも話せる");
    assert_eq!(world.answer(said, &echo("ここでも話せる")).channel, thread);
    // Nobody called in the foreign thread this time: it stays quiet.
    world.say(hana, thread, "独り言です");
    bot.stop().expect_code(0);
    assert_eq!(world.asked().len(), 2);
    world.finish();
}

#[test]
fn with_threads_off_or_forbidden_the_answer_comes_in_the_channel() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let bot = house.bot_with(&world, &[("THREADS", "off")]);
    let said = world.mention(hana, world.general(), "スレッドなしで");
    let reply = world.answer(said, &echo("スレッドなしで"));
    assert_eq!(
        (reply.channel, reply.reply_to),
        (world.general(), Some(said))
    );
    bot.stop().expect_code(0);
    world.deny(world.general(), permission::THREADS);
    let bot = house.bot(&world);
    let said = world.mention(hana, world.general(), "権限なしで");
    let reply = world.answer(said, &echo("権限なしで"));
    assert_eq!(
        (reply.channel, reply.reply_to),
        (world.general(), Some(said))
    );
    // The predecessor stopped answering everybody after this.
    let again = world.mention(world.member("太郎"), world.general(), "まだ話せる");
    world.answer(again, &echo("まだ話せる"));
    bot.stop().expect_code(0);
    // The owner may be told, once, which permission is missing.
    world.expect_all();
    world.finish();
}

#[test]
fn a_mention_without_words_and_one_with_only_a_picture_are_answered() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let bare = world.mention(hana, world.general(), "");
    assert_eq!(only_answer(&world, &house, bare).0, state::ANSWERED);
    let picture = json!({"id": "1", "filename": "a.png", "size": 10, "url": format!("{}/sink/a.png", world.url()), "proxy_url": "", "content_type": "image/png"});
    let shown = world.say_with(hana, world.general(), &format!("<@{BOT}>"), |message| {
        message.attachments = vec![picture];
    });
    assert_eq!(only_answer(&world, &house, shown).0, state::ANSWERED);
    // No model takes an empty text.
    for asked in world.asked() {
        assert!(
            asked.said().iter().all(|(_, text)| !text.trim().is_empty()),
            "{}",
            asked.raw
        );
    }
    // The predecessor's thread was dead after this.
    let next = world.say(hana, bare, "それで");
    world.answer(next, &echo("それで"));
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn programs_and_the_bot_itself_are_never_answered() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let other = world.member("ほかのボット");
    world.with(|state| state.members.get_mut(&other).unwrap().bot = true);
    world.mention(other, world.general(), "やあ");
    world.say(world.member("花"), world.general(), "誰も呼んでいない");
    let said = world.mention(world.member("太郎"), world.general(), "呼びました");
    world.answer(said, "呼びました");
    bot.stop().expect_code(0);
    assert_eq!(world.asked().len(), 1);
    world.finish();
}

#[test]
fn a_long_answer_is_split_and_complete() {
    let world = World::start();
    let house = House::new(&world);
    house.write("config/kotonoha.yaml", "manners: off\n");
    let bot = house.bot(&world);
    let long: String = (0..400)
        .map(|line| format!("{line}行目の長い話です。"))
        .collect::<Vec<_>>()
        .concat();
    world.model(1, Act::Say(long.clone()));
    let said = world.mention(world.member("花"), world.general(), "詳しく、長く教えて");
    settled(&house, said);
    let mut parts: Vec<_> = world.spoken();
    parts.sort_by_key(|part| part.id);
    assert!(parts.len() > 1);
    let joined: String = parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            let head = format!("**({}/{})**\n\n", at + 1, parts.len());
            part.words()
                .strip_prefix(&head)
                .unwrap_or_else(|| panic!("no {head:?} in {:?}", part.content))
                .to_owned()
        })
        .collect();
    assert_eq!(joined.replace('\n', ""), long);
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn code_fences_stay_whole_in_every_part() {
    let world = World::start();
    let house = House::new(&world);
    house.write("config/kotonoha.yaml", "manners: off\n");
    let bot = house.bot(&world);
    let code: String = (0..300)
        .map(|line| format!("let x{line} = {line};\n"))
        .collect::<Vec<_>>()
        .concat();
    world.model(
        1,
        Act::Say(format!("コードです。\n```rust\n{code}```\nおわり")),
    );
    let said = world.mention(world.member("花"), world.general(), "コードを全部見せて");
    settled(&house, said);
    for part in world.spoken() {
        assert_eq!(
            part.content.matches("```").count() % 2,
            0,
            "{}",
            part.content
        );
        assert!(part.content.chars().count() <= 2000);
    }
    bot.stop().expect_code(0);
    world.expect_all();
    world.finish();
}

#[test]
fn words_of_the_model_never_ping_anybody() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    let hana = world.member("花");
    let loud = format!("@everyone と @here と <@{hana}> と <@&123>");
    // One character at a time: every split point of a streamed edit.
    world.model(1, Act::Pieces(loud.chars().map(String::from).collect()));
    let said = world.mention(hana, world.general(), "みんなを呼んで");
    let (how, reply) = only_answer(&world, &house, said);
    assert_eq!((how, reply.pings), (state::ANSWERED, 0));
    bot.stop().expect_code(0);
    // The world notes every create and edit that could ping; finish fails on one.
    world.finish();
}

#[test]
fn an_answer_grows_by_edits_and_ends_complete() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model(
        1,
        Act::Hold(
            "はじめの言葉です。そして".to_owned(),
            "おわりの言葉です。".to_owned(),
        ),
    );
    let said = world.mention(world.member("花"), world.general(), "ゆっくり話して");
    // The first words can be read while the model still speaks.
    let first = world.answer(said, "はじめの言葉です。");
    assert!(!first.content.contains("おわりの"));
    world.open_gate();
    let last = world.answer(said, "はじめの言葉です。そしておわりの言葉です。");
    assert_eq!(last.id, first.id);
    bot.stop().expect_code(0);
    world.finish();
}

#[test]
fn without_streaming_an_answer_comes_whole() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("STREAMING", "off")]);
    let said = world.mention(world.member("花"), world.general(), "まとめて話して");
    let reply = world.answer(said, &echo("まとめて話して"));
    bot.stop().expect_code(0);
    assert!(reply.former.is_empty());
    world.finish();
}

#[test]
fn a_deleted_question_takes_its_answer_along() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot_with(&world, &[("THREADS", "off")]);
    let said = world.mention(
        world.member("花"),
        world.general(),
        "やっぱり消す canary-deleted",
    );
    let reply = world.answer(said, "canary-deleted");
    settled(&house, said);
    world.delete(said);
    world.wait("the answer to be taken back", |state| {
        state.messages[&reply.id].deleted.then_some(())
    });
    bot.stop().expect_code(0);
    let left: i64 = house
        .look()
        .query_row(
            "SELECT count(*) FROM messages WHERE text LIKE '%canary-deleted%'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
    world.finish();
}

#[test]
fn one_slow_answer_keeps_nobody_waiting() {
    let world = World::start();
    let house = House::new(&world);
    let bot = house.bot(&world);
    world.model_when(
        1,
        |asked| asked.last().contains("遅い"),
        Act::Hold(String::new(), "やっと".to_owned()),
    );
    let slow = world.mention(world.member("花"), world.general(), "遅い質問");
    world.wait("the slow request", |state| {
        (!state.model.asked.is_empty()).then_some(())
    });
    for name in ["一", "二", "三"] {
        let said = world.mention(world.member(name), world.general(), name);
        world.answer(said, &echo(name));
    }
    world.open_gate();
    world.answer(slow, "やっと");
    bot.stop().expect_code(0);
    world.finish();
}
