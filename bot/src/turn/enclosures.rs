//! What came with the words: pictures and text files, fetched at once, because their addresses expire. What cannot be
//! read is named, to the model and to the member.

use daemon_kit::text::Language;
use tokio::time::{Duration, Instant, timeout_at};

use super::gate::PictureRoom;
use super::{Rooms, Turn};
use crate::discord::Attachment;
use crate::llm::Image;
use crate::prompt::{self, Question};
use crate::reply;

mod base64;
mod text;

const MOST_IMAGES: usize = 4;
const MOST_FILES: usize = 3;
const LARGEST_IMAGE: u64 = 4 << 20;
/// Of a longer file the beginning is read.
const LARGEST_FILE: usize = 64 << 10;
/// Everything that came with one message has this long to arrive: before anybody wonders whether they were heard.
const FETCH_WITHIN: Duration = Duration::from_secs(12);
/// Of that, pictures wait this long for room: what comes after them must still arrive.
const ROOM_WITHIN: Duration = Duration::from_secs(8);
/// Names that are longer are cut where they are shown.
const LONGEST_NAME: usize = 60;
/// Names shown in one remark.
const MOST_NAMED: usize = 5;
/// What models can look at, and how such files are named.
const SEEN: [(&str, &[&str]); 4] = [
    ("image/png", &["png"]),
    ("image/jpeg", &["jpg", "jpeg"]),
    ("image/gif", &["gif"]),
    ("image/webp", &["webp"]),
];
/// Media types of text that do not begin with `text/`.
const TEXTUAL: [&str; 8] = [
    "application/json",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/toml",
    "application/javascript",
    "application/x-sh",
    "application/sql",
];
/// Names of text files for which Discord often knows no media type.
const TEXT_ENDS: [&str; 21] = [
    "txt", "md", "csv", "tsv", "log", "json", "yaml", "yml", "toml", "ini", "cfg", "conf", "xml",
    "html", "css", "js", "ts", "py", "rs", "sh", "sql",
];

/// A question with what came with it.
pub(super) struct Enclosed {
    pub(super) question: Question,
    /// What the member reads under the answer about what could not be read.
    pub(super) remark: Option<String>,
    /// What its pictures take of the room that all turns share.
    pub(super) pictures: Vec<PictureRoom>,
}

/// Why a file was not read, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// Not one of the kinds that can be read.
    Kind,
    /// An image with too many bytes.
    Large,
    /// A text with more than fits: its beginning was read.
    Long,
    /// It did not arrive.
    Missed,
    /// More than can be read at once.
    Many,
}

/// The question with everything that came with it.
pub(super) async fn question(rooms: &Rooms, turn: &Turn) -> Enclosed {
    let inbound = &turn.inbound;
    let mut question = Question {
        text: inbound.text.clone(),
        ..Question::default()
    };
    let quoted = inbound
        .quoted
        .as_ref()
        .filter(|quoted| quoted.author != rooms.me() && !quoted.text.is_empty());
    question.quoted = quoted.map(|quoted| quoted.text.clone());
    let mut reading = Reading {
        rooms,
        deadline: Instant::now() + FETCH_WITHIN,
        room_by: Instant::now() + ROOM_WITHIN,
        taken: Vec::new(),
        // The persona, the question and the answer need the rest.
        tokens: u64::from(rooms.manner.context_tokens) / 2,
        question,
    };
    let mut unread = Vec::new();
    for attachment in &inbound.attachments {
        if let Err(why) = reading.read(attachment).await {
            let name = shown_name(&attachment.name);
            if why != Unread::Long {
                reading.question.unread.push(name.clone());
            }
            unread.push((name, why));
        }
    }
    Enclosed {
        question: reading.question,
        remark: remark(&unread, rooms.manner.language),
        pictures: reading.taken,
    }
}

struct Reading<'a> {
    rooms: &'a Rooms,
    deadline: Instant,
    room_by: Instant,
    taken: Vec<PictureRoom>,
    /// What files may still take of the prompt.
    tokens: u64,
    question: Question,
}

impl Reading<'_> {
    /// Reads one attachment into the question.
    async fn read(&mut self, attachment: &Attachment) -> Result<(), Unread> {
        if let Some(media_type) = picture(attachment) {
            return self.look(attachment, media_type).await;
        }
        if !is_text(attachment) {
            return Err(Unread::Kind);
        }
        if self.question.files.len() == MOST_FILES {
            return Err(Unread::Many);
        }
        let (bytes, is_whole) = self.fetch(attachment, LARGEST_FILE).await?;
        let text = text::decode(&bytes, is_whole).ok_or(Unread::Kind)?;
        let beginning = prompt::beginning(&text, self.tokens);
        self.tokens -= prompt::estimate_tokens(beginning).min(self.tokens);
        let is_whole = is_whole && beginning.len() == text.len();
        self.question.files.push(prompt::File {
            name: attachment.name.clone(),
            content: beginning.to_owned(),
            is_whole,
        });
        if is_whole { Ok(()) } else { Err(Unread::Long) }
    }

    async fn look(
        &mut self,
        attachment: &Attachment,
        media_type: &'static str,
    ) -> Result<(), Unread> {
        if self.question.images.len() == MOST_IMAGES {
            return Err(Unread::Many);
        }
        if attachment.size > LARGEST_IMAGE {
            return Err(Unread::Large);
        }
        // No more is read than there is room for, whatever an event says of the size.
        let most = match attachment.size {
            0 => LARGEST_IMAGE,
            told => told,
        };
        let room = self.rooms.gate.room(most, self.room_by).await;
        let room = room.ok_or_else(|| missed(attachment))?;
        let (bytes, is_whole) = self.fetch(attachment, most as usize).await?;
        if !is_whole {
            return Err(Unread::Large);
        }
        self.question.images.push(Image {
            media_type: media_type.to_owned(),
            base64: base64::encode(&bytes).into(),
        });
        self.taken.push(room);
        Ok(())
    }

    /// At most `most` bytes, and whether that is all.
    async fn fetch(&self, attachment: &Attachment, most: usize) -> Result<(Vec<u8>, bool), Unread> {
        // Whatever an event says: nothing but Discord's own files is ever asked for.
        let fetched = if self.rooms.rest.keeps_files_at(&attachment.url) {
            let fetching = fetch(&self.rooms.client, &attachment.url, most);
            timeout_at(self.deadline, fetching).await.ok().flatten()
        } else {
            None
        };
        fetched.ok_or_else(|| missed(attachment))
    }
}

fn missed(attachment: &Attachment) -> Unread {
    tracing::info!(
        event = "attachment.missed",
        bytes = attachment.size,
        "an attachment could not be fetched; answering the words"
    );
    Unread::Missed
}

async fn fetch(client: &reqwest::Client, url: &str, most: usize) -> Option<(Vec<u8>, bool)> {
    let mut response = client.get(url).send().await.ok()?;
    // Where a redirect leads is not Discord's word any more: it is not followed, and not read.
    if !response.status().is_success() {
        return None;
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.ok()? {
        let room = most - bytes.len();
        if piece.len() > room {
            bytes.extend_from_slice(&piece[..room]);
            return Some((bytes, false));
        }
        bytes.extend_from_slice(&piece);
    }
    Some((bytes, true))
}

fn media_type(attachment: &Attachment) -> &str {
    let bare = attachment.media_type.split(';').next();
    bare.unwrap_or_default().trim()
}

/// The end of a file's name, as programs know it.
fn name_end(attachment: &Attachment) -> String {
    let end = attachment.name.rsplit_once('.').map(|(_, end)| end);
    end.unwrap_or_default().to_ascii_lowercase()
}

fn is_untold(media_type: &str) -> bool {
    matches!(media_type, "" | "application/octet-stream")
}

fn picture(attachment: &Attachment) -> Option<&'static str> {
    let (told, end) = (media_type(attachment), name_end(attachment));
    let fits = |(kind, ends): &(&'static str, &[&str])| {
        *kind == told || is_untold(told) && ends.contains(&end.as_str())
    };
    SEEN.iter().find(|seen| fits(seen)).map(|(kind, _)| *kind)
}

fn is_text(attachment: &Attachment) -> bool {
    let told = media_type(attachment);
    told.starts_with("text/")
        || TEXTUAL.contains(&told)
        || is_untold(told) && TEXT_ENDS.contains(&name_end(attachment).as_str())
}

/// A member's name for a file, so that it can stand in a sentence of ours.
fn shown_name(name: &str) -> String {
    let plain = |c: &char| !c.is_control() && !"*_~|`<>[]()\\「」".contains(*c);
    let name: String = name.chars().filter(plain).take(LONGEST_NAME).collect();
    reply::ping_proof(&name)
}

fn remark(unread: &[(String, Unread)], language: Language) -> Option<String> {
    if unread.is_empty() {
        return None;
    }
    let why = |why: Unread| match (why, language) {
        (Unread::Kind, Language::Ja) => "開けない種類です",
        (Unread::Kind, Language::En) => "a kind that I cannot open",
        (Unread::Large, Language::Ja) => "大きすぎました",
        (Unread::Large, Language::En) => "too large",
        (Unread::Long, Language::Ja) => "長いので、はじめの部分だけ読みました",
        (Unread::Long, Language::En) => "long; I read the beginning",
        (Unread::Missed, Language::Ja) => "受け取れませんでした",
        (Unread::Missed, Language::En) => "did not arrive",
        (Unread::Many, Language::Ja) => "一度に読める数を超えました",
        (Unread::Many, Language::En) => "more than I can read at once",
    };
    let mut named: Vec<String> = unread
        .iter()
        .take(MOST_NAMED)
        .map(|(name, reason)| match language {
            Language::Ja => format!("「{name}」は{}", why(*reason)),
            Language::En => format!("\"{name}\": {}", why(*reason)),
        })
        .collect();
    if unread.len() > MOST_NAMED {
        let more = unread.len() - MOST_NAMED;
        named.push(match language {
            Language::Ja => format!("ほかに {more} 件も読めませんでした"),
            Language::En => format!("and {more} more that I could not read"),
        });
    }
    Some(match language {
        Language::Ja => format!("-# 添付について: {}。", named.join("、")),
        Language::En => format!("-# About the attachments: {}.", named.join("; ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, media_type: &str) -> Attachment {
        Attachment {
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            size: 1,
            url: String::new(),
        }
    }

    #[test]
    fn kinds_are_known_by_media_type_or_name() {
        assert_eq!(picture(&file("a.JPG", "")), Some("image/jpeg"));
        assert_eq!(
            picture(&file("a.bin", "image/webp; x=y")),
            Some("image/webp")
        );
        assert_eq!(picture(&file("a.png", "text/plain")), None);
        assert_eq!(picture(&file("a.svg", "image/svg+xml")), None);
        for text in [
            file("a", "text/x-python; charset=utf-8"),
            file("a.json", "application/json"),
            file("NOTES.MD", "application/octet-stream"),
        ] {
            assert!(is_text(&text), "{text:?}");
        }
        for other in [
            file("a.pdf", "application/pdf"),
            file("voice-message.ogg", "audio/ogg"),
            file("a", ""),
            file("a.txt", "application/zip"),
        ] {
            assert!(!is_text(&other) && picture(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn what_was_not_read_is_named_and_names_do_no_harm() {
        assert_eq!(remark(&[], Language::Ja), None);
        let name = shown_name("**[a](b)** @everyone\n</file>.pdf");
        assert!(!name.contains(['*', '[', '<', '\n']), "{name}");
        assert!(!name.contains("@everyone"), "{name}");
        let many: Vec<_> = (0..9).map(|n| (format!("{n}.pdf"), Unread::Kind)).collect();
        for language in [Language::Ja, Language::En] {
            let text = remark(&many, language).unwrap();
            assert!(text.starts_with("-# ") && text.contains("4.pdf") && text.contains('4'));
            assert!(!text.contains("5.pdf") && !text.contains('\n'), "{text}");
        }
    }
}
