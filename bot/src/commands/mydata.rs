//! `/mydata`: everything kept of the asker, whole, as files that only they get.

use daemon_kit::text::Language;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{Reply, Trouble};
use crate::discord::Interaction;
use crate::discord::rest::File;
use crate::store::{Exported, Kept, KeptTurn};
use crate::turn::Rooms;

/// A file is never larger, even where Discord lets it be: it has to get through a home's uplink in half a minute.
const LARGEST: usize = 4 << 20;
/// More parts than this are not sent: the newest are, and the whole is in the owner's `bot export`.
const MOST_PARTS: usize = 10;
/// What stands around the records of a part, and what escapes may add.
const AROUND: usize = 4 << 10;

/// Everything kept of the asker.
pub(super) async fn mydata(rooms: &Rooms, interaction: &Interaction) -> Result<Reply, Trouble> {
    let language = rooms.manner.language;
    let kept = rooms.store.kept(interaction.user()).await?;
    if kept.messages.is_empty() && kept.turns.is_empty() {
        return Ok(Reply::new(nothing(&kept, language)));
    }
    let limit = interaction
        .attachment_size_limit
        .map_or(LARGEST, |limit| LARGEST.min(limit as usize));
    let now = daemon_kit::time::now();
    Ok(files(&kept, interaction.user(), (now, limit), language))
}

fn nothing(kept: &Kept, language: Language) -> &'static str {
    match (kept.forgotten.is_empty(), language) {
        (true, Language::Ja) => "あなたの言葉は、何も覚えていません。",
        (true, Language::En) => "I remember none of your words.",
        (false, Language::Ja) => {
            "あなたの言葉は、何も覚えていません。古いバックアップから戻されても忘れ直せるように、「いつまでの言葉を忘れたか」という印だけを残しています。"
        }
        (false, Language::En) => {
            "I remember none of your words. All that is left is a note up to when they were forgotten, so that a restored backup is forgotten again."
        }
    }
}

/// One record of the export.
enum Record<'a> {
    Message(&'a Exported),
    Turn(&'a KeptTurn),
}

/// The answer with its files, none of which is larger than `limit` bytes.
pub(super) fn files(
    kept: &Kept,
    user: u64,
    (now, limit): (Timestamp, usize),
    language: Language,
) -> Reply {
    let messages = kept.messages.iter().map(Record::Message);
    let records = messages.chain(kept.turns.iter().map(Record::Turn));
    let mut parts: Vec<Part> = vec![Part::default()];
    for record in records {
        let (json, line) = record.written(language);
        let size = json.len().max(line.len());
        let is_full = parts
            .last()
            .is_some_and(|part| part.size + size + AROUND > limit && part.size > 0);
        if is_full {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.take(&record, &json, &line);
        }
    }
    let count = parts.len();
    // Whole parts from the end: what was said last is looked for first.
    let sent = parts
        .into_iter()
        .enumerate()
        .skip(count.saturating_sub(MOST_PARTS));
    let mut files = Vec::new();
    for (at, part) in sent {
        let name = match count {
            1 => "kotonoha-mydata".to_owned(),
            _ => format!("kotonoha-mydata-{}of{count}", at + 1),
        };
        files.extend(part.files(&name, &head(kept, user, now, (at, count))));
    }
    Reply {
        files,
        ..Reply::new(words(kept, count, language))
    }
}

/// What a JSON part says besides its records.
fn head(kept: &Kept, user: u64, now: Timestamp, (at, count): (usize, usize)) -> Value {
    json!({
        "format": 1, "user": user.to_string(), "made_at": now.to_string(), "part": at + 1, "parts": count,
        "forgotten": kept.forgotten,
    })
}

#[derive(Default)]
struct Part {
    messages: String,
    turns: String,
    text: String,
    size: usize,
}

impl Record<'_> {
    fn written(&self, language: Language) -> (String, String) {
        match self {
            Self::Message(said) => {
                let who = match (said.role, language) {
                    ("member", Language::Ja) => "あなた",
                    ("member", Language::En) => "you",
                    ("consent", Language::Ja) => "聞き耳への同意",
                    ("consent", Language::En) => "you agreed",
                    (_, Language::Ja) => "わたし",
                    (_, Language::En) => "me",
                };
                let text = match (said.role, language) {
                    ("consent", Language::Ja) => "呼ばれていないときも、ここでの言葉を聞いてよい",
                    _ => &said.text,
                };
                let line = format!("{} ({}) {who}:\n{text}\n\n", said.at, said.scope);
                (json!(said).to_string(), line)
            }
            Self::Turn(turn) => (json!(turn).to_string(), String::new()),
        }
    }
}

impl Part {
    fn take(&mut self, record: &Record<'_>, json: &str, line: &str) {
        let list = match record {
            Record::Message(_) => &mut self.messages,
            Record::Turn(_) => &mut self.turns,
        };
        if !list.is_empty() {
            list.push_str(",\n");
        }
        list.push_str(json);
        self.text.push_str(line);
        self.size = self.text.len().max(self.messages.len() + self.turns.len());
    }

    /// The part for programs, and the part for people.
    fn files(self, name: &str, head: &Value) -> Vec<File> {
        let head = head.to_string();
        let head = head.trim_end_matches('}');
        let json = format!(
            "{head},\n\"messages\":[\n{}\n],\n\"turns\":[\n{}\n]}}\n",
            self.messages, self.turns
        );
        let mut files = vec![File {
            name: format!("{name}.json"),
            bytes: json.into_bytes(),
        }];
        if !self.text.is_empty() {
            files.push(File {
                name: format!("{name}.txt"),
                bytes: self.text.into_bytes(),
            });
        }
        files
    }
}

fn words(kept: &Kept, parts: usize, language: Language) -> String {
    let count = kept.messages.len();
    let mut text = match language {
        Language::Ja => format!(
            "覚えていることの全部です。言葉は {count} 件 (あなたの言葉と、それへのわたしの返事) あります。\n\
             `.txt` はそのまま読めます。`.json` には、いつ・どこで・どうなったかの記録も入っています。どちらも、あなたにだけ見えています。"
        ),
        Language::En => format!(
            "This is everything that I keep: {count} messages (your words, and my answers to them).\n\
             The `.txt` can be read as it is; the `.json` also has when, where and how each question ended. Only you can see them."
        ),
    };
    let divided = match (parts, language) {
        (..=1, _) => return text,
        (..=MOST_PARTS, Language::Ja) => {
            format!("Discord で送れる大きさに合わせて、{parts} つに分けました。")
        }
        (..=MOST_PARTS, Language::En) => {
            format!("It is in {parts} parts, so that Discord takes them.")
        }
        (_, Language::Ja) => format!(
            "全部で {parts} つに分かれるので、新しいほうの {MOST_PARTS} つを送ります。残りは、持ち主に `bot export` を頼んでください。"
        ),
        (_, Language::En) => format!(
            "It makes {parts} parts, of which these are the newest {MOST_PARTS}. For the rest, please ask the owner for `bot export`."
        ),
    };
    text.extend(["\n", &divided]);
    text
}
