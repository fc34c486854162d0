use proptest::prelude::*;

use super::*;

const EVENTS: [&str; 10] = [
    "MESSAGE_CREATE",
    "MESSAGE_DELETE",
    "MESSAGE_DELETE_BULK",
    "GUILD_CREATE",
    "GUILD_DELETE",
    "CHANNEL_UPDATE",
    "THREAD_CREATE",
    "THREAD_DELETE",
    "INTERACTION_CREATE",
    "PRESENCE_UPDATE",
];

/// A frame of everything that is read, each field of which may be replaced.
fn whole() -> Value {
    let user = json!({"id": "3", "username": "u", "global_name": "g", "bot": false});
    let message = json!({
        "id": "5", "channel_id": "7", "guild_id": "9", "author": user, "member": {"nick": "n"},
        "content": "<@1> hello", "mentions": [{"id": "1", "username": "b"}],
        "attachments": [{"filename": "f", "content_type": "text/plain", "size": 4, "url": "u"}],
        "type": 19, "message_reference": {"message_id": "4"}, "thread": {"id": "5", "type": 11},
    });
    let mut all = message.clone();
    let more = json!({
        "referenced_message": message, "ids": ["1", "2"], "unavailable": false, "parent_id": "7",
        "owner_id": "1", "last_message_id": "5", "channels": [{"id": "7", "type": 0}],
        "threads": [{"id": "5", "type": 11, "parent_id": "7"}], "token": "t", "application_id": "2",
        "data": {"name": "ask", "options": [{"name": "text", "value": "hi"}], "custom_id": "more:5"},
        "user": user, "channel": {"id": "7", "type": 0},
    });
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9]{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Replaces the `at`-th value of those below `value`.
fn replace(value: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        *value = new.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, at, new)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, at, new)),
        _ => {}
    }
}

proptest! {
    /// Whatever Discord or somebody in its place writes is read, or let go; a message becomes a question all the same.
    #[test]
    fn no_frame_makes_it_panic(name in 0..EVENTS.len(), changes in prop::collection::vec((1_usize..70, anything()), 0..4)) {
        let mut body = whole();
        for (at, new) in &changes {
            replace(&mut body, &mut at.clone(), new);
        }
        let name = EVENTS[name];
        let frame = json!({"op": 0, "s": 1, "t": name, "d": body}).to_string();
        match read(name, &frame) {
            Some(Event::Message(message)) => {
                let inbound = message.into_inbound(1);
                prop_assert!(inbound.text.len() <= frame.len());
            }
            Some(Event::Interaction(interaction)) => {
                let _ = (interaction.user(), interaction.place(), interaction.permissions());
            }
            _ => {}
        }
    }

    #[test]
    fn no_bytes_make_it_panic(noise in any::<String>(), name in 0..EVENTS.len()) {
        prop_assert!(read(EVENTS[name], &noise).is_none());
    }
}

#[test]
fn the_whole_frame_is_read_as_each_event() {
    for name in EVENTS {
        let frame = json!({"op": 0, "s": 1, "t": name, "d": whole()}).to_string();
        let is_ours = name != "PRESENCE_UPDATE";
        assert_eq!(read(name, &frame).is_some(), is_ours, "{name}");
    }
}
