//! The guides as one page that opens in a NAS's file browser: no script, no font, nothing from elsewhere. Pure.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

/// A Markdown document under the name that links to it use, such as `backup.ja.md`.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// All `documents` on one page; links among them lead inside the page, links to other documents become plain text.
pub(crate) fn page(title: &str, language: &str, documents: &[Document]) -> String {
    let mut body = String::new();
    for document in documents {
        let stem = stem(&document.name);
        body.extend(["<section id=\"", stem, "\">\n"]);
        let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
        let events = Parser::new_ext(&document.text, options).map(|event| match event {
            // Japanese has no blanks between words: a line that only ends in the source must not make one.
            Event::SoftBreak if language == "ja" => Event::Text(CowStr::from("")),
            other => relink(other, documents),
        });
        html::push_html(&mut body, events);
        body.push_str("</section>\n");
    }
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n{body}</html>\n"
    )
}

const STYLE: &str = "body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:1rem/1.7 sans-serif;color:#222;\
background:#fff}pre{padding:.8rem;overflow:auto;background:#f4f4f4}code{background:#f4f4f4}\
table{border-collapse:collapse}td,th{padding:.3rem .6rem;border:1px solid #999;text-align:left}\
section{border-bottom:1px solid #999}@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}\
pre,code{background:#2a2a2a}a{color:#8bf}}";

fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn relink<'a>(event: Event<'a>, documents: &[Document]) -> Event<'a> {
    match event {
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) if !dest_url.contains("://") => {
            let file = dest_url.split('#').next().unwrap_or_default();
            let file = file.rsplit('/').next().unwrap_or_default();
            let known = documents.iter().any(|document| document.name == file);
            let dest_url = if known {
                format!("#{}", stem(file))
            } else {
                "#".to_owned()
            };
            Event::Start(Tag::Link {
                link_type,
                dest_url: CowStr::from(dest_url),
                title,
                id,
            })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_between_the_documents_stay_inside_the_page() {
        let document = |name: &str, text: &str| Document {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let documents = [
            document(
                "qnap.ja.md",
                "# QNAP\n\n[戻す](backup.ja.md#x) [外](../README.md) [site](https://discord.com)",
            ),
            document("backup.ja.md", "# 戻す\n\n文は\n続く"),
        ];
        let page = page("guide", "ja", &documents);
        assert!(page.contains("<a href=\"#backup\">戻す</a>"), "{page}");
        assert!(page.contains("<a href=\"#\">外</a>"), "{page}");
        assert!(
            page.contains("<a href=\"https://discord.com\">site</a>"),
            "{page}"
        );
        assert!(page.contains("<section id=\"backup\">"), "{page}");
        assert!(page.contains("<p>文は続く</p>"), "{page}");
    }
}
