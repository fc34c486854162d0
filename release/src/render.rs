//! Base + override → the complete single file of a NAS.

use anyhow::{Context, Result};
use serde_yaml::Value;

use crate::nas::Nas;
use crate::{compose, emit, meanings};

/// The texts a rendering is made from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `compose.yaml`.
    pub base: String,
    /// `compose.<nas>.yaml`.
    pub over: String,
    /// `.env.example`.
    pub settings: String,
}

/// The single file for `nas`.
///
/// # Errors
/// When a source is not a compose file.
pub fn single_file(nas: Nas, sources: &Sources) -> Result<String> {
    let mut file = compose::parse(&sources.base).context("compose.yaml")?;
    let over =
        compose::parse(&sources.over).with_context(|| format!("compose.{}.yaml", nas.name()))?;
    compose::merge(&mut file, over);
    let mut file = Value::Mapping(file);
    move_home(&mut file, nas.home());
    let Value::Mapping(file) = file else {
        anyhow::bail!("a compose file is a mapping");
    };
    let meanings = meanings::read(&sources.settings);
    let explain = |path: &[&str]| match path {
        ["services", _, "environment", name] if nas.is_edited_in_place() => {
            meanings.get(*name).map_or_else(Vec::new, |meaning| {
                let default = &meaning.default;
                let default = if default.is_empty() {
                    String::new()
                } else {
                    format!(" ({default})")
                };
                vec![format!("{} / {}{default}", meaning.ja, meaning.en)]
            })
        }
        _ => Vec::new(),
    };
    Ok(format!("{}\n{}", head(nas), emit::yaml(&file, &explain)))
}

/// The version that the compose file names unless the owner says otherwise.
///
/// # Errors
/// When no such default is in the text.
pub fn pinned_version(base: &str) -> Result<&str> {
    let (_, rest) = base
        .split_once("${KOTONOHA_VERSION:-")
        .context("compose.yaml names no version")?;
    let (version, _) = rest
        .split_once('}')
        .context("compose.yaml names no version")?;
    Ok(version)
}

/// Replaces the default place of the folder, which is the one thing an override cannot say.
fn move_home(value: &mut Value, home: &str) {
    match value {
        Value::String(text) => {
            *text = text.replace(
                "${KOTONOHA_HOME:-.}",
                &format!("${{KOTONOHA_HOME:-{home}}}"),
            );
        }
        Value::Sequence(items) => items.iter_mut().for_each(|item| move_home(item, home)),
        Value::Mapping(mapping) => mapping
            .values_mut()
            .for_each(|value| move_home(value, home)),
        _ => (),
    }
}

fn head(nas: Nas) -> String {
    let lines = match nas {
        Nas::Synology => {
            "# Container Manager → プロジェクト → 作成 で、このファイルのあるフォルダを選びます。設定は隣の .env に書きます。
# Container Manager → Project → Create: choose the folder of this file. Settings go into the .env beside it."
        }
        Nas::Qnap => {
            "# Container Station → アプリケーション → 作成 に、このファイルの全部を貼り付けます。
# トークンと鍵は /share/Container/kotonoha-bot/secrets/bot/ のファイルに書きます (ここには書きません)。
# ほかの設定を変えるときは ${NAME:-値} の :- の右に書き、もう一度貼り付けて再作成します。
# Container Station → Applications → Create: paste all of this. Token and key go into files under
# /share/Container/kotonoha-bot/secrets/bot/, not in here. To change a setting write it to the right of its :-
# and recreate the application with the new text."
        }
        Nas::Truenas => {
            "# Apps → Discover → ⋮ → Install via YAML に、下の 2 行だけを書くのが楽です (設定は隣の .env から読まれます)。
#   include:
#     - /mnt/tank/apps/kotonoha-bot/compose.yaml
# このファイルの全部を貼り付けることもできます。プールが tank でなければ、tank を自分のプール名に置き換えます。
# Apps → Discover → ⋮ → Install via YAML: the two lines above are the easy way (settings then come from the .env
# beside this file); pasting all of this works too. Replace tank by the name of your pool, everywhere."
        }
    };
    let title = nas.title();
    format!(
        "# kotonoha — {title}\n#\n{lines}\n#\n# Made by `cargo nas render` from compose.yaml and compose.{}.yaml: change those, not this.\n",
        nas.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources {
            base: "services: {bot: {user: \"${PUID:-1000}\", volumes: [\"${KOTONOHA_HOME:-.}/data:/app/data\"], environment: {TZ: \"${TZ:-}\"}}}".to_owned(),
            over: "services: {bot: {user: \"${PUID:-568}\"}}".to_owned(),
            settings: "# 時刻帯\n# Time zone\n#TZ=Asia/Tokyo\n".to_owned(),
        }
    }

    #[test]
    fn paths_are_absolute_where_the_web_ui_would_hide_them() {
        let qnap = single_file(Nas::Qnap, &sources()).unwrap();
        assert!(
            qnap.contains("\"${KOTONOHA_HOME:-/share/Container/kotonoha-bot}/data:/app/data\""),
            "{qnap}"
        );
        let synology = single_file(Nas::Synology, &sources()).unwrap();
        assert!(
            synology.contains("\"${KOTONOHA_HOME:-.}/data:/app/data\""),
            "{synology}"
        );
    }

    #[test]
    fn an_owner_who_edits_the_file_finds_each_meaning_in_it() {
        let qnap = single_file(Nas::Qnap, &sources()).unwrap();
        assert!(
            qnap.contains("      # 時刻帯 / Time zone (Asia/Tokyo)\n      TZ: \"${TZ:-}\"\n"),
            "{qnap}"
        );
    }

    #[test]
    fn the_version_is_read_from_the_base() {
        assert_eq!(
            pinned_version("image: x:${KOTONOHA_VERSION:-1.2.3}").unwrap(),
            "1.2.3"
        );
        assert!(pinned_version("image: x:latest").is_err());
    }
}
