//! Every fenced shell block of the guides is run: in a scratch house, with stand-ins for the paths of a NAS. What cannot be
//! run here stands with its reason on `docs/proof.md`, and is at least read by a shell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use release::image;
use release::nas::Nas;
use tests::World;
use tests::engine::Engine;
use tests::stack::{Stack, architecture, give, owner, programs, root};
use tests::world::TOKEN;

use crate::nas_files::read;
use crate::nas_life::{in_the_long_form, variable};

/// The documents that owners read, without their ending.
const GUIDES: [&str; 9] = [
    "README",
    "docs/synology",
    "docs/qnap",
    "docs/truenas",
    "docs/discord",
    "docs/backup",
    "docs/upgrade",
    "docs/troubleshooting",
    "docs/security",
];
/// The documents of developers, in English alone.
const WORKSHOP: [&str; 3] = ["docs/build.md", "docs/proof.md", "CONTRIBUTING.md"];

/// The shell blocks of a document, in order.
fn blocks(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    for line in read(name).lines() {
        match &mut inside {
            None if line.trim() == "```sh" => inside = Some(String::new()),
            Some(_) if line.trim() == "```" => found.extend(inside.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None => (),
        }
    }
    found
}

/// The table of `docs/proof.md`: commands that no test runs, each with its reason.
fn excused() -> BTreeMap<String, String> {
    let page = read("docs/proof.md");
    let (_, table) = page
        .split_once("## Commands that no test runs")
        .unwrap_or_else(|| panic!("docs/proof.md lost its chapter"));
    let rows = table.lines().filter_map(|line| {
        let (command, reason) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((command.to_owned(), reason.trim_end_matches(" |").to_owned()))
    });
    rows.collect()
}

/// A line of a block without its comment.
fn command(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim()
}

#[test]
fn every_shell_block_is_read_by_a_shell_and_every_excuse_is_needed() {
    let names: Vec<String> = GUIDES
        .iter()
        .flat_map(|stem| [format!("{stem}.md"), format!("{stem}.ja.md")])
        .chain(WORKSHOP.map(str::to_owned))
        .collect();
    let excused = excused();
    let mut used = BTreeSet::new();
    for name in &names {
        for block in blocks(name) {
            let checked = Command::new("sh")
                .args(["-n", "-c", &block])
                .output()
                .unwrap();
            let complaint = String::from_utf8_lossy(&checked.stderr).into_owned();
            assert!(checked.status.success(), "{name}: {complaint}\n{block}");
            used.extend(
                block
                    .lines()
                    .map(command)
                    .filter_map(|line| excused.get_key_value(line)),
            );
        }
    }
    let needless: Vec<&String> = excused
        .iter()
        .filter(|pair| !used.contains(pair))
        .map(|(command, _)| command)
        .collect();
    assert!(
        needless.is_empty(),
        "docs/proof.md excuses what no guide tells: {needless:?}"
    );
    for (command, reason) in &excused {
        assert!(reason.len() > 20, "{command}: a reason, please");
    }
}

/// Runs the blocks of guides in one owner's folder.
struct Reader {
    stack: Stack,
    /// Stand-ins for programs, first in the path.
    bin: PathBuf,
    room: tempfile::TempDir,
    excused: BTreeMap<String, String>,
    /// Commands that really ran.
    ran: usize,
}

impl Reader {
    fn new(engine: &Engine, world: &World, nas: Nas) -> Self {
        let talk = format!(
            "DISCORD_TOKEN={TOKEN}\nDISCORD_API_URL={}\nLLM_MODEL=echo/echo\n",
            world.url()
        );
        let stack = Stack::unpack(engine, nas, owner(), &talk);
        let home = stack.folder().display().to_string();
        stack.settings(owner(), &format!("{talk}KOTONOHA_HOME={home}"));
        give(stack.folder(), owner());
        let room = tempfile::tempdir().unwrap();
        let bin = room.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let reader = Self {
            stack,
            bin,
            room,
            excused: excused(),
            ran: 0,
        };
        reader.stand_ins(engine);
        reader
    }

    /// `docker` with the compose that is here, on this project alone; `getcfg` as a QNAP has it.
    fn stand_ins(&self, engine: &Engine) {
        let compose = engine.compose_words().join(" ");
        let client = Path::new(engine.client());
        let client = if client.is_absolute() {
            client.to_owned()
        } else {
            PathBuf::from("/usr/bin").join(client)
        };
        let folder = self.room.path().display();
        // Readers have a terminal, tests have none: `-T` says so to compose.
        let docker = format!(
            "#!/bin/sh\nif [ \"$1\" = compose ]; then\n  shift\n  case \"$1\" in\n    exec|run) verb=$1; shift; exec {compose} -p {name} $verb -T \"$@\" ;;\n  esac\n  exec {compose} -p {name} \"$@\"\nfi\nexec {client} \"$@\"\n",
            name = self.stack.name(),
            client = client.display()
        );
        self.program("docker", &docker);
        self.program("getcfg", &format!("#!/bin/sh\necho {folder}/volume\n"));
        let qpkg = self.room.path().join("volume/.qpkg/container-station/bin");
        fs::create_dir_all(&qpkg).unwrap();
        std::os::unix::fs::symlink(self.bin.join("docker"), qpkg.join("docker")).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.bin.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The images of these tests under the name that a guide's download has.
    fn download(&self, path: &Path) {
        let file = fs::File::create(path).unwrap();
        image::write_archive(file, programs(), architecture(), &self.stack.images.version).unwrap();
    }

    /// A line as it is run here; nothing when it is excused.
    fn here(&self, line: &str) -> Option<String> {
        let plain = command(line);
        if self.excused.contains_key(plain) {
            return None;
        }
        let parent = self.stack.folder().parent().unwrap().display().to_string();
        let places = ["/volume1/docker", "/share/Container", "/mnt/tank/apps"];
        let mut text = places
            .iter()
            .fold(line.to_owned(), |text, place| text.replace(place, &parent));
        text = text.replace("/usr/local/bin/docker", "docker");
        if plain.contains(" logs -f") {
            // It follows until the reader has seen enough: a few seconds here.
            return Some(format!("timeout 4 {plain} || [ $? = 124 ]"));
        }
        Some(text)
    }

    /// Runs every block of a document in the owner's folder; `before` prepares what the text around a block tells.
    fn follow(&mut self, name: &str, before: &dyn Fn(&Stack, &str)) {
        for block in blocks(name) {
            let lines: Vec<String> = block.lines().filter_map(|line| self.here(line)).collect();
            if lines.is_empty() {
                continue;
            }
            before(&self.stack, &block);
            let path = format!("{}:{}", self.bin.display(), variable("PATH").unwrap());
            let ran = Command::new("sh")
                .args(["-e", "-c", &lines.join("\n")])
                .current_dir(self.stack.folder())
                .env("PATH", path)
                .env("BINARIES", "prebuilt")
                .env("COMPOSE_DOCKER_CLI_BUILD", "1")
                .env("DOCKER_BUILDKIT", "1")
                .output()
                .unwrap();
            let [out, err] =
                [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert!(
                ran.status.success(),
                "{name}: {}\n--- block\n{block}--- out\n{out}\n--- err\n{err}",
                ran.status
            );
            self.ran += lines.len();
        }
    }
}

/// Waits for the bot where a block talks to it.
fn ready(stack: &Stack, block: &str) {
    if block.contains("exec") {
        stack.up(&[]);
        for service in image::SERVICES {
            stack.wait(service, "{{.State.Running}}", "true");
        }
        tests::engine::until("the database", || {
            stack.path("data/sessions.db").exists().then_some(())
        });
    }
}

#[test]
fn the_readme_can_be_followed_to_the_letter() {
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let world = World::start_on(&format!("{gateway}:0"));
    let mut reader = Reader::new(&engine, &world, Nas::Synology);
    // A clone, as far as these commands are concerned, with the programs built already.
    for name in [
        "compose.yaml",
        "compose.build.yaml",
        "compose.synology.yaml",
        "compose.qnap.yaml",
        "compose.truenas.yaml",
        "compose.demo.yaml",
        "Dockerfile",
        "Dockerfile.prebuilt",
        "Dockerfile.demo",
        ".dockerignore",
        ".env.example",
    ] {
        fs::copy(root().join(name), reader.stack.path(name)).unwrap();
    }
    let prebuilt = reader.stack.path("prebuilt");
    fs::create_dir_all(prebuilt.join("root/tmp")).unwrap();
    for program in image::SERVICES.into_iter().chain([image::WORLD]) {
        fs::copy(programs().join(program), prebuilt.join(program)).unwrap();
    }
    // Images of its own: what this guide builds must not take the place of what other tests run.
    let version = format!("guide-{}", std::process::id());
    let filled = fs::read_to_string(reader.stack.path(".env")).unwrap();
    let own = format!("KOTONOHA_VERSION={}", reader.stack.images.version);
    let filled = filled.replace(&own, &format!("KOTONOHA_VERSION={version}"));
    reader.stack.write(".env", &filled);
    let before = |stack: &Stack, block: &str| {
        if block.contains("cp .env.example .env") {
            // The reader fills the file after copying it: the copy of this test is filled already.
            stack.write(".env.example", &filled);
        }
        ready(stack, block);
    };
    reader.follow("README.md", &before);
    assert!(reader.ran >= 20, "only {} commands ran", reader.ran);
    drop(reader);
    for program in image::SERVICES.into_iter().chain([image::WORLD]) {
        engine.docker(&["image", "rm", &image::reference(program, &version)]);
    }
    world.expect_all();
    world.finish();
}

#[test]
fn the_guides_can_be_followed_to_the_letter() {
    if !in_the_long_form("the guides, followed to the letter") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    for (nas, guides) in [
        (
            Nas::Synology,
            &[
                "docs/synology.md",
                "docs/backup.md",
                "docs/troubleshooting.md",
                "docs/upgrade.md",
            ][..],
        ),
        (Nas::Qnap, &["docs/qnap.md"]),
        (Nas::Truenas, &["docs/truenas.md"]),
    ] {
        let world = World::start_on(&format!("{gateway}:0"));
        let mut reader = Reader::new(&engine, &world, nas);
        let parent = reader.stack.folder().parent().unwrap().to_owned();
        let tar = "kotonoha-0.1.0-images-amd64.tar";
        reader.download(&parent.join(tar));
        fs::copy(parent.join(tar), reader.stack.path(tar)).unwrap();
        crate::bot_predecessor::sessions(&reader.stack.path("data/old.db"), 77, 7);
        give(reader.stack.folder(), owner());
        let before = |stack: &Stack, block: &str| {
            if block.contains("import") {
                // "Import before the first start."
                stack.compose(&["stop", "bot"]);
            }
            ready(stack, block);
        };
        for guide in guides {
            reader.follow(guide, &before);
        }
        assert!(reader.ran >= 4, "{nas:?}: only {} commands ran", reader.ran);
        drop(reader);
        world.expect_all();
        world.finish();
    }
}

#[test]
fn the_demo_tells_its_story() {
    if !in_the_long_form("the demo") {
        return;
    }
    let told = Command::new(env!("CARGO_BIN_EXE_demo")).output().unwrap();
    let story = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success(), "{story}");
    assert!(story.matches('✓').count() >= 12, "{story}");
}
