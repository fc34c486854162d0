//! The table of routes: method and path to what they do.

use serde_json::{Value, json};

use super::{Ask, Outcome, Refusal, channel_of, interactions, messages, refuse, seen, threads};
use crate::world::discord::{self, Id, Kind, permission};
use crate::world::gateway::guild_summary;
use crate::world::state::{BOT, GUILD, OWNER, State};

fn id(text: &str) -> Result<Id, Refusal> {
    text.parse()
        .map_err(|_| refuse(400, 50_035, "an id is not a number"))
}

pub(super) fn route(state: &mut State, method: &str, parts: &[&str], ask: &Ask<'_>) -> Outcome {
    match (method, parts) {
        ("GET", ["gateway"]) => Ok(json!({"url": gateway_url(state, ask)})),
        ("GET", ["gateway", "bot"]) => Ok(json!({
            "url": gateway_url(state, ask), "shards": 1,
            "session_start_limit": {"total": 1000, "remaining": state.gateway.remaining, "reset_after": 3_600_000, "max_concurrency": 1},
        })),
        ("GET", ["users", "@me"]) => Ok(discord::user(&state.member(BOT))),
        ("GET", ["users", "@me", "guilds"]) => Ok(if state.in_guild {
            json!([{"id": GUILD.to_string(), "name": "庭", "icon": null, "owner": false, "permissions": state.permissions.to_string(), "features": []}])
        } else {
            json!([])
        }),
        ("GET", ["users", who]) => Ok(discord::user(&state.member(id(who)?))),
        ("GET", ["oauth2", "applications", "@me"] | ["applications", "@me"]) => {
            Ok(application(state))
        }
        ("POST", ["users", "@me", "channels"]) => {
            let who = ask.body["recipient_id"].as_str().map_or_else(
                || {
                    ask.body["recipient_id"]
                        .as_u64()
                        .ok_or_else(|| refuse(400, 50_035, "recipient_id"))
                },
                id,
            )?;
            let channel = state.direct_with(who);
            channel_of(state, channel).map(|place| state.channel_json(&place))
        }
        ("GET", ["guilds", _]) => in_guild(state, guild_summary),
        ("GET", ["guilds", _, "channels"]) => in_guild(state, |state| {
            listed(state, |kind| matches!(kind, Kind::Text | Kind::Forum))
        }),
        ("GET", ["guilds", _, "threads", "active"]) => in_guild(
            state,
            |state| json!({"threads": listed(state, |kind| kind == Kind::Thread), "members": [], "has_more": false}),
        ),
        ("GET", ["guilds", _, "roles"]) => {
            in_guild(state, |state| guild_summary(state)["roles"].clone())
        }
        ("GET", ["guilds", _, "members", who]) => {
            let person = state.member(if *who == "@me" { BOT } else { id(who)? });
            in_guild(state, |_| discord::member(&person, None))
        }
        (_, ["channels", ..]) => channels(state, method, parts, ask),
        (_, ["applications", _, ..]) => interactions::commands(state, method, &parts[2..], ask),
        ("POST", ["interactions", interaction, token, "callback"]) => {
            interactions::callback(state, id(interaction)?, token, ask)
        }
        (_, ["webhooks", _, token, rest @ ..]) => {
            interactions::webhook(state, method, token, rest, ask)
        }
        _ => unknown(state, method, parts),
    }
}

fn channels(state: &mut State, method: &str, parts: &[&str], ask: &Ask<'_>) -> Outcome {
    match (method, parts) {
        ("GET", ["channels", channel]) => {
            let place = seen(state, id(channel)?)?;
            Ok(state.channel_json(&place))
        }
        ("PATCH", ["channels", channel]) => threads::change(state, id(channel)?, ask),
        ("POST", ["channels", channel, "typing"]) => messages::typing(state, id(channel)?),
        ("GET", ["channels", channel, "messages"]) => messages::list(state, id(channel)?, ask),
        ("POST", ["channels", channel, "messages"]) => messages::create(state, id(channel)?, ask),
        ("GET", ["channels", channel, "messages", message]) => {
            messages::get(state, id(channel)?, id(message)?)
        }
        ("PATCH", ["channels", channel, "messages", message]) => {
            messages::edit(state, id(channel)?, id(message)?, ask)
        }
        ("DELETE", ["channels", channel, "messages", message]) => {
            messages::delete(state, id(channel)?, id(message)?)
        }
        (
            "PUT",
            [
                "channels",
                channel,
                "messages",
                message,
                "reactions",
                emoji,
                "@me",
            ],
        ) => messages::react(state, id(channel)?, id(message)?, emoji),
        (
            "DELETE",
            [
                "channels",
                _,
                "messages",
                message,
                "reactions",
                emoji,
                "@me",
            ],
        ) => Ok(messages::unreact(state, id(message)?, emoji)),
        ("POST", ["channels", channel, "messages", message, "threads"]) => {
            threads::on_message(state, id(channel)?, id(message)?, ask)
        }
        ("POST", ["channels", channel, "threads"]) => threads::bare(state, id(channel)?, ask),
        (
            "GET",
            [
                "channels",
                channel,
                "threads",
                "archived",
                "public" | "private",
            ],
        ) => threads::archived(state, id(channel)?),
        ("PUT", ["channels", channel, "thread-members", _]) => {
            seen(state, id(channel)?).map(|_| Value::Null)
        }
        _ => unknown(state, method, parts),
    }
}

fn unknown(state: &mut State, method: &str, parts: &[&str]) -> Outcome {
    state.violation(format!(
        "a route that the stand-in does not know: {method} /{}",
        parts.join("/")
    ));
    Err(refuse(404, 0, "404: Not Found"))
}

/// Where the asker reached us, it will reach the gateway too: containers know this machine by another name.
fn gateway_url(state: &State, ask: &Ask<'_>) -> String {
    format!("{}://{}/gateway", state.scheme, ask.host)
}

fn application(state: &State) -> Value {
    json!({
        "id": BOT.to_string(), "name": "kotonoha", "icon": null, "description": "", "rpc_origins": [], "bot_public": false,
        "bot_require_code_grant": false, "owner": discord::user(&state.member(OWNER)), "summary": "", "verify_key": "00", "team": null,
        "flags": if state.gateway.grant_content { 1 << 19 } else { 0 }, "hook": true, "integration_types_config": {},
    })
}

fn in_guild(state: &State, view: impl FnOnce(&State) -> Value) -> Outcome {
    if state.in_guild {
        Ok(view(state))
    } else {
        Err(refuse(403, 50_001, "Missing Access"))
    }
}

fn listed(state: &State, wanted: impl Fn(Kind) -> bool) -> Value {
    let list = state.channels.values().filter(|place| {
        wanted(place.kind)
            && !place.archived
            && (place.kind != Kind::Thread || state.allowed(place) & permission::VIEW != 0)
    });
    json!(
        list.map(|place| state.channel_json(place))
            .collect::<Vec<_>>()
    )
}
