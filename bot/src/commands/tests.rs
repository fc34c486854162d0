use daemon_kit::text::Language;
use serde_json::{Value, json};

use super::channel::{Changes, apply};
use super::request::{MANAGE_CHANNELS, may};
use super::*;
use crate::discord::Interaction;
use crate::store::{Exported, Kept, PlaceRow, Purpose, UsageRow};

fn interaction(kind: u64, data: &Value, permissions: u64) -> Interaction {
    serde_json::from_value(json!({
        "id": "1", "application_id": "2", "type": kind, "data": data, "token": "t", "guild_id": "3", "channel_id": "4",
        "member": { "permissions": permissions.to_string(), "user": { "id": "5", "username": "x" } },
        "message": { "id": "6", "channel_id": "4", "content": "what stands there" },
    }))
    .unwrap()
}

fn read(data: &Value) -> Request {
    Request::of(&interaction(2, data, 0))
}

#[test]
fn every_registered_command_is_understood() {
    for language in [Language::Ja, Language::En] {
        for command in definitions(language).as_array().unwrap() {
            let parts: Vec<Value> = command["options"].as_array().cloned().unwrap_or_default();
            let subcommands: Vec<&Value> = parts.iter().filter(|part| part["type"] == 1).collect();
            let mut data =
                json!({ "name": command["name"], "type": command["type"], "options": [] });
            assert!(command["name"].as_str().unwrap().chars().count() <= 32);
            if subcommands.is_empty() {
                assert_ne!(read(&data), Request::Unknown, "{command}");
            }
            for part in subcommands {
                data["options"] = json!([{ "name": part["name"], "type": 1 }]);
                assert_ne!(read(&data), Request::Unknown, "{part}");
            }
            for part in parts {
                assert!(part["description"].as_str().unwrap().chars().count() <= 100);
            }
        }
    }
    assert_eq!(definitions(Language::Ja), definitions(Language::Ja));
}

#[test]
fn what_discord_adds_is_no_change_and_anything_else_is() {
    let ours = definitions(Language::Ja);
    let told: Vec<Value> = ours
        .as_array()
        .unwrap()
        .iter()
        .map(|command| {
            let mut told = command.clone();
            told["id"] = json!("1");
            told["version"] = json!("2");
            told["nsfw"] = json!(false);
            if told["options"] == json!([]) {
                told.as_object_mut().unwrap().remove("options");
            }
            told
        })
        .collect();
    let same = |told: &[Value]| definitions::are_the_same(told, &ours);
    assert!(same(&told));
    let mut shuffled = told.clone();
    shuffled.reverse();
    assert!(same(&shuffled));
    assert!(!same(&told[1..]));
    assert!(!definitions::are_the_same(
        &told,
        &definitions(Language::En)
    ));
    let mut more = told.clone();
    more.push(json!({"name": "x", "type": 1}));
    assert!(!same(&more));
    let mut other = told;
    other[0]["options"][0]["required"] = json!(false);
    assert!(!same(&other));
}

#[test]
fn options_and_targets_are_read() {
    assert_eq!(
        read(&json!({ "name": "ask", "options": [{ "name": "text", "value": " hi " }] })),
        Request::Ask("hi".into())
    );
    let menu = json!({ "name": "やさしく説明", "type": 3, "target_id": "9", "resolved": { "messages": { "9": { "content": "難しい話" } } } });
    assert_eq!(read(&menu), Request::Explain("難しい話".into()));
    let settings = json!({ "name": "settings", "options": [{ "name": "threads", "value": false }, { "name": "persona", "value": "cat" }] });
    let asked = vec![
        ("threads".to_owned(), "false".to_owned()),
        ("persona".to_owned(), "cat".to_owned()),
    ];
    assert_eq!(read(&settings), Request::Settings(asked));
    let press = |id: &str| Request::of(&interaction(3, &json!({ "custom_id": id }), 0));
    for button in [
        Button::Forget(false),
        Button::Forget(true),
        Button::Undo,
        Button::Thanks,
        Button::Keep,
        Button::Delete(7),
        Button::Stop(7),
        Button::Again(u64::MAX),
    ] {
        assert_eq!(press(&button.id()), Request::Press(button));
    }
    assert_eq!(
        press("more"),
        Request::Press(Button::More("what stands there".into()))
    );
    assert_eq!(press("x"), Request::Unknown);
}

#[test]
fn permissions_are_looked_at_by_discords_own_numbers() {
    let with = |bits| may(&interaction(2, &json!({}), bits), MANAGE_CHANNELS);
    assert!(!with(0) && !with(1 << 5) && with(MANAGE_CHANNELS) && with(1 << 3));
}

#[test]
fn settings_of_a_channel_are_checked_before_they_change() {
    let personas = ["cat".to_owned()];
    let ask = |name: &str, value: &str| {
        apply(
            Changes::default(),
            &[(name.to_owned(), value.to_owned())],
            &personas,
        )
    };
    assert_eq!(ask("threads", "false").unwrap().threads, Some(false));
    assert_eq!(
        ask("persona", "cat").unwrap().persona.as_deref(),
        Some("cat")
    );
    assert_eq!(ask("persona", "default").unwrap().persona, None);
    assert_eq!(ask("persona", "dog"), Err("persona".to_owned()));
    assert_eq!(ask("model", "nobody/x"), Err("model".to_owned()));
    assert_eq!(
        ask("model", "ollama/llama3.1").unwrap().model.as_deref(),
        Some("ollama/llama3.1")
    );
}

#[test]
fn everything_kept_is_in_the_files_and_every_part_is_whole() {
    let said = |text: String| Exported {
        scope: "thread:1".into(),
        role: "member",
        at: "2026-11-28T00:00:00Z".into(),
        text,
    };
    let now = "2026-11-28T00:00:00Z".parse().unwrap();
    let kept = |count: usize, length: usize| Kept {
        messages: (0..count)
            .map(|n| said(format!("word-{n}-\"あ\n{}", "x".repeat(length))))
            .collect(),
        ..Kept::default()
    };
    let few = mydata::files(&kept(2, 0), 5, (now, 1 << 20), Language::En);
    assert_eq!(few.files.len(), 2, "{:?}", few.files);
    let document: Value = serde_json::from_slice(&few.files[0].bytes).unwrap();
    assert_eq!(
        (&document["user"], &document["parts"]),
        (&json!("5"), &json!(1))
    );
    assert_eq!(document["messages"][1]["text"], "word-1-\"あ\n");
    assert!(String::from_utf8_lossy(&few.files[1].bytes).contains("word-1-\"あ\n"));
    let consent = Exported {
        scope: "consent:4".into(),
        role: "consent",
        ..said("may be heard unasked".into())
    };
    let agreed = Kept {
        messages: vec![consent],
        ..Kept::default()
    };
    let agreed = mydata::files(&agreed, 5, (now, 1 << 20), Language::En);
    let text = String::from_utf8_lossy(&agreed.files[1].bytes);
    assert!(
        text.ends_with("(consent:4) you agreed:\nmay be heard unasked\n\n"),
        "{text}"
    );
    let limit = 16 << 10;
    let many = mydata::files(&kept(30, 3000), 5, (now, limit), Language::Ja);
    let mut seen = 0;
    for file in &many.files {
        assert!(file.bytes.len() <= limit, "{} bytes", file.bytes.len());
        if file.name.ends_with(".json") {
            let document: Value = serde_json::from_slice(&file.bytes).unwrap();
            seen += document["messages"].as_array().unwrap().len();
        }
    }
    assert!(
        seen == 30 && many.text.contains("つに分けました"),
        "{seen} {}",
        many.text
    );
    // Beyond what can be sent: the newest, and where the rest is.
    let most = mydata::files(&kept(300, 3000), 5, (now, limit), Language::En);
    assert!(most.files.len() == 20 && most.text.contains("bot export"));
    let last = String::from_utf8_lossy(&most.files[19].bytes).into_owned();
    assert!(last.contains("word-299-"));
}

#[test]
fn usage_is_summed_by_model_and_day() {
    let row = |day: &str, model: &str, cost_micros| UsageRow {
        day: day.into(),
        model: model.into(),
        purpose: Purpose::Answer,
        calls: 2,
        input_tokens: 10,
        output_tokens: 5,
        cost_micros,
    };
    let rows = [
        row("2026-11-27", "a/b", 500_000),
        row("2026-11-28", "a/b", 250_000),
        row("2026-11-28", "c/d", 0),
    ];
    let text = usage::report(&rows, "2026-11", Language::En);
    assert!(
        text.contains("In all: 6 calls, 30 + 15 tokens, 0.7500 dollars"),
        "{text}"
    );
    assert!(text.contains("`c/d`: 2 calls") && text.contains("2026-11-28: 4 calls"));
    let at = |channel, messages| PlaceRow {
        day: "2026-11-28".into(),
        model: "a/b".into(),
        channel,
        messages,
        calls: 2,
        input_tokens: 10,
        output_tokens: 5,
        cost_micros: 0,
    };
    let text = usage::places(&[at(0, 1), at(7, 2), at(7, 1), at(8, 0)], Language::En);
    assert_eq!(text, "Answers: 4\n<#7>: 3\ndirect messages and others: 1\n");
}
