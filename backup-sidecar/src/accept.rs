//! This room ends a freeze of deletion: the owner says that an archive that lost much is right.

use anyhow::Context;
use daemon_kit::text::Text;
use jiff::Timestamp;

use crate::config::Config;
use crate::{find, prune};

/// Accepts an archive and everything before it. The caller holds the job lock.
///
/// # Errors
/// When there is no such archive, or the catalogue cannot be written.
pub fn run(config: &Config, wanted: &str) -> anyhow::Result<Text> {
    let mut catalog = prune::load(config)?;
    let name = find::ours(config, &catalog, wanted)?;
    let record = catalog
        .archives
        .get(&name.to_string())
        .context("the archive has no record")?;
    let taken = record.taken;
    let before: Option<Timestamp> = catalog
        .accepted_until
        .as_ref()
        .and_then(|text| text.parse().ok());
    catalog.accepted_until = Some(before.map_or(taken, |before| before.max(taken)).to_string());
    catalog.save(&config.backup_dir)?;
    tracing::info!(event = "freeze.ended", archive = %name, "the owner accepted an archive");
    let still = catalog.freeze();
    let (ja, en) = match &still {
        None => (
            format!("承認しました: {name}\n古いバックアップの整理を再開します。\n"),
            format!("Accepted: {name}\nOld archives are removed again as the plan says.\n"),
        ),
        Some(freeze) => (
            format!(
                "承認しました: {name}\nただし {} がまだ承認待ちです ({})。\n",
                freeze.name, freeze.loss
            ),
            format!(
                "Accepted: {name}\nBut {} still waits ({}).\n",
                freeze.name, freeze.loss
            ),
        ),
    };
    Ok(Text::new(ja, en))
}
