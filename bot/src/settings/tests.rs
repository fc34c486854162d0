use super::*;

const EXAMPLE: &str = include_str!("../../../config/kotonoha.example.yaml");

fn parse(text: &str) -> Settings {
    Settings::parse(text, Language::Ja).unwrap()
}

fn line(text: &str) -> Option<usize> {
    Settings::parse(text, Language::Ja).unwrap_err().0
}

#[test]
fn the_example_is_the_built_in_and_everything_in_it_can_be_uncommented() {
    let as_it_is = parse(EXAMPLE);
    assert_eq!(as_it_is.persona, Persona::built_in(Language::Ja));
    assert_eq!(as_it_is.distress, Distress::default());
    // Comments for people begin with "# ", settings that rest with "#".
    let all: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') || rest.starts_with("  ") => {
                rest
            }
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let settings = parse(&all);
    assert!(settings.persona_names().count() >= 2 && settings.channels().count() >= 1);
    assert!(
        settings.quiet_hours.is_some()
            && settings
                .prices
                .cost(
                    &"anthropic/claude-haiku-4-5".parse().unwrap(),
                    crate::llm::Usage {
                        input_tokens: 1_000_000,
                        output_tokens: 0
                    },
                    false
                )
                .is_known
    );
}

#[test]
fn nothing_is_a_file_too() {
    for text in ["", "\n# only words\n", "\u{feff}", "channels:\npersonas:\n"] {
        assert_eq!(parse(text).persona, Persona::built_in(Language::Ja));
    }
}

#[test]
fn personas_and_channels_are_read() {
    let settings = parse(
        "persona: cat\nfooter: on\nquiet_hours: \"22:00-07:00\"\npersonas:\n  cat:\n    prompt: あなたは猫です。\n    max_characters: 0\n    avoid: [わんわん]\n  free:\n    manners: off\nchannels:\n  123456789012345678:\n    persona: free\n    streaming: off\n    model: echo/echo\n  \"2\": {threads: false, eavesdrop: on}\n",
    );
    assert!(
        settings.persona.prompt.starts_with("あなたは猫です。")
            && settings.persona.law.max_characters.is_none()
    );
    assert!(settings.footer);
    let one = settings.channel(123_456_789_012_345_678);
    assert_eq!(
        (
            one.streaming,
            one.threads,
            one.model.unwrap().to_string().as_str()
        ),
        (Some(false), None, "echo/echo")
    );
    assert!(settings.persona_named(one.persona.as_deref()).law.is_none());
    assert_eq!(settings.channel(2).eavesdrop, Some(true));
    assert_eq!(settings.channel(3), Channel::default());
    assert_eq!(settings.persona_named(Some("nobody")), &settings.persona);
    assert_eq!(settings.names, ["ことのは", "コトノハ", "kotonoha"]);
    let night = settings.quiet_hours.unwrap();
    assert_eq!(settings.quiet_hours_of(2), Some(night));
    let own = parse(
        "quiet_hours: 22:00-07:00\nnames: [ミケ, Mike Cat]\nchannels:\n  1: {quiet_hours: off}\n  2: {quiet_hours: \"12:00-13:00\"}\n",
    );
    assert_eq!(own.names, ["ミケ", "mike cat"]);
    assert_eq!(own.quiet_hours_of(1), None);
    assert!(own.quiet_hours_of(2).unwrap().contain(12 * 60 + 30));
    assert!(own.quiet_hours_of(3).unwrap().contain(0));
    assert!(
        night.contain(23 * 60)
            && night.contain(0)
            && !night.contain(7 * 60)
            && !night.contain(12 * 60)
    );
}

#[test]
fn manners_can_be_switched_off_for_all() {
    assert!(parse("manners: off").persona.law.is_none());
    assert!(!parse("manners: true").persona.law.is_none());
}

#[test]
fn problems_name_their_line() {
    assert_eq!(line("footer: on\nmanners: perhaps\n"), Some(2));
    assert_eq!(line("footer: on\n\nwhat: 1\n"), Some(3));
    assert_eq!(line("channels:\n  1:\n    model: nobody/x\n"), Some(3));
    assert_eq!(line("channels:\n  general: {threads: on}\n"), Some(2));
    assert_eq!(
        line("personas:\n  a: {prompt: x}\nchannels:\n  1:\n    persona: b\n"),
        Some(5)
    );
    assert_eq!(line("prices:\n  openai/x: {input: 1.0}\n"), Some(2));
    assert_eq!(
        line("prices:\n  openai/x: {input: -1, output: 2}\n"),
        Some(2)
    );
    assert_eq!(line("quiet_hours: 22-7\n"), Some(1));
    assert_eq!(
        line("channels:\n  1:\n    quiet_hours: 25:00-7:00\n"),
        Some(3)
    );
    assert!(line("a: [\n").is_some());
    let (_, what) = Settings::parse("footer: perhaps", Language::Ja).unwrap_err();
    assert!(
        what.en.contains("on or off") && !what.en.contains("at line"),
        "{}",
        what.en
    );
}

#[test]
fn a_changed_file_is_taken_and_a_bad_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("kotonoha.yaml");
    let mut live = Live::open(&path, Language::En).unwrap();
    assert!(live.look().is_none() && !live.current().footer);
    std::fs::write(&path, "footer: on\n").unwrap();
    assert!(live.look().unwrap().unwrap().footer);
    std::fs::write(&path, "footer: perhaps\n").unwrap();
    let problem = live.look().unwrap().unwrap_err();
    assert!(
        problem.text().en.contains("kotonoha.yaml, line 1"),
        "{}",
        problem.text().en
    );
    assert!(live.current().footer, "the old one is kept");
    assert!(live.look().is_none(), "told once");
    std::fs::remove_file(&path).unwrap();
    assert!(!live.look().unwrap().unwrap().footer);
}

#[test]
fn the_predecessors_persona_goes_on_speaking() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("prompts")).unwrap();
    std::fs::write(
        home.path().join(PREDECESSOR_PROMPT),
        "# システムプロンプト\n\nあなたは静かです。",
    )
    .unwrap();
    let settings = Settings::load(&home.path().join("kotonoha.yaml"), Language::Ja).unwrap();
    assert!(settings.is_taken_over && settings.persona.prompt.starts_with("あなたは静かです。"));
}

#[test]
fn a_file_that_unfolds_without_end_is_refused() {
    let folds = ('b'..='i').zip('a'..='h').map(|(new, old)| {
        let nine = format!("*{old}, ").repeat(9);
        format!("{new}: &{new} [{nine}]\n")
    });
    let bomb = std::iter::once("a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned())
        .chain(folds)
        .collect::<String>();
    assert!(Settings::parse(&bomb, Language::Ja).is_err());
    let deep = "[".repeat(20_000);
    assert!(Settings::parse(&deep, Language::Ja).is_err());
}

proptest::proptest! {
    /// Known names, colons, brackets and anything else, in any order: read, or told with its line.
    #[test]
    fn no_text_makes_it_panic(words in proptest::collection::vec("(footer|manners|personas|channels|prices|distress|threads|persona|quiet_hours|1|on|: |:|\n|\n  |- |\\[|\\{|\\}|\\]|&a|\\*a|\"|'|#|あ|\\PC{0,6})", 0..30)) {
        let text = words.concat();
        if let Err((Some(line), _)) = Settings::parse(&text, Language::Ja) {
            proptest::prop_assert!(line >= 1 && line <= text.lines().count() + 1, "{line} of {text:?}");
        }
    }
}
