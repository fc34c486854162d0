//! The commands as Discord is to offer them.

use daemon_kit::text::Language;
use serde_json::{Value, json};

use super::request::{DRAFT, EXPLAIN, MANAGE_CHANNELS};

const SUBCOMMAND: u8 = 1;
const STRING: u8 = 3;
const BOOLEAN: u8 = 5;
const SLASH: u8 = 1;
const MESSAGE_MENU: u8 = 3;
/// In servers and in direct messages with us.
const EVERYWHERE: [u8; 2] = [0, 1];
const SERVERS: [u8; 1] = [0];

/// All of them, always in the same order: registering them again changes nothing.
#[must_use]
pub fn definitions(language: Language) -> Value {
    let say = |ja, en| Words(language).pick(ja, en);
    json!([
        command(
            "ask",
            say(
                "あなただけに見える返事をもらう",
                "Get an answer that only you can see"
            ),
            &question(language)
        ),
        command(
            "chat",
            say(
                "ふたりで話す・はじめからにする・様子を見る",
                "Talk in private, begin anew, see how things stand"
            ),
            &chat(language)
        ),
        command(
            "forget",
            say("あなたの言葉を忘れる", "Forget your words"),
            &places(language)
        ),
        command(
            "mydata",
            say(
                "わたしが覚えているあなたの言葉を見る",
                "See your words that I remember"
            ),
            &json!([])
        ),
        settings(language),
        command(
            "usage",
            say(
                "使った量と料金 (持ち主だけ)",
                "What was used and spent (owner only)"
            ),
            &json!([])
        ),
        command(
            "why",
            say(
                "わたしが話した・話さなかった理由",
                "Why I spoke or stayed quiet"
            ),
            &json!([])
        ),
        command(
            "help",
            say(
                "できること、覚えること、読める人",
                "What I can do, what I keep, who can read it"
            ),
            &json!([])
        ),
        menu(say(EXPLAIN[0], EXPLAIN[1])),
        menu(say(DRAFT[0], DRAFT[1])),
    ])
}

/// Whether Discord offers `ours`, and nothing else. It adds fields of its own and leaves empty ones out.
#[must_use]
pub(super) fn are_the_same(told: &[Value], ours: &Value) -> bool {
    let ours = ours.as_array().map_or(&[][..], Vec::as_slice);
    let is_there = |our: &Value| {
        told.iter()
            .any(|told| ["name", "type"].iter().all(|key| told[key] == our[key]) && has(told, our))
    };
    told.len() == ours.len() && ours.iter().all(is_there)
}

/// Whether `told` has everything that `ours` says.
fn has(told: &Value, ours: &Value) -> bool {
    match (told, ours) {
        (Value::Object(told), Value::Object(ours)) => ours
            .iter()
            .all(|(key, our)| has(told.get(key).unwrap_or(&Value::Null), our)),
        (Value::Array(told), Value::Array(ours)) => {
            told.len() == ours.len() && told.iter().zip(ours).all(|(told, our)| has(told, our))
        }
        (Value::Null, ours) => is_empty(ours),
        (told, ours) => told == ours,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

struct Words(Language);

impl Words {
    fn pick(&self, ja: &'static str, en: &'static str) -> &'static str {
        match self.0 {
            Language::Ja => ja,
            Language::En => en,
        }
    }
}

fn command(name: &str, description: &str, options: &Value) -> Value {
    json!({ "type": SLASH, "name": name, "description": description, "options": options, "contexts": EVERYWHERE })
}

fn menu(name: &str) -> Value {
    json!({ "type": MESSAGE_MENU, "name": name, "contexts": EVERYWHERE })
}

fn option(kind: u8, name: &str, description: &str) -> Value {
    json!({ "type": kind, "name": name, "description": description })
}

fn question(language: Language) -> Value {
    let mut text = option(
        STRING,
        "text",
        Words(language).pick("聞きたいこと", "What to ask"),
    );
    text["required"] = true.into();
    text["max_length"] = 2000.into();
    json!([text])
}

fn chat(language: Language) -> Value {
    let say = |ja, en| Words(language).pick(ja, en);
    json!([
        option(
            SUBCOMMAND,
            "start",
            say("ふたりだけの場所をひらく", "Open a place for the two of us")
        ),
        option(
            SUBCOMMAND,
            "reset",
            say("ここでの会話をはじめからにする", "Begin anew here")
        ),
        option(
            SUBCOMMAND,
            "status",
            say("ここでの様子を見る", "See how things stand here")
        ),
    ])
}

fn places(language: Language) -> Value {
    let say = |ja, en| Words(language).pick(ja, en);
    let mut place = option(
        STRING,
        "where",
        say("どこの言葉を忘れるか", "Which words to forget"),
    );
    place["required"] = true.into();
    place["choices"] = json!([
        { "name": say("ここ", "here"), "value": "here" },
        { "name": say("すべて", "everywhere"), "value": "everywhere" },
    ]);
    json!([place])
}

fn settings(language: Language) -> Value {
    let say = |ja, en| Words(language).pick(ja, en);
    let options = json!([
        option(
            BOOLEAN,
            "threads",
            say("呼ばれたらスレッドを開く", "Open a thread when called")
        ),
        option(
            BOOLEAN,
            "streaming",
            say("書きながら見せる", "Show the answer while it is written")
        ),
        option(
            BOOLEAN,
            "eavesdrop",
            say(
                "聞き耳 (聞いていいと言った人の言葉だけを聞く)",
                "Listen unasked (to those who opt in alone)"
            )
        ),
        option(
            STRING,
            "persona",
            say(
                "話し方の名前 (default でいつもの)",
                "The name of a persona (default: the usual)"
            )
        ),
        option(
            STRING,
            "model",
            say(
                "モデル (提供元/名前、default でいつもの)",
                "A model (provider/name; default: the usual)"
            )
        ),
    ]);
    let description = say(
        "このチャンネルでのふるまいを見る・変える",
        "See or change how I am in this channel",
    );
    let mut settings = command("settings", description, &options);
    settings["contexts"] = json!(SERVERS);
    settings["default_member_permissions"] = MANAGE_CHANNELS.to_string().into();
    settings
}
