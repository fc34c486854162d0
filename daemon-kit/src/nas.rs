//! This room guesses which NAS this is, and says how a changed setting is put in force there.
//!
//! It looks at the kernel's name and at its own mounts alone. A wrong guess costs one sentence that names another menu;
//! the command that works everywhere stands beside it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::text::Text;

/// A maker of NAS systems, as far as the words for its menus differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nas {
    /// DSM with Container Manager.
    Synology,
    /// QTS or `QuTS` hero with Container Station.
    Qnap,
    /// `TrueNAS` with Apps.
    TrueNas,
    /// Anything else with Docker.
    Other,
}

/// Kernel releases of DSM 7; the plus sign at their end is DSM's own.
const DSM_KERNELS: [&str; 3] = ["3.10.108", "4.4.302+", "5.10.55+"];

impl Nas {
    /// Where this process runs, guessed once.
    #[must_use]
    pub fn here() -> Self {
        static HERE: OnceLock<Nas> = OnceLock::new();
        *HERE.get_or_init(|| {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            let has_dsm_switch = Path::new("/proc/sys/kernel/syno_hw_version").exists();
            Self::guess(release.trim(), has_dsm_switch)
        })
    }

    fn guess(release: &str, has_dsm_switch: bool) -> Self {
        if has_dsm_switch || DSM_KERNELS.contains(&release) {
            Self::Synology
        } else if release.contains("qnap") {
            Self::Qnap
        } else if release.contains("truenas") {
            Self::TrueNas
        } else {
            Self::Other
        }
    }

    /// The step that puts a change of `.env` in force: the end of every message whose cure is there.
    #[must_use]
    pub fn apply(self) -> Text {
        match self {
            Self::Synology => Text::new(
                ".env を直したら、Container Manager の「プロジェクト」で「停止」→「ビルド」(SSH なら docker compose up -d)。再起動だけでは反映されません",
                "after changing .env: Container Manager → Project → Stop, then Build (SSH: docker compose up -d); a restart does not apply it",
            ),
            Self::Qnap => Text::new(
                "画面から作ったときは、貼り付けた compose の同じ名前の行を直して「再作成」。SSH なら .env を直して docker compose up -d。再起動だけでは反映されません",
                "made in the web interface: change the same name in the pasted compose text and Recreate; by SSH: change .env, then docker compose up -d; a restart does not apply it",
            ),
            Self::TrueNas => Text::new(
                ".env を直したら、Apps → kotonoha-bot → 編集 → 保存 (シェルなら docker compose up -d)。再起動だけでは反映されません",
                "after changing .env: Apps → kotonoha-bot → Edit → Save (shell: docker compose up -d); a restart does not apply it",
            ),
            Self::Other => Text::new(
                ".env を直したら docker compose up -d (Container Manager なら「停止」→「ビルド」)。再起動だけでは反映されません",
                "after changing .env: docker compose up -d (Container Manager: Stop, then Build); a restart does not apply it",
            ),
        }
    }

    /// Where an owner changes who may write into the folder `shown`, without a terminal.
    #[must_use]
    pub fn permissions(self, shown: &str) -> Text {
        match self {
            Self::Synology | Self::Qnap => Text::new(
                format!(
                    "File Station で {shown} を右クリック →「プロパティ」→「権限」で書き込みを許可"
                ),
                format!(
                    "File Station: right-click {shown} → Properties → Permission, and allow writing"
                ),
            ),
            Self::TrueNas => Text::new(
                format!(
                    "Datasets で {shown} のあるデータセットの Permissions → Edit で持ち主を変える"
                ),
                format!(
                    "Datasets → the one that holds {shown} → Permissions → Edit, and change its owner"
                ),
            ),
            Self::Other => Text::new(
                format!(
                    "ファイル管理の画面 (File Station など) で {shown} の「プロパティ」→「権限」で書き込みを許可"
                ),
                format!(
                    "in the file manager (File Station and the like): {shown} → Properties → Permission, and allow writing"
                ),
            ),
        }
    }
}

/// What the folder at `path` is called outside the container, as far as the kernel tells: the root of its bind mount.
#[must_use]
pub fn outside(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    mounted_from(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

fn mounted_from(mounts: &str, path: &Path) -> Option<String> {
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let root = fields.next()?;
        (Path::new(&unescape(fields.next()?)) == path).then(|| unescape(root))
    })?;
    // Btrfs names the subvolume first, such as /@syno/docker/…: the owner sees what follows.
    let seen = root.strip_prefix("/@").map_or(&*root, |rest| {
        rest.split_once('/').map_or(rest, |(_, rest)| rest)
    });
    (seen != "/" && !seen.is_empty()).then(|| seen.to_owned())
}

/// Blanks and other rare characters stand as octal numbers in mount tables.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, plain)| {
            text.replace(code, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_maker() {
        for (release, nas) in [
            ("4.4.302+", Nas::Synology),
            ("5.10.55+", Nas::Synology),
            ("5.10.60-qnap", Nas::Qnap),
            ("6.6.44-production+truenas", Nas::TrueNas),
            ("6.1.0-31-amd64", Nas::Other),
        ] {
            assert_eq!(Nas::guess(release, false), nas, "{release}");
        }
        assert_eq!(Nas::guess("6.12.0", true), Nas::Synology);
    }

    #[test]
    fn every_maker_has_a_step_in_both_languages_and_the_command_beside_it() {
        for nas in [Nas::Synology, Nas::Qnap, Nas::TrueNas, Nas::Other] {
            let Text { ja, en } = nas.apply();
            assert!(ja.contains("docker compose up -d") && en.contains("docker compose up -d"));
            assert!(ja.contains("再起動だけでは") && en.contains("a restart does not"));
        }
    }

    #[test]
    fn a_bind_mount_tells_where_it_comes_from() {
        let mounts = "\
30 25 0:27 / / rw - overlay overlay rw
31 30 0:28 /@syno/docker/kotonoha-bot/data /app/data rw - btrfs /dev/mapper/cachedev_0 rw
32 30 254:0 /srv/my\\040bot/logs /app/logs rw - ext4 /dev/vda rw
33 30 0:40 / /app/tank rw - zfs tank/apps rw";
        let from = |path: &str| mounted_from(mounts, Path::new(path));
        assert_eq!(
            from("/app/data").as_deref(),
            Some("docker/kotonoha-bot/data")
        );
        assert_eq!(from("/app/logs").as_deref(), Some("/srv/my bot/logs"));
        assert_eq!(from("/app/tank"), None);
        assert_eq!(from("/elsewhere"), None);
    }
}
