use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::distress::Distress;

const RULES: Rules = Rules {
    buffer_size: 20,
    min_messages: 3,
    min_interval: SignedDuration::from_mins(10),
};

/// A channel in which everybody has opted in, at a minute of some day.
struct Channel {
    ear: Ear,
    rules: Rules,
    distress: Distress,
    names: Vec<String>,
    thinking: Option<Call>,
    number: u64,
}

fn channel() -> Channel {
    Channel {
        ear: Ear::default(),
        rules: RULES,
        distress: Distress::default(),
        names: vec!["ことのは".to_owned()],
        thinking: None,
        number: 100,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

impl Channel {
    fn say_as(
        &mut self,
        by: u64,
        text: &str,
        seconds: i64,
        change: impl FnOnce(&mut Moment<'_>),
    ) -> Heard {
        self.number += 1;
        let mut moment = Moment {
            is_consenting: true,
            has_notice: true,
            is_quiet_hour: false,
            thinking: self.thinking,
            names: &self.names,
            distress: &self.distress,
        };
        change(&mut moment);
        let said = Said {
            id: self.number,
            by,
            text,
            at: at(seconds),
        };
        self.ear.hear(said, &self.rules, &moment)
    }

    fn say(&mut self, by: u64, text: &str, seconds: i64) -> Result<Call, Quiet> {
        self.say_as(by, text, seconds, |_| ()).decision
    }

    fn chat(&mut self, seconds: i64) -> Result<Call, Quiet> {
        self.say(1, "そうかな", seconds).ok();
        self.say(2, "そうだよ", seconds + 1).ok();
        self.say(1, "ちがうと思う", seconds + 2)
    }
}

#[test]
fn nothing_is_asked_before_there_are_words_and_people() {
    let mut here = channel();
    assert_eq!(here.say(1, "一", 0), Err(Quiet::FewPeople));
    assert_eq!(here.say(1, "二", 1), Err(Quiet::FewPeople));
    assert_eq!(
        here.say(1, "三", 2),
        Err(Quiet::FewPeople),
        "alone is no conversation"
    );
    assert_eq!(here.say(2, "四", 3), Ok(Call::Judge));
    // A judgement is not bought for every line.
    assert_eq!(here.say(1, "五", 4), Err(Quiet::FewWords));
    assert_eq!(here.say(2, "六", 5), Err(Quiet::FewWords));
    assert_eq!(here.say(1, "七", 6), Ok(Call::Judge));
}

#[test]
fn people_who_did_not_opt_in_are_dots_and_no_occasion() {
    let mut here = channel();
    for second in 0..5 {
        let heard = here.say_as(9, "聞かれない言葉", second, |moment| {
            moment.is_consenting = false;
        });
        assert_eq!(heard.decision, Err(Quiet::NotYours));
    }
    assert!(here.ear.lines().iter().all(|line| line.words.is_none()));
    assert_eq!(here.chat(10), Err(Quiet::FewPeople), "more dots than words");
}

#[test]
fn the_free_checks_stand_before_the_paid_ones() {
    let mut here = channel();
    let mut last = |change: fn(&mut Moment<'_>)| {
        here.ear.begin_anew();
        here.say(1, "一", 0).ok();
        here.say(2, "二", 1).ok();
        here.say_as(1, "三", 2, change).decision
    };
    assert_eq!(last(|_| ()), Ok(Call::Judge));
    assert_eq!(
        last(|moment| moment.has_notice = false),
        Err(Quiet::NoNotice)
    );
    assert_eq!(
        last(|moment| moment.is_quiet_hour = true),
        Err(Quiet::QuietHours)
    );
    let thinking = |moment: &mut Moment<'_>| moment.thinking = Some(Call::Judge);
    assert_eq!(last(thinking), Err(Quiet::Thinking));
}

#[test]
fn without_the_notice_not_a_word_is_kept() {
    let mut here = channel();
    here.say_as(1, "canary", 0, |moment| moment.has_notice = false);
    assert!(here.ear.lines().iter().all(|line| line.words.is_none()));
}

#[test]
fn one_entry_for_one_conversation_and_a_pause_after_it() {
    let mut here = channel();
    assert_eq!(here.chat(0), Ok(Call::Judge));
    here.ear.spoke(500, "ひとこと", at(3), &RULES);
    assert_eq!(here.chat(60), Err(Quiet::Spoken));
    // Hours of going on are one conversation as long as no silence parts it.
    for minute in 1..60 {
        assert_eq!(here.chat(minute * 25 * 60), Err(Quiet::Spoken));
    }
    let later = 60 * 25 * 60 + 31 * 60;
    assert_eq!(here.chat(later), Ok(Call::Judge), "a new conversation");
    let mut soon = Ear::new(Some(at(0)), None);
    std::mem::swap(&mut here.ear, &mut soon);
    here.ear.begin_anew();
    assert_eq!(
        here.chat(5),
        Err(Quiet::Spoken),
        "after a restart it still counts"
    );
    here.rules.min_interval = SignedDuration::from_hours(10);
    here.chat(7 * 3600).ok();
    assert_eq!(here.chat(8 * 3600), Err(Quiet::CoolingDown));
    assert_eq!(here.chat(11 * 3600), Ok(Call::Judge));
}

#[test]
fn quiet_is_kept_for_a_day_and_not_for_years() {
    let mut here = channel();
    let heard = here.say_as(9, "静かにして", 0, |moment| {
        moment.is_consenting = false;
    });
    assert!(heard.is_hush, "whoever asks, opted in or not");
    assert_eq!(here.chat(3600), Err(Quiet::Hushed));
    assert_eq!(here.say(1, "ことのは、いる？", 3700), Err(Quiet::Hushed));
    assert_eq!(here.chat(25 * 3600), Ok(Call::Judge));
    here.ear.hush(at(1_000_000_000));
    assert_eq!(here.ear.hushed_until(at(0)), None);
    let kept = Ear::new(None, Some(at(600)));
    assert_eq!(kept.hushed_until(at(0)), Some(at(600)));
    // By our clock, which is a minute ahead of the one that dates messages.
    let asked = Ear::new(None, Some(at(60 + 24 * 3600)));
    assert!(asked.hushed_until(at(0)).is_some());
}

#[test]
fn endings_and_private_talk_are_left_alone_until_a_silence() {
    for (words, quiet) in [
        ("じゃあまたね", Quiet::Ending),
        ("thanks, everyone", Quiet::Ending),
        ("ここだけの話だけど", Quiet::Private),
        ("消えたい", Quiet::Private),
    ] {
        let mut here = channel();
        here.say(9, words, 0).ok();
        assert_eq!(here.chat(10), Err(quiet), "{words}");
        assert_eq!(here.chat(60), Err(quiet), "{words}");
        assert_eq!(here.chat(3 * 3600), Ok(Call::Judge), "{words}");
    }
}

#[test]
fn our_name_is_heard_once_in_a_while_also_after_an_ending() {
    let mut here = channel();
    assert_eq!(here.say(1, "ことのは、いる？", 0), Ok(Call::Named));
    here.ear.spoke(500, "はい", at(1), &RULES);
    assert_eq!(
        here.say(1, "ことのは、ことのは", 30),
        Err(Quiet::CoolingDown)
    );
    here.say(2, "おやすみ", 100).ok();
    assert_eq!(
        here.say(1, "ことのはもおやすみ、ことのは", 120),
        Ok(Call::Named)
    );
    let heard = here.say_as(9, "ことのは！", 300, |moment| {
        moment.is_consenting = false;
    });
    assert_eq!(heard.decision, Err(Quiet::NotYours));
}

#[test]
fn what_is_being_thought_of_is_withdrawn_when_its_time_is_over() {
    let withdraws = |thinking, texts: &[&str]| {
        let mut here = channel();
        here.chat(0).ok();
        here.thinking = Some(thinking);
        let mut any = false;
        for (second, text) in texts.iter().enumerate() {
            any |= here.say_as(2, text, 10 + second as i64, |_| ()).withdraws;
        }
        any
    };
    assert!(!withdraws(Call::Judge, &["うん", "そう"]));
    assert!(withdraws(Call::Judge, &["おやすみ"]));
    assert!(withdraws(Call::Judge, &["静かにして"]));
    assert!(withdraws(
        Call::Judge,
        &["一", "二", "三", "四", "五", "六"]
    ));
    assert!(!withdraws(
        Call::Named,
        &["おやすみ", "一", "二", "三", "四", "五", "六"]
    ));
    assert!(withdraws(Call::Named, &["静かにして"]));
}

#[test]
fn the_buffer_is_bounded_and_lets_go() {
    let mut here = channel();
    here.rules.buffer_size = 5;
    for second in 0..50 {
        here.say(1 + second as u64 % 2, &"長".repeat(2000), second)
            .ok();
    }
    let lines = here.ear.lines();
    assert_eq!(lines.len(), 5);
    assert!(
        lines
            .iter()
            .all(|line| line.words.as_ref().unwrap().chars().count() == 500)
    );
    here.ear.forget(1);
    let left = here.ear.lines();
    assert!(
        left.iter()
            .all(|line| line.words.is_some() == (line.by == 2))
    );
    here.ear.remove(left[0].id);
    assert_eq!(here.ear.lines().len(), 4);
    here.ear.fade(at(60));
    assert_eq!(here.ear.lines().len(), 4, "not yet");
    here.ear.fade(at(50 + 31 * 60));
    assert!(here.ear.lines().is_empty());
}

/// The predecessor stepped into such a conversation three times. With a judge who always says yes, and a remark after
/// every cue, our own guards let one through.
#[test]
fn the_scripted_conversation_gets_at_most_one_entry_and_none_at_its_end() {
    let script = [
        (1, "明日の集まり、何時からだっけ"),
        (2, "3時って聞いたよ"),
        (3, "え、2時じゃないの"),
        (2, "わたしがうそを言ったってこと？"),
        (3, "そんなこと言ってないよ"),
        (1, "ふたりとも、予定表を見てみようか"),
        (2, "ごめん、わたしの見まちがいだった"),
        (3, "ううん、こっちこそ。じゃあまた明日ね"),
        (1, "うん、また"),
        (2, "おやすみ"),
        (3, "よい夜を"),
        (1, "みんなもね"),
    ];
    for always_late in [false, true] {
        let mut here = channel();
        let mut entries = Vec::new();
        for (number, (by, text)) in script.iter().enumerate() {
            let second = number as i64 * 40;
            let decision = here.say(*by, text, second);
            let speaks = decision.is_ok() && !(always_late && number < 7);
            if speaks {
                entries.push(number + 1);
                here.ear
                    .spoke(1000 + number as u64, "…", at(second), &RULES);
            }
        }
        assert!(entries.len() <= 1, "{entries:?}");
        assert!(entries.iter().all(|number| *number < 8), "{entries:?}");
        assert_eq!(entries.is_empty(), always_late);
    }
}

#[test]
fn every_reason_has_words_in_both_languages_and_keeps_the_law() {
    use daemon_kit::text::Language;

    use crate::manners::{Judge, Law, Leave};

    let reasons = [
        Quiet::NoNotice,
        Quiet::NotYours,
        Quiet::QuietHours,
        Quiet::Hushed,
        Quiet::Thinking,
        Quiet::Spoken,
        Quiet::Ending,
        Quiet::Private,
        Quiet::CoolingDown,
        Quiet::FewWords,
        Quiet::FewPeople,
        Quiet::Judged,
        Quiet::Failed,
        Quiet::Budget,
        Quiet::Busy,
        Quiet::Withdrawn,
    ];
    let leave = Leave {
        more: true,
        ..Leave::default()
    };
    for language in [Language::Ja, Language::En] {
        let notice = notice_text("Anthropic", language);
        let told = reasons.map(|quiet| reason(quiet, language).to_owned());
        for text in told.into_iter().chain([notice]) {
            let mut judge = Judge::new(&Law::new(&[]), leave);
            judge.feed(&text);
            assert_eq!(judge.finish().left_out, 0, "{text}");
        }
    }
}
