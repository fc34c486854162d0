//! Which channels there are, and what each is: the little that routing and catching up need, instead of a cache.

use std::collections::HashMap;

use super::wire;

/// More places than this are not remembered at once: the rest are asked for when they speak.
const MOST_PLACES: usize = 50_000;
/// How many go at once when there is no room for another one.
const LET_GO: usize = MOST_PLACES / 10;

/// What kind of place a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// A thread can be opened from a message here.
    Text,
    /// A thread or forum post.
    Thread,
    /// A direct message.
    Direct,
    /// People can write here, but no thread can be opened.
    Other,
    /// Nobody can write here.
    Silent,
}

/// One channel or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is.
    pub kind: PlaceKind,
    /// Which server it is in; 0 for none.
    pub guild: u64,
    /// The channel that a thread belongs to; 0 for none.
    pub parent: u64,
    /// Who opened a thread; 0 for nobody.
    pub opener: u64,
    /// The newest message when we were told of the place; 0 for none.
    pub newest: u64,
}

impl From<&wire::Channel> for Place {
    fn from(channel: &wire::Channel) -> Self {
        let id = |id: Option<wire::Id>| id.unwrap_or_default().0;
        Self {
            kind: match channel.kind {
                0 | 5 => PlaceKind::Text,
                1 | 3 => PlaceKind::Direct,
                10..=12 => PlaceKind::Thread,
                4 | 14..=16 => PlaceKind::Silent,
                _ => PlaceKind::Other,
            },
            guild: id(channel.guild_id),
            parent: id(channel.parent_id),
            opener: id(channel.owner_id),
            newest: id(channel.last_message_id),
        }
    }
}

/// All places known. Its one owner is the intake loop.
#[derive(Debug, Default)]
pub struct Places {
    known: HashMap<u64, Place>,
}

impl Places {
    /// A channel or thread was told of.
    pub fn learn(&mut self, channel: &wire::Channel, guild: Option<u64>) {
        let mut place = Place::from(channel);
        if let (0, Some(guild)) = (place.guild, guild) {
            place.guild = guild;
        }
        // Always taken in: one that was asked about and is not known afterwards would be asked about without end.
        if self.known.len() >= MOST_PLACES && !self.known.contains_key(&channel.id.0) {
            self.make_room();
        }
        self.known.insert(channel.id.0, place);
    }

    /// Lets go of the places where nobody has spoken for the longest.
    fn make_room(&mut self) {
        let places = self.known.iter();
        let mut quietest: Vec<(u64, u64)> = places.map(|(id, place)| (place.newest, *id)).collect();
        quietest.sort_unstable();
        for (_, id) in quietest.into_iter().take(LET_GO) {
            self.known.remove(&id);
        }
    }

    /// A place is gone.
    pub fn forget(&mut self, channel: u64) {
        self.known.remove(&channel);
    }

    /// A whole server is gone.
    pub fn forget_guild(&mut self, guild: u64) {
        self.known.retain(|_, place| place.guild != guild);
    }

    /// The channel whose settings hold in `channel`: for a thread, the one it hangs on.
    #[must_use]
    pub fn home(&self, channel: u64) -> u64 {
        let place = self.get(channel);
        let parent = place
            .filter(|place| place.kind == PlaceKind::Thread)
            .map(|place| place.parent);
        parent.filter(|parent| *parent != 0).unwrap_or(channel)
    }

    /// What is known of `channel`.
    #[must_use]
    pub fn get(&self, channel: u64) -> Option<Place> {
        self.known.get(&channel).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: u64, newest: u64) -> wire::Channel {
        wire::Channel {
            id: wire::Id(id),
            last_message_id: Some(wire::Id(newest)),
            ..wire::Channel::default()
        }
    }

    #[test]
    fn a_new_place_is_always_known_and_the_quietest_make_room() {
        let mut places = Places::default();
        let most = MOST_PLACES as u64;
        // The first is the loudest.
        for id in 1..=most {
            places.learn(&channel(id, 1 + most - id), None);
        }
        assert_eq!(places.known.len(), MOST_PLACES);
        // Told of again, a known one needs no room.
        places.learn(&channel(most, 1), None);
        assert_eq!(places.known.len(), MOST_PLACES);
        places.learn(&channel(most + 1, 0), Some(7));
        let new = places.get(most + 1).unwrap();
        assert_eq!(
            (new.guild, places.known.len()),
            (7, MOST_PLACES - LET_GO + 1)
        );
        assert!(places.get(1).is_some() && places.get(most).is_none());
    }
}
