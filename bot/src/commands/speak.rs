//! Answers of the model that only the asker sees: `/ask`, the message menus, and more of any of them.

use std::sync::Arc;

use daemon_kit::text::Language;

use super::answer::{Reply, Trouble, home};
use super::request::Button;
use crate::discord::Interaction;
use crate::limits::Urgency;
use crate::llm::{Choice, Completion, Prompt, Role, Stop, Usage, Utterance};
use crate::manners::{self, Judge, Law, Leave};
use crate::notes::Note;
use crate::prompt::{self, Question};
use crate::store::Purpose;
use crate::turn::Rooms;

/// `/ask`: a question without a history, answered to the asker alone and kept nowhere.
pub(super) async fn ask(
    rooms: &Rooms,
    interaction: &Interaction,
    text: &str,
) -> Result<Reply, Trouble> {
    let question = Question {
        text: text.to_owned(),
        ..Question::default()
    };
    answer(
        rooms,
        interaction,
        &question,
        Leave::of(text, &[]),
        Vec::new(),
    )
    .await
}

/// 「やさしく説明」
pub(super) async fn explain(
    rooms: &Rooms,
    interaction: &Interaction,
    words: &str,
) -> Result<Reply, Trouble> {
    let text = match rooms.manner.language {
        Language::Ja => "このメッセージがどんな意味かを、やさしい言葉で短く説明してください。",
        Language::En => "Please explain in gentle, plain words what this message means.",
    };
    about(rooms, interaction, words, text, Leave::of(words, &[])).await
}

/// 「返事を一緒に考える」
pub(super) async fn draft(
    rooms: &Rooms,
    interaction: &Interaction,
    words: &str,
) -> Result<Reply, Trouble> {
    let text = match rooms.manner.language {
        Language::Ja => {
            "このメッセージに返事をしたいです。そのまま使える短い返事の例を三つ、やわらかい言い方で、番号をつけて書いてください。"
        }
        Language::En => {
            "I would like to answer this message. Please write three short answers that I could use as they are, gentle, with numbers."
        }
    };
    let leave = Leave {
        more: true,
        ..Leave::of(words, &[])
    };
    about(rooms, interaction, words, text, leave).await
}

/// More of what stands under the button.
pub(super) async fn more(
    rooms: &Rooms,
    interaction: &Interaction,
    before: &str,
) -> Result<Reply, Trouble> {
    let text = match rooms.manner.language {
        Language::Ja => "もっとくわしく、続きを教えてください。",
        Language::En => "Please tell me more, and go on.",
    };
    let question = Question {
        text: text.to_owned(),
        ..Question::default()
    };
    let leave = Leave {
        more: true,
        ..Leave::of(text, &[before])
    };
    let said = match before.trim() {
        "" => Vec::new(),
        before => {
            let asked = match rooms.manner.language {
                Language::Ja => "教えてください。",
                Language::En => "Please tell me.",
            };
            vec![
                Utterance::new(Role::Member, asked),
                Utterance::new(Role::Companion, before),
            ]
        }
    };
    answer(rooms, interaction, &question, leave, said).await
}

async fn about(
    rooms: &Rooms,
    interaction: &Interaction,
    words: &str,
    text: &str,
    leave: Leave,
) -> Result<Reply, Trouble> {
    if words.trim().is_empty() {
        return Ok(Reply::new(match rooms.manner.language {
            Language::Ja => "このメッセージには、読める言葉がありませんでした。",
            Language::En => "There are no words in this message that I can read.",
        }));
    }
    let question = Question {
        text: text.to_owned(),
        quoted: Some(words.to_owned()),
        ..Question::default()
    };
    answer(rooms, interaction, &question, leave, Vec::new()).await
}

async fn answer(
    rooms: &Rooms,
    interaction: &Interaction,
    question: &Question,
    leave: Leave,
    said: Vec<Utterance>,
) -> Result<Reply, Trouble> {
    let (language, place) = (rooms.manner.language, home(interaction));
    let settings = Arc::clone(&rooms.settings.borrow());
    let channel = rooms.channels.of(place);
    if settings.distress.is_in(&question.text) {
        return Ok(Reply::new(settings.distress.card(language)));
    }
    let is_welcome = rooms.limits.admit_person(interaction.user()).is_ok();
    if !is_welcome || rooms.limits.admit(Urgency::Mention).await.is_err() {
        return Ok(Reply::new(Note::Busy.text(language)));
    }
    let persona = settings.persona_named(channel.persona.as_deref());
    let today = prompt::today(language, daemon_kit::time::now(), &rooms.manner.zone);
    let budget = rooms.manner.context_tokens;
    let mut prompt = prompt::build(&persona.prompt, language, &today, &[], question, budget);
    prompt.utterances.splice(0..0, said);
    if let Some(model) = channel.model {
        prompt.choice = Choice::Named(model);
    }
    let Ok(reserved) = rooms.purse.reserve(prompt) else {
        return Ok(Reply::new(Note::Resting.text(language)));
    };
    let mut reserved = reserved.at(interaction.guild_id.map_or(0, |_| place));
    let asked = reserved.ask(Purpose::Answer);
    let mut paid = Paid::default();
    let reply = match wording(rooms, &asked, &persona.law, leave, &mut paid).await {
        Ok(reply) => reply,
        Err(note) => Reply::new(note.text(language)),
    };
    if paid.whole.is_empty() {
        let wasted = &paid.wasted;
        reserved.settle_broken(wasted, Purpose::Answer).await;
    } else {
        paid.whole[0].wasted.append(&mut paid.wasted);
        let spent = reserved.settle(&paid.whole, Purpose::Answer).await;
        rooms.store.spend(spent).await?;
    }
    Ok(reply)
}

/// What was paid for on the way to an answer.
#[derive(Default)]
struct Paid {
    whole: Vec<Completion>,
    /// What broke off where no answer came.
    wasted: Vec<(String, Usage)>,
}

/// The answer as the law lets it be, rewritten once when nothing of it may be shown.
async fn wording(
    rooms: &Rooms,
    prompt: &Prompt,
    law: &Law,
    leave: Leave,
    paid: &mut Paid,
) -> Result<Reply, Note> {
    let language = rooms.manner.language;
    let first = rooms.models.ask(prompt).await.map_err(|broken| {
        paid.wasted.extend(broken.wasted);
        Note::from(&broken.error)
    })?;
    let lawful = judged(law, leave, &first);
    let draft = first.text.clone();
    paid.whole.push(first);
    let lawful = match lawful {
        Some(lawful) => Some(lawful),
        None => match rooms
            .models
            .ask_within(
                &manners::rewrite(prompt, &draft, language),
                manners::REWRITE_WITHIN,
            )
            .await
        {
            Ok(second) => {
                let is_whole = second.stop != Stop::Asked;
                let lawful = judged(law, leave, &second).filter(|_| is_whole);
                paid.whole.push(second);
                lawful
            }
            Err(broken) => {
                paid.wasted.extend(broken.wasted);
                None
            }
        },
    };
    let (text, has_more) = lawful.unwrap_or_else(|| (manners::instead(language).to_owned(), false));
    let (more, thanks) = match language {
        Language::Ja => (
            if has_more {
                "続きを読む"
            } else {
                "もっと"
            },
            "ありがとう",
        ),
        Language::En => (if has_more { "Read on" } else { "More" }, "Thank you"),
    };
    Ok(Reply::new(text)
        .button(Button::More(String::new()), more)
        .button(Button::Thanks, thanks))
}

/// What may be shown of an answer, and whether there is more; `None` = nothing.
fn judged(law: &Law, leave: Leave, completion: &Completion) -> Option<(String, bool)> {
    let mut judge = Judge::new(law, leave);
    judge.feed(&completion.text);
    let verdict = judge.finish();
    let has_more = verdict.more || completion.stop == Stop::Length;
    (!verdict.is_empty).then(|| (judge.shown().trim().to_owned(), has_more))
}
