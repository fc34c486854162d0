//! A question that earlier lives left open, as it stands on Discord now.

use super::{Rooms, Turn};
use crate::catch_up::Seen;
use crate::discord::rest;
use crate::discord::wire::Message;

/// The question as it stands on Discord now; true when it was deleted while we were away.
pub(super) async fn is_gone(rooms: &Rooms, turn: &mut Turn) -> bool {
    const UNKNOWN_MESSAGE: u64 = 10_008;
    match as_it_stands(rooms, turn).await {
        Ok(message) => {
            let now = message.into_inbound(rooms.me());
            turn.inbound.attachments = now.attachments;
            turn.inbound.quoted = now.quoted;
            // Words of distress are not kept: they are read again where they stand.
            if turn.inbound.text.is_empty() {
                turn.inbound.text = now.text;
            }
            false
        }
        Err(error) => {
            tracing::debug!(error = %error, "answering an open turn by what the store remembers");
            error == rest::Error::NotFound(UNKNOWN_MESSAGE)
        }
    }
}

/// By the view of its channel, which many share. What is not in it, and one old question to be answered again, is asked
/// for by itself: a view leaves out what could not be read, and words of a question never read are not gone.
async fn as_it_stands(rooms: &Rooms, turn: &Turn) -> Result<Message, rest::Error> {
    let at = (turn.inbound.channel, turn.inbound.id);
    if turn.again.is_none() {
        let views = &rooms.views;
        let view = views
            .of(&rooms.rest, rooms.me(), at, turn.still_since)
            .await?;
        // Of others a view keeps no words; those of distress are asked for.
        if let Seen::There(message) = view.find(at.1)
            && !turn.inbound.text.is_empty()
        {
            return Ok(message.clone());
        }
    }
    rooms.rest.message(at.0, at.1).await
}
