//! Commands, buttons and forms: registering them and answering them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ask, Outcome, messages, refuse};
use crate::world::discord::{self, Answer, Id, Interaction};
use crate::world::state::{BOT, State};

/// Without a sign for longer than this, Discord does not know an interaction any more.
const SIGN_WITHIN: Duration = Duration::from_secs(3);

/// `/applications/{id}/**`
pub(crate) fn commands(state: &mut State, method: &str, rest: &[&str], ask: &Ask<'_>) -> Outcome {
    match (method, rest) {
        ("GET", ["commands"] | ["guilds", _, "commands"]) => Ok(json!(state.commands)),
        ("PUT", ["commands"] | ["guilds", _, "commands"]) => {
            let list = ask
                .body
                .as_array()
                .cloned()
                .ok_or_else(|| refuse(400, 50_035, "a list of commands"))?;
            let mut registered = Vec::new();
            for command in list {
                check_command(&command)?;
                registered.push(complete(state, command));
            }
            state.commands.clone_from(&registered);
            Ok(json!(registered))
        }
        ("POST", ["commands"] | ["guilds", _, "commands"]) => {
            check_command(ask.body)?;
            let command = complete(state, ask.body.clone());
            state
                .commands
                .retain(|known| known["name"] != command["name"]);
            state.commands.push(command.clone());
            Ok(command)
        }
        ("DELETE", [.., command]) => {
            state.commands.retain(|known| known["id"] != **command);
            Ok(Value::Null)
        }
        _ => Err(refuse(404, 0, "404: Not Found")),
    }
}

fn check_command(command: &Value) -> Result<(), super::Refusal> {
    let name = command["name"].as_str().unwrap_or_default();
    let length = name.chars().count();
    if length == 0 || length > 32 {
        return Err(refuse(
            400,
            50_035,
            "name: must be between 1 and 32 in length",
        ));
    }
    let slash = command["type"].as_u64().unwrap_or(1) == 1;
    let words = command["description"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .count();
    if slash && (words == 0 || words > 100 || name != name.to_lowercase()) {
        return Err(refuse(
            400,
            50_035,
            "description or name of a slash command",
        ));
    }
    if !slash && words > 0 {
        return Err(refuse(400, 50_035, "description: menu commands have none"));
    }
    Ok(())
}

fn complete(state: &mut State, mut command: Value) -> Value {
    let id = state.id();
    command["id"] = json!(id.to_string());
    command["application_id"] = json!(BOT.to_string());
    command["version"] = json!(id.to_string());
    if command["type"].is_null() {
        command["type"] = json!(1);
    }
    if command["description"].is_null() {
        command["description"] = json!("");
    }
    command
}

/// `POST /interactions/{id}/{token}/callback`
pub(crate) fn callback(state: &mut State, id: Id, token: &str, ask: &Ask<'_>) -> Outcome {
    let Some(found) = state
        .interactions
        .get(&id)
        .filter(|found| found.token == token)
        .cloned()
    else {
        return Err(refuse(404, 10_062, "Unknown interaction"));
    };
    if found.answered.is_some() {
        return Err(refuse(
            400,
            40_060,
            "Interaction has already been acknowledged",
        ));
    }
    let waited = found.sent.elapsed();
    if waited > SIGN_WITHIN {
        state.violation(format!("a sign to the interaction {id} after {waited:.1?}"));
        return Err(refuse(404, 10_062, "Unknown interaction"));
    }
    let kind = ask.body["type"].as_u64().unwrap_or_default();
    let data = ask.body.get("data").cloned().unwrap_or(Value::Null);
    let mut now = found;
    now.answered = Some(kind);
    now.callback = ask.body.clone();
    if matches!(kind, 4 | 7) {
        messages::check_form(&data, kind == 4)?;
    }
    if matches!(kind, 4 | 5) {
        let answer = answer(state, &data, kind == 4);
        now.answers.push(answer);
    }
    state.tell(format!(
        "kotonoha answered the interaction {id} with type {kind}: {}",
        data["content"]
            .as_str()
            .unwrap_or_default()
            .replace('\n', "⏎")
    ));
    state.interactions.insert(id, now);
    Ok(Value::Null)
}

/// An answer from a body; `words` says whether the body has to have them.
fn answer(state: &mut State, data: &Value, words: bool) -> Answer {
    let content = data["content"].as_str().unwrap_or_default().to_owned();
    let pings = if words {
        discord::pings(&content, data.get("allowed_mentions"), false)
    } else {
        0
    };
    if pings > 0 {
        state.violation(format!("an interaction's answer that pings {pings}"));
    }
    Answer {
        id: state.id(),
        content,
        ephemeral: data["flags"].as_u64().unwrap_or_default() & 64 != 0,
        body: data.clone(),
        pings,
    }
}

/// `/webhooks/{application}/{token}/**`
pub(crate) fn webhook(
    state: &mut State,
    method: &str,
    token: &str,
    rest: &[&str],
    ask: &Ask<'_>,
) -> Outcome {
    let Some(mut found) = state
        .interactions
        .values()
        .find(|found| found.token == token && found.answered.is_some())
        .cloned()
    else {
        return Err(refuse(404, 10_015, "Unknown Webhook"));
    };
    let result = match (method, rest) {
        ("POST", []) => {
            messages::check_form(ask.body, true)?;
            let new = answer(state, ask.body, true);
            found.answers.push(new.clone());
            Ok(shown(state, &found, &new))
        }
        ("PATCH", ["messages", which]) => {
            messages::check_form(ask.body, false)?;
            let at = position(&found, which)?;
            let mut changed = answer(state, ask.body, true);
            changed.id = found.answers[at].id;
            changed.ephemeral = found.answers[at].ephemeral;
            found.answers[at] = changed.clone();
            Ok(shown(state, &found, &changed))
        }
        ("GET", ["messages", which]) => {
            position(&found, which).map(|at| shown(state, &found, &found.answers[at]))
        }
        ("DELETE", ["messages", which]) => position(&found, which).map(|at| {
            found.answers.remove(at);
            Value::Null
        }),
        _ => Err(refuse(404, 0, "404: Not Found")),
    };
    state.interactions.insert(found.id, found);
    result
}

fn position(found: &Interaction, which: &str) -> Result<usize, super::Refusal> {
    let at = if which == "@original" {
        (!found.answers.is_empty()).then_some(0)
    } else {
        found
            .answers
            .iter()
            .position(|answer| answer.id.to_string() == which)
    };
    at.ok_or_else(|| refuse(404, 10_008, "Unknown Message"))
}

fn shown(state: &State, found: &Interaction, answer: &Answer) -> Value {
    let mut message = state.blank(answer.id, found.channel, BOT, &answer.content);
    message.flags = if answer.ephemeral { 64 } else { 0 };
    if let Some(components) = answer.body.get("components") {
        message.components = components.clone();
    }
    state.message_json(&message, false, true)
}
