//! The reply on Discord: posted once, grown by edits, never more than one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::outcome::{Ended, Trouble};
use super::ways::Ways;
use super::{Place, Rooms, Turn, beside, no_threads};
use crate::catch_up::{self, GROWING, Standing};
use crate::commands;
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
}

/// The voice of one turn.
pub(super) struct Speaker<'a> {
    rooms: &'a Rooms,
    pub(super) turn: &'a Turn,
    pub(super) place: Place,
    is_silent: bool,
    posted: Vec<Posted>,
    cadence: EditCadence,
    /// Under the last message of a finished answer.
    buttons: Option<Value>,
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
                .map(|(id, text)| Posted { id: Some(id), text })
                .collect(),
            _ => Vec::new(),
        };
        Self {
            rooms,
            turn,
            place,
            is_silent: Ways::of(rooms, turn.home).is_silent(),
            posted,
            cadence: EditCadence::default(),
            buttons: None,
        }
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
        let text = note.text(self.rooms.manner.language);
        self.show(vec![text.to_owned()], true).await?;
        Ok(Ended {
            replies: self.ids(),
            why: Some(format!("{note:?}")),
            ..Ended::silent(state)
        })
    }

    /// A whole answer of the model's, with its buttons.
    pub(super) async fn answer(&mut self, text: &str, has_more: bool) -> Result<Ended, Trouble> {
        let language = self.rooms.manner.language;
        self.buttons = Some(commands::buttons(self.turn.inbound.id, has_more, language));
        self.whole(text).await
    }

    /// A whole answer at once.
    pub(super) async fn whole(&mut self, text: &str) -> Result<Ended, Trouble> {
        self.show(reply::parts(&reply::ping_proof(text)), true)
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
        self.show(vec![text.to_owned()], false).await
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
        self.show(vec![format!("{}{GROWING}", page.trim_end())], false)
            .await
    }

    fn ids(&self) -> Vec<u64> {
        self.posted.iter().filter_map(|posted| posted.id).collect()
    }

    async fn show(&mut self, pages: Vec<String>, is_last: bool) -> Result<(), rest::Error> {
        if is_last && self.has_spoken() {
            sleep(self.cadence.due_in(self.turn.begun.elapsed())).await;
        }
        let count = pages.len();
        for (at, page) in pages.into_iter().enumerate() {
            let below = self.buttons.clone().filter(|_| is_last && at + 1 == count);
            if at >= self.posted.len() {
                let id = self.post(&page, at, below).await?;
                self.posted.push(Posted { id, text: page });
            } else if self.posted[at].text != page {
                self.change(at, page, below).await?;
            }
            self.cadence.edited(self.turn.begun.elapsed());
        }
        if is_last && count > 0 {
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
    ) -> Result<Option<u64>, rest::Error> {
        match self.send(text, at, components.clone()).await {
            Err(rest::Error::Forbidden(_)) if at == 0 && self.place.reply_to.is_none() => {
                self.rooms.owner.tell("permission:threads", no_threads());
                self.place = beside(self.turn);
                self.send(text, at, components).await
            }
            sent => sent,
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
            nonce: nonce(self.turn.inbound.id, at),
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

    async fn change(
        &mut self,
        at: usize,
        text: String,
        components: Option<Value>,
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
            .edit(self.place.channel, id, &text, components.as_ref())
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
        let posts = catch_up::own_posts(
            &self.rooms.rest,
            self.rooms.me(),
            &self.turn.inbound,
            self.turn.way,
        )
        .await?;
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
