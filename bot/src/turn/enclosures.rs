//! What came with the words: pictures and small text files, fetched at once, because their addresses expire.

use std::time::Duration;

use tokio::time::timeout;

use super::{Rooms, Turn};
use crate::discord::Attachment;
use crate::llm::Image;
use crate::prompt::Question;

const MOST_IMAGES: usize = 4;
const MOST_FILES: usize = 3;
const LARGEST_IMAGE: u64 = 4 << 20;
const LARGEST_FILE: u64 = 64 << 10;
const FETCH_WITHIN: Duration = Duration::from_secs(20);
/// What models can look at.
const SEEN: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The question with everything that came with it.
pub(super) async fn question(rooms: &Rooms, turn: &Turn) -> Question {
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
    for attachment in &inbound.attachments {
        let media_type = attachment
            .media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if SEEN.contains(&media_type)
            && attachment.size <= LARGEST_IMAGE
            && question.images.len() < MOST_IMAGES
        {
            if let Some(bytes) = fetch(rooms, attachment, LARGEST_IMAGE).await {
                question.images.push(Image {
                    media_type: media_type.to_owned(),
                    base64: base64(&bytes),
                });
            }
        } else if media_type.starts_with("text/")
            && attachment.size <= LARGEST_FILE
            && question.files.len() < MOST_FILES
            && let Some(bytes) = fetch(rooms, attachment, LARGEST_FILE).await
        {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            question.files.push((attachment.name.clone(), text));
        }
    }
    question
}

async fn fetch(rooms: &Rooms, attachment: &Attachment, most: u64) -> Option<Vec<u8>> {
    // Discord hands out https addresses; a stand-in may not.
    if !(attachment.url.starts_with("https://") || rooms.rest.is_elsewhere()) {
        return None;
    }
    let fetching = async {
        let mut response = rooms
            .client
            .get(&attachment.url)
            .send()
            .await
            .ok()?
            .error_for_status()
            .ok()?;
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.ok()? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > most {
                return None;
            }
        }
        Some(bytes)
    };
    let fetched = timeout(FETCH_WITHIN, fetching).await.ok().flatten();
    if fetched.is_none() {
        tracing::info!(
            event = "attachment.missed",
            bytes = attachment.size,
            "an attachment could not be fetched; answering the words"
        );
    }
    fetched
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_as_the_standard_has_it() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
