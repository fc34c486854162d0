//! The reply on Discord: posted once, grown by edits, never more than one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::again::Stood;
use super::outcome::{Ended, Trouble};
use super::place::{Place, tell_of_threads};
use super::ways::Ways;
use super::{Rooms, Turn};
use crate::catch_up::{GROWING, Standing};
use crate::commands::{self, Under};
use crate::discord::{Outbound, Rest, nonce, rest};
use crate::notes::Note;
use crate::reply::{self, EditCadence};
use crate::store::State;

/// Discord shows typing for ten seconds.
const TYPE_EVERY: Duration = Duration::from_secs(8);
/// Nobody types longer than this.
const TYPE_AT_MOST: Duration = Duration::from_mins(5);

struct Posted {
    /// Unknown when Discord's answer could not be read.
    id: Option<u64>,
    text: String,
    /// Whether it still grows, or did in another life: then it has a button to stop it.
    is_growing: bool,
}

/// What is shown at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The beginning of more.
    Growing,
    /// The whole, when the time for an edit has come.
    Whole,
    /// The whole at once: somebody asked for silence.
    AtOnce,
}

/// The voice of one turn.
pub(super) struct Speaker<'a> {
    rooms: &'a Rooms,
    pub(super) turn: &'a Turn,
    pub(super) place: Place,
    is_silent: bool,
    posted: Vec<Posted>,
    /// Whether the last post failed: it may stand all the same.
    is_unsure: bool,
    cadence: EditCadence,
    /// Under the last message of a finished answer.
    buttons: Value,
    /// The answer in whose place this one comes.
    stood: Option<Stood>,
}

/// Typing as long as it lives.
pub(super) struct Typing(AbortHandle);

impl Drop for Typing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<'a> Speaker<'a> {
    pub(super) fn new(rooms: &'a Rooms, turn: &'a Turn, place: Place, standing: Standing) -> Self {
        let posted = match standing {
            Standing::Partial { posts, .. } => posts
                .into_iter()
                .map(|(id, text)| Posted {
                    id: Some(id),
                    text,
                    is_growing: true,
                })
                .collect(),
            _ => Vec::new(),
        };
        Self {
            rooms,
            turn,
            place,
            is_silent: Ways::of(rooms, turn.home).is_silent(),
            posted,
            is_unsure: false,
            cadence: EditCadence::default(),
            buttons: json!([]),
            stood: None,
        }
    }

    /// A voice in the place of what it said before.
    pub(super) fn instead(rooms: &'a Rooms, turn: &'a Turn, place: Place, stood: Stood) -> Self {
        let posts = stood.posts.clone();
        let channel = place.channel;
        let mut speaker = Self::new(rooms, turn, place, Standing::Partial { channel, posts });
        for posted in &mut speaker.posted {
            posted.is_growing = false;
        }
        speaker.stood = Some(stood);
        speaker
    }

    /// Whether the member has seen a word of ours.
    pub(super) fn has_spoken(&self) -> bool {
        !self.posted.is_empty()
    }

    /// When the next edit may be made.
    pub(super) fn next_edit(&self) -> Instant {
        Instant::now() + self.cadence.due_in(self.turn.begun.elapsed())
    }

    pub(super) fn typing(&self) -> Typing {
        let (rest, channel) = (Arc::clone(&self.rooms.rest), self.place.channel);
        Typing(tokio::spawn(type_on(rest, channel)).abort_handle())
    }

    /// A kind note in place of an answer.
    pub(super) async fn note(&mut self, note: Note, state: State) -> Result<Ended, Trouble> {
        let stood = self.stood.take().filter(|stood| !stood.posts.is_empty());
        let state = if let Some(stood) = stood {
            self.put_back(stood).await?
        } else {
            if matches!(note, Note::Failed | Note::Busy) {
                self.buttons = self.below(Under::Note);
            }
            let text = note.text(self.rooms.manner.language);
            self.show(vec![text.to_owned()], Pace::Whole).await?;
            state
        };
        Ok(Ended {
            replies: self.ids(),
            why: Some(format!("{note:?}")),
            note: Some(note),
            ..Ended::silent(state)
        })
    }

    /// No new answer came: the old one stands as it stood.
    async fn put_back(&mut self, stood: Stood) -> Result<State, Trouble> {
        let more = Note::more(self.rooms.manner.language);
        let has_more = stood.posts.iter().any(|(_, text)| text.contains(more));
        self.buttons = self.below(match stood.state {
            State::Answered => Under::Answer { has_more },
            _ => Under::Note,
        });
        let pages = stood.posts.into_iter().map(|(_, text)| text).collect();
        self.show(pages, Pace::Whole).await?;
        Ok(stood.state)
    }

    fn below(&self, under: Under) -> Value {
        commands::buttons(self.turn.inbound.id, under, self.rooms.manner.language)
    }

    /// A whole answer of the model's, with its buttons.
    pub(super) async fn answer(&mut self, text: &str, has_more: bool) -> Result<Ended, Trouble> {
        self.buttons = self.below(Under::Answer { has_more });
        self.whole(text).await
    }

    /// What had come when no more was wanted.
    pub(super) async fn stopped(&mut self, text: &str) -> Result<Ended, Trouble> {
        self.buttons = self.below(Under::Answer { has_more: false });
        let pages = reply::parts(&reply::ping_proof(text));
        self.show(pages, Pace::AtOnce).await?;
        Ok(Ended {
            replies: self.ids(),
            ..Ended::silent(State::Answered)
        })
    }

    /// A whole answer at once.
    pub(super) async fn whole(&mut self, text: &str) -> Result<Ended, Trouble> {
        self.show(reply::parts(&reply::ping_proof(text)), Pace::Whole)
            .await?;
        Ok(Ended {
            answer: Some(text.to_owned()),
            replies: self.ids(),
            ..Ended::silent(State::Answered)
        })
    }

    /// "It takes a little longer": this message becomes the answer.
    pub(super) async fn hold(&mut self) -> Result<(), rest::Error> {
        let text = Note::Holding.text(self.rooms.manner.language);
        self.show(vec![text.to_owned()], Pace::Growing).await
    }

    /// The beginning of an answer that still grows. Only the first page is shown until the end is known: a mark at
    /// its end tells the next life that it is not complete.
    pub(super) async fn grow(&mut self, text: &str) -> Result<(), rest::Error> {
        let room = reply::LIMIT - GROWING.len() - 20;
        let pages = reply::pages(&reply::ping_proof(text));
        let Some(first) = pages.first() else {
            return Ok(());
        };
        let mut page: String = first.clone();
        while page.encode_utf16().count() > room {
            page.pop();
        }
        let page = format!("{}{GROWING}", page.trim_end());
        self.show(vec![page], Pace::Growing).await
    }

    fn ids(&self) -> Vec<u64> {
        self.posted.iter().filter_map(|posted| posted.id).collect()
    }

    async fn show(&mut self, pages: Vec<String>, pace: Pace) -> Result<(), rest::Error> {
        if pace == Pace::Whole && self.has_spoken() {
            sleep(self.cadence.due_in(self.turn.begun.elapsed())).await;
        }
        let is_growing = pace == Pace::Growing;
        let count = pages.len();
        for (at, page) in pages.into_iter().enumerate() {
            let below = match pace {
                Pace::Growing => self.below(Under::Growing),
                _ if at + 1 == count => self.buttons.clone(),
                _ => json!([]),
            };
            if at >= self.posted.len() {
                let components = Some(&below).filter(|below| **below != json!([]));
                let posted = self.post(&page, at, components.cloned()).await;
                let was_unsure = std::mem::replace(&mut self.is_unsure, posted.is_err());
                let (id, text) = posted?;
                self.posted.push(Posted {
                    id,
                    text: text.clone(),
                    is_growing,
                });
                // What seemed to fail may have come through, and the nonce keeps the words of that time: these hold.
                if was_unsure {
                    self.change(at, text, &below).await?;
                }
            } else if self.posted[at].text != page || self.posted[at].is_growing != is_growing {
                self.change(at, page, &below).await?;
                self.posted[at].is_growing = is_growing;
            }
            self.cadence.edited(self.turn.begun.elapsed());
        }
        if !is_growing && count > 0 {
            for surplus in self.posted.split_off(count.min(self.posted.len())) {
                if let Some(id) = surplus.id {
                    self.rooms.rest.delete(self.place.channel, id).await?;
                }
            }
        }
        Ok(())
    }

    /// Posts; where a thread may be opened but not written in, beside the question instead.
    async fn post(
        &mut self,
        text: &str,
        at: usize,
        components: Option<Value>,
    ) -> Result<(Option<u64>, String), rest::Error> {
        match self.send(text, at, components.clone()).await {
            Err(rest::Error::Forbidden(_)) if at == 0 && self.place.reply_to.is_none() => {
                tell_of_threads(self.rooms);
                self.place = Place::beside(self.turn);
                // There is no thread to speak of.
                let of_thread = Note::new_thread(self.rooms.manner.language);
                let text = text.replace(of_thread, "").trim_end().to_owned();
                Ok((self.send(&text, at, components).await?, text))
            }
            sent => Ok((sent?, text.to_owned())),
        }
    }

    async fn send(
        &self,
        text: &str,
        at: usize,
        components: Option<Value>,
    ) -> Result<Option<u64>, rest::Error> {
        let outbound = Outbound {
            text: text.to_owned(),
            reply_to: self.place.reply_to.filter(|_| at == 0),
            nonce: nonce(self.once(), at),
            is_silent: self.is_silent,
            components,
        };
        let id = self.rooms.rest.send(self.place.channel, &outbound).await?;
        if id.is_none() {
            tracing::info!(
                event = "reply.unread",
                turn = self.turn.inbound.id,
                "posted, though Discord's answer could not be read"
            );
        }
        Ok(id)
    }

    /// What the nonces derive from: the question, or the press that asked for another answer.
    fn once(&self) -> u64 {
        let again = self.turn.again.as_ref();
        again.map_or(self.turn.inbound.id, |again| again.press.id.0)
    }

    async fn change(
        &mut self,
        at: usize,
        text: String,
        components: &Value,
    ) -> Result<(), rest::Error> {
        if self.posted[at].id.is_none() {
            self.find_ids().await?;
        }
        let Some(id) = self.posted[at].id else {
            return Ok(());
        };
        match self
            .rooms
            .rest
            .edit(self.place.channel, id, &text, Some(components))
            .await
        {
            // Somebody took our message away: that is an answer too, and nothing is forced on them.
            Ok(()) | Err(rest::Error::Unreadable | rest::Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        self.posted[at].text = text;
        Ok(())
    }

    /// Messages that stand without our knowing their ids.
    async fn find_ids(&mut self) -> Result<(), rest::Error> {
        let eyes = self.rooms.eyes(None);
        let posts = eyes.own_posts(&self.turn.inbound, self.turn.way).await?;
        for (posted, (_, id)) in self.posted.iter_mut().zip(posts) {
            posted.id = Some(id);
        }
        Ok(())
    }
}

async fn type_on(rest: Arc<Rest>, channel: u64) {
    let end = Instant::now() + TYPE_AT_MOST;
    while Instant::now() < end {
        if let Err(error) = rest.typing(channel).await {
            tracing::debug!(error = %error, "typing is not shown");
        }
        sleep(TYPE_EVERY).await;
    }
}
