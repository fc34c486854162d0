//! Threads: opened on a message or bare, archived, found again.

use serde_json::{Value, json};

use super::{Ask, Outcome, messages, refuse, seen};
use crate::world::discord::{Id, Kind, permission};
use crate::world::state::{BOT, State};

const DURATIONS: [u64; 4] = [60, 1_440, 4_320, 10_080];

/// `POST /channels/{id}/messages/{id}/threads`
pub(crate) fn on_message(state: &mut State, channel: Id, message: Id, ask: &Ask<'_>) -> Outcome {
    let place = seen(state, channel)?;
    let starter = messages::find(state, channel, message)?;
    if place.kind != Kind::Text {
        return Err(refuse(
            400,
            50_024,
            "Cannot execute action on this channel type",
        ));
    }
    if state.allowed(&place) & permission::THREADS == 0 {
        return Err(refuse(403, 50_013, "Missing Permissions"));
    }
    if state.channels.contains_key(&message) {
        return Err(refuse(
            400,
            160_004,
            "A thread has already been created for this message",
        ));
    }
    let value = open(state, message, channel, ask)?;
    let mut copy = starter;
    copy.channel = message;
    if !state.gateway.whole_starter {
        copy.kind = 21;
        copy.content = String::new();
        copy.mentions = Vec::new();
    }
    // Discord sends the starter once more, under the thread's own id.
    state.dispatch_message("MESSAGE_CREATE", &copy, false);
    Ok(value)
}

/// `POST /channels/{id}/threads`
pub(crate) fn bare(state: &mut State, channel: Id, ask: &Ask<'_>) -> Outcome {
    let place = seen(state, channel)?;
    if state.allowed(&place) & permission::THREADS == 0 {
        return Err(refuse(403, 50_013, "Missing Permissions"));
    }
    let id = state.id();
    let value = open(state, id, channel, ask)?;
    if place.kind == Kind::Forum {
        let words = ask.body["message"]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let message = state.blank(id, id, BOT, &words);
        state.publish(&message);
    }
    Ok(value)
}

fn open(state: &mut State, id: Id, channel: Id, ask: &Ask<'_>) -> Outcome {
    let name = ask.body["name"].as_str().unwrap_or_default();
    let length = name.chars().count();
    if length == 0 || length > 100 {
        return Err(refuse(
            400,
            50_035,
            "name: must be between 1 and 100 in length",
        ));
    }
    let minutes = ask.body["auto_archive_duration"].as_u64().unwrap_or(4_320);
    if !DURATIONS.contains(&minutes) {
        return Err(refuse(
            400,
            50_035,
            "auto_archive_duration: not one of 60, 1440, 4320, 10080",
        ));
    }
    let mut thread = state.place(id, Kind::Thread, name, Some(channel));
    thread.owner = Some(BOT);
    thread.auto_archive = minutes;
    state.tell(format!("kotonoha opened the thread {id} \"{name}\""));
    state.channels.insert(id, thread.clone());
    let mut value = state.channel_json(&thread);
    value["newly_created"] = json!(true);
    state.dispatch("THREAD_CREATE", &value);
    Ok(value)
}

/// `PATCH /channels/{id}`
pub(crate) fn change(state: &mut State, channel: Id, ask: &Ask<'_>) -> Outcome {
    let mut place = seen(state, channel)?;
    if let Some(archived) = ask.body["archived"].as_bool() {
        place.archived = archived;
    }
    if let Some(name) = ask.body["name"].as_str() {
        name.clone_into(&mut place.name);
    }
    state.channels.insert(channel, place.clone());
    let value = state.channel_json(&place);
    state.dispatch("THREAD_UPDATE", &value);
    Ok(value)
}

/// `GET /channels/{id}/threads/archived/…`
pub(crate) fn archived(state: &State, channel: Id) -> Outcome {
    seen(state, channel)?;
    let resting: Vec<Value> = state
        .channels
        .values()
        .filter(|place| place.parent == Some(channel) && place.archived)
        .map(|place| state.channel_json(place))
        .collect();
    Ok(json!({"threads": resting, "members": [], "has_more": false}))
}
