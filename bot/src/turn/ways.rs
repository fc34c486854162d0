//! How we speak in one place: what the YAML says of its channel, else what holds everywhere.

use std::sync::Arc;

use super::Rooms;
use crate::llm::Choice;
use crate::persona::Persona;
use crate::settings::{Channel, Settings};

/// The ways of one turn: they do not change under it.
pub(super) struct Ways {
    pub(super) settings: Arc<Settings>,
    channel: Channel,
    streaming: bool,
}

impl Ways {
    pub(super) fn of(rooms: &Rooms, home: u64) -> Self {
        let settings = Arc::clone(&rooms.settings.borrow());
        let channel = rooms.channels.of(home);
        let streaming = channel.streaming.unwrap_or(rooms.manner.streaming);
        Self {
            settings,
            channel,
            streaming,
        }
    }

    pub(super) fn persona(&self) -> &Persona {
        self.settings.persona_named(self.channel.persona.as_deref())
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.streaming
    }

    pub(super) fn is_silent(&self) -> bool {
        self.channel.silent.unwrap_or(self.settings.silent)
    }

    pub(super) fn choice(&self) -> Choice {
        self.channel
            .model
            .clone()
            .map_or(Choice::Usual, Choice::Named)
    }
}
