//! Bytes in pieces of any size → lines, and lines → the data of server-sent events.

use super::Error;

/// Longer lines than this are not an answer.
const LINE_LIMIT: usize = 1024 * 1024;

/// Cuts a byte stream at newlines, whatever the network did to it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    /// How much of `pending` is known to hold no newline.
    searched: usize,
}

impl Lines {
    /// More bytes came; every line is taken out before the next ones do.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // Whole lines were taken out before, so this is the unfinished one.
        if self.pending.len() > LINE_LIMIT {
            return Err(Error::Malformed);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole line, without its end. Broken UTF-8 is replaced, not fatal.
    pub(super) fn next(&mut self) -> Option<String> {
        let Some(found) = self.pending[self.searched..]
            .iter()
            .position(|&b| b == b'\n')
        else {
            self.searched = self.pending.len();
            return None;
        };
        let end = self.searched + found;
        let line = self.pending[..end]
            .strip_suffix(b"\r")
            .unwrap_or(&self.pending[..end]);
        let line = String::from_utf8_lossy(line).into_owned();
        self.pending.drain(..=end);
        self.searched = 0;
        Some(line)
    }

    /// What stood after the last newline when the stream ended.
    pub(super) fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.pending);
        self.searched = 0;
        (!rest.is_empty()).then(|| {
            String::from_utf8_lossy(&rest)
                .trim_end_matches('\r')
                .to_owned()
        })
    }
}

/// Gathers the `data:` lines of one event; every other field is of no use to us, as each provider repeats
/// the event's name inside its data.
#[derive(Debug, Default)]
pub(super) struct Events {
    data: Option<String>,
}

impl Events {
    /// One line came; an empty one ends an event and yields its data.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        // The stream may begin with a byte order mark.
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            return self.data.take();
        }
        if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                // No event of any provider comes near this; a hostile one stops growing here.
                Some(data) if data.len() < LINE_LIMIT => {
                    data.push('\n');
                    data.push_str(value);
                }
                Some(_) => {}
                None => self.data = Some(value.to_owned()),
            }
        }
        None
    }

    /// The event that the end of the stream cut short of its empty line.
    pub(super) fn rest(&mut self) -> Option<String> {
        self.data.take()
    }
}
