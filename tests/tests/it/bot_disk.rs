//! The bot on a disk that is full: nothing is lost, and all goes on by itself afterwards.

use std::fs;

use tests::disk::Disk;
use tests::house::NOBODY;
use tests::world::model::echo;
use tests::{House, World};

#[test]
fn a_full_disk_costs_the_bot_no_mention() {
    if let Some(why) = Disk::unavailable() {
        eprintln!("SKIPPED: no loop disks here: {why}");
        return;
    }
    let disk = Disk::new(24).unwrap();
    let world = World::start();
    let house = House::new(&world);
    let who = world.member("はな");
    let place = |name| disk.directory(name, NOBODY).unwrap();
    let launch = house.program("bot").env("DATA_DIR", place("data"));
    let mut bot = launch.env("LOG_DIR", place("logs")).start();
    world.connected();
    let before = world.mention(who, world.general(), "まえ");
    world.answer(before, &echo("まえ"));

    let filling = disk.fill().unwrap();
    let during = world.mention(who, world.general(), "いっぱい");
    bot.wait_line("could not be stored");
    fs::remove_file(filling).unwrap();

    world.answer(during, &echo("いっぱい"));
    let after = world.mention(who, world.general(), "あと");
    world.answer(after, &echo("あと"));
    bot.stop().expect_code(0);
    for said in [before, during, after] {
        assert_eq!(world.answers(said).len(), 1);
    }
    world.expect_all();
    world.finish();
}
