//! The buttons under an answer that end it or ask for another one, for the one who asked alone.

use daemon_kit::text::Language;

use super::answer::{Desk, Reply, Stopping, Trouble};
use crate::discord::Interaction;
use crate::notes::Note;
use crate::store::Reopened;
use crate::turn::{Again, Rooms};

/// What became of the wish to stop.
pub(super) fn stop(stopping: Option<Stopping>, language: Language) -> Reply {
    Reply::new(match (stopping.unwrap_or(Stopping::Over), language) {
        (Stopping::Told, Language::Ja) => "止めました。",
        (Stopping::Told, Language::En) => "I stopped.",
        (Stopping::NotTheirs, Language::Ja) => "この返事を止められるのは、聞いた人だけです。",
        (Stopping::NotTheirs, Language::En) => "Only the one who asked can stop this answer.",
        (Stopping::Over, Language::Ja) => "いまは書いていません。",
        (Stopping::Over, Language::En) => "I am not writing this one now.",
    })
}

/// Another answer in the place of the one that stands.
pub(super) async fn again(
    rooms: &Rooms,
    interaction: &Interaction,
    turn: u64,
    desk: &Desk,
) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    let reopened = rooms.store.reopen_turn(turn, interaction.user()).await?;
    let text = match (reopened, language) {
        (Reopened::Started(open, stood), _) => {
            tracing::info!(event = "turn.again", turn, "another answer is wanted");
            let again = Again {
                press: Box::new(interaction.clone()),
                stood,
            };
            return Ok(match desk.again.send((open, again)).await {
                // The turn tells how it went.
                Ok(()) => Reply::default(),
                // Nobody takes it any more, we end: the next start finds the old answer standing.
                Err(_) => Reply::new(Note::Failed.text(language)),
            });
        }
        (Reopened::NotTheirs, Language::Ja) => "もう一度たのめるのは、聞いた人だけです。",
        (Reopened::NotTheirs, Language::En) => "Only the one who asked can have it written again.",
        (Reopened::Open, Language::Ja) => "いま書いているところです。",
        (Reopened::Open, Language::En) => "I am writing it right now.",
        (Reopened::Gone, Language::Ja) => "この質問は、もう覚えていません。",
        (Reopened::Gone, Language::En) => "I do not remember this question any more.",
    };
    Ok(Reply::new(text))
}
