//! Upgrade and undo, from outside: old data is taken over with a copy set aside, newer data is refused kindly and the
//! message's way back leads back.

use std::fs;

use release::image::SERVICES;
use rusqlite::Connection;
use tests::engine::Engine;
use tests::stack::{Images, Stack, former_programs, owner};
use tests::{House, World};

use crate::nas_life::in_the_long_form;

/// The last commit whose bot wrote the first form of the data.
const FORMER: &str = "2bfa2609e9849594469a8fda993162116dfc7af0";

fn version(path: &std::path::Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap()
}

/// As File Station does.
#[expect(
    clippy::disallowed_methods,
    reason = "an owner's file manager syncs nothing either"
)]
fn rename(from: &std::path::Path, to: &std::path::Path) {
    fs::rename(from, to).unwrap();
}

/// The way back, in the words of the bot that refuses newer data, and nothing else.
fn as_the_message_says(data: &std::path::Path, copy: &str) {
    for ending in ["", "-wal", "-shm"] {
        let from = data.join(format!("sessions.db{ending}"));
        if from.exists() {
            rename(&from, &data.join(format!("newer.db{ending}")));
        }
    }
    rename(&data.join(copy), &data.join("sessions.db"));
}

/// The copies that an upgrade set aside.
fn copies(house: &House) -> Vec<std::path::PathBuf> {
    let files = tests::house::walk(&house.data());
    let is_copy = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("sessions.db.before-upgrade-") && !name.contains("-wal")
    };
    files.into_iter().filter(is_copy).collect()
}

#[test]
fn data_of_the_first_version_is_taken_over_and_a_copy_of_it_kept() {
    let world = World::start();
    let house = House::new(&world);
    let old = Connection::open(house.database()).unwrap();
    old.execute_batch(include_str!("../../fixtures/schema-1.sql"))
        .unwrap();
    drop(old);
    let bot = house.bot(&world);
    let said = world.mention(world.member("花"), world.general(), "はじめての更新");
    world.answer(said, "はじめての更新");
    bot.stop().expect_code(0);
    let kept: String = house
        .look()
        .query_row(
            "SELECT group_concat(text, '/') FROM (SELECT text FROM messages WHERE turn = 1200000000000000001 ORDER BY id)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, "むかしの質問/むかしの答え");
    let aside = copies(&house);
    if version(&house.database()) == 1 {
        // The first version is still the newest: there was nothing to change, and nothing to set aside.
        assert!(aside.is_empty(), "{aside:?}");
    } else {
        assert_eq!(aside.len(), 1, "{aside:?}");
        assert_eq!(version(&aside[0]), 1);
    }
    world.finish();
}

#[test]
fn data_of_a_newer_version_is_refused_kindly_and_the_way_back_leads_back() {
    let world = World::start();
    let house = House::new(&world);
    let hana = world.member("花");
    let bot = house.bot(&world);
    let said = world.mention(hana, world.general(), "更新の前");
    world.answer(said, "更新の前");
    bot.stop().expect_code(0);
    let known = version(&house.database());

    // What a newer version leaves behind: the old data under another name, and its own in its place.
    let copy = "sessions.db.before-upgrade-20261128T010203Z";
    fs::copy(house.database(), house.path(&format!("data/{copy}"))).unwrap();
    let newer = Connection::open(house.database()).unwrap();
    newer
        .execute_batch("CREATE TABLE of_tomorrow (id INTEGER); PRAGMA user_version = 99;")
        .unwrap();
    drop(newer);
    house.settle();
    let identifies = world.with(|state| state.gateway.identifies);

    // Outside of containers it ends with 78; inside it holds, unhealthy, and touches neither Discord nor the data.
    house.program("bot").run().expect_code(78);
    let before = fs::read(house.database()).unwrap();
    let mut bot = house.program("bot").env("ON_START_ERROR", "hold").start();
    let row = bot.wait_line("もっと新しい版のボットが作った");
    for part in [
        copy,
        "made by a newer version",
        "KOTONOHA_VERSION",
        "a restart does not apply it",
    ] {
        assert!(row.contains(part), "{part}: {row}");
    }
    // On the owner's clock, although nothing has been opened yet.
    let tokyo = jiff::tz::TimeZone::get("Asia/Tokyo").unwrap();
    let hour = |minutes_ago| {
        let then = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes_ago);
        let there = then.to_zoned_datetime(tokyo.clone());
        there.strftime("%Y-%m-%d %H").to_string()
    };
    assert!([hour(0), hour(30)].contains(&row[..13].to_owned()), "{row}");
    bot.poll("an unhealthy bot", |_| {
        let health = house.program("bot").args(["healthcheck"]).run();
        health.stdout.contains("waiting to be mended").then_some(())
    });
    assert_eq!(fs::read(house.database()).unwrap(), before);
    assert_eq!(world.with(|state| state.gateway.identifies), identifies);

    as_the_message_says(&house.data(), copy);
    world.connected();
    let after = world.say(hana, said, "戻ってきた");
    world.answer(after, "戻ってきた");
    assert!(world.asked().pop().unwrap().raw.contains("更新の前"));
    bot.stop().expect_code(0);
    assert_eq!(version(&house.database()), known);
    world.finish();
}

/// What upgrades left in an owner's folder.
fn set_aside(stack: &Stack) -> Vec<String> {
    let mut names = stack.names("data");
    names.retain(|name| name.starts_with("sessions.db.before-upgrade-"));
    names.sort();
    names
}

#[test]
fn a_former_version_is_gone_back_to_with_its_own_images() {
    if !in_the_long_form("from a former version to this one, back, and here again") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let programs = match former_programs(FORMER) {
        Ok(programs) => programs,
        Err(error) => {
            return tests::skipped(&format!("the way back to a former version: {error:#}"));
        }
    };
    let former = Images::of(
        &engine,
        &programs,
        &format!("former-{}", std::process::id()),
    );
    let world = World::start_on(&format!("{gateway}:0"));
    let url = world.url();
    let model = format!(
        "LLM_MODEL=anthropic/claude-haiku-4-5\nANTHROPIC_API_KEY=key\nANTHROPIC_BASE_URL={url}/anthropic"
    );
    let stack = Stack::new(&engine, &world, owner(), &model);
    let newer = stack.images.version.clone();
    let hana = world.member("花");
    let all_healthy = || SERVICES.iter().for_each(|service| stack.healthy(service));

    stack.to_version(&former.version);
    all_healthy();
    let said = world.mention(hana, world.general(), "更新の前");
    world.answer(said, "更新の前");
    stack.exec("backup-sidecar", &["backup"]);
    assert_eq!(set_aside(&stack), Vec::<String>::new());

    stack.to_version(&newer);
    all_healthy();
    let after = world.say(hana, said, "更新の後");
    world.answer(after, "更新の後");
    stack.exec("backup-sidecar", &["backup"]);
    let copy = set_aside(&stack).pop().unwrap();

    // The older bot holds; the other two work on with what the newer ones left.
    stack.to_version(&former.version);
    let row = stack.said("bot", "もっと新しい版のボットが作った");
    assert!(row.contains(&copy), "{row}");
    stack.unhealthy("bot");
    let meanwhile = world.say(hana, said, "待っている間に");
    stack.healthy("backup-sidecar");
    stack.healthy("log-shipper");
    stack.exec("backup-sidecar", &["verify"]);
    stack.exec("log-shipper", &["search", "store.upgraded"]);

    as_the_message_says(&stack.path("data"), &copy);
    stack.healthy("bot");
    world.answer(meanwhile, "待っている間に");
    assert!(world.asked().pop().unwrap().raw.contains("更新の前"));
    assert_eq!(
        world.answers(after).len(),
        1,
        "what stood was answered again"
    );

    // And once more forward: the way is open as often as one likes.
    stack.to_version(&newer);
    all_healthy();
    let last = world.say(hana, said, "もう一度");
    world.answer(last, "もう一度");
    assert_eq!(set_aside(&stack).len(), 1);
    stack.exec("backup-sidecar", &["verify"]);
    drop(stack);
    world.expect_all();
    world.finish();
}
