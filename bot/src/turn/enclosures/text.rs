//! The bytes of a text file → its words, in the encodings that people here have: UTF-8 with or without its mark,
//! UTF-16 with one, and `Shift_JIS` as Windows in Japanese writes it.

use encoding_rs::{Encoding, SHIFT_JIS};

/// The words of a file; none when it is no text. Of a file that `is_whole` not, the last character may be cut.
pub(super) fn decode(bytes: &[u8], is_whole: bool) -> Option<String> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let (text, had_errors) = encoding.decode_without_bom_handling(&bytes[mark..]);
        return (!had_errors || !is_whole)
            .then(|| text.trim_end_matches('\u{fffd}').to_owned())
            .filter(|text| is_words(text));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // Only the end is missing: it was cut there.
        Err(error) if error.error_len().is_none() && !is_whole => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => shift_jis(bytes, is_whole)?,
    };
    is_words(&text).then_some(text)
}

fn shift_jis(bytes: &[u8], is_whole: bool) -> Option<String> {
    let decode = |bytes| SHIFT_JIS.decode_without_bom_handling_and_without_replacement(bytes);
    let cut = bytes.len().saturating_sub(1);
    decode(bytes)
        .or_else(|| decode(&bytes[..cut]).filter(|_| !is_whole))
        .map(std::borrow::Cow::into_owned)
}

/// Programs and pictures hold characters that nobody types.
fn is_words(text: &str) -> bool {
    let typed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}');
    text.chars().all(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_that_people_here_have_is_read() {
        let words = "こんにちは、花です。\r\n2行目 ﾊﾝｶｸ ①";
        let sjis = SHIFT_JIS.encode(words).0.into_owned();
        let utf16: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain(words.encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        let marked = [b"\xef\xbb\xbf", words.as_bytes()].concat();
        for bytes in [words.as_bytes().to_vec(), marked, utf16, sjis] {
            assert_eq!(decode(&bytes, true).as_deref(), Some(words));
        }
        assert_eq!(decode(b"", true).as_deref(), Some(""));
    }

    #[test]
    fn a_cut_end_costs_the_last_character_alone() {
        let words = "あいう";
        let sjis = SHIFT_JIS.encode(words).0.into_owned();
        for bytes in [words.as_bytes(), &sjis] {
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(decode(cut, false).as_deref(), Some("あい"));
        }
    }

    #[test]
    fn programs_and_pictures_are_no_text() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let elf = b"\x7fELF\x02\x01\x01\0\0\0";
        for bytes in [&png[..], elf, b"a\0b", &[0x80, 0x81, 0x82, 0xff, 0xfe]] {
            assert_eq!(decode(bytes, true), None, "{bytes:?}");
            assert_eq!(decode(bytes, false), None, "{bytes:?}");
        }
    }
}
