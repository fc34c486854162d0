//! Log lines that tell a story to the status page: who said what, how many minutes ago.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::House;

/// Lines by service, in the order in which they are told.
pub(crate) struct Story {
    now: i64,
    told: BTreeMap<&'static str, String>,
    seq: u64,
}

impl Story {
    pub(crate) fn new() -> Story {
        Story {
            now: jiff::Timestamp::now().as_millisecond(),
            told: BTreeMap::new(),
            seq: 0,
        }
    }

    /// One line of `service`, so many minutes ago.
    pub(crate) fn say(&mut self, service: &'static str, ago: i64, event: &str, more: &Value) {
        let level = match event {
            "turn.failed" | "model.failed" => "WARN",
            "store.broken" | "store.commit_failed" | "backup.failed" => "ERROR",
            _ => "INFO",
        };
        let at = jiff::Timestamp::from_millisecond(self.now - ago * 60_000).unwrap();
        let mut line = json!({"ts": at.to_string(), "level": level, "service": service, "seq": self.seq,
            "start": "s", "target": "t", "event": event, "msg": "canary words"});
        let fields = line.as_object_mut().unwrap();
        fields.extend(more.as_object().cloned().unwrap_or_default());
        self.seq += 1;
        let text = self.told.entry(service).or_default();
        text.push_str(&line.to_string());
        text.push('\n');
    }

    /// What the bot says, without more.
    pub(crate) fn bot(&mut self, ago: i64, event: &str) {
        self.say("bot", ago, event, &Value::Null);
    }

    /// A question and its answer.
    pub(crate) fn turn(&mut self, ago: i64, ms: u64, cost: f64) {
        self.bot(ago, "message.accepted");
        let spent = json!({"ms": ms, "input_tokens": 10, "output_tokens": 4, "cost_usd": cost});
        self.say("bot", ago, "turn.answered", &spent);
    }

    /// A verified archive.
    pub(crate) fn backup(&mut self, ago: i64, bytes: i64) {
        let done = json!({"archive": "backup_20260301_020000.tar.zst", "bytes": bytes});
        self.say("backup-sidecar", ago, "backup.done", &done);
    }

    /// Both programs begin.
    pub(crate) fn begin(&mut self, ago: i64) {
        let build = json!({"build": "0.1.0 (test)"});
        self.say("bot", ago, "start", &build);
        let settings = json!({"settings": "MONTHLY_BUDGET=10 TZ=Asia/Tokyo"});
        self.say("bot", ago, "settings", &settings);
        self.say("backup-sidecar", ago, "start", &build);
    }

    /// Puts the lines where the programs would have.
    pub(crate) fn tell(self, house: &House) {
        for (service, text) in self.told {
            house.write(&format!("logs/{service}.log"), text);
        }
    }
}

/// 26 questions, 25 answers, a failure, an error, a backup and a drill.
pub(crate) fn scripted_day(house: &House) {
    let mut story = Story::new();
    story.begin(600);
    for turn in 0..25 {
        story.turn(500 - turn * 20, 1_000, 0.02);
    }
    story.bot(16, "message.accepted");
    story.bot(15, "turn.failed");
    story.bot(14, "store.broken");
    story.backup(90, 3_000_000);
    story.say("backup-sidecar", 80, "drill.passed", &Value::Null);
    story.tell(house);
}

/// A month in the life of a house, so that every part of the page has something to show.
pub(crate) fn a_month() -> House {
    const DAY: i64 = 1_440;
    let mut story = Story::new();
    story.begin(33 * DAY);
    story.bot(33 * DAY, "gateway.ready");
    let mut chance = fastrand::Rng::with_seed(7);
    for day in (0..33).rev() {
        let today = day * DAY;
        if day % 13 == 9 {
            story.say("backup-sidecar", today + 300, "backup.failed", &Value::Null);
        } else if day != 17 {
            story.backup(today + 300, 4_000_000 + (33 - day) * 90_000);
        }
        for turn in (0..chance.i64(8..40)).rev() {
            story.turn(today + turn * 25 + 9, 900 + chance.u64(..4_000), 0.006);
        }
        if day % 9 == 2 {
            story.bot(today + 8, "model.failed");
            story.bot(today + 7, "turn.failed");
            story.bot(today + 6, "store.commit_failed");
        }
    }
    story.say("backup-sidecar", 2 * DAY, "drill.passed", &Value::Null);
    story.say("backup-sidecar", 9, "alive", &Value::Null);
    story.bot(3, "alive");
    let house = House::alone();
    story.tell(&house);
    house
}
