//! The Python bot's `sessions.db` is taken over without loss, and its crossed channels stay sealed.

use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::json;
use tests::world::Kind;
use tests::world::model::echo;
use tests::{House, World};

use crate::story::{stored, words};

/// A database as the predecessor left it; `thread` is a thread of its own.
pub(crate) fn sessions(path: &Path, thread: u64, user: u64) {
    let old = Connection::open(path).unwrap();
    old.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE sessions (session_key TEXT PRIMARY KEY, session_type TEXT, messages TEXT, created_at TEXT, last_active_at TEXT, channel_id INT, thread_id INT, user_id INT);
         CREATE INDEX idx_active ON sessions (last_active_at);",
    )
    .unwrap();
    let talk = |words: &[(&str, &str)]| {
        json!(words.iter().enumerate().map(|(at, (role, text))| json!({"role": role, "content": text, "timestamp": format!("2026-01-0{}T10:00:00.123456", at + 1)})).collect::<Vec<_>>()).to_string()
    };
    let rows = [
        (
            format!("thread:{thread}"),
            "thread",
            talk(&[
                ("user", "old-thread-question"),
                ("assistant", "old-thread-answer"),
                ("user", ""),
                ("assistant", ""),
            ]),
            Some(thread),
        ),
        (
            format!("mention:{user}"),
            "mention",
            talk(&[
                ("user", "old-crossed-question"),
                ("assistant", "old-crossed-answer"),
            ]),
            None,
        ),
        (
            "eavesdrop:77".to_owned(),
            "eavesdrop",
            talk(&[("assistant", "old-unasked")]),
            None,
        ),
        (
            "thread:78".to_owned(),
            "thread",
            "not json".to_owned(),
            Some(78),
        ),
    ];
    for (key, kind, messages, thread) in rows {
        // It wrote nobody down beside what it had said unasked.
        let user = (kind != "eavesdrop").then(|| user.cast_signed());
        old.execute("INSERT INTO sessions VALUES (?1, ?2, ?3, '2026-01-01T10:00:00', '2026-01-02T10:00:00', 5, ?4, ?5)", params![key, kind, messages, thread.map(u64::cast_signed), user]).unwrap();
    }
}

#[test]
fn a_predecessors_database_in_place_is_taken_over_at_the_first_start() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let thread = world.thread(tests::world::BOT, world.general(), "むかしの糸");
    assert_eq!(
        world.with(|state| state.channels[&thread].kind),
        Kind::Thread
    );
    sessions(&house.database(), thread, hana);
    house.settle();
    let bot = house.bot(&world);
    world.expect("what was taken over, told to the owner", |message| {
        message.content.contains("引き継ぎました")
    });
    let said = world.say(hana, thread, "つづきを話そう");
    world.answer(said, &echo("つづきを話そう"));
    let prompt = world.asked().pop().unwrap();
    assert!(
        prompt.raw.contains("old-thread-question") && prompt.raw.contains("old-thread-answer"),
        "{}",
        prompt.raw
    );
    // One person's talk across channels never enters a prompt.
    let fresh = world.mention(hana, world.general(), "あたらしい話");
    world.answer(fresh, "あたらしい話");
    assert!(
        world
            .asked()
            .iter()
            .all(|asked| !asked.raw.contains("old-crossed"))
    );
    // The old file stands aside, untouched by the new one.
    let aside = tests::house::walk(&house.data())
        .into_iter()
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("sessions.db.")
        })
        .count();
    assert!(aside >= 1);
    // Somebody else who may have spoken there: that it cannot be known is said.
    let taro = world.member("太郎");
    let place = json!([{"name": "where", "type": 3, "value": "here"}]);
    let asked = world.command(taro, thread, "forget", &place);
    words(&world, asked);
    let told = words(&world, world.press_under(taro, asked, "forget:here"));
    assert!(
        told.contains("0 件") && told.contains("スレッドを始めた人"),
        "{told}"
    );
    bot.stop().expect_code(0);
    assert_eq!(
        (
            stored(&house, "old-thread-%"),
            stored(&house, "old-crossed-%")
        ),
        (2, 2)
    );
    // The owner hears what was taken over.
    world.expect("the report", |message| message.content.contains("5 件"));
    world.finish();
}

#[test]
fn a_takeover_that_was_interrupted_goes_on_at_the_next_start() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let thread = world.thread(tests::world::BOT, world.general(), "むかしの糸");
    sessions(&house.database(), thread, hana);
    let change = |path: &Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql);
    // It can be set aside, but not be read.
    let broken = "ALTER TABLE sessions RENAME COLUMN last_active_at TO lost";
    change(&house.database(), broken).unwrap();
    house.settle();
    for _ in 0..2 {
        // Never a start with nothing, as if there had been no predecessor.
        house.program("bot").run().expect_code(78);
    }
    let is_aside = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("sessions.db.") && name.ends_with('Z')
    };
    let aside = tests::house::walk(&house.data()).into_iter().find(is_aside);
    let mended = "ALTER TABLE sessions RENAME COLUMN lost TO last_active_at";
    change(&aside.unwrap(), mended).unwrap();
    house.settle();
    let bot = house.bot(&world);
    world.expect("what was taken over, told to the owner", |message| {
        message.content.contains("引き継ぎました")
    });
    let said = world.say(hana, thread, "つづきを話そう");
    world.answer(said, &echo("つづきを話そう"));
    bot.stop().expect_code(0);
    assert_eq!(stored(&house, "old-thread-%"), 2);
    world.finish();
}

#[test]
fn importing_a_file_is_idempotent_and_reports() {
    let house = House::alone();
    let old = house.path("old.db");
    sessions(&old, 4_242, 99);
    house.settle();
    let import = || {
        house
            .program("bot")
            .env("DISCORD_TOKEN", tests::world::TOKEN)
            .env("LLM_MODEL", "echo/echo")
            .args(["import"])
            .args([old.as_os_str()])
            .run()
            .expect_code(0)
    };
    let first = import();
    assert!(!first.stdout.is_empty());
    let count = stored(&house, "%");
    import();
    assert_eq!(stored(&house, "%"), count);
    assert_eq!(stored(&house, "old-%"), 5);
    let export = house
        .program("bot")
        .env("DISCORD_TOKEN", tests::world::TOKEN)
        .env("LLM_MODEL", "echo/echo")
        .args(["export", "--user", "99"])
        .run()
        .expect_code(0);
    assert!(export.stdout.contains("old-crossed-question"));
    let forget = |user: &str| {
        let bot = house.program("bot");
        bot.env("DISCORD_TOKEN", tests::world::TOKEN)
            .env("LLM_MODEL", "echo/echo")
            .args(["forget", "--user", user])
            .run()
            .expect_code(0)
            .stdout
    };
    let told = forget("98");
    assert!(
        told.contains("スレッドを始めた人"),
        "words of theirs may be under the beginner's name: {told}"
    );
    let told = forget("99");
    assert!(!told.contains("スレッドを始めた人"), "{told}");
    assert_eq!(stored(&house, "old-%"), 0, "answers and remarks too");
}
