//! First starts in containers: every owner's number, and every fault an owner meets first. Each fault is one message in
//! Japanese and English with its cure; the container stays up, unhealthy, and goes on by itself when it is mended.
//!
//! The test command starts a few of them; `CONTAINER_SCENARIOS=all` starts them all, two at a time.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use tests::World;
use tests::disk::Disk;
use tests::engine::{Engine, until};
use tests::stack::{Stack, give, owner};
use tests::world::TOKEN;

use crate::nas_life::{all_scenarios, in_the_long_form};

/// What a scenario plays with.
struct Stage {
    engine: Engine,
    world: World,
    stack: Stack,
    /// Taken away last: a disk, a network, a container, a second bot.
    props: Props,
}

#[derive(Default)]
struct Props {
    disk: Option<(Disk, std::path::PathBuf)>,
    container: Option<String>,
    network: Option<(Engine, String)>,
    other: Option<Stack>,
}

impl Drop for Props {
    fn drop(&mut self) {
        if let Some((engine, network)) = self.network.take() {
            if let Some(container) = self.container.take() {
                engine.docker(&["rm", "--force", &container]);
            }
            engine.docker(&["network", "rm", &network]);
        }
    }
}

/// One thing that is wrong at the first start.
struct Fault {
    name: &'static str,
    /// Lines of `.env`, besides the usual ones.
    settings: &'static str,
    /// Makes it wrong, before the start.
    spoil: fn(&mut Stage),
    /// What the message says in both languages, and of the cure.
    says: [&'static str; 3],
    /// Makes it right.
    mend: fn(&mut Stage),
}

const FAULTS: [Fault; 12] = [
    Fault {
        name: "no token",
        settings: "DISCORD_TOKEN=",
        spoil: |_| (),
        says: [
            "DISCORD_TOKEN: 必須です",
            "is required",
            "secrets フォルダに discord_token",
        ],
        mend: |stage| secret(stage, "discord_token", TOKEN),
    },
    Fault {
        name: "a folder of somebody else",
        settings: "",
        spoil: |stage| give(&stage.stack.path("data"), (1027, 65_536)),
        says: [
            "data フォルダに書き込めません",
            "cannot be used",
            "sudo chown -R",
        ],
        mend: |stage| give(&stage.stack.path("data"), owner()),
    },
    Fault {
        name: "a folder that the engine made",
        settings: "",
        spoil: |stage| fs::remove_dir_all(stage.stack.path("data")).unwrap(),
        says: [
            "data フォルダに書き込めません",
            "cannot be used",
            "sudo chown -R",
        ],
        mend: |stage| give(&stage.stack.path("data"), owner()),
    },
    Fault {
        name: "a folder that cannot be written",
        settings: "",
        spoil: |stage| mode(stage, "logs", 0o555),
        says: [
            "logs フォルダに書き込めません",
            "cannot be used",
            "chmod u+rwx logs",
        ],
        mend: |stage| mode(stage, "logs", 0o755),
    },
    Fault {
        name: "a file in the place of a folder",
        settings: "",
        spoil: |stage| {
            // Compose mounts a file where a folder is expected only when it is asked to.
            fs::remove_dir_all(stage.stack.path("data")).unwrap();
            stage.stack.write("data", "not a folder");
            give(&stage.stack.path("data"), owner());
        },
        says: [
            "data はフォルダではありません",
            "is not a directory",
            "別の名前に",
        ],
        mend: |stage| {
            // A mount of a file stays one: this cure needs the container to be created again, as the guide says.
            fs::remove_file(stage.stack.path("data")).unwrap();
            fs::create_dir(stage.stack.path("data")).unwrap();
            give(&stage.stack.path("data"), owner());
            stage
                .stack
                .compose(&["up", "-d", "--no-build", "--force-recreate", "bot"]);
        },
    },
    Fault {
        name: "a wrong token",
        settings: "DISCORD_TOKEN=",
        spoil: |stage| {
            secret(
                stage,
                "discord_token",
                "MTAwMDAwMDAwMDAwMDAwMDAwMg.GfakeX.wrong",
            );
        },
        says: [
            "Discord がトークンを受け付けませんでした",
            "Discord rejected the token",
            "secrets/bot/discord_token",
        ],
        mend: |stage| secret(stage, "discord_token", TOKEN),
    },
    Fault {
        name: "a second bot on the same data",
        settings: "",
        spoil: |stage| {
            let other = Stack::new(&stage.engine, &stage.world, owner(), "");
            other.settings(owner(), &format!(
                "DISCORD_TOKEN={TOKEN}\nDISCORD_API_URL={}\nLLM_MODEL=echo/echo\nKOTONOHA_HOME={}",
                stage.world.url(),
                stage.stack.folder().display()
            ));
            other.up(&["bot"]);
            other.healthy("bot");
            stage.props.other = Some(other);
        },
        says: [
            "もう一つ動いています",
            "already uses this data",
            "止まれば自動で始まります",
        ],
        mend: |stage| drop(stage.props.other.take()),
    },
    Fault {
        name: "a full disk",
        settings: "",
        spoil: |stage| {
            let disk = Disk::new(16).unwrap();
            disk.directory("data", owner().0).unwrap();
            let filling = disk.fill().unwrap();
            let over = format!(
                "services: {{bot: {{volumes: ['{}:/app/data']}}}}\n",
                disk.path().join("data").display()
            );
            stage.stack.write("disk.yaml", over);
            stage.stack.add_file("disk.yaml");
            stage.props.disk = Some((disk, filling));
        },
        says: [
            "ディスクがいっぱい",
            "the disk is full",
            "空き容量を増やしてください",
        ],
        mend: |stage| {
            let (_, filling) = stage.props.disk.as_ref().unwrap();
            fs::remove_file(filling).unwrap();
        },
    },
    Fault {
        name: "a name that cannot be looked up",
        settings: "DISCORD_API_URL=http://discord.test:8900",
        spoil: network,
        says: [
            "Discord の名前を引けません",
            "name cannot be looked up",
            "172.16.0.0/12",
        ],
        mend: |stage| {
            // The name appears: a stand-in of its own, under it.
            let (_, network) = stage.props.network.clone().unwrap();
            let name = format!("{network}-world");
            let image = stage.stack.images.reference("demo");
            stage.engine.must(&[
                "run",
                "--detach",
                "--name",
                &name,
                "--network",
                &network,
                "--network-alias",
                "discord.test",
                &image,
                "world",
                "0.0.0.0:8900",
                "http://discord.test:8900",
            ]);
            stage.props.container = Some(name);
        },
    },
    Fault {
        name: "no way out",
        settings: "",
        spoil: |stage| {
            stage
                .stack
                .write("island.yaml", "services: {bot: {network_mode: none}}\n");
            stage.stack.add_file("island.yaml");
        },
        says: [
            "外への道がありません",
            "no way out of this container",
            "network_mode: none",
        ],
        mend: |stage| {
            // A container without a network gets none later: the line goes, and it is created again.
            stage.stack.write(
                "island.yaml",
                "services: {bot: {labels: {mended: 'yes'}}}\n",
            );
            stage.stack.up(&["bot"]);
        },
    },
    Fault {
        name: "a model key that is refused",
        settings: "LLM_MODEL=anthropic/claude-haiku-4-5\nANTHROPIC_API_KEY=\nANTHROPIC_BASE_URL=WORLD/anthropic",
        spoil: |stage| {
            stage
                .world
                .with(|state| state.model.accepted_key = Some("right".to_owned()));
            secret(stage, "anthropic_api_key", "wrong");
        },
        says: [
            "API キーを受け付けません",
            "refuses the API key",
            "secrets/bot/anthropic_api_key",
        ],
        mend: |stage| secret(stage, "anthropic_api_key", "right"),
    },
    Fault {
        name: "a settings file with a mistake",
        settings: "",
        spoil: |stage| {
            stage
                .stack
                .write("config/kotonoha.yaml", "channels: [what, is, this");
        },
        says: [
            "kotonoha.yaml",
            "please mend config/kotonoha.yaml",
            "直れば自動で読み直します",
        ],
        mend: |stage| stage.stack.write("config/kotonoha.yaml", "{}\n"),
    },
];

fn secret(stage: &mut Stage, name: &str, value: &str) {
    stage
        .stack
        .write(&format!("secrets/bot/{name}"), format!("{value}\n"));
}

fn mode(stage: &mut Stage, folder: &str, mode: u32) {
    fs::set_permissions(stage.stack.path(folder), fs::Permissions::from_mode(mode)).unwrap();
}

/// A network of the bot's own, where nobody has the name that it looks for.
fn network(stage: &mut Stage) {
    let name = format!("{}-island", stage.stack.name());
    stage.engine.must(&["network", "create", &name]);
    let over = format!(
        "services: {{bot: {{networks: [island]}}}}\nnetworks: {{island: {{external: true, name: {name}}}}}\n"
    );
    stage.stack.write("island.yaml", over);
    stage.stack.add_file("island.yaml");
    stage.props.network = Some((stage.engine.clone(), name));
}

/// Plays one fault from its first start to a healthy bot.
fn play(engine: &Engine, gateway: IpAddr, fault: &Fault) {
    let world = World::start_on(&format!("{gateway}:0"));
    let settings = fault.settings.replace("WORLD", world.url());
    let stack = Stack::new(engine, &world, owner(), &settings);
    let mut stage = Stage {
        engine: engine.clone(),
        world,
        stack,
        props: Props::default(),
    };
    (fault.spoil)(&mut stage);
    stage.stack.up(&["bot"]);
    let [japanese, english, cure] = fault.says;
    let row = stage.stack.said("bot", japanese);
    assert!(
        row.contains(english) && row.contains(cure),
        "{}: {row}",
        fault.name
    );
    stage.stack.unhealthy("bot");
    // Unhealthy takes three looks: time enough to have tried again and to have said nothing twice.
    let logs = stage.stack.logs("bot");
    let told = logs
        .lines()
        .filter(|row| row.contains(japanese) && row.contains(english));
    assert_eq!(told.count(), 1, "{}: one message\n{logs}", fault.name);
    let starts = logs.matches(" starts (build=").count();
    assert!(starts <= 1, "{}: {starts} starts told\n{logs}", fault.name);
    let restarts = "{{.RestartCount}} {{.State.Running}}";
    assert_eq!(
        stage.stack.inspect("bot", restarts),
        "0 true",
        "{}",
        fault.name
    );

    (fault.mend)(&mut stage);
    stage.stack.healthy("bot");
    assert_eq!(
        stage.stack.inspect("bot", restarts),
        "0 true",
        "{}",
        fault.name
    );
    assert!(!stage.stack.logs("bot").contains(TOKEN), "{}", fault.name);
    let Stage {
        world,
        stack,
        props,
        ..
    } = stage;
    drop(stack);
    drop(props);
    world.expect_all();
    world.finish();
}

/// Whether this machine can show a fault; a loud word when not.
fn is_possible(fault: &Fault) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let needs_root = fault.name.contains("folder") || fault.name.contains("disk");
    if needs_root && !is_root {
        tests::skipped(&format!("{}: it takes root to give files away", fault.name));
        return false;
    }
    if fault.name.contains("disk")
        && let Some(why) = Disk::unavailable()
    {
        tests::skipped(&format!("{}: {why}", fault.name));
        return false;
    }
    true
}

/// Plays `faults` by two players, each taking the next one.
fn play_all<'a>(faults: impl Iterator<Item = &'a Fault> + Send) {
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let waiting = Mutex::new(
        faults
            .filter(|fault| is_possible(fault))
            .collect::<Vec<_>>(),
    );
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().pop();
                    let Some(fault) = next else { return };
                    play(&engine, gateway, fault);
                }
            });
        }
    });
}

#[test]
fn a_first_start_that_cannot_work_says_why_and_goes_on_when_it_is_mended() {
    let short = ["no token", "a folder of somebody else"];
    in_the_long_form("ten further faults of a first start");
    let is_due = |fault: &&Fault| all_scenarios() || short.contains(&fault.name);
    play_all(FAULTS.iter().filter(is_due));
}

#[test]
fn the_two_lines_of_a_refused_folder_are_the_cure_when_pasted() {
    if !in_the_long_form("the two lines for .env, pasted") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        tests::skipped("a folder of somebody else: it takes root to give files away");
        return;
    }
    let world = World::start_on(&format!("{gateway}:0"));
    let stack = Stack::new(&engine, &world, owner(), "");
    give(stack.folder(), (1031, 65_536));
    stack.up(&["bot"]);
    stack.unhealthy("bot");
    let logs = stack.logs("bot");
    let lines = logs.lines().filter_map(|row| {
        let (_, message) = row.rsplit_once(" - ")?;
        message.starts_with('P').then(|| message.to_owned())
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(lines, ["PUID=1031", "PGID=65536"], "{logs}");
    // As an owner would: the lines into .env, and the step that applies it.
    let env = fs::read_to_string(stack.path(".env")).unwrap();
    let kept = env
        .lines()
        .filter(|line| !line.starts_with("PUID") && !line.starts_with("PGID"));
    let pasted: Vec<&str> = kept.chain(lines.iter().map(String::as_str)).collect();
    stack.write(".env", pasted.join("\n"));
    stack.up(&["bot"]);
    stack.healthy("bot");
    drop(stack);
    world.finish();
}

#[test]
fn any_owner_may_run_it() {
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let is_root = rustix::process::geteuid().is_root();
    let all = [(0, 0), (1000, 1000), (1026, 100), (568, 568)];
    let owners = if is_root && in_the_long_form("three further owners") {
        &all[..]
    } else if is_root {
        // 1026:100 is every other test's; root is the odd one.
        &all[..1]
    } else {
        tests::skipped("owners of other numbers: it takes root to give files away");
        return;
    };
    for ids in owners {
        let world = World::start_on(&format!("{gateway}:0"));
        let stack = Stack::new(&engine, &world, *ids, "");
        stack.up(&[]);
        for service in release::image::SERVICES {
            stack.healthy(service);
        }
        let said = world.mention(world.member("花"), world.general(), "だれの家でも");
        world.answer(said, "");
        let archive = until("an archive", || stack.archives().into_iter().next());
        let owner = |below: &str| {
            use std::os::unix::fs::MetadataExt;
            let found = fs::metadata(stack.path(below)).unwrap();
            (found.uid(), found.gid())
        };
        for file in [
            "data/sessions.db",
            "logs/bot.log",
            &format!("backups/{archive}"),
        ] {
            assert_eq!(owner(file), *ids, "{file}");
        }
        drop(stack);
        world.finish();
    }
}

#[test]
fn what_windows_adds_to_a_file_is_forgiven_and_mentioned() {
    if !in_the_long_form("files as Windows saves them") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let spoiled = [
        format!("\u{feff}{TOKEN}"),
        format!("{TOKEN}\r\n"),
        format!("\"{TOKEN}\""),
    ];
    for token in spoiled {
        let world = World::start_on(&format!("{gateway}:0"));
        let stack = Stack::new(&engine, &world, owner(), "DISCORD_TOKEN=");
        stack.write("secrets/bot/discord_token", &token);
        // The whole .env as Notepad saves it.
        let env = fs::read_to_string(stack.path(".env")).unwrap();
        stack.write(".env", env.replace('\n', "\r\n"));
        stack.up(&["bot"]);
        stack.healthy("bot");
        let doctor = stack.exec("bot", &["doctor"]);
        assert!(doctor.contains("DISCORD_TOKEN: まわりの引用符"), "{doctor}");
        drop(stack);
        world.finish();
    }
}

#[test]
fn without_the_content_intent_the_owner_is_told_and_mentions_are_answered() {
    if !in_the_long_form("the content intent off, in a container") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let world = World::start_on(&format!("{gateway}:0"));
    world.with(|state| state.gateway.grant_content = false);
    let stack = Stack::new(&engine, &world, owner(), "");
    stack.up(&["bot"]);
    stack.healthy("bot");
    let row = stack.said("bot", "MESSAGE CONTENT INTENT がオフです");
    assert!(row.contains("MESSAGE CONTENT INTENT is off"), "{row}");
    let said = world.mention(world.member("花"), world.general(), "聞こえますか");
    world.answer(said, "");
    drop(stack);
    world.expect_all();
    world.finish();
}
