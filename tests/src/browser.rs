//! A real browser, Debian's Chromium without a window: what a page looks like to it, what it complains of, and what
//! axe-core says about how it can be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::PATIENCE;
use crate::receivers::TOOLS;

/// How the owner has set the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark letters on light ground.
    Light,
    /// The other way round.
    Dark,
}

/// What a page became.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The document after its scripts ran.
    pub dom: String,
    /// What it said on the console, and what the browser refused.
    pub console: Vec<String>,
}

/// A browser with a profile of its own.
pub struct Browser {
    program: PathBuf,
    room: tempfile::TempDir,
}

impl Browser {
    /// Finds one.
    ///
    /// # Errors
    /// When none is installed.
    pub fn find() -> Result<Browser> {
        let places = ["chromium", "chromium-browser", "google-chrome"];
        let found = places
            .iter()
            .map(|name| Path::new("/usr/bin").join(name))
            .find(|path| path.exists());
        Ok(Browser {
            program: found.context("chromium is not here")?,
            room: tempfile::tempdir()?,
        })
    }

    /// Opens a page and lets `virtual_ms` pass for it, in which its clock and its timers run as if they were real.
    ///
    /// # Errors
    /// When the browser fails.
    pub fn show(&self, page: &Path, scheme: Scheme, virtual_ms: u64) -> Result<Shown> {
        let budget = format!("--virtual-time-budget={virtual_ms}");
        let (dom, said) = self.run(&[&budget, "--dump-dom"], page, scheme)?;
        let console = said.lines().filter(|line| line.contains("CONSOLE"));
        Ok(Shown {
            dom,
            console: console.map(str::to_owned).collect(),
        })
    }

    /// Opens a copy of a page with a script at its end, which leaves JSON in `window.told`.
    ///
    /// # Errors
    /// When the browser fails or the script leaves nothing.
    pub fn ask(&self, page: &str, script: &str, scheme: Scheme) -> Result<Value> {
        let copy = self.room.path().join("copy.html");
        let tail = format!(
            "<script>{script}</script><script>Promise.resolve(window.told).then(function(t){{var p=document.createElement('pre');p.id='told';p.textContent=encodeURIComponent(JSON.stringify(t));document.body.appendChild(p)}})</script></body>"
        );
        fs::write(&copy, page.replace("</body>", &tail))?;
        let shown = self.show(&copy, scheme, 20_000)?;
        let told = shown.dom.split("<pre id=\"told\">").nth(1);
        let told = told.and_then(|rest| rest.split('<').next());
        let told = told.with_context(|| format!("the script left nothing: {:?}", shown.console))?;
        Ok(serde_json::from_str(&decoded(told)?)?)
    }

    /// What axe-core finds wrong: rule, and the beginning of each element at fault.
    ///
    /// # Errors
    /// When the browser fails, or axe-core is not here.
    pub fn axe(&self, page: &str, scheme: Scheme) -> Result<Vec<String>> {
        let axe = fs::read_to_string(Path::new(TOOLS).join("axe.min.js"));
        let axe = axe
            .context("axe-core is not here")?
            .replace("</script", "<\\/script");
        let run = "window.told=axe.run(document,{preload:false}).then(function(r){return {passes:r.passes.length,wrong:r.violations.map(function(v){return v.id+': '+v.nodes.map(function(n){return n.html.slice(0,100)}).join(' | ')})}})";
        let told = self.ask(page, &format!("{axe}</script><script>{run}"), scheme)?;
        ensure!(
            told["passes"].as_u64() > Some(10),
            "axe-core hardly looked: {told}"
        );
        let wrong = told["wrong"].as_array().context("no list")?.iter();
        Ok(wrong
            .filter_map(|rule| rule.as_str().map(str::to_owned))
            .collect())
    }

    /// A picture of a page.
    ///
    /// # Errors
    /// When the browser fails.
    pub fn picture(&self, page: &Path, scheme: Scheme, size: (u32, u32), to: &Path) -> Result<()> {
        let (size, to) = (
            format!("--window-size={},{}", size.0, size.1),
            format!("--screenshot={}", to.display()),
        );
        let words = [
            size.as_str(),
            &to,
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
        ];
        self.run(&words, page, scheme).map(|_| ())
    }

    /// The page on paper, as a PDF.
    ///
    /// # Errors
    /// When the browser fails.
    pub fn paper(&self, page: &Path) -> Result<Vec<u8>> {
        let to = self.room.path().join("paper.pdf");
        let words = format!("--print-to-pdf={}", to.display());
        self.run(&[&words, "--no-pdf-header-footer"], page, Scheme::Dark)?;
        Ok(fs::read(to)?)
    }

    fn run(&self, words: &[&str], page: &Path, scheme: Scheme) -> Result<(String, String)> {
        let (out, err) = (self.room.path().join("out"), self.room.path().join("err"));
        let profile = format!(
            "--user-data-dir={}",
            self.room.path().join("profile").display()
        );
        let preferred = match scheme {
            Scheme::Dark => "--blink-settings=preferredColorScheme=0",
            Scheme::Light => "--blink-settings=preferredColorScheme=1",
        };
        let mut child = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-background-networking", "--disable-dev-shm-usage"])
            .args(["--enable-logging=stderr", "--v=0", &profile, preferred])
            .args(words)
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::create(&err)?)
            .spawn()
            .context("starting the browser")?;
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                bail!("the browser does not end");
            }
            thread::sleep(Duration::from_millis(20));
        };
        let said = String::from_utf8_lossy(&fs::read(&err)?).into_owned();
        ensure!(status.success(), "the browser failed: {said}");
        Ok((String::from_utf8_lossy(&fs::read(&out)?).into_owned(), said))
    }
}

/// `encodeURIComponent`, undone.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let hex = part.get(..2).context("half a byte")?;
        bytes.push(u8::from_str_radix(hex, 16)?);
        bytes.extend(part[2..].bytes());
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_tells_arrives_as_it_was() {
        assert_eq!(decoded("%7B%22a%22%3A1%7D").unwrap(), "{\"a\":1}");
        assert!(decoded("%7").is_err());
    }
}
