//! Channels read once for all the questions that were left open in them: a thousand of them ask Discord ten times,
//! not two thousand times.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::{Reading, read};
use crate::discord::wire::Message;
use crate::discord::{Rest, id_at, rest};

/// Channels that are kept at once.
const MOST_KEPT: usize = 16;
/// Our idea of Discord's clock may be wrong by this much.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(10);
/// Nobody takes up turns for longer than this after one reading.
const KEPT_FOR: Duration = Duration::from_mins(10);

/// A channel as it was read at one moment. Words of others are left out: only who spoke, and what was attached.
#[derive(Debug)]
pub struct View {
    since: u64,
    /// Whatever was said up to here is in it, or gone.
    until: u64,
    read_at: Instant,
    /// Whether it goes on to what was the newest message then.
    is_whole: bool,
    messages: Vec<Message>,
}

/// Whether a message was there.
#[derive(Debug)]
pub enum Seen<'a> {
    /// It was.
    There(&'a Message),
    /// It was not, though what came later was.
    Gone,
    /// The view does not reach so far.
    Unknown,
}

impl View {
    fn new((since, until): (u64, u64), read_at: Instant, reading: Reading, me: u64) -> Self {
        let is_whole = reading.goes_on.is_none();
        let mut messages = reading.messages;
        let newest = messages.last().map_or(0, |message| message.id.0);
        let others = messages
            .iter_mut()
            .filter(|message| message.author.id.0 != me);
        for message in others {
            message.content = String::new();
        }
        Self {
            since,
            until: newest.max(until),
            read_at,
            is_whole,
            messages,
        }
    }

    /// Whether it can tell what stands of an answer to `question`.
    #[must_use]
    pub fn covers(&self, question: u64) -> bool {
        self.is_whole && !matches!(self.find(question), Seen::Unknown)
    }

    /// Looks for a message.
    #[must_use]
    pub fn find(&self, id: u64) -> Seen<'_> {
        if id <= self.since || id > self.until {
            return Seen::Unknown;
        }
        match self
            .messages
            .binary_search_by_key(&id, |message| message.id.0)
        {
            Ok(at) => Seen::There(&self.messages[at]),
            Err(_) => Seen::Gone,
        }
    }

    /// What was said from `id` on.
    #[must_use]
    pub fn from(&self, id: u64) -> &[Message] {
        let at = self.messages.partition_point(|message| message.id.0 < id);
        &self.messages[at..]
    }
}

/// One channel's view; whoever reads it anew keeps the others of this channel waiting, not those of another one.
type Kept = Arc<tokio::sync::Mutex<Option<Arc<View>>>>;

/// The views that are in use.
#[derive(Debug, Default)]
pub struct Views {
    kept: Mutex<HashMap<u64, (Instant, Kept)>>,
}

impl Views {
    /// The channel around `question`, read no earlier than `not_before`.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn of(
        &self,
        rest: &Arc<Rest>,
        me: u64,
        (channel, question): (u64, u64),
        not_before: Instant,
    ) -> Result<Arc<View>, rest::Error> {
        let kept = self.keep(channel);
        let mut kept = kept.lock().await;
        if let Some(view) = kept.as_ref()
            && view.read_at >= not_before
            && view.covers(question)
        {
            return Ok(Arc::clone(view));
        }
        let begun = Instant::now();
        let until = rest.now().checked_sub(CLOCKS_APART).map_or(0, id_at);
        let since = question.saturating_sub(1);
        let reading = read(rest, channel, since).await?;
        let view = Arc::new(View::new((since, until), begun, reading, me));
        *kept = Some(Arc::clone(&view));
        Ok(view)
    }

    fn keep(&self, channel: u64) -> Kept {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (used, _)| used.elapsed() < KEPT_FOR);
        if kept.len() >= MOST_KEPT && !kept.contains_key(&channel) {
            let oldest = kept.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(channel, _)| *channel) {
                kept.remove(&oldest);
            }
        }
        let (used, view) = kept
            .entry(channel)
            .or_insert_with(|| (Instant::now(), Kept::default()));
        *used = Instant::now();
        Arc::clone(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(since: u64, ids: &[u64]) -> View {
        view_of((since, ids), None)
    }

    fn view_of((since, ids): (u64, &[u64]), goes_on: Option<u64>) -> View {
        let message = |id: &u64| {
            let json = serde_json::json!({"id": id, "channel_id": 5, "author": {"id": 3}, "content": "words"});
            serde_json::from_value(json).unwrap()
        };
        let mut reading = Reading::begin(since);
        reading.take((ids.iter().map(message).collect(), goes_on));
        View::new((since, 0), Instant::now(), reading, 9)
    }

    #[test]
    fn what_is_missing_is_told_from_what_was_not_read() {
        let view = view(10, &[11, 13, 20]);
        assert!(matches!(view.find(13), Seen::There(message) if message.content.is_empty()));
        assert!(matches!(view.find(12), Seen::Gone));
        for beyond in [9, 10, 21] {
            assert!(matches!(view.find(beyond), Seen::Unknown), "{beyond}");
        }
        assert_eq!(view.from(12).len(), 2);
    }

    #[test]
    fn a_view_that_had_to_stop_early_vouches_for_no_answer() {
        assert!(!view_of((0, &[1, 2, 3]), Some(3)).covers(1));
        assert!(view(0, &[1, 2, 3]).covers(1));
    }

    #[test]
    fn few_channels_are_kept() {
        let views = Views::default();
        for channel in 0..40 {
            views.keep(channel);
        }
        assert_eq!(views.kept.lock().unwrap().len(), MOST_KEPT);
    }
}
