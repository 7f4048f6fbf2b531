//! A headless Chromium that is asked through its DevTools protocol.
//!
//! The protocol is JSON between two pipes, so no driver, no port and no client of another crate is
//! needed. Chromium ends when its pipes close, also if the test is killed.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// The names of the program in Debian, Ubuntu, Alpine and Fedora, and of Google's build.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Chromium answers in milliseconds. It is broken if it takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one tab.
pub(super) struct Browser {
    child: Child,
    requests: Option<ChildStdin>,
    messages: Receiver<Value>,
    session: Option<String>,
    last: u64,
    events: VecDeque<Value>,
    profile: tempfile::TempDir,
}

/// Where Chromium is. Returns `None`, and says so, if it is not installed.
pub(super) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let files = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let program = files.into_iter().find(|file| file.is_file());
    if program.is_none() {
        // The macros would leave it to the output of the test, which nobody sees if it passes.
        let why = "SKIPPED: Chromium is not installed (Debian's package chromium)\n";
        std::io::stderr().write_all(why.as_bytes()).expect("standard error");
    }
    program
}

impl Browser {
    /// Starts Chromium. Returns `None` if it is not installed.
    pub(super) fn start() -> Option<Self> {
        let program = installed()?;
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let errors = std::fs::File::create(profile.path().join("stderr")).expect("a file");
        let mut command = Command::new("sh");
        // It reads from the descriptor 3 and writes to 4.
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"]).arg(program);
        command.args([
            "--headless",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
        if rustix::process::getuid().is_root() {
            // Its sandbox does not start for root, as whom containers run tests.
            command.arg("--no-sandbox");
        }
        let mut child = command
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("Chromium starts");
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON of DevTools");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (session, events) = (None, VecDeque::new());
        let mut browser = Self { child, requests, messages, session, last: 0, events, profile };
        let tab = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn next(&mut self) -> Value {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(error) => {
                let errors = std::fs::read_to_string(self.profile.path().join("stderr"));
                panic!("no answer of Chromium: {error}\n{}", errors.unwrap_or_default())
            }
        }
    }

    /// Calls a method of the DevTools protocol.
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut request = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let requests = self.requests.as_mut().expect("an open pipe");
        write!(requests, "{request}\0").and_then(|()| requests.flush()).expect("Chromium reads");
        loop {
            let mut message = self.next();
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    /// Opens a file and waits until it is loaded.
    pub(super) fn open(&mut self, file: &Path) {
        self.events.clear();
        let url = format!("file://{}", file.display());
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push_back(event);
        }
    }

    /// Gives the tab this width, and the reader this preference of colours.
    pub(super) fn show_at(&mut self, width: u32, scheme: &str) {
        // A telephone ignores the width of its screen unless the page says that it fits.
        let metrics = json!({
            "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Returns the value of an expression in the page.
    pub(super) fn value(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Returns everything that the page did beyond showing itself: messages in the console, refused
    /// styles and scripts, errors, dialogs, new tabs and requests for other files.
    pub(super) fn acts(&mut self) -> Vec<String> {
        // What was there before the answer has arrived.
        let own = self.value("location.href");
        let is_act = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => event["params"]["request"]["url"] != own,
            method => [
                "Runtime.consoleAPICalled",
                "Runtime.exceptionThrown",
                "Log.entryAdded",
                "Page.javascriptDialogOpening",
                "Page.windowOpen",
                "Page.frameAttached",
                "Page.frameRequestedNavigation",
            ]
            .contains(&method),
        };
        self.events.iter().filter(is_act).map(Value::to_string).collect()
    }

    /// Prints the page on A4 and returns the PDF in base64.
    pub(super) fn pdf(&mut self) -> String {
        let paper = json!({"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": true});
        let printed = self.call("Page.printToPDF", paper);
        printed["data"].as_str().expect("a PDF").to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end with the first.
        drop(self.requests.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
