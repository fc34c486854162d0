//! The owner's page in a real browser: nothing to complain of, usable by everybody, grey by itself when it is old.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tests::House;
use tests::browser::{Browser, Scheme};

use crate::status_story::a_month;

/// The page that the real program writes, and where it lies.
fn page(house: &House, language: &str) -> (String, PathBuf) {
    fs::remove_file(house.logs().join("status.html")).ok();
    let launch = house.program("log-shipper").env("LOG_SWEEP_SECONDS", "1");
    // The disk of the machine that runs this is not the story's.
    let launch = launch
        .env("LOG_MIN_FREE", "0")
        .env("BOT_LANGUAGE", language);
    let mut shipper = launch.env("LOG_MAX_TOTAL_SIZE", "200").start();
    let path = house.logs().join("status.html");
    let whole = shipper.poll("a page", |_| {
        let text = fs::read_to_string(&path).ok()?;
        text.contains("store.commit_failed").then_some(text)
    });
    shipper.stop().expect_code(0);
    drop(whole);
    (fs::read_to_string(&path).unwrap(), path)
}

/// A browser, or a loud word that there is none.
fn browser() -> Option<Browser> {
    match Browser::find() {
        Ok(browser) => Some(browser),
        Err(why) => {
            tests::skipped(&format!("{why:#}, so no browser looked at the status page"));
            None
        }
    }
}

#[test]
fn status_page_pleases_a_browser_and_axe_in_both_languages_and_schemes() {
    let Some(browser) = browser() else { return };
    let house = a_month();
    for language in ["ja", "en"] {
        let (text, path) = page(&house, language);
        for scheme in [Scheme::Light, Scheme::Dark] {
            let shown = browser.show(&path, scheme, 2_000).unwrap();
            assert!(shown.console.is_empty(), "{:#?}", shown.console);
            assert!(shown.dom.contains("store.commit_failed"));
            match browser.axe(&text, scheme) {
                Ok(wrong) => assert!(wrong.is_empty(), "{language} {scheme:?}: {wrong:#?}"),
                Err(why) if format!("{why:#}").contains("is not here") => {
                    tests::skipped(&format!("{why:#}, so nobody looked at accessibility"));
                }
                Err(why) => panic!("{why:#}"),
            }
        }
    }
    // The tool must be able to find something: an image without words.
    let spoiled = "<!doctype html><html><head></head><body><img src=\"data:,\"></body></html>";
    if let Ok(wrong) = browser.axe(spoiled, Scheme::Light) {
        assert!(
            wrong.iter().any(|rule| rule.starts_with("image-alt")),
            "{wrong:?}"
        );
    }
}

#[test]
fn status_page_greys_by_itself_when_it_is_old() {
    let Some(browser) = browser() else { return };
    let house = a_month();
    let (text, path) = page(&house, "ja");
    let body = |dom: &str| {
        let rest = dom.split("<body").nth(1).unwrap();
        rest.split('>').next().unwrap().to_owned()
    };
    let fresh = browser.show(&path, Scheme::Light, 5_000).unwrap();
    assert!(!body(&fresh.dom).contains("stale"), "{}", body(&fresh.dom));
    // Three hours later, in the same open window.
    let left_open = browser.show(&path, Scheme::Light, 3 * 3_600_000).unwrap();
    assert!(
        body(&left_open.dom).contains("stale"),
        "{}",
        body(&left_open.dom)
    );
    // A page that was written three hours ago, opened now.
    let written = text.split("data-written=\"").nth(1).unwrap();
    let written: i64 = written.split('"').next().unwrap().parse().unwrap();
    let old = text.replacen(
        &written.to_string(),
        &(written - 3 * 3_600_000).to_string(),
        1,
    );
    let script = "window.told={stale:document.body.className,shown:getComputedStyle(document.querySelector('.old')).display,grey:getComputedStyle(document.body).filter}";
    let told = browser.ask(&old, script, Scheme::Light).unwrap();
    assert_eq!(
        told,
        json!({"stale": "stale", "shown": "block", "grey": "grayscale(1)"})
    );
    let told = browser.ask(&text, script, Scheme::Light).unwrap();
    assert_eq!(told, json!({"stale": "", "shown": "none", "grey": "none"}));
}

#[test]
fn status_page_is_used_by_keyboard_and_printed() {
    let Some(browser) = browser() else { return };
    let house = a_month();
    let (text, path) = page(&house, "en");
    // Every table and every fold is reached by the keyboard, in the order of the page, and shows that it is.
    let script = "var f=[].slice.call(document.querySelectorAll('summary,[tabindex]'));window.told={reached:f.every(function(e){var d=e.closest('details');if(d&&e.tagName!='SUMMARY')d.open=true;e.focus();return document.activeElement===e}),count:f.length,jumps:f.filter(function(e){return e.tabIndex>0}).length,opens:(function(){var s=document.querySelector('summary'),b=s.parentNode.open;s.click();return s.parentNode.open!==b})(),wide:document.documentElement.scrollWidth<=document.documentElement.clientWidth}";
    let told = browser.ask(&text, script, Scheme::Light).unwrap();
    assert!(told["count"].as_u64() >= Some(5), "{told}");
    assert_eq!(told["reached"], true, "{told}");
    assert_eq!(told["jumps"], 0, "{told}");
    assert_eq!(told["opens"], true, "{told}");
    assert_eq!(
        told["wide"], true,
        "the page is wider than the window: {told}"
    );
    let paper = browser.paper(&path).unwrap();
    let pages = String::from_utf8_lossy(&paper)
        .matches("/Type /Page\n")
        .count();
    assert!(
        paper.starts_with(b"%PDF") && (1..=4).contains(&pages),
        "{pages} pages"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own errand, not a program's setting"
)]
fn pictures_wanted() -> Option<PathBuf> {
    std::env::var_os("STATUS_PICTURES").map(PathBuf::from)
}

/// `STATUS_PICTURES=docs` makes the pictures of `docs/status.md` anew.
#[test]
fn status_page_has_its_picture_taken() {
    let Some(browser) = browser() else { return };
    let room = tempfile::tempdir().unwrap();
    let to = pictures_wanted().map_or(room.path().to_owned(), |dir| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(dir)
    });
    let house = a_month();
    let (_, path) = page(&house, "ja");
    for (name, scheme, size) in [
        ("status-light.png", Scheme::Light, (1_100, 2_280)),
        ("status-dark.png", Scheme::Dark, (1_100, 2_280)),
        ("status-narrow.png", Scheme::Light, (500, 2_560)),
    ] {
        let picture = to.join(name);
        browser.picture(&path, scheme, size, &picture).unwrap();
        assert!(
            fs::metadata(&picture).unwrap().len() > 20_000,
            "{name} is empty"
        );
    }
}
