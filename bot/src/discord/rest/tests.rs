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
fn the_limiter_that_ignores_other_hosts_is_only_there_for_discord() {
    let client = || reqwest::Client::builder().build().unwrap();
    let elsewhere = Rest::new(client(), &SecretString::from("t"), "http://127.0.0.1:1/");
    assert!(elsewhere.is_elsewhere() && elsewhere.limiter.is_none());
    let discord = Rest::new(client(), &SecretString::from("t"), "https://discord.com/");
    assert!(!discord.is_elsewhere() && discord.limiter.is_some());
}
