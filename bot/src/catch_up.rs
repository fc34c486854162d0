//! After an absence: what was said meanwhile, and whether an answer of ours stands already.

mod view;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::discord::wire::Message;
use crate::discord::{Inbound, Rest, rest};
use crate::notes::Note;
use crate::store::Way;
pub use view::{Seen, View, Views};

/// At the end of an answer that still grows: one that was cut off by a crash is known by it.
pub const GROWING: &str = " …";
/// Pages that are read of one channel at once.
const MOST_PAGES: usize = 20;
/// How far back behind the newest message seen we look: channels are not in step with one another.
const OVERLAP: SignedDuration = SignedDuration::from_secs(120);

/// What stands of our answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    None,
    /// The whole of it.
    Complete {
        /// Where.
        channel: u64,
        /// Our messages.
        ids: Vec<u64>,
        /// What they say, without their numbers and without remarks.
        text: String,
    },
    /// A holding note, or an answer that was cut off.
    Partial {
        /// Where.
        channel: u64,
        /// Our messages and what they say.
        posts: Vec<(u64, String)>,
    },
}

/// Whoever asks Discord what stands there.
#[derive(Clone, Copy, Debug)]
pub struct Eyes<'a> {
    /// Discord.
    pub rest: &'a Arc<Rest>,
    /// Our own id.
    pub me: u64,
    /// What was read of channels, where something that was read since then is new enough; `None`: only now is.
    pub views: Option<(&'a Views, Instant)>,
}

impl Eyes<'_> {
    /// What stands of our answer.
    ///
    /// # Errors
    /// As Discord says; `NotFound` only when the place itself is gone.
    pub async fn standing(&self, inbound: &Inbound, way: Way) -> Result<Standing, rest::Error> {
        let here = match self.views {
            Some((views, since)) => {
                let at = (inbound.channel, inbound.id);
                Some(views.of(self.rest, self.me, at, since).await)
            }
            None => None,
        };
        if way == Way::Mention && may_have_a_thread(here.as_ref(), inbound.id) {
            match self.posts(inbound.id, inbound.id, true).await {
                Ok(posts) if posts.is_empty() => {}
                Ok(posts) => return Ok(judge(inbound.id, posts)),
                // No such thread: none was opened, or we may not see it.
                Err(rest::Error::NotFound(_) | rest::Error::Forbidden(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let posts = match here {
            Some(view) => {
                let view = view?;
                if view.covers(inbound.id) {
                    posts_of(view.from(inbound.id), self.me, inbound.id, false)
                } else {
                    self.posts(inbound.channel, inbound.id, false).await?
                }
            }
            None => self.posts(inbound.channel, inbound.id, false).await?,
        };
        if posts.is_empty() {
            return Ok(Standing::None);
        }
        Ok(judge(inbound.channel, posts))
    }

    /// Our messages that answer a question: channel and id.
    ///
    /// # Errors
    /// As Discord says.
    pub async fn own_posts(
        &self,
        inbound: &Inbound,
        way: Way,
    ) -> Result<Vec<(u64, u64)>, rest::Error> {
        Ok(match self.standing(inbound, way).await? {
            Standing::None => Vec::new(),
            Standing::Complete { channel, ids, .. } => {
                ids.into_iter().map(|id| (channel, id)).collect()
            }
            Standing::Partial { channel, posts } => {
                posts.into_iter().map(|(id, _)| (channel, id)).collect()
            }
        })
    }

    async fn posts(
        &self,
        channel: u64,
        question: u64,
        is_new_thread: bool,
    ) -> Result<Vec<(u64, String)>, rest::Error> {
        let after = question.saturating_sub(1);
        let messages = self.rest.messages_after(channel, after).await?;
        Ok(posts_of(&messages, self.me, question, is_new_thread))
    }
}

/// A message that is there says whether a thread hangs on it.
fn may_have_a_thread(here: Option<&Result<Arc<View>, rest::Error>>, question: u64) -> bool {
    match here {
        Some(Ok(view)) => match view.find(question) {
            Seen::There(message) => message.thread.is_some(),
            Seen::Gone | Seen::Unknown => true,
        },
        _ => true,
    }
}

/// The run of our messages that begins with the answer to `question`.
fn posts_of(
    messages: &[Message],
    me: u64,
    question: u64,
    is_new_thread: bool,
) -> Vec<(u64, String)> {
    let reference = |message: &Message| {
        message
            .message_reference
            .as_ref()
            .and_then(|reference| reference.message_id)
            .map(|id| id.0)
    };
    let is_ours = |message: &Message| message.author.id.0 == me && matches!(message.kind, 0 | 19);
    let begins = |message: &Message| {
        let to = reference(message);
        is_ours(message) && (to == Some(question) || (is_new_thread && to.is_none()))
    };
    let Some(first) = messages.iter().position(begins) else {
        return Vec::new();
    };
    let rest = messages[first + 1..].iter();
    let tail = rest.take_while(|message| is_ours(message) && reference(message).is_none());
    std::iter::once(&messages[first])
        .chain(tail)
        .map(|message| (message.id.0, message.content.clone()))
        .collect()
}

fn judge(channel: u64, posts: Vec<(u64, String)>) -> Standing {
    let (_, first) = &posts[0];
    let expected = numbered(first).map_or(1, |(_, count)| count);
    let is_cut = posts
        .iter()
        .any(|(_, text)| text.ends_with(GROWING.trim_start()) && text.ends_with(GROWING));
    if Note::is_holding(first) || is_cut || posts.len() < expected {
        return Standing::Partial { channel, posts };
    }
    let own = posts.into_iter().take(expected);
    let (ids, texts): (Vec<u64>, Vec<String>) = own.unzip();
    let bare = texts
        .iter()
        .map(|text| numbered(text).map_or(text.as_str(), |(bare, _)| bare));
    let text = bare.collect::<Vec<_>>().join("\n");
    Standing::Complete {
        channel,
        ids,
        text: Note::without_remarks(&text).to_owned(),
    }
}

/// `**(1/3)**` at the beginning: the rest, and how many there are.
fn numbered(text: &str) -> Option<(&str, usize)> {
    let (number, rest) = text.strip_prefix("**(")?.split_once(")**")?;
    let (_, count) = number.split_once('/')?;
    Some((
        rest.trim_start(),
        count.parse().ok().filter(|count| *count > 0)?,
    ))
}

/// From where on messages count as missed: a little before the newest one seen, never before `floor`.
#[must_use]
pub fn missed_since(cursor: u64, floor: u64) -> u64 {
    let before = crate::discord::made_at(cursor)
        .checked_sub(OVERLAP)
        .map_or(0, crate::discord::id_at);
    before.max(floor)
}

/// Whether a message is too old to be answered still.
#[must_use]
pub fn is_expired(said_at: Timestamp, now: Timestamp, minutes: u64) -> bool {
    now.duration_since(said_at) > patience(minutes)
}

/// Whatever has a smaller id is too old to be answered still.
#[must_use]
pub fn oldest(now: Timestamp, minutes: u64) -> u64 {
    now.checked_sub(patience(minutes))
        .map_or(0, crate::discord::id_at)
}

fn patience(minutes: u64) -> SignedDuration {
    SignedDuration::from_mins(minutes.min(1 << 30) as i64)
}

/// One reading of a channel, page after page, from the oldest on: who waits for the longest comes first, and what is
/// more than one reading takes is left to the next one, so nothing is dropped.
#[derive(Debug)]
pub struct Reading {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// After which message it goes on; `None` when nothing is left.
    pub goes_on: Option<u64>,
    pages: usize,
}

impl Reading {
    fn begin(since: u64) -> Self {
        Self {
            messages: Vec::new(),
            goes_on: Some(since),
            pages: 0,
        }
    }

    /// After which message the next page is to be asked for; `None` when it is over.
    fn next_page(&self) -> Option<u64> {
        self.goes_on.filter(|_| self.pages < MOST_PAGES)
    }

    fn take(&mut self, (messages, goes_on): (Vec<Message>, Option<u64>)) {
        self.pages += 1;
        self.messages.extend(messages);
        self.goes_on = goes_on;
    }
}

/// What was said in `channel` after `since`, oldest first, as far as one reading goes.
///
/// # Errors
/// As Discord says.
pub async fn read(rest: &Arc<Rest>, channel: u64, since: u64) -> Result<Reading, rest::Error> {
    let mut reading = Reading::begin(since);
    while let Some(after) = reading.next_page() {
        let page = rest.page_after(channel, after).await?;
        reading.take(page);
    }
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, author: u64, to: Option<u64>, text: &str) -> Message {
        let mut json = serde_json::json!({"id": id, "channel_id": 5, "author": {"id": author}, "content": text});
        if let Some(to) = to {
            json["type"] = 19.into();
            json["message_reference"] = serde_json::json!({"message_id": to});
        }
        serde_json::from_value(json).unwrap()
    }

    fn stands(messages: &[Message], is_new_thread: bool) -> Standing {
        let posts = posts_of(messages, 9, 1, is_new_thread);
        if posts.is_empty() {
            Standing::None
        } else {
            judge(5, posts)
        }
    }

    #[test]
    fn an_answer_is_known_by_what_it_answers() {
        let others = [
            message(2, 3, None, "x"),
            message(3, 9, Some(2), "to somebody else"),
        ];
        assert_eq!(stands(&others, false), Standing::None);
        let ours = [
            message(2, 3, None, "x"),
            message(3, 9, Some(1), "hello"),
            message(4, 3, None, "thanks"),
        ];
        let whole = Standing::Complete {
            channel: 5,
            ids: vec![3],
            text: "hello".to_owned(),
        };
        assert_eq!(stands(&ours, false), whole);
    }

    #[test]
    fn in_a_new_thread_the_first_word_is_the_answer() {
        let thread = [
            message(2, 9, None, "hello"),
            message(3, 3, None, "more?"),
            message(4, 9, Some(3), "yes"),
        ];
        let whole = Standing::Complete {
            channel: 5,
            ids: vec![2],
            text: "hello".to_owned(),
        };
        assert_eq!(stands(&thread, true), whole);
    }

    #[test]
    fn missing_parts_notes_and_growing_answers_are_not_whole() {
        let parts = ["**(1/2)**\n\none", "**(2/2)**\n\ntwo"];
        let cut = [message(2, 9, Some(1), parts[0])];
        assert!(matches!(stands(&cut, false), Standing::Partial { .. }));
        let both = [
            message(2, 9, Some(1), parts[0]),
            message(3, 9, None, parts[1]),
        ];
        let whole = Standing::Complete {
            channel: 5,
            ids: vec![2, 3],
            text: "one\ntwo".to_owned(),
        };
        assert_eq!(stands(&both, false), whole);
        let note = Note::Holding.text(daemon_kit::text::Language::Ja);
        assert!(matches!(
            stands(&[message(2, 9, Some(1), note)], false),
            Standing::Partial { .. }
        ));
        let growing = format!("I thi{GROWING}");
        assert!(matches!(
            stands(&[message(2, 9, Some(1), &growing)], false),
            Standing::Partial { .. }
        ));
    }

    #[test]
    fn looking_back_overlaps_but_never_before_the_first_start() {
        let cursor = crate::discord::id_at("2026-11-28T12:00:00Z".parse().unwrap());
        assert_eq!(
            crate::discord::made_at(missed_since(cursor, 0)).to_string(),
            "2026-11-28T11:58:00Z"
        );
        assert_eq!(missed_since(cursor, cursor), cursor);
        assert_eq!(missed_since(0, 7), 7);
    }

    #[test]
    fn looking_back_goes_no_further_than_what_is_answered_still() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let bound = oldest(now, 60);
        assert_eq!(
            crate::discord::made_at(bound).to_string(),
            "2026-11-28T11:00:00Z"
        );
        assert_eq!(missed_since(1, bound), bound);
        assert_eq!(oldest(now, u64::MAX), 0);
    }

    #[test]
    fn what_one_reading_does_not_take_is_left_to_the_next_one() {
        let full = |after: u64| {
            let ids = after + 1..=after + 100;
            let last = *ids.end();
            let messages: Vec<Message> = ids.map(|id| message(id, 3, None, "x")).collect();
            (messages, Some(last))
        };
        let mut reading = Reading::begin(0);
        while let Some(after) = reading.next_page() {
            reading.take(full(after));
        }
        let most = MOST_PAGES * 100;
        assert_eq!(reading.messages.len(), most);
        assert_eq!(reading.goes_on, Some(most as u64));
        let mut reading = Reading::begin(most as u64);
        reading.take((vec![message(9_999, 3, None, "x")], None));
        assert_eq!((reading.next_page(), reading.goes_on), (None, None));
    }

    #[test]
    fn age_is_counted_from_when_it_was_said() {
        let said: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        assert!(!is_expired(said, said + SignedDuration::from_mins(60), 60));
        assert!(is_expired(said, said + SignedDuration::from_mins(61), 60));
        assert!(!is_expired(
            said,
            said - SignedDuration::from_hours(9000),
            60
        ));
    }
}
