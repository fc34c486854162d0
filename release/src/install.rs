//! What is in the two downloads of a NAS. Pure: names and texts go in, entries come out.

use crate::guide::{self, Document};
use crate::nas::Nas;
use crate::zip::Entry;

/// The one folder at the top, so that "extract here" in the docker share gives the layout of the guides.
pub(crate) const TOP: &str = "kotonoha-bot";

/// The texts that go into the downloads.
pub(crate) struct Texts {
    pub(crate) compose: String,
    pub(crate) settings: String,
    pub(crate) guides: Vec<(&'static str, Vec<Document>)>,
    /// README.txt of each `secrets/<service>/`.
    pub(crate) secrets: Vec<(&'static str, String)>,
    /// The example of the optional YAML file, when there is one.
    pub(crate) example: Option<String>,
}

/// The update: what is ours alone. Unpacked over a folder in use it touches no setting and no data.
pub(crate) fn update(nas: Nas, texts: &Texts) -> Vec<Entry> {
    let mut entries = vec![
        folder(""),
        file("compose.yaml", &texts.compose),
        file(".env.example", &texts.settings),
    ];
    for (language, documents) in &texts.guides {
        let page = guide::page(&format!("kotonoha — {}", nas.title()), language, documents);
        entries.push(file(&format!("guide-{language}.html"), &page));
    }
    entries
}

/// The first install: the update, the folders, and a `.env` with the two lines to fill.
pub(crate) fn install(nas: Nas, texts: &Texts) -> Vec<Entry> {
    let mut entries = update(nas, texts);
    entries.push(private(".env", &first_settings(nas)));
    for (name, text) in FOLDERS {
        entries.push(folder(&format!("{name}/")));
        entries.push(file(&format!("{name}/README.txt"), text));
    }
    if let Some(example) = &texts.example {
        entries.push(file("config/kotonoha.example.yaml", example));
    }
    entries.push(folder("secrets/"));
    for (service, text) in &texts.secrets {
        entries.push(folder(&format!("secrets/{service}/")));
        entries.push(file(&format!("secrets/{service}/README.txt"), text));
    }
    if nas == Nas::Qnap {
        // Its web interface reads no .env: the two values go into files, which wait there empty.
        entries.push(private("secrets/bot/discord_token", ""));
        entries.push(private("secrets/bot/anthropic_api_key", ""));
    }
    entries
}

fn first_settings(nas: Nas) -> String {
    let (uid, gid) = nas.owner();
    let home = match nas {
        Nas::Synology => String::new(),
        Nas::Qnap | Nas::Truenas => format!(
            "\n# このフォルダの場所 / where this folder is\nKOTONOHA_HOME={}\n",
            nas.home()
        ),
    };
    let only_ssh = match nas {
        Nas::Qnap => {
            "# QNAP の画面はこのファイルを読みません (SSH の docker compose だけが読みます)。画面から使うときは secrets/bot/ の\n\
                      # discord_token と anthropic_api_key に値を書いてください。\n\
                      # QNAP's web interface does not read this file (docker compose over SSH does): there, write the values\n\
                      # into secrets/bot/discord_token and secrets/bot/anthropic_api_key instead.\n\n"
        }
        Nas::Synology | Nas::Truenas => "",
    };
    format!(
        "{only_ssh}# この 2 行を埋めてください / fill these two lines\nDISCORD_TOKEN=\nANTHROPIC_API_KEY=\n\n\
         # フォルダの持ち主 / owner of this folder\nPUID={uid}\nPGID={gid}\n{home}\n\
         # ほかの設定は .env.example にあります / all other settings are in .env.example\n"
    )
}

const FOLDERS: [(&str, &str); 4] = [
    (
        "data",
        "ここには会話のデータベース (sessions.db) が入ります。\n\
         動いている間は、移動・コピー・同期をしないでください。写しは backups/ にあります。\n\n\
         The database of conversations (sessions.db) lives here. Do not move, copy or sync it while the bot\n\
         runs: verified copies are in backups/.\n",
    ),
    (
        "logs",
        "ここにはログが入ります。古いものは圧縮され、期限がくると消えます。status.html を開くと様子が分かります。\n\
         話された言葉は、どのログにも書かれません。\n\n\
         Logs live here; old ones are compressed and go in time. Open status.html to see how things are.\n\
         Nothing anyone said is ever written to a log.\n",
    ),
    (
        "backups",
        "ここには検証済みのバックアップ (backup_日付_時刻.tar.zst) が入ります。自由にコピーして構いません。\n\
         空のフォルダを作ると頼みごとになります: backup-now (今すぐ取る)、restore-latest (最新を戻す。先に bot を止める)。\n\
         1 分ほどで done-… か failed-… に名前が変わり、中の report.txt に結果が書かれます。\n\n\
         Verified backups live here; copy them freely. An empty folder is a request: backup-now, or restore-latest\n\
         (stop the bot first). Within a minute it is renamed to done-… or failed-…, with a report.txt inside.\n",
    ),
    (
        "config",
        "ここには kotonoha.yaml (無くてもよい) を置きます。チャンネルごとの決まりや話し方を書けます。\n\n\
         Put the optional kotonoha.yaml here: channels and personas.\n",
    ),
];

fn file(name: &str, text: &str) -> Entry {
    Entry {
        name: format!("{TOP}/{name}"),
        bytes: text.as_bytes().to_vec(),
        mode: 0o644,
    }
}

fn private(name: &str, text: &str) -> Entry {
    Entry {
        mode: 0o600,
        ..file(name, text)
    }
}

fn folder(name: &str) -> Entry {
    Entry {
        name: format!("{TOP}/{name}"),
        bytes: Vec::new(),
        mode: 0o755,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts {
            compose: "services: {}\n".to_owned(),
            settings: "#TZ=\n".to_owned(),
            guides: vec![("ja", Vec::new()), ("en", Vec::new())],
            secrets: vec![("bot", "token\n".to_owned())],
            example: Some("personas: {}\n".to_owned()),
        }
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn an_update_holds_nothing_that_an_owner_fills() {
        for nas in Nas::ALL {
            let entries = update(nas, &texts());
            let expected = [
                "",
                "compose.yaml",
                ".env.example",
                "guide-ja.html",
                "guide-en.html",
            ];
            let expected = expected.map(|name| format!("kotonoha-bot/{name}"));
            assert_eq!(names(&entries), expected);
        }
    }

    #[test]
    fn an_install_brings_every_folder_a_synology_would_refuse_to_start_without() {
        for nas in Nas::ALL {
            let entries = install(nas, &texts());
            for folder in ["data/", "logs/", "backups/", "config/", "secrets/bot/"] {
                assert!(
                    names(&entries).contains(&format!("{TOP}/{folder}").as_str()),
                    "{nas:?} {folder}"
                );
            }
            assert!(entries.iter().all(|entry| entry.name.is_ascii()));
            let one_compose_file = names(&entries)
                .iter()
                .filter(|name| name.ends_with("compose.yaml"))
                .count();
            assert_eq!(one_compose_file, 1);
        }
    }

    #[test]
    fn the_first_settings_have_two_empty_lines_and_nothing_secret() {
        let settings = first_settings(Nas::Synology);
        let empty: Vec<&str> = settings
            .lines()
            .filter(|line| line.ends_with('='))
            .collect();
        assert_eq!(empty, ["DISCORD_TOKEN=", "ANTHROPIC_API_KEY="]);
    }
}
