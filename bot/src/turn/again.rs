//! An answer wanted once more: the new one takes the place of the old one, on Discord and in memory. When no new one
//! comes, the old one stands again.

use daemon_kit::text::Language;

use crate::discord::{Interaction, rest};
use crate::notes::Note;
use crate::store::{Reopen, State};

use super::outcome::{Ended, Trouble};
use super::place::Place;
use super::speaker::Speaker;
use super::{Rooms, Turn, speak};

/// What stands, and who pressed.
#[derive(Debug)]
pub struct Again {
    /// The press; its answer tells how it went.
    pub press: Box<Interaction>,
    /// What the store knows of the answer that stands.
    pub stood: Reopen,
}

/// An answer as it stood before it was asked for again.
pub(super) struct Stood {
    /// Its messages and their words.
    pub(super) posts: Vec<(u64, String)>,
    /// How its turn had ended.
    pub(super) state: State,
}

impl Again {
    /// Where the old answer stands.
    pub(super) fn place(&self, turn: &Turn) -> Place {
        let channel = self.stood.reply_channel;
        Place {
            channel,
            reply_to: (channel == turn.inbound.channel).then_some(turn.inbound.id),
            scope: turn.scope,
        }
    }

    /// A new answer in the place of the old one. Where Discord does not let that be changed any more (too old, a closed
    /// thread), the old one goes on being the answer.
    pub(super) async fn answer(
        &self,
        rooms: &Rooms,
        turn: &Turn,
        place: Place,
    ) -> Result<Ended, Trouble> {
        let answered = async {
            let stood = self.stood(rooms).await?;
            let mut speaker = Speaker::instead(rooms, turn, place, stood);
            speak(rooms, turn, &mut speaker).await
        };
        match answered.await {
            Err(Trouble::Discord(error)) if error.is_final() => Ok(Ended {
                replies: self.stood.replies.clone(),
                why: Some(error.to_string()),
                note: Some(Note::Failed),
                ..Ended::silent(self.stood.state)
            }),
            ended => ended,
        }
    }

    /// The old answer, as Discord has it now; messages that were taken away are not in it.
    async fn stood(&self, rooms: &Rooms) -> Result<Stood, rest::Error> {
        let mut posts = Vec::new();
        for id in &self.stood.replies {
            match rooms.rest.message(self.stood.reply_channel, *id).await {
                Ok(message) => posts.push((*id, message.content)),
                Err(rest::Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Stood {
            posts,
            state: self.stood.state,
        })
    }

    /// Tells whoever pressed how it went; `note` = why nothing new came.
    pub(super) async fn tell(&self, rooms: &Rooms, note: Option<Note>) {
        let language = rooms.manner.language;
        let text = match (note, language) {
            (Some(note), _) => note.text(language),
            (None, Language::Ja) => "もう一度、書きました。",
            (None, Language::En) => "I wrote it once more.",
        };
        if let Err(error) = rooms.rest.answer_late(&self.press, text, None).await {
            tracing::info!(event = "command.unanswered", error = %error, "a command's answer could not be delivered");
        }
    }
}
