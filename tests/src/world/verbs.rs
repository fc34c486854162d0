//! What people in the world do, and what a test waits for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::discord::{self, Id, Interaction, Kind, Member, Message, permission};
use super::rest::messages::take_back;
use super::state::{BOT, GUILD, State};
use super::{Act, Asked, RestAct, World};

impl World {
    /// Somebody new joins.
    pub fn member(&self, name: &str) -> Id {
        self.with(|state| {
            let id = state.id_at(Duration::from_hours(24 * 400));
            state.members.insert(
                id,
                Member {
                    id,
                    name: name.to_owned(),
                    bot: false,
                },
            );
            id
        })
    }

    /// A further text channel.
    pub fn channel(&self, name: &str) -> Id {
        self.with(|state| {
            let id = state.id_at(Duration::from_hours(24 * 30));
            let place = state.place(id, Kind::Text, name, None);
            state.channels.insert(id, place.clone());
            let value = state.channel_json(&place);
            state.dispatch("CHANNEL_CREATE", &value);
            id
        })
    }

    /// Takes permissions from the bot in a channel.
    pub fn deny(&self, channel: Id, permissions: u64) {
        self.with(|state| {
            if let Some(place) = state.channels.get_mut(&channel) {
                place.denied = permissions;
            }
            if let Some(place) = state.channels.get(&channel).cloned() {
                let value = state.channel_json(&place);
                state.dispatch("CHANNEL_UPDATE", &value);
            }
        });
    }

    /// Somebody says something.
    pub fn say(&self, who: Id, channel: Id, text: &str) -> Id {
        self.say_with(who, channel, text, |_| ())
    }

    /// Somebody says something, with changes to the message before it is sent.
    pub fn say_with(
        &self,
        who: Id,
        channel: Id,
        text: &str,
        change: impl FnOnce(&mut Message),
    ) -> Id {
        self.with(|state| {
            let id = state.id();
            let mut message = state.blank(id, channel, who, text);
            change(&mut message);
            state.publish(&message)
        })
    }

    /// Somebody said something some time ago (while the bot was away).
    pub fn say_ago(&self, who: Id, channel: Id, text: &str, ago: Duration) -> Id {
        self.with(|state| {
            let id = state.id_at(ago);
            let message = state.blank(id, channel, who, text);
            state.publish(&message)
        })
    }

    /// Somebody calls the bot.
    pub fn mention(&self, who: Id, channel: Id, text: &str) -> Id {
        self.say(who, channel, &format!("<@{BOT}> {text}"))
    }

    /// Somebody writes to the bot alone.
    pub fn direct(&self, who: Id, text: &str) -> Id {
        let channel = self.with(|state| state.direct_with(who));
        self.say(who, channel, text)
    }

    /// Somebody opens a thread of their own.
    pub fn thread(&self, who: Id, parent: Id, name: &str) -> Id {
        self.with(|state| {
            let id = state.id();
            let mut place = state.place(id, Kind::Thread, name, Some(parent));
            place.owner = Some(who);
            state.channels.insert(id, place.clone());
            let mut value = state.channel_json(&place);
            value["newly_created"] = json!(true);
            state.dispatch("THREAD_CREATE", &value);
            id
        })
    }

    /// Somebody opens a post in a forum; its first message has the post's id.
    pub fn post(&self, who: Id, forum: Id, title: &str, text: &str) -> Id {
        let id = self.thread(who, forum, title);
        self.with(|state| {
            let message = state.blank(id, id, who, text);
            state.publish(&message)
        })
    }

    /// Somebody takes a message back.
    pub fn delete(&self, message: Id) {
        self.with(|state| take_back(state, message));
    }

    /// Somebody changes their words.
    pub fn reword(&self, message: Id, text: &str) {
        self.with(|state| {
            let Some(found) = state.messages.get_mut(&message) else {
                return;
            };
            found
                .former
                .push(std::mem::replace(&mut found.content, text.to_owned()));
            let now = found.clone();
            let direct = state
                .channels
                .get(&now.channel)
                .is_some_and(|place| place.kind == Kind::Direct);
            state.dispatch_message("MESSAGE_UPDATE", &now, direct);
        });
    }

    /// Somebody uses a slash command; waits until the bot has registered it.
    pub fn command(&self, who: Id, channel: Id, name: &str, options: &Value) -> Id {
        let command = self.wait(&format!("the command {name}"), |state| {
            state
                .commands
                .iter()
                .find(|command| command["name"] == name)
                .cloned()
        });
        let data =
            json!({"id": command["id"], "name": name, "type": command["type"], "options": options});
        self.interact(who, channel, 2, &data, &Value::Null)
    }

    /// Somebody uses a message's menu command.
    pub fn menu(&self, who: Id, message: Id, name: &str) -> Id {
        let command = self.wait(&format!("the menu command {name}"), |state| {
            state
                .commands
                .iter()
                .find(|command| command["name"] == name)
                .cloned()
        });
        let (channel, shown) = self
            .with(|state| {
                state
                    .messages
                    .get(&message)
                    .cloned()
                    .map(|found| (found.channel, state.message_json(&found, false, true)))
            })
            .expect("the message");
        let data = json!({"id": command["id"], "name": name, "type": 3, "target_id": message.to_string(), "resolved": {"messages": {message.to_string(): shown}}});
        self.interact(who, channel, 2, &data, &Value::Null)
    }

    /// Somebody presses a button under a message.
    pub fn press(&self, who: Id, message: Id, custom_id: &str) -> Id {
        // An answer that has just been finished gets its buttons with the same edit.
        let (channel, shown) = self.wait(&format!("the button {custom_id}"), |state| {
            let found = state.messages.get(&message).cloned()?;
            let has_it = found.buttons().iter().any(|button| button == custom_id);
            has_it.then(|| (found.channel, state.message_json(&found, false, true)))
        });
        self.interact(
            who,
            channel,
            3,
            &json!({"custom_id": custom_id, "component_type": 2}),
            &shown,
        )
    }

    /// Somebody presses a button under an answer that only they see.
    pub fn press_quietly(&self, who: Id, interaction: Id, custom_id: &str) -> Id {
        let (channel, shown) = self.with(|state| {
            let found = &state.interactions[&interaction];
            let answer = found.answers.last().expect("an answer");
            let has_it = answer.body["components"].to_string().contains(custom_id);
            assert!(has_it, "no button {custom_id} under {}", answer.content);
            let message = state.blank(answer.id, found.channel, BOT, &answer.content);
            (found.channel, state.message_json(&message, false, true))
        });
        self.interact(
            who,
            channel,
            3,
            &json!({"custom_id": custom_id, "component_type": 2}),
            &shown,
        )
    }

    /// Somebody presses a button under the last answer to an interaction, which only they may see.
    pub fn press_under(&self, who: Id, interaction: Id, custom_id: &str) -> Id {
        let (channel, shown) = self.with(|state| {
            let found = state.interactions.get(&interaction).cloned();
            let found = found.expect("the interaction");
            let answer = found.answers.last().expect("an answer");
            let mut message = state.blank(answer.id, found.channel, BOT, &answer.content);
            message.components = answer.body["components"].clone();
            assert!(
                message.buttons().iter().any(|button| button == custom_id),
                "no button {custom_id} in {}",
                answer.body
            );
            (found.channel, state.message_json(&message, false, true))
        });
        self.interact(
            who,
            channel,
            3,
            &json!({"custom_id": custom_id, "component_type": 2}),
            &shown,
        )
    }

    /// Somebody sends a form; `fields` are custom ids and values.
    pub fn submit(&self, who: Id, channel: Id, custom_id: &str, fields: &[(&str, &str)]) -> Id {
        let rows: Vec<Value> = fields.iter().map(|(id, value)| json!({"type": 1, "components": [{"type": 4, "custom_id": id, "value": value}]})).collect();
        self.interact(
            who,
            channel,
            5,
            &json!({"custom_id": custom_id, "components": rows}),
            &Value::Null,
        )
    }

    fn interact(&self, who: Id, channel: Id, kind: u8, data: &Value, message: &Value) -> Id {
        self.with(|state| {
            let id = state.id();
            let token = format!("interaction-token-{id}");
            let person = state.member(who);
            let place = state.channels.get(&channel).cloned();
            let direct = place.as_ref().is_none_or(|place| place.kind == Kind::Direct);
            let bits = place.as_ref().map_or(permission::ALL, |place| state.allowed(place));
            let mut event = json!({
                "id": id.to_string(), "application_id": BOT.to_string(), "type": kind, "data": data, "channel_id": channel.to_string(),
                "channel": place.map(|place| state.channel_json(&place)), "token": token, "version": 1, "app_permissions": bits.to_string(),
                "locale": "ja", "entitlements": [], "authorizing_integration_owners": {}, "context": i32::from(direct),
                "attachment_size_limit": 10_485_760,
            });
            if direct {
                event["user"] = discord::user(&person);
            } else {
                event["guild_id"] = json!(GUILD.to_string());
                event["guild_locale"] = json!("ja");
                event["member"] = discord::member(&person, Some(permission::ALL | state.powers.get(&who).copied().unwrap_or(0)));
            }
            if !message.is_null() {
                event["message"] = message.clone();
            }
            state.interactions.insert(id, Interaction { id, token, channel, sent: Instant::now(), answered: None, callback: Value::Null, answers: Vec::new() });
            state.tell(format!("{} used an interaction of kind {kind}: {}", person.name, event["data"]["name"].as_str().or(event["data"]["custom_id"].as_str()).unwrap_or_default()));
            state.dispatch("INTERACTION_CREATE", &event);
            id
        })
    }

    /// Waits until an interaction has an answer with words (or buttons), and gives all of its answers.
    pub fn answered(&self, interaction: Id) -> Interaction {
        self.wait("an answer to an interaction", |state| {
            state
                .interactions
                .get(&interaction)
                .filter(|found| {
                    found.answered.is_some()
                        && (found.answered != Some(5)
                            || found
                                .answers
                                .iter()
                                .any(|answer| !answer.content.is_empty()))
                })
                .cloned()
        })
    }

    /// Waits for a message of the bot that fits, and expects it.
    pub fn expect(&self, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
        self.wait(what, |state| {
            let found = state
                .messages
                .values_mut()
                .find(|message| message.author == BOT && !message.deleted && fits(message))?;
            found.expected = true;
            Some(found.clone())
        })
    }

    /// Waits for the bot's message that answers `said` and holds `text`, and expects it.
    pub fn answer(&self, said: Id, text: &str) -> Message {
        self.wait(&format!("an answer to {said} with {text:?}"), |state| {
            let found = answers_to(state, said)
                .into_iter()
                .find(|message| message.content.contains(text))?;
            state.messages.get_mut(&found.id)?.expected = true;
            Some(found)
        })
    }

    /// Every message that answers `said` now: replies to it, posts in its thread, or the first words after it in a direct message.
    pub fn answers(&self, said: Id) -> Vec<Message> {
        self.with(|state| answers_to(state, said))
    }

    /// Expects every message that the bot has sent so far.
    pub fn expect_all(&self) {
        self.with(|state| {
            state
                .messages
                .values_mut()
                .for_each(|message| message.expected = true);
        });
    }

    /// The bot's messages, in order, without those taken back.
    pub fn spoken(&self) -> Vec<Message> {
        self.with(|state| {
            state
                .messages
                .values()
                .filter(|message| message.author == BOT && !message.deleted)
                .cloned()
                .collect()
        })
    }

    /// Waits until the bot is connected with a session.
    pub fn connected(&self) {
        self.wait("the bot at the gateway", |state| {
            (state.gateway.connected() > 0).then_some(())
        });
    }

    /// Scripts the model for the next `times` requests.
    pub fn model(&self, times: usize, act: Act) {
        self.model_when(times, |_| true, act);
    }

    /// Scripts the model for requests that fit.
    pub fn model_when(
        &self,
        times: usize,
        when: impl Fn(&Asked) -> bool + Send + 'static,
        act: Act,
    ) {
        self.with(|state| state.model.script(times, when, act));
    }

    /// Every request that models got.
    pub fn asked(&self) -> Vec<Asked> {
        self.with(|state| state.model.asked.clone())
    }

    /// Scripts a fault for the next `times` calls of a route such as `POST /channels/*/messages`.
    pub fn fault(&self, route: &str, act: RestAct, times: usize) {
        self.with(|state| state.rest.fault(route, act, times));
    }
}

/// Which messages of the bot answer a message.
fn answers_to(state: &State, said: Id) -> Vec<Message> {
    let Some(asked) = state.messages.get(&said) else {
        return Vec::new();
    };
    let alone = state
        .channels
        .get(&asked.channel)
        .is_some_and(|place| place.kind == Kind::Direct || place.kind == Kind::Thread);
    // In a thread or a direct message the bot may answer without a reference: what stands between this and the next word of a person.
    let next = state
        .in_channel(asked.channel)
        .find(|message| message.id > said && message.author != BOT)
        .map_or(Id::MAX, |message| message.id);
    state
        .messages
        .values()
        .filter(|message| message.author == BOT && !message.deleted)
        .filter(|message| {
            let replies = message.reply_to == Some(said);
            let own_thread = message.channel == said
                && message.id > said
                && asked.channel != said
                && message.reply_to.is_none()
                && before_a_person(state, message);
            let after = alone
                && message.channel == asked.channel
                && message.reply_to.is_none()
                && message.id > said
                && message.id < next;
            replies || own_thread || after
        })
        .cloned()
        .collect()
}

/// Whether nobody but the bot has spoken in the channel before this.
fn before_a_person(state: &State, message: &Message) -> bool {
    !state
        .in_channel(message.channel)
        .any(|other| other.author != BOT && other.id < message.id)
}
