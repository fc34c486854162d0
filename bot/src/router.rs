//! Whom a message is for. Pure.

use daemon_kit::text::Language;

use crate::discord::{Inbound, Place, PlaceKind};
use crate::store::{Scope, Way};

/// What routing needs to know besides the message.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Our own id.
    pub me: u64,
    /// What is known of the channel.
    pub place: Option<Place>,
    /// Whether it is a thread that we opened.
    pub is_own_thread: bool,
    /// Whether answers to mentions get a thread.
    pub threads: bool,
    /// Whether we may listen in this channel.
    pub eavesdrops: bool,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Not for us.
    Ignore,
    /// To be answered.
    Converse {
        /// How it reached us.
        way: Way,
        /// Whose memory it belongs to.
        scope: Scope,
        /// Whether the scope is a thread of ours.
        own: bool,
    },
    /// To be listened to.
    Overhear,
}

/// Decides.
#[must_use]
pub fn route(inbound: &Inbound, around: &Surroundings) -> Route {
    if inbound.author == around.me || inbound.by_bot || !inbound.is_ordinary {
        return Route::Ignore;
    }
    let converse = |way, scope, own| Route::Converse { way, scope, own };
    let channel = inbound.channel;
    if inbound.guild.is_none() {
        return converse(Way::Direct, Scope::Direct(channel), false);
    }
    if around.is_own_thread {
        return converse(Way::FollowUp, Scope::Thread(channel), true);
    }
    if inbound.mentions_us {
        let pair = Scope::Pair {
            channel,
            user: inbound.author,
        };
        return match around.place.map(|place| place.kind) {
            Some(PlaceKind::Thread) => converse(Way::InPlace, Scope::Thread(channel), false),
            // A thread has the id of the message it is opened on.
            Some(PlaceKind::Text) if around.threads => {
                converse(Way::Mention, Scope::Thread(inbound.id), true)
            }
            _ => converse(Way::InPlace, pair, false),
        };
    }
    if around.eavesdrops {
        return Route::Overhear;
    }
    Route::Ignore
}

/// A name for the thread that answers `text`: the beginning of what was asked, up to its first stop.
#[must_use]
pub fn thread_name(text: &str, language: Language) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut name: String = joined.chars().take(50).collect();
    // By the order of the stops, not of their places: so the predecessor named its threads.
    if let Some(end) = ['。', '！', '？', '.', '!', '?']
        .iter()
        .find_map(|stop| name.find(*stop))
    {
        name.truncate(end);
    }
    let name = name.trim();
    match (name, language) {
        ("", Language::Ja) => "会話".to_owned(),
        ("", Language::En) => "Conversation".to_owned(),
        (name, _) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbound() -> Inbound {
        Inbound {
            id: 7,
            channel: 5,
            guild: Some(1),
            author: 3,
            name: String::new(),
            by_bot: false,
            is_ordinary: true,
            mentions_us: false,
            text: "hello".to_owned(),
            attachments: Vec::new(),
            quoted: None,
            said_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn around(kind: PlaceKind) -> Surroundings {
        let place = Place {
            kind,
            guild: 1,
            parent: 0,
            opener: 0,
            newest: 0,
        };
        Surroundings {
            me: 9,
            place: Some(place),
            is_own_thread: false,
            threads: true,
            eavesdrops: false,
        }
    }

    fn mention() -> Inbound {
        Inbound {
            mentions_us: true,
            ..inbound()
        }
    }

    #[test]
    fn bots_and_notes_are_ignored_even_when_they_mention_us() {
        for message in [
            Inbound {
                by_bot: true,
                ..mention()
            },
            Inbound {
                author: 9,
                ..mention()
            },
            Inbound {
                is_ordinary: false,
                ..mention()
            },
        ] {
            assert_eq!(route(&message, &around(PlaceKind::Text)), Route::Ignore);
        }
        assert_eq!(route(&inbound(), &around(PlaceKind::Text)), Route::Ignore);
    }

    #[test]
    fn a_mention_gets_a_thread_where_there_can_be_one() {
        let thread = Route::Converse {
            way: Way::Mention,
            scope: Scope::Thread(7),
            own: true,
        };
        let pair = Scope::Pair {
            channel: 5,
            user: 3,
        };
        let here = Route::Converse {
            way: Way::InPlace,
            scope: pair,
            own: false,
        };
        assert_eq!(route(&mention(), &around(PlaceKind::Text)), thread);
        assert_eq!(route(&mention(), &around(PlaceKind::Other)), here);
        assert_eq!(
            route(
                &mention(),
                &Surroundings {
                    place: None,
                    ..around(PlaceKind::Text)
                }
            ),
            here
        );
        assert_eq!(
            route(
                &mention(),
                &Surroundings {
                    threads: false,
                    ..around(PlaceKind::Text)
                }
            ),
            here
        );
    }

    #[test]
    fn threads_of_others_need_a_mention_and_ours_do_not() {
        let theirs = Route::Converse {
            way: Way::InPlace,
            scope: Scope::Thread(5),
            own: false,
        };
        assert_eq!(route(&mention(), &around(PlaceKind::Thread)), theirs);
        assert_eq!(route(&inbound(), &around(PlaceKind::Thread)), Route::Ignore);
        let ours = Surroundings {
            is_own_thread: true,
            ..around(PlaceKind::Thread)
        };
        let follow_up = Route::Converse {
            way: Way::FollowUp,
            scope: Scope::Thread(5),
            own: true,
        };
        assert_eq!(route(&inbound(), &ours), follow_up);
    }

    #[test]
    fn direct_messages_are_answered_and_open_channels_overheard() {
        let direct = Inbound {
            guild: None,
            ..inbound()
        };
        let answer = Route::Converse {
            way: Way::Direct,
            scope: Scope::Direct(5),
            own: false,
        };
        assert_eq!(route(&direct, &around(PlaceKind::Direct)), answer);
        let open = Surroundings {
            eavesdrops: true,
            ..around(PlaceKind::Text)
        };
        assert_eq!(route(&inbound(), &open), Route::Overhear);
        assert!(matches!(
            route(&mention(), &open),
            Route::Converse {
                way: Way::Mention,
                ..
            }
        ));
    }

    #[test]
    fn threads_are_named_as_the_predecessor_named_them() {
        let name = |text: &str| thread_name(text, Language::Ja);
        assert_eq!(name("今日は\n いい天気。散歩する？"), "今日は いい天気");
        assert_eq!(name("what? ほんと。"), "what? ほんと");
        assert_eq!(name(" \n "), "会話");
        assert_eq!(name("。"), "会話");
        assert_eq!(name(&"あ".repeat(80)), "あ".repeat(50));
    }

    #[test]
    fn a_thread_without_words_is_named_in_the_members_language() {
        assert_eq!(thread_name("", Language::En), "Conversation");
        assert_eq!(thread_name(" ... ", Language::En), "Conversation");
        assert_eq!(thread_name("what? ほんと。", Language::En), "what? ほんと");
    }
}
