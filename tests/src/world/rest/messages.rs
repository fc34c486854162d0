//! Messages: create, edit, delete, read; refuses what Discord refuses.

use serde_json::{Value, json};

use super::{Ask, Outcome, Refusal, channel_of, refuse, seen};
use crate::world::discord::{self, Channel, Id, Kind, Message, permission};
use crate::world::state::{BOT, GUILD, State};

/// Characters one message may hold.
const LIMIT: usize = 2_000;

fn may_write(state: &State, place: &Channel) -> Result<(), Refusal> {
    let (needed, code) = match place.kind {
        Kind::Thread => (permission::SEND_IN_THREADS, 50_013),
        Kind::Forum => {
            return Err(refuse(
                400,
                50_008,
                "Cannot send messages in a non-text channel",
            ));
        }
        Kind::Direct if place.closed => {
            return Err(refuse(403, 50_007, "Cannot send messages to this user"));
        }
        _ => (permission::SEND, 50_013),
    };
    if place.locked {
        return Err(refuse(400, 50_083, "Thread is archived"));
    }
    if state.allowed(place) & needed == 0 {
        Err(refuse(403, code, "Missing Permissions"))
    } else {
        Ok(())
    }
}

/// Checks the words and the nonce of a body.
pub(crate) fn check_form(body: &Value, creating: bool) -> Result<(), Refusal> {
    let content = body["content"].as_str().unwrap_or_default();
    if content.chars().count() > LIMIT {
        return Err(refuse(
            400,
            50_035,
            "content: must be 2000 or fewer in length",
        ));
    }
    let empty = |name: &str| body[name].as_array().is_none_or(Vec::is_empty);
    let changes_words = creating || body.get("content").is_some();
    if changes_words
        && content.trim().is_empty()
        && empty("embeds")
        && empty("__files")
        && empty("components")
        && body.get("poll").is_none()
    {
        return Err(refuse(400, 50_006, "Cannot send an empty message"));
    }
    match &body["nonce"] {
        Value::String(nonce) if nonce.chars().count() > 25 => {
            Err(refuse(400, 50_035, "nonce: must be 25 or fewer in length"))
        }
        _ => Ok(()),
    }
}

/// `POST /channels/{id}/messages`
pub(crate) fn create(state: &mut State, channel: Id, ask: &Ask<'_>) -> Outcome {
    let place = seen(state, channel)?;
    may_write(state, &place)?;
    check_form(ask.body, true)?;
    let nonce = ask.body["nonce"]
        .as_str()
        .map(str::to_owned)
        .or_else(|| ask.body["nonce"].as_u64().map(|number| number.to_string()));
    if let Some(same) = nonce
        .as_ref()
        .filter(|_| ask.body["enforce_nonce"] == true)
        .and_then(|nonce| remembered(state, channel, nonce))
    {
        state.tell(format!("the same nonce again: {} given back", same.id));
        return Ok(state.message_json(&same, false, true));
    }
    let reply_to = reference(state, channel, ask.body)?;
    let id = state.id();
    let content = ask.body["content"].as_str().unwrap_or_default();
    let mut message = state.blank(id, channel, BOT, content);
    message.nonce = nonce;
    message.reply_to = reply_to;
    message.kind = if reply_to.is_some() { 19 } else { 0 };
    message.flags = ask.body["flags"].as_u64().unwrap_or_default();
    message.components = ask
        .body
        .get("components")
        .cloned()
        .unwrap_or_else(|| json!([]));
    message.embeds = ask.body.get("embeds").cloned().unwrap_or_else(|| json!([]));
    message.pings = discord::pings(
        content,
        ask.body.get("allowed_mentions"),
        reply_to.is_some(),
    );
    if message.pings > 0 {
        state.violation(format!("a message that pings {}", message.pings));
    }
    state.publish(&message);
    Ok(state.message_json(&message, false, true))
}

fn remembered(state: &State, channel: Id, nonce: &str) -> Option<Message> {
    let memory = state.nonce_memory.as_millis() as u64;
    let now = state.now_ms();
    let known = state.with_nonce(channel, nonce)?;
    (now.saturating_sub(known.at_ms) < memory).then(|| known.clone())
}

fn reference(state: &State, channel: Id, body: &Value) -> Result<Option<Id>, Refusal> {
    let reference = &body["message_reference"];
    let Some(id) = reference["message_id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .or_else(|| reference["message_id"].as_u64())
    else {
        return Ok(None);
    };
    let found = state
        .messages
        .get(&id)
        .is_some_and(|message| message.channel == channel && !message.deleted);
    if found {
        return Ok(Some(id));
    }
    if reference["fail_if_not_exists"] == false {
        Ok(None)
    } else {
        Err(refuse(400, 50_035, "message_reference: Unknown message"))
    }
}

/// `PATCH /channels/{id}/messages/{id}`
pub(crate) fn edit(state: &mut State, channel: Id, message: Id, ask: &Ask<'_>) -> Outcome {
    let place = seen(state, channel)?;
    let found = find(state, channel, message)?;
    if found.author != BOT {
        return Err(refuse(
            403,
            50_005,
            "Cannot edit a message authored by another user",
        ));
    }
    if place.archived {
        return Err(refuse(400, 50_083, "Thread is archived"));
    }
    check_form(ask.body, false)?;
    let content = ask.body["content"].as_str().map(str::to_owned);
    let pings = content.as_deref().map_or(0, |content| {
        discord::pings(content, ask.body.get("allowed_mentions"), false)
    });
    let careless = content.is_some() && ask.body.get("allowed_mentions").is_none_or(Value::is_null);
    if pings > 0 || careless {
        state.violation(format!(
            "an edit that pings {pings} (allowed_mentions present: {})",
            !careless
        ));
    }
    let mut now = found;
    if let Some(content) = content {
        now.former
            .push(std::mem::replace(&mut now.content, content));
    }
    for (name, part) in [
        ("components", &mut now.components),
        ("embeds", &mut now.embeds),
    ] {
        if let Some(value) = ask.body.get(name) {
            *part = value.clone();
        }
    }
    now.pings += pings;
    let line = format!(
        "kotonoha edited {message}: {}",
        now.content.replace('\n', "⏎")
    );
    state.tell(line);
    // An edit is something new to expect when the test had already accepted the message.
    state.messages.insert(message, now.clone());
    state.dispatch_message("MESSAGE_UPDATE", &now, place.kind == Kind::Direct);
    Ok(state.message_json(&now, false, true))
}

/// `GET /channels/{id}/messages/{id}`
pub(crate) fn get(state: &State, channel: Id, message: Id) -> Outcome {
    let place = seen(state, channel)?;
    if state.allowed(&place) & permission::HISTORY == 0 {
        return Err(refuse(403, 50_013, "Missing Permissions"));
    }
    find(state, channel, message)
        .map(|found| state.message_json(&found, false, state.gateway.grant_content))
}

/// `GET /channels/{id}/messages`
pub(crate) fn list(state: &State, channel: Id, ask: &Ask<'_>) -> Outcome {
    let place = seen(state, channel)?;
    if state.allowed(&place) & permission::HISTORY == 0 {
        return Ok(json!([]));
    }
    let limit = ask.number("limit").unwrap_or(50) as usize;
    if limit == 0 || limit > 100 {
        return Err(refuse(400, 50_035, "limit: must be between 1 and 100"));
    }
    let after = ask.number("after");
    let before = ask.number("before");
    let around = ask.number("around");
    let within = |message: &&Message| {
        after.is_none_or(|id| message.id > id) && before.is_none_or(|id| message.id < id)
    };
    let mut found: Vec<&Message> = state.in_channel(channel).filter(within).collect();
    if let Some(middle) = around {
        let at = found.partition_point(|message| message.id < middle);
        let from = at.saturating_sub(limit / 2);
        found = found.into_iter().skip(from).take(limit).collect();
    } else if after.is_some() {
        found.truncate(limit);
    } else {
        found = found.split_off(found.len().saturating_sub(limit));
    }
    Ok(found
        .into_iter()
        .rev()
        .map(|message| state.message_json(message, false, state.gateway.grant_content))
        .collect())
}

/// `DELETE /channels/{id}/messages/{id}`
pub(crate) fn delete(state: &mut State, channel: Id, message: Id) -> Outcome {
    let place = seen(state, channel)?;
    let found = find(state, channel, message)?;
    if found.author != BOT && state.allowed(&place) & (1 << 13) == 0 {
        return Err(refuse(403, 50_013, "Missing Permissions"));
    }
    take_back(state, message);
    Ok(Value::Null)
}

/// Marks a message as deleted and tells everybody.
pub(crate) fn take_back(state: &mut State, message: Id) {
    let Some(found) = state.messages.get_mut(&message) else {
        return;
    };
    found.deleted = true;
    let channel = found.channel;
    let mut event = json!({"id": message.to_string(), "channel_id": channel.to_string()});
    if state
        .channels
        .get(&channel)
        .is_some_and(|place| place.kind != Kind::Direct)
    {
        event["guild_id"] = json!(GUILD.to_string());
    }
    state.tell(format!("{message} was deleted"));
    state.dispatch("MESSAGE_DELETE", &event);
}

/// `POST /channels/{id}/typing`
pub(crate) fn typing(state: &mut State, channel: Id) -> Outcome {
    let place = seen(state, channel)?;
    may_write(state, &place)?;
    *state.typing.entry(channel).or_default() += 1;
    Ok(Value::Null)
}

/// `PUT …/reactions/{emoji}/@me`
pub(crate) fn react(state: &mut State, channel: Id, message: Id, emoji: &str) -> Outcome {
    let place = seen(state, channel)?;
    find(state, channel, message)?;
    if state.allowed(&place) & permission::REACT == 0 {
        return Err(refuse(403, 50_013, "Missing Permissions"));
    }
    state.reactions.push((message, emoji.to_owned()));
    Ok(Value::Null)
}

/// `DELETE …/reactions/{emoji}/@me`
pub(crate) fn unreact(state: &mut State, message: Id, emoji: &str) -> Value {
    state
        .reactions
        .retain(|(at, mark)| *at != message || mark != emoji);
    Value::Null
}

pub(crate) fn find(state: &State, channel: Id, message: Id) -> Result<Message, Refusal> {
    channel_of(state, channel)?;
    let found = state
        .messages
        .get(&message)
        .filter(|found| found.channel == channel && !found.deleted);
    found
        .cloned()
        .ok_or_else(|| refuse(404, 10_008, "Unknown Message"))
}
