//! The stack's life in containers while people talk: restart, kill -9, pause, upgrade and removal of each service, and many
//! backups. Nobody else notices, and every mention is answered once.
//!
//! `CONTAINER_SCENARIOS=all` plays these; without it the test command plays the short ones in `nas_compose`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use release::image::SERVICES;
use tests::World;
use tests::engine::{Engine, until};
use tests::stack::{Stack, give, owner};
use tests::world::Id;

/// Whether every scenario is to be played, or a few.
pub(crate) fn all_scenarios() -> bool {
    variable("CONTAINER_SCENARIOS").is_some_and(|value| value == "all")
}

/// The same, with a loud word about what is not played.
pub(crate) fn in_the_long_form(what: &str) -> bool {
    let is_long = all_scenarios();
    if !is_long {
        tests::skipped(&format!("{what}: CONTAINER_SCENARIOS=all plays it"));
    }
    is_long
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test asks its own environment, not a program's"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A member who goes on calling until told to stop.
struct Talk<'a> {
    world: &'a World,
    said: Mutex<Vec<(Id, String)>>,
    stop: AtomicBool,
}

impl<'a> Talk<'a> {
    fn new(world: &'a World) -> Self {
        Self {
            world,
            said: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    fn go_on(&self) {
        let member = self.world.member("花");
        for number in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let text = format!("合言葉-{number}。");
            let said = self.world.mention(member, self.world.general(), &text);
            self.said.lock().unwrap().push((said, text));
            // The pace of a lively channel; nothing is waited for here.
            std::thread::sleep(Duration::from_millis(700));
        }
    }

    fn count(&self) -> usize {
        self.said.lock().unwrap().len()
    }

    /// Waits until so many more mentions were said.
    fn more(&self, wanted: usize) {
        let goal = self.count() + wanted;
        until("more words", || (self.count() >= goal).then_some(()));
    }

    /// Every mention has exactly one answer, and the right one.
    fn all_answered(&self) {
        let said = self.said.lock().unwrap().clone();
        for (id, text) in &said {
            self.world.answer(*id, text.trim_end_matches('。'));
        }
        for (id, text) in &said {
            assert_eq!(self.world.answers(*id).len(), 1, "{text}");
        }
    }
}

/// When each container of the others began: a change would mean that they noticed.
fn others(stack: &Stack, service: &str) -> Vec<String> {
    let others = SERVICES.into_iter().filter(|other| *other != service);
    others
        .map(|other| stack.inspect(other, "{{.State.StartedAt}} {{.RestartCount}}"))
        .collect()
}

/// Everything that may happen to one container, the conversation going on.
fn try_everything(stack: &Stack, talk: &Talk<'_>, service: &str) {
    let container = stack.container(service);
    let before = others(stack, service);
    let engine = &stack.engine;
    let act = |words: &[&str]| {
        engine.must(words);
        stack.healthy(service);
        talk.more(2);
    };
    act(&["restart", "--time", "20", &container]);

    // Not `docker kill`, which counts as a wish: the process just dies, and the policy brings it back.
    let pid = stack.inspect(service, "{{.State.Pid}}");
    let restarts = stack.inspect(service, "{{.RestartCount}}");
    if rustix::process::geteuid().is_root() {
        let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
        let restarts: u32 = restarts.parse().unwrap();
        stack.wait(service, "{{.RestartCount}}", &(restarts + 1).to_string());
        stack.healthy(service);
        talk.more(2);
    }

    engine.must(&["pause", &container]);
    talk.more(4);
    act(&["unpause", &container]);

    // Removed for a while, the others go on; then it comes back.
    engine.must(&["rm", "--force", &container]);
    talk.more(4);
    stack.up(&[service]);
    stack.healthy(service);
    talk.more(2);
    assert_eq!(
        others(stack, service),
        before,
        "{service}: the others noticed"
    );
}

#[test]
fn each_service_may_go_and_come_back_while_people_talk() {
    if !in_the_long_form("each service goes and comes back while people talk") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let world = World::start_on(&format!("{gateway}:0"));
    let stack = Stack::new(&engine, &world, owner(), "BACKUP_SCHEDULE='@every 10s'");
    stack.up(&[]);
    for service in SERVICES {
        stack.healthy(service);
    }
    let talk = Talk::new(&world);
    std::thread::scope(|scope| {
        let stop = StopAtTheEnd(&talk);
        scope.spawn(|| talk.go_on());
        talk.more(3);
        for service in SERVICES {
            try_everything(&stack, &talk, service);
        }
        upgrade_and_back(&stack, &talk);
        let archives = stack.archives().len();
        until("an archive after all that", || {
            (stack.archives().len() > archives).then_some(())
        });
        drop(stop);
    });
    talk.all_answered();
    stack.exec("backup-sidecar", &["verify"]);
    for service in SERVICES {
        let logs = stack.logs(service);
        let errors: Vec<&str> = logs
            .lines()
            .filter(|row| row.contains(" - ERROR - "))
            .collect();
        assert!(errors.is_empty(), "{service}: {errors:#?}");
    }
    drop(stack);
    world.expect_all();
    world.finish();
}

/// A failed test must not leave its talker talking.
struct StopAtTheEnd<'a, 'b>(&'a Talk<'b>);

impl Drop for StopAtTheEnd<'_, '_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

/// Another version by the number in `.env`, for all three, and back again.
fn upgrade_and_back(stack: &Stack, talk: &Talk<'_>) {
    let next = format!("{}-next", stack.images.version);
    stack.images.retag(&next);
    for version in [&next, &stack.images.version] {
        stack.to_version(version);
        for service in SERVICES {
            stack.healthy(service);
        }
        talk.more(3);
    }
    stack.images.untag(&next);
}

#[test]
fn twenty_backups_are_made_while_people_talk_without_one_error() {
    if !in_the_long_form("twenty backups while people talk") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let world = World::start_on(&format!("{gateway}:0"));
    let stack = Stack::new(&engine, &world, owner(), "BACKUP_SCHEDULE='@every 10s'");
    stack.up(&[]);
    stack.healthy("bot");
    let talk = Talk::new(&world);
    std::thread::scope(|scope| {
        let stop = StopAtTheEnd(&talk);
        scope.spawn(|| talk.go_on());
        for wanted in [7, 14, 20] {
            until("further archives", || {
                (stack.archives().len() >= wanted).then_some(())
            });
        }
        drop(stop);
    });
    talk.all_answered();
    let verified = stack.exec("backup-sidecar", &["verify"]);
    assert!(stack.archives().len() >= 20, "{verified}");
    for service in SERVICES {
        let logs = stack.logs(service);
        let bad = logs
            .lines()
            .filter(|row| row.contains(" - ERROR - ") || row.contains(" - WARN"));
        assert_eq!(bad.collect::<Vec<_>>(), Vec::<&str>::new(), "{service}");
    }
    drop(stack);
    world.expect_all();
    world.finish();
}

#[test]
fn a_newer_compose_starts_the_same_stack() {
    if !in_the_long_form("the stack under a newer compose") {
        return;
    }
    let Some((engine, gateway)) = Engine::here() else {
        return;
    };
    let Some(newer) = tests::engine::newer_compose() else {
        tests::skipped("the stack under a newer compose: bash .ci/compose-2 unpacks one");
        return;
    };
    let world = World::start_on(&format!("{gateway}:0"));
    let stack = Stack::new(&engine.with_compose(newer), &world, owner(), "");
    stack.up(&[]);
    for service in SERVICES {
        stack.healthy(service);
    }
    let said = world.mention(world.member("花"), world.general(), "新しい道具でも");
    world.answer(said, "");
    let seen = stack.compose(&["ps"]);
    assert!(seen.contains(&stack.container("bot")), "{seen}");
    stack.compose(&["stop"]);
    for service in SERVICES {
        stack.wait(service, "{{.State.ExitCode}}", "0");
    }
    // What the older one makes of the same folder afterwards is the same stack, not a second one.
    give(stack.folder(), owner());
    drop(stack);
    world.finish();
}
