use std::time::Duration;

use daemon_kit::env::Env;
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::mpsc;

use super::catalog::missing;
use super::chain::{order, pause};
use super::sse::{Events, Lines};
use super::standin::{Script, StandIn, config};
use super::thinking::{Shown, Thinking};
use super::wire::{Failure, refusal, stream_error};
use super::*;

const CLAUDE: &str = "anthropic/claude-haiku-4-5";

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .no_proxy()
        .build()
        .unwrap()
}

fn prompt() -> Prompt {
    Prompt {
        system: "a persona".into(),
        dated: "a date".into(),
        utterances: vec![
            Utterance::new(Role::Member, "earlier"),
            Utterance::new(Role::Companion, "yes"),
            Utterance::new(Role::Member, "hello"),
        ],
        ..Prompt::default()
    }
}

/// Asks, and gathers what a listener heard.
async fn ask(config: &Config, prompt: &Prompt) -> (Result<Completion, Error>, Vec<Delta>) {
    let (sender, mut receiver) = mpsc::channel(64);
    let models = Models::new(config, client());
    let heard = async {
        let mut heard = Vec::new();
        while let Some(delta) = receiver.recv().await {
            heard.push(delta);
        }
        heard
    };
    let asking = models.complete_until(prompt, sender, std::future::pending());
    let (answer, heard) = tokio::join!(asking, heard);
    (answer.map_err(|broken| broken.error), heard)
}

fn text(text: &str) -> Delta {
    Delta::Text(text.into())
}

#[test]
fn the_reader_of_words_is_named_by_the_address() {
    let reader = |model: &str, vars: &[(&'static str, &'static str)]| {
        let mut all = vec![("LLM_MODEL", CLAUDE), ("ANTHROPIC_API_KEY", "sk-ant-x")];
        all.extend_from_slice(vars);
        let config = Config::read(&mut Env::from_map(all));
        config.reader(&model.parse().unwrap())
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(reader(CLAUDE, &[]), named("Anthropic"));
    assert_eq!(reader("gemini/a", &[]), named("Google"));
    assert_eq!(reader("openai/a", &[]), named("OpenAI"));
    // The provider's own, however it is written.
    let own = [(
        "OPENAI_BASE_URL",
        "https://API.openai.com/v1/chat/completions",
    )];
    assert_eq!(reader("openai/a", &own), named("OpenAI"));
    let other = [(
        "OPENAI_BASE_URL",
        "https://k:secret@llm.example.com:8443/v1",
    )];
    assert_eq!(reader("openai/a", &other), named("llm.example.com"));
    let inside = [("OPENAI_BASE_URL", "http://192.168.1.5:8080")];
    assert_eq!(reader("openai/a", &inside), None);
    assert_eq!(reader("ollama/a", &[]), None);
    let inside = [("OLLAMA_BASE_URL", "http://nas:11434")];
    assert_eq!(reader("ollama/a", &inside), None);
    let outside = [("OLLAMA_BASE_URL", "https://ollama.example.com")];
    assert_eq!(reader("ollama/a", &outside), named("ollama.example.com"));
    assert_eq!(reader("echo", &outside), None, "nobody reads the echo");
}

#[tokio::test]
async fn anthropic_is_asked_as_documented_and_answers() {
    let server = StandIn::start(vec![Script::anthropic("やあ", true)]).await;
    let (answer, heard) = ask(&config(&server.url, CLAUDE, &[]), &prompt()).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.model.as_str(), answer.text.as_str()),
        (CLAUDE, "やあ")
    );
    assert_eq!(
        answer.usage,
        Usage {
            input_tokens: 15,
            output_tokens: 7
        }
    );
    assert_eq!(heard, [text("やあ")]);
    let seen = &server.seen()[0];
    assert!(seen.head.starts_with("post /v1/messages http/1.1"));
    assert!(
        seen.head.contains("x-api-key: sk-canary")
            && seen.head.contains("anthropic-version: 2023-06-01")
    );
    assert_eq!(
        seen.body["system"][0]["cache_control"],
        json!({ "type": "ephemeral" })
    );
    assert_eq!(seen.body["system"][1]["text"], "a date");
    assert_eq!(seen.body["max_tokens"], 100);
    assert_eq!(seen.body["messages"][2]["content"][0]["text"], "hello");
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = r#"{"type":"message","content":[{"type":"thinking","thinking":"x"},{"type":"text","text":"plain"}],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":4}}"#;
    let server = StandIn::start(vec![Script::json(200, body)]).await;
    let answer = ask(&config(&server.url, CLAUDE, &[]), &prompt())
        .await
        .0
        .unwrap();
    assert_eq!((answer.text.as_str(), answer.stop), ("plain", Stop::Length));

    let body = r#"{"choices":[{"message":{"content":"plain"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    let server = StandIn::start(vec![Script::json(200, body)]).await;
    let answer = ask(&config(&server.url, "openai/gpt-x", &[]), &prompt())
        .await
        .0
        .unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.usage.output_tokens),
        ("plain", 4)
    );
}

#[tokio::test]
async fn compatible_servers_may_leave_out_much() {
    // Null choices with the usage, reasoning beside the text, and no [DONE].
    let stream = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\",\"reasoning\":\"hm\"}}]}\n\n\
                  data: {\"choices\":[{\"delta\":{\"content\":\"<think>hm</think>\\n\\nok\"}}]}\n\n\
                  data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                  data: {\"choices\":null,\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
    let server = StandIn::start(vec![Script::stream(stream)]).await;
    let (answer, heard) = ask(&config(&server.url, "openai/local", &[]), &prompt()).await;
    let answer = answer.unwrap();
    assert_eq!((answer.text.as_str(), heard), ("ok", vec![text("ok")]));
    assert_eq!(
        answer.usage,
        Usage {
            input_tokens: 9,
            output_tokens: 2
        }
    );
    let seen = &server.seen()[0];
    assert!(
        seen.head.starts_with("post /v1/chat/completions")
            && seen.head.contains("authorization: bearer sk-canary")
    );
    assert_eq!(
        seen.body["messages"][0],
        json!({ "role": "system", "content": "a persona\n\na date" })
    );
    assert_eq!(seen.body["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn ollama_is_given_its_context_size_and_gemini_its_own_address() {
    let lines = "{\"message\":{\"content\":\"a\",\"thinking\":\"hm\"}}\n{\"message\":{\"content\":\"b\"}}\n{\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":11,\"eval_count\":2}";
    let server = StandIn::start(vec![Script::stream(lines)]).await;
    let (answer, heard) = ask(&config(&server.url, "ollama/llama3.1:8b", &[]), &prompt()).await;
    assert_eq!(heard, [text("a"), text("b")]);
    assert_eq!(
        answer.unwrap().usage,
        Usage {
            input_tokens: 11,
            output_tokens: 2
        }
    );
    let seen = &server.seen()[0];
    assert!(seen.head.starts_with("post /api/chat "));
    assert_eq!(seen.body["options"]["num_ctx"], 4100);
    assert_eq!(seen.body["think"], false);

    let server = StandIn::start(vec![Script::stream(
        "data: {\"choices\":[{\"delta\":{\"content\":\"g\"}}]}\n\ndata: [DONE]\n\n",
    )])
    .await;
    let answer = ask(
        &config(&server.url, "gemini/gemini-2.5-flash", &[]),
        &prompt(),
    )
    .await
    .0
    .unwrap();
    assert_eq!(answer.text, "g");
    assert!(
        answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0,
        "estimated when not told"
    );
    assert!(
        server.seen()[0]
            .head
            .starts_with("post /gemini/chat/completions")
    );
}

#[tokio::test]
async fn echo_needs_nobody() {
    let (answer, heard) = ask(&config("http://127.0.0.1:9", "echo", &[]), &prompt()).await;
    assert_eq!(answer.unwrap().text, "hello");
    assert_eq!(heard, [text("hello")]);
}

#[tokio::test]
async fn what_passes_is_retried_and_what_does_not_fails_over() {
    for (first, requests) in [
        (
            Script::error(429, "rate_limit_error").header("retry-after", "0"),
            1,
        ),
        (Script::error(500, "api_error"), 1),
        (Script::error(529, "overloaded_error"), 1),
        (Script::anthropic("", false), 1),
        (Script::stream("nonsense\n\n"), 1),
        (Script::stream("data: {nonsense\n\n"), 1),
        (Script::json(200, "<html>"), 1),
    ] {
        let server = StandIn::start(vec![first, Script::anthropic("fine", true)]).await;
        let answer = ask(&config(&server.url, CLAUDE, &["echo"]), &prompt())
            .await
            .0
            .unwrap();
        assert_eq!(
            (answer.model.as_str(), server.seen().len()),
            (CLAUDE, requests + 1)
        );
    }
    for first in [
        Script::error(400, "invalid_request_error"),
        Script::error(401, "authentication_error"),
        Script::error(404, "not_found_error"),
        Script::json(
            429,
            r#"{"error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
        ),
        Script::json(
            400,
            r#"{"error":{"message":"You have reached your specified API usage limits."}}"#,
        ),
        Script::error(402, "billing_error"),
        Script::error(500, "api_error").header("x-should-retry", "false"),
        Script::error(429, "rate_limit_error").header("retry-after", "3600"),
        Script::stream(
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\"}}\n\n",
        ),
    ] {
        let server = StandIn::start(vec![first, Script::anthropic("not asked", true)]).await;
        let answer = ask(&config(&server.url, CLAUDE, &["echo"]), &prompt())
            .await
            .0
            .unwrap();
        assert_eq!(
            (answer.model.as_str(), server.seen().len()),
            ("echo/echo", 1)
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_taken_back_and_begun_anew() {
    let error = "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let mut with_error = Script::anthropic("half", false);
    with_error = with_error.then(error);
    for first in [Script::anthropic("half", false), with_error] {
        let server = StandIn::start(vec![first, Script::anthropic("whole", true)]).await;
        let (answer, heard) = ask(&config(&server.url, CLAUDE, &[]), &prompt()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.text, "whole");
        assert_eq!(heard, [text("half"), Delta::Restart, text("whole")]);
        assert_eq!(answer.wasted.len(), 1, "what broke off was paid for too");
    }
}

#[tokio::test]
async fn silence_and_absence_are_told_apart_and_the_first_models_failure_is_explained() {
    let server = StandIn::start(vec![Script::stream("").stalling()]).await;
    let mut impatient = config(&server.url, CLAUDE, &[]);
    impatient.timeout = Duration::from_millis(50);
    assert_eq!(ask(&impatient, &prompt()).await.0, Err(Error::TimedOut));
    assert_eq!(server.seen().len(), 2, "asked twice, no more");

    // A port that was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = config(&format!("http://{free}"), CLAUDE, &[]);
    assert_eq!(ask(&nobody, &prompt()).await.0, Err(Error::Unreachable));

    let server = StandIn::start(vec![
        Script::error(402, "billing_error"),
        Script::error(401, "authentication_error"),
    ])
    .await;
    let both = config(&server.url, CLAUDE, &["openai/gpt-x"]);
    assert_eq!(ask(&both, &prompt()).await.0, Err(Error::SpendCap));
}

#[tokio::test]
async fn a_model_that_cannot_take_the_question_is_asked_in_another_form() {
    let too_long =
        r#"{"error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#;
    let server = StandIn::start(vec![
        Script::json(400, too_long),
        Script::anthropic("short", true),
    ])
    .await;
    let config_ = config(&server.url, CLAUDE, &[]);
    assert_eq!(ask(&config_, &prompt()).await.0.unwrap().text, "short");
    assert_eq!(
        server.seen()[1].body["messages"].as_array().unwrap().len(),
        1
    );

    let temperature =
        r#"{"error":{"type":"invalid_request_error","message":"temperature is not supported"}}"#;
    let server = StandIn::start(vec![
        Script::json(400, temperature),
        Script::anthropic("cool", true),
    ])
    .await;
    assert_eq!(
        ask(&config(&server.url, CLAUDE, &[]), &prompt())
            .await
            .0
            .unwrap()
            .text,
        "cool"
    );
    assert!(
        server.seen()[0].body["temperature"].is_number()
            && server.seen()[1].body["temperature"].is_null()
    );

    let mut seeing = prompt();
    seeing.utterances[2].images.push(Image {
        media_type: "image/png".into(),
        base64: "AAAA".into(),
    });
    let server = StandIn::start(vec![
        Script::error(400, "invalid_request_error"),
        Script::anthropic("blind", true),
    ])
    .await;
    assert_eq!(
        ask(&config(&server.url, CLAUDE, &[]), &seeing)
            .await
            .0
            .unwrap()
            .text,
        "blind"
    );
    assert_eq!(
        server.seen()[0].body["messages"][2]["content"][0]["source"]["media_type"],
        "image/png"
    );
    assert_eq!(
        server.seen()[1].body["messages"][2]["content"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn dropping_the_future_ends_the_request() {
    let server = StandIn::start(vec![Script::anthropic("half", false).stalling()]).await;
    let models = Models::new(&config(&server.url, CLAUDE, &[]), client());
    let (sender, mut receiver) = mpsc::channel(4);
    let prompt = prompt();
    let running = models.complete_until(&prompt, sender, std::future::pending());
    tokio::select! {
        answer = running => panic!("a stalled answer came: {answer:?}"),
        heard = receiver.recv() => assert_eq!(heard, Some(text("half"))),
    }
    assert_eq!(
        receiver.recv().await,
        None,
        "the stream went with its future"
    );
}

#[tokio::test]
async fn dead_models_are_found_before_a_member_does() {
    let list = r#"{"data":[{"id":"claude-haiku-4-5-20251001"},{"id":"claude-sonnet-5"},{"id":"claude-sonnet-4-6"}]}"#;
    let server = StandIn::start(vec![Script::json(200, list)]).await;
    let config = config(
        &server.url,
        CLAUDE,
        &["anthropic/claude-sonnet-4-5", "echo"],
    );
    let findings = Models::new(&config, client()).check(None).await;
    assert_eq!(
        findings,
        [ModelFinding {
            model: "anthropic/claude-sonnet-4-5".parse().unwrap(),
            trouble: Trouble::Unknown {
                successor: Some("claude-sonnet-4-6".into())
            },
        }]
    );
    assert!(
        server.seen()[0]
            .head
            .starts_with("get /v1/models?limit=1000")
    );

    let server = StandIn::start(vec![Script::error(401, "authentication_error")]).await;
    let config = standin::config(&server.url, CLAUDE, &[]);
    let findings = Models::new(&config, client()).check(None).await;
    assert_eq!(findings[0].trouble, Trouble::Unasked(Error::Unauthorized));
}

#[test]
fn lists_of_models_come_in_three_shapes() {
    let ollama = catalog::ids(&json!({ "models": [{ "name": "llama3.1:latest" }] })).unwrap();
    assert!(missing(vec!["ollama/llama3.1".parse().unwrap()], &ollama).is_empty());
    let gemini = catalog::ids(&json!({ "data": [{ "id": "models/gemini-2.5-flash" }] })).unwrap();
    assert!(missing(vec!["gemini/gemini-2.5-flash".parse().unwrap()], &gemini).is_empty());
    assert_eq!(
        missing(vec!["gemini/gemini-2.5".parse().unwrap()], &gemini).len(),
        1
    );
    assert_eq!(catalog::ids(&json!({ "nothing": 1 })), None);
}

#[test]
fn every_refusal_has_its_meaning() {
    let limited = Error::RateLimited { retry_after: None };
    for (status, body, error) in [
        (400, "{}", Error::Rejected { status: 400 }),
        (
            400,
            r#"{"error":{"code":"context_length_exceeded"}}"#,
            Error::TooLong,
        ),
        (
            400,
            r#"{"error":{"message":"Your credit balance is too low"}}"#,
            Error::SpendCap,
        ),
        (
            400,
            r#"[{"error":{"message":"API key not valid. Please pass a valid API key."}}]"#,
            Error::Unauthorized,
        ),
        (401, "", Error::Unauthorized),
        (402, "", Error::SpendCap),
        (403, "garbage", Error::Unauthorized),
        (
            404,
            r#"{"error":"model 'x' not found"}"#,
            Error::UnknownModel,
        ),
        (408, "", Error::TimedOut),
        (413, "", Error::TooLong),
        (429, "", limited.clone()),
        (
            429,
            r#"{"error":{"code":"insufficient_quota"}}"#,
            Error::SpendCap,
        ),
        (
            429,
            r#"[{"error":{"status":"RESOURCE_EXHAUSTED"}}]"#,
            limited,
        ),
        (500, "", Error::Failing { status: 500 }),
        (502, "<html>", Error::Failing { status: 502 }),
        (503, "", Error::Overloaded),
        (504, "", Error::TimedOut),
        (529, "", Error::Overloaded),
    ] {
        assert_eq!(refusal(status, body, None), error, "{status} {body}");
    }
    assert_eq!(
        stream_error(&json!({ "error": { "type": "overloaded_error" } })),
        Error::Overloaded
    );
    assert_eq!(
        stream_error(&json!({ "error": "anything" })),
        Error::Failing { status: 500 }
    );
}

#[test]
fn pauses_obey_the_server_and_grow() {
    let config = config("http://127.0.0.1:9", CLAUDE, &[]);
    let hinted = Failure::from(Error::RateLimited {
        retry_after: Some(Duration::from_secs(7)),
    });
    assert_eq!(
        pause(&hinted, 0, &config, 0.0),
        Some(Duration::from_secs(7))
    );
    assert_eq!(pause(&hinted, 3, &config, 0.0), None);
    let overloaded = Failure::from(Error::Overloaded);
    assert!(pause(&overloaded, 2, &config, 0.0) > pause(&overloaded, 0, &config, 0.0));
    assert_eq!(
        pause(&Failure::from(Error::SpendCap), 0, &config, 0.0),
        None
    );
    let mut insisting = Failure::from(Error::SpendCap);
    insisting.should_retry = Some(true);
    assert_eq!(pause(&insisting, 0, &config, 0.0), None);
}

#[test]
fn the_order_depends_on_the_choice_and_names_nobody_twice() {
    let config = config(
        "http://127.0.0.1:9",
        CLAUDE,
        &["openai/small", CLAUDE, "echo"],
    );
    let names = |choice: &Choice| {
        order(&config, choice)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&Choice::Usual), [CLAUDE, "openai/small", "echo/echo"]);
    assert_eq!(
        names(&Choice::Cheaper),
        ["openai/small", CLAUDE, "echo/echo"]
    );
    let own = Choice::Named("ollama/own".parse().unwrap());
    assert_eq!(
        names(&own),
        ["ollama/own", CLAUDE, "openai/small", "echo/echo"]
    );
}

#[test]
fn settings_are_read_forgivingly_and_problems_gathered() {
    let mut env = Env::from_map([
        ("LLM_MODEL", "claude-sonnet-4-5"),
        (
            "LLM_FALLBACK_MODEL",
            "ollama_chat/llama3.1, openai/gpt-4o-mini",
        ),
        ("ANTHROPIC_API_KEY", "sk-canary"),
        ("OPENAI_BASE_URL", "http://192.168.1.5:1234"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080/v1/"),
        ("OLLAMA_BASE_URL", "http://nas:11434/api"),
    ]);
    let config = Config::read(&mut env);
    assert!(
        env.finish().is_ok(),
        "a compatible server in the house needs no key"
    );
    assert_eq!(config.model.to_string(), "anthropic/claude-sonnet-4-5");
    assert_eq!(config.fallbacks[0].to_string(), "ollama/llama3.1");
    assert_eq!(config.openai.base_url, "http://192.168.1.5:1234/v1");
    assert_eq!(config.anthropic.base_url, "http://127.0.0.1:8080");
    assert_eq!(config.ollama.base_url, "http://nas:11434");
    assert!(config.is_free(&config.fallbacks[1]) && config.is_free(&config.fallbacks[0]));
    assert!(!format!("{config:?}").contains("sk-canary"));

    let mut env = Env::from_map([
        ("LLM_MODEL", "nobody/x"),
        ("LLM_FALLBACK_MODEL", "gemini/g,what"),
        ("OPENAI_BASE_URL", "ftp://x"),
    ]);
    Config::read(&mut env);
    let names: Vec<_> = env
        .finish()
        .unwrap_err()
        .iter()
        .map(|problem| problem.name)
        .collect();
    for name in [
        "LLM_MODEL",
        "LLM_FALLBACK_MODEL",
        "OPENAI_BASE_URL",
        "GEMINI_API_KEY",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}

proptest! {
    /// Whatever the network does to the bytes, the events are the same.
    #[test]
    fn events_survive_any_cut(texts in proptest::collection::vec("[a-z あ😀]{0,12}", 0..8), cuts in proptest::collection::vec(1_usize..9, 1..40), crlf: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let written = texts.iter().map(|text| format!("event: x{end}data: {text}{end}: note{end}{end}"));
        let stream = written.collect::<Vec<_>>().concat();
        let (mut lines, mut events, mut found) = (Lines::default(), Events::default(), Vec::new());
        let (mut rest, mut cuts) = (stream.as_bytes(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            rest = next;
            lines.push(piece).unwrap();
            while let Some(line) = lines.next() {
                found.extend(events.line(&line));
            }
        }
        prop_assert_eq!(found, texts);
    }

    /// Reasoning is gone and the answer is whole, wherever the stream is cut.
    #[test]
    fn thinking_is_taken_out_at_any_cut(hidden in "[a-z<>/ あ]{0,20}", answer in "[a-zA-Z>`あ][a-z< `>あ]{0,20}", size in 1_usize..7, form in 0..3) {
        prop_assume!(!hidden.contains("think") && !answer.contains("think"));
        // A quoted tag is talked about, so it says nothing of what came before it.
        let form = if answer.contains("`<") { 0 } else { form };
        let stream = match form {
            0 => format!("<think>{hidden}</think>\n\n{answer}"),
            1 => format!("{hidden}</think>\n{answer}"),
            _ => format!("<Thinking>{hidden}</THINKING>{answer}"),
        };
        let (mut thinking, mut shown) = (Thinking::default(), String::new());
        let letters: Vec<char> = stream.chars().collect();
        let mut news: Vec<Shown> = letters.chunks(size).flat_map(|piece| thinking.feed(&piece.iter().collect::<String>())).collect();
        news.extend(thinking.finish());
        for news in news {
            match news {
                Shown::Text(text) => shown.push_str(&text),
                Shown::Void => shown.clear(),
            }
        }
        prop_assert_eq!(shown.trim_start(), answer.trim_start());
    }
}

#[test]
fn a_tag_that_is_talked_about_stays_and_a_line_without_end_is_refused() {
    let mut thinking = Thinking::default();
    let mut shown = thinking.feed("the tag `<think>` is for reasoning, 1 < 2");
    shown.extend(thinking.finish());
    assert_eq!(
        shown,
        [Shown::Text(
            "the tag `<think>` is for reasoning, 1 < 2".into()
        )]
    );
    assert!(Thinking::default().feed("<think>for ever").is_empty());

    let mut lines = Lines::default();
    let endless = vec![b'x'; 1024 * 1024 + 1];
    lines.push(&endless).unwrap();
    assert_eq!(lines.next(), None);
    assert_eq!(lines.push(b"x"), Err(Error::Malformed));
}
