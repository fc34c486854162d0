//! One remark that nobody asked for: judge → wording → `begin` → post → `finish`. Every failure before the post is a
//! silence, and a remark that a crash kept from being posted is dropped, never made up for.

use std::time::Duration;

use daemon_kit::text::Text;
use tokio::sync::watch;
use tokio::time::timeout;

use super::outcome::{self, Ended, Outcome, Trouble};
use super::place::Place;
use super::ways::Ways;
use super::wish::{self, Wish};
use super::{Rooms, Turn};
use crate::budget;
use crate::catch_up::Standing;
use crate::commands;
use crate::discord::{Outbound, nonce};
use crate::limits::Urgency;
use crate::llm::{self, Completion, Prompt};
use crate::manners::{Judge, Leave};
use crate::overhear::{self, Call, Cue, Quiet};
use crate::prompt::{self, Question};
use crate::store::{BeginTurn, NewTurn, Purpose, Spent, State};

/// From the message to the remark; later it would come out of nowhere.
const WITHIN: Duration = Duration::from_secs(60);

/// A wording that may be posted, and what it cost.
struct Thought {
    text: String,
    spent: Option<Spent>,
}

/// Thinks about one occasion, and speaks if all agree; none when nothing was begun.
pub async fn remark(rooms: &Rooms, turn: &Turn, cue: Cue) -> Option<Outcome> {
    let channel = turn.inbound.channel;
    let thought = tokio::select! {
        biased;
        () = until_withdrawn(cue.withdrawn.clone()) => Err(Quiet::Withdrawn),
        () = wish::until(turn.wish.clone(), Wish::Gone) => Err(Quiet::Withdrawn),
        thought = timeout(WITHIN, think(rooms, turn, &cue)) => thought.unwrap_or(Err(Quiet::Failed)),
    };
    let thought = match thought {
        Ok(thought) if *cue.withdrawn.borrow() || is_gone(turn) => {
            pay(rooms, thought.spent).await;
            Err(Quiet::Withdrawn)
        }
        thought => thought,
    };
    let thought = match thought {
        Ok(thought) => thought,
        Err(quiet) => {
            tracing::info!(event = "overhear.quiet", channel, why = ?quiet, "stayed quiet");
            rooms.ears.stayed_quiet(channel, quiet);
            return None;
        }
    };
    speak(rooms, turn, &cue, thought).await
}

fn is_gone(turn: &Turn) -> bool {
    *turn.wish.borrow() == Wish::Gone
}

/// Returns when it is not wanted any more; never, when that cannot happen any more.
async fn until_withdrawn(mut withdrawn: watch::Receiver<bool>) {
    if withdrawn.wait_for(|is_told| *is_told).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn pay(rooms: &Rooms, spent: Option<Spent>) {
    let Some(spent) = spent else { return };
    if let Err(error) = rooms.store.spend(spent).await {
        tracing::warn!(event = "usage.not_stored", error = %error, "what a call cost could not be stored");
    }
}

/// From here on it counts: durable before it is posted, stored once Discord has it.
async fn speak(rooms: &Rooms, turn: &Turn, cue: &Cue, thought: Thought) -> Option<Outcome> {
    let inbound = &turn.inbound;
    let (id, channel) = (inbound.id, inbound.channel);
    let new = NewTurn {
        id,
        scope: turn.scope,
        own: false,
        channel,
        guild: inbound.guild,
        user: inbound.author,
        way: turn.way,
        said_at: inbound.said_at,
        text: String::new(),
    };
    let now = daemon_kit::time::now();
    match rooms.store.begin_remark(new, cue.people(), now).await {
        Ok(BeginTurn::Started) => {}
        Ok(BeginTurn::Known(_)) => {
            pay(rooms, thought.spent).await;
            return None;
        }
        Err(error) => {
            tracing::error!(event = "message.not_stored", turn = id, error = %error, "what cannot be stored is not said");
            pay(rooms, thought.spent).await;
            rooms.ears.stayed_quiet(channel, Quiet::Failed);
            return None;
        }
    }
    rooms.ears.spoke(channel, id, &thought.text, cue.call);
    let outbound = Outbound {
        text: thought.text.clone(),
        reply_to: Some(id),
        nonce: nonce(id, 0),
        is_silent: Ways::of(rooms, turn.home).is_silent(),
        components: Some(commands::remark_buttons(rooms.manner.language)),
    };
    let ended = match rooms.rest.send(channel, &outbound).await {
        // Deleted while it was under way: it is taken back with what it answers.
        Ok(_) if is_gone(turn) => Err(Trouble::Deleted),
        Ok(reply) => Ok(Ended {
            answer: Some(thought.text),
            replies: reply.into_iter().collect(),
            spent: thought.spent.clone(),
            ..Ended::silent(State::Answered)
        }),
        Err(error) => Err(Trouble::Discord(error)),
    };
    if ended.is_err() {
        pay(rooms, thought.spent).await;
    }
    Some(outcome::conclude(rooms, turn, Place::here(turn), ended).await)
}

/// After a crash or an outage: a remark that stands is kept, one that does not is dropped.
pub(super) fn left_behind(standing: Standing) -> Ended {
    match standing {
        Standing::None => Ended::silent(State::Expired),
        Standing::Complete { ids, text, .. } => Ended::adopted(text, ids),
        Standing::Partial { posts, .. } => {
            let (ids, texts): (Vec<u64>, Vec<String>) = posts.into_iter().unzip();
            Ended::adopted(texts.join("\n"), ids)
        }
    }
}

async fn think(rooms: &Rooms, turn: &Turn, cue: &Cue) -> Result<Thought, Quiet> {
    let settings = Ways::of(rooms, turn.home).settings;
    if settings.distress.is_in(&turn.inbound.text) {
        // Called by name, with words of distress: the card, and no model.
        return Ok(Thought {
            text: settings.distress.card(rooms.manner.language).to_owned(),
            spent: None,
        });
    }
    let _within = rooms.gate.enter(false).await.ok_or(Quiet::Withdrawn)?;
    if rooms.limits.admit(Urgency::Unasked).await.is_err() {
        return Err(Quiet::Busy);
    }
    if cue.call == Call::Judge {
        ask_judge(rooms, turn, cue).await?;
    }
    word(rooms, turn, cue).await
}

async fn ask_judge(rooms: &Rooms, turn: &Turn, cue: &Cue) -> Result<(), Quiet> {
    let settings = Ways::of(rooms, turn.home).settings;
    let own = settings.judge_prompt.as_deref();
    let judge = rooms.ears.judge();
    let prompt = overhear::judge_prompt(&cue.lines, own, judge, rooms.manner.language);
    let (answer, spent) = ask(rooms, prompt, Purpose::Judge).await?;
    pay(rooms, Some(spent)).await;
    let speaks = overhear::says_speak(&answer.text);
    tracing::info!(
        event = "overhear.judged",
        channel = turn.inbound.channel,
        speaks,
        "asked whether to speak"
    );
    speaks.then_some(()).ok_or(Quiet::Judged)
}

async fn word(rooms: &Rooms, turn: &Turn, cue: &Cue) -> Result<Thought, Quiet> {
    let ways = Ways::of(rooms, turn.home);
    let manner = &rooms.manner;
    let own = ways.settings.remark_prompt.as_deref();
    let question = Question {
        text: overhear::remark_words(&cue.lines, cue.call, own, manner.language),
        ..Question::default()
    };
    let today = prompt::today(manner.language, daemon_kit::time::now(), &manner.zone);
    let mut prompt = prompt::build(
        &ways.persona().prompt,
        manner.language,
        &today,
        &[],
        &question,
        manner.context_tokens,
    );
    prompt.choice = ways.choice();
    let (answer, spent) = ask(rooms, prompt, Purpose::Unasked).await?;
    let said: Vec<&str> = cue
        .lines
        .iter()
        .filter_map(|line| line.words.as_deref())
        .collect();
    let mut law = Judge::new(&ways.persona().law, Leave::of("", &said));
    law.feed(&answer.text);
    let verdict = law.finish();
    let text = law.shown().trim().to_owned();
    if verdict.is_empty || text.is_empty() || overhear::is_silence(&answer.text) {
        pay(rooms, Some(spent)).await;
        return Err(Quiet::Failed);
    }
    let text = if ways.settings.footer {
        format!("{text}\n-# {}", answer.model)
    } else {
        text
    };
    // One message: whoever is not asked does not hold speeches.
    let page = crate::reply::pages(&crate::reply::ping_proof(&text));
    Ok(Thought {
        text: page.into_iter().next().unwrap_or_default(),
        spent: Some(spent),
    })
}

/// One question to a model, paid for from what is left for unasked speech.
async fn ask(
    rooms: &Rooms,
    prompt: Prompt,
    purpose: Purpose,
) -> Result<(Completion, Spent), Quiet> {
    let mut reserved = rooms
        .purse
        .reserve_for(prompt, budget::Purpose::Unasked)
        .map_err(|_| Quiet::Budget)?;
    let prompt = reserved.ask(purpose);
    match rooms.models.ask(&prompt).await {
        Ok(answer) => {
            let spent = reserved
                .settle(std::slice::from_ref(&answer), purpose)
                .await;
            Ok((answer, spent))
        }
        Err(llm::Broken { error, wasted }) => {
            reserved.settle_broken(&wasted, purpose).await;
            tracing::warn!(event = "overhear.failed", why = %error, "a model did not answer; nobody asked, so nothing is said");
            if purpose == Purpose::Judge && is_owners(&error) {
                rooms.owner.tell(
                    "model:judge",
                    judge_trouble(&rooms.ears.judge().to_string()),
                );
            }
            Err(Quiet::Failed)
        }
    }
}

/// Whether only the owner can mend it.
fn is_owners(error: &llm::Error) -> bool {
    matches!(
        error,
        llm::Error::Unauthorized | llm::Error::UnknownModel | llm::Error::SpendCap
    )
}

fn judge_trouble(model: &str) -> Text {
    Text::new(
        format!(
            "聞き耳の判断をするモデル {model} が使えないので、呼ばれていないときは静かにしています。EAVESDROP_JUDGE_MODEL と、その提供元の API キーを確かめてください。"
        ),
        format!(
            "The model {model}, which judges whether to speak unasked, cannot be used, so I stay quiet. Please check EAVESDROP_JUDGE_MODEL and its provider's API key."
        ),
    )
}
