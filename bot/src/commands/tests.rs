use daemon_kit::text::Language;
use serde_json::{Value, json};

use super::channel::{Changes, apply};
use super::people::describe;
use super::request::{MANAGE_CHANNELS, may};
use super::*;
use crate::discord::Interaction;
use crate::store::{Exported, Purpose, UsageRow};

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
fn kept_words_are_shown_newest_first_and_within_bounds() {
    let said = |text: String| Exported {
        scope: "thread:1".into(),
        role: "member",
        at: "2026-11-28T00:00:00Z".into(),
        text,
    };
    assert!(describe(&[], Language::En).contains("none"));
    let few = describe(&[said("old".into()), said("new".into())], Language::En);
    assert!(few.find("new") < few.find("old"));
    let many: Vec<Exported> = (0..100).map(|_| said("あ".repeat(1000))).collect();
    let text = describe(&many, Language::Ja);
    assert!(
        text.chars().count() < 13_000 && text.contains("ほかに 89 件") || text.contains("ほかに")
    );
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
}
