//! What a channel has of its own: what the owner wrote into the YAML, and over it what `/settings` changed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::llm::ModelName;
use crate::settings::{Channel, Settings};
use crate::store::{self, Store};

/// Changes are kept under this name and the channel's id.
const PREFIX: &str = "channel:";

/// What `/settings` changed in one channel; `None` = as the owner has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Whether a mention gets a thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<bool>,
    /// Whether answers grow before people's eyes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Who we are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persona: Option<String>,
    /// Who answers there first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether we may listen unasked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eavesdrop: Option<bool>,
}

/// What holds in every channel.
pub struct Channels {
    settings: watch::Receiver<Arc<Settings>>,
    changes: RwLock<HashMap<u64, Changes>>,
    store: Store,
    /// Where the environment lets us listen.
    eavesdrops: Vec<u64>,
}

impl Channels {
    /// The YAML as it is at any time, with what was changed by command before.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn open(
        settings: watch::Receiver<Arc<Settings>>,
        store: Store,
        eavesdrops: Vec<u64>,
    ) -> Result<Self, store::Error> {
        let stored = store.settings(PREFIX).await?;
        let changes = stored.into_iter().filter_map(|(name, value)| {
            let id = name.strip_prefix(PREFIX)?.parse().ok()?;
            Some((id, serde_json::from_str(&value).ok()?))
        });
        let changes = RwLock::new(changes.collect());
        Ok(Self {
            settings,
            changes,
            store,
            eavesdrops,
        })
    }

    /// What holds in `channel`; for a thread, ask for the channel it hangs on.
    #[must_use]
    pub fn of(&self, channel: u64) -> Channel {
        let written = self.settings.borrow().channel(channel);
        let changed = self.changed(channel);
        Channel {
            threads: changed.threads.or(written.threads),
            streaming: changed.streaming.or(written.streaming),
            persona: changed.persona.or(written.persona),
            model: changed
                .model
                .and_then(|model| model.parse().ok())
                .or(written.model),
            eavesdrop: changed
                .eavesdrop
                .or(written.eavesdrop)
                .or(self.eavesdrops.contains(&channel).then_some(true)),
            ..written
        }
    }

    /// The channels in which we may listen unasked.
    #[must_use]
    pub fn listening(&self) -> HashSet<u64> {
        let named: Vec<u64> = {
            let written = self.settings.borrow();
            let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
            let written = written.channels().map(|(id, _)| id);
            let all = written.chain(changes.keys().copied());
            all.chain(self.eavesdrops.iter().copied()).collect()
        };
        let is_on = |id: &u64| self.of(*id).eavesdrop == Some(true);
        named.into_iter().filter(is_on).collect()
    }

    /// What `/settings` changed there.
    #[must_use]
    pub fn changed(&self, channel: u64) -> Changes {
        let changes = self.changes.read().unwrap_or_else(PoisonError::into_inner);
        changes.get(&channel).cloned().unwrap_or_default()
    }

    /// Changes what holds in `channel`, for good.
    ///
    /// # Errors
    /// The disk refuses; then nothing is changed.
    pub async fn change(&self, channel: u64, changes: Changes) -> Result<(), store::Error> {
        let value = serde_json::to_string(&changes)
            .ok()
            .filter(|_| changes != Changes::default());
        self.store
            .set_setting(format!("{PREFIX}{channel}"), value)
            .await?;
        self.changes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(channel, changes);
        Ok(())
    }
}

/// `changes` with what `/settings` asks for; the name of the first thing that cannot be.
pub(super) fn apply(
    mut changes: Changes,
    asked: &[(String, String)],
    personas: &[String],
) -> Result<Changes, String> {
    for (name, value) in asked {
        let switch = value == "true";
        // A word for "as everywhere" takes the channel's own choice away.
        let own = (!matches!(value.as_str(), "" | "default" | "いつもの")).then(|| value.clone());
        match name.as_str() {
            "threads" => changes.threads = Some(switch),
            "streaming" => changes.streaming = Some(switch),
            "eavesdrop" => changes.eavesdrop = Some(switch),
            "persona" if own.as_ref().is_none_or(|own| personas.contains(own)) => {
                changes.persona = own;
            }
            "model"
                if own
                    .as_ref()
                    .is_none_or(|own| own.parse::<ModelName>().is_ok()) =>
            {
                changes.model = own;
            }
            _ => return Err(name.clone()),
        }
    }
    Ok(changes)
}
