use super::*;

#[test]
fn discord_is_recognised_however_it_is_written() {
    for written in [
        "https://discord.com",
        "https://discord.com/",
        "HTTPS://Discord.Com:443",
        " https://discord.com. ",
    ] {
        assert!(is_discord(written), "{written}");
    }
    for other in [
        "http://127.0.0.1:8080",
        "https://discord.com.evil.example",
        "http://discord.com",
        "https://discord.com:8443",
    ] {
        assert!(!is_discord(other), "{other}");
    }
}

#[test]
fn files_are_fetched_from_discord_alone() {
    let client = || reqwest::Client::builder().build().unwrap();
    let discord = Rest::new(client(), &SecretString::from("t"), "https://discord.com");
    assert!(discord.keeps_files_at("https://cdn.discordapp.com/attachments/1/2/a.txt?ex=1"));
    assert!(discord.keeps_files_at("https://media.discordapp.net/attachments/1/2/a.png"));
    for other in [
        "http://cdn.discordapp.com/a",
        "https://cdn.discordapp.com:8443/a",
        "https://cdn.discordapp.com.evil.example/a",
        "https://cdn.discordapp.com@127.0.0.1/a",
        "https://127.0.0.1/a",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "nonsense",
    ] {
        assert!(!discord.keeps_files_at(other), "{other}");
    }
    let elsewhere = Rest::new(client(), &SecretString::from("t"), "http://127.0.0.1:81/");
    assert!(elsewhere.keeps_files_at("http://127.0.0.1:81/attachments/1"));
    assert!(!elsewhere.keeps_files_at("http://127.0.0.1:82/attachments/1"));
}

#[test]
fn the_limiter_that_ignores_other_hosts_is_only_there_for_discord() {
    let client = || reqwest::Client::builder().build().unwrap();
    let elsewhere = Rest::new(client(), &SecretString::from("t"), "http://127.0.0.1:1/");
    assert!(elsewhere.is_elsewhere() && elsewhere.limiter.is_none());
    let discord = Rest::new(client(), &SecretString::from("t"), "https://discord.com/");
    assert!(!discord.is_elsewhere() && discord.limiter.is_some());
}

#[test]
fn a_message_that_cannot_be_read_ends_no_reading() {
    let message = |id: u64| serde_json::json!({"id": id.to_string(), "channel_id": "5"});
    let unreadable = serde_json::json!({"id": "100", "channel_id": {"no": "id"}});
    let mut told: Vec<_> = (1..100).rev().map(message).collect();
    told.insert(0, unreadable);
    let (messages, goes_on) = calls::page(told.clone(), 0);
    assert_eq!((messages[0].id.0, messages.len()), (1, 99));
    assert_eq!(goes_on, Some(100));
    // Fewer than Discord gives at once, or nothing new: that is the end.
    assert_eq!(calls::page(told.clone(), 100).1, None);
    told.pop();
    assert_eq!(calls::page(told, 0).1, None);
    assert_eq!(calls::page(Vec::new(), 0).1, None);
}
