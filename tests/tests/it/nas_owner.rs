//! The downloads alone, as a new owner meets them: unpack, fill two lines, load, start, talk, find the backup, restore it by
//! a folder's name, and later unpack an update over all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use release::image::SERVICES;
use tests::World;
use tests::engine::{Engine, Project, until};
use tests::stack::{architecture, give, owner, programs, root};
use tests::world::TOKEN;

/// Unpacks a download below `to`, as "Extract here" does; false when nothing here can.
fn extract(zip: &Path, to: &Path) -> bool {
    let unpacking = Command::new("unzip")
        .args(["-q", "-o"])
        .arg(zip)
        .arg("-d")
        .arg(to)
        .status();
    unpacking.is_ok_and(|status| status.success())
}

/// What an owner types into the two empty lines, and what only this test needs below them.
fn fill(env: &Path, world: &World, names: &[String; 3]) {
    let text = fs::read_to_string(env).unwrap();
    let (uid, gid) = owner();
    let filled = text
        .replace("DISCORD_TOKEN=\n", &format!("DISCORD_TOKEN={TOKEN}\n"))
        .replace(
            "ANTHROPIC_API_KEY=\n",
            "ANTHROPIC_API_KEY=sk-ant-of-the-owner\n",
        )
        .replace(
            "PUID=1026\nPGID=100\n",
            &format!("PUID={uid}\nPGID={gid}\n"),
        );
    assert_eq!(filled.matches(TOKEN).count(), 1, "{text}");
    let [bot, backup, log] = names;
    let url = world.url();
    fs::write(
        env,
        format!(
            "{filled}\nBOT_CONTAINER={bot}\nBACKUP_CONTAINER={backup}\nLOG_CONTAINER={log}\nDISCORD_API_URL={url}\n\
             ANTHROPIC_BASE_URL={url}/anthropic\nBACKUP_MIN_FREE=1\nLOG_MIN_FREE=1\n"
        ),
    )
    .unwrap();
}

/// An empty folder is a request; what became of it, as `report.txt` tells.
fn request(folder: &Path, name: &str) -> String {
    let backups = folder.join("backups");
    fs::create_dir(backups.join(name)).unwrap();
    give(&backups.join(name), owner());
    until(&format!("the end of {name}"), || {
        let entries = fs::read_dir(&backups).unwrap().flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let ended = names.find(|found| {
            (found.starts_with("done-") || found.starts_with("failed-")) && found.contains(name)
        })?;
        let report = fs::read_to_string(backups.join(&ended).join("report.txt")).ok()?;
        assert!(ended.starts_with("done-"), "{ended}: {report}");
        fs::remove_dir_all(backups.join(ended)).unwrap();
        Some(report)
    })
}

struct Loaded(Engine, Vec<String>);

impl Drop for Loaded {
    fn drop(&mut self) {
        for image in &self.1 {
            self.0.docker(&["image", "rm", image]);
        }
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found: Vec<PathBuf> = tests::house::walk(folder);
    found.sort();
    found
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn open_room() -> tempfile::TempDir {
    let room = tempfile::Builder::new()
        .prefix("kotonoha-nas-")
        .tempdir()
        .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(room.path(), mode).unwrap();
    room
}

/// Everything that a release offers, with images for this machine.
fn downloads_of(to: &Path) -> Vec<PathBuf> {
    let binaries = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(programs(), binaries.path().join(architecture().name())).unwrap();
    release::bundle::bundle(&root(), to, Some(binaries.path())).unwrap()
}

/// A talk, a backup and a restore by the names of folders, and the memory of what was said before.
fn talk_and_go_back(engine: &Engine, world: &World, folder: &Path, bot: &str) {
    let hana = world.member("花");
    let thread = world.mention(hana, world.general(), "うちの猫はミケ");
    world.answer(thread, "うちの猫はミケ");
    let report = request(folder, "backup-now");
    assert!(report.contains("backup_"), "{report}");
    let later = world.say(hana, thread, "犬も飼いはじめた");
    world.answer(later, "犬も飼いはじめた");

    engine.must(&["stop", "--time", "20", bot]);
    let report = request(folder, "restore-latest");
    assert!(report.contains("backup_"), "{report}");
    engine.must(&["start", bot]);
    let after = world.say(hana, thread, "猫の名前は");
    world.answer(after, "猫の名前は");
    let prompt = world.asked().pop().unwrap().raw;
    assert!(
        prompt.contains("ミケ"),
        "what was said before the backup is back"
    );
    for page in ["guide-ja.html", "guide-en.html"] {
        assert!(
            fs::read_to_string(folder.join(page))
                .unwrap()
                .contains("<h1")
        );
    }
}

#[test]
fn the_download_alone_is_enough_for_a_new_owner() {
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let room = open_room();
    let downloads = tempfile::tempdir().unwrap();
    let written = downloads_of(downloads.path());
    let download = |part: &str| {
        let found = written
            .iter()
            .find(|path| path.to_string_lossy().contains(part));
        found
            .unwrap_or_else(|| panic!("{part} in {written:?}"))
            .clone()
    };
    if !extract(&download("synology-install.zip"), room.path()) {
        tests::skipped("the downloads as a new owner meets them: no unzip");
        return;
    }
    // Without a registry, under exactly the references that the compose file has: nothing else was loaded.
    let version = env!("CARGO_PKG_VERSION");
    let references = SERVICES.map(|service| release::image::reference(service, version));
    let _loaded = Loaded(engine.clone(), references.to_vec());
    let tar = download("images-");
    engine.must(&["load", "--quiet", "--input", tar.to_str().unwrap()]);

    let folder = room.path().join("kotonoha-bot");
    let project = format!("kotonoha-owner-{}", std::process::id());
    let names = SERVICES.map(|service| format!("{project}-{service}"));
    let world = World::start_on(&format!("{gateway}:0"));
    fill(&folder.join(".env"), &world, &names);
    give(&folder, owner());
    let stack = Project::new(&engine, &project, &folder);
    stack.compose(&["up", "-d", "--no-build"]);
    // What was said before a first start is nobody's to answer.
    world.connected();

    talk_and_go_back(&engine, &world, &folder, &names[0]);

    // The update over the used folder: settings, secrets and data stay as they are to the byte.
    stack.compose(&["stop"]);
    fs::write(folder.join("secrets/bot/discord_token"), TOKEN).unwrap();
    fs::write(folder.join("config/kotonoha.yaml"), "{}\n").unwrap();
    let before = files(&folder);
    assert!(extract(&download("synology-update.zip"), room.path()));
    assert_eq!(files(&folder), before);
    drop(stack);
    world.expect_all();
    world.finish();
}
