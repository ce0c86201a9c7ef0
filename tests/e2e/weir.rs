//! The real binary as a child process, and its HTTP API.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long a condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    let path = std::env::var_os("WEIR_BIN")
        .expect("WEIR_BIN names the weir binary to test: run these tests with `make test`");
    PathBuf::from(path)
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Standard error of a run that has to fail.
pub(crate) fn error_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

/// Waits until `condition` gives a value.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A long-running weir process with its doors.
pub(crate) struct Service {
    child: Child,
    doors: Value,
    ready: PathBuf,
    runtime: tokio::runtime::Runtime,
    http: reqwest::Client,
    log: PathBuf,
}

impl Service {
    /// Starts `weir ARGUMENTS --ready-file …` and waits until it serves. Its output goes to a file
    /// below `directory`.
    pub(crate) fn start(directory: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut service = Self::launch(directory, name, arguments, &[]);
        service.wait_until_ready();
        service
    }

    /// The same without waiting, with further variables in its environment. What earlier ones of
    /// that name have printed stays.
    pub(crate) fn launch(
        directory: &Path,
        name: &str,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let ready = directory.join(format!("{name}.ready"));
        let _ = std::fs::remove_file(&ready);
        let log = directory.join(format!("{name}.log"));
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new(binary())
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            doors: Value::Null,
            ready,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
            log,
        }
    }

    /// Waits until it serves.
    pub(crate) fn wait_until_ready(&mut self) {
        let Self { child, ready, log, .. } = self;
        self.doors = wait_for(&format!("{} to be written", ready.display()), || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("a process ended with {status}:\n{}", read(log));
            }
            serde_json::from_str(&std::fs::read_to_string(&*ready).ok()?).ok()
        });
    }

    /// The address of a door.
    pub(crate) fn door(&self, name: &str) -> &str {
        self.doors[name].as_str().unwrap_or_else(|| panic!("no door {name} in {}", self.doors))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// Sends a request; status and body.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let url = format!("http://{}{path}", self.door("http"));
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        })
    }

    /// The rows of a statement.
    pub(crate) fn sql(&self, statement: &str) -> Vec<Value> {
        self.try_sql(statement).unwrap_or_else(|problem| panic!("{statement}: {problem}"))
    }

    /// The same; what is wrong if there is no answer, or a warning with it.
    pub(crate) fn try_sql(&self, statement: &str) -> Result<Vec<Value>, String> {
        let body = json!({ "sql": statement, "format": "json" });
        let (status, text) = self.request("POST", "/api/v1/sql", Some(body));
        let answer: Value = match status {
            200 => serde_json::from_str(&text).unwrap(),
            _ => return Err(text),
        };
        match &answer["warnings"] {
            warnings if *warnings == json!([]) => Ok(answer["rows"].as_array().unwrap().clone()),
            warnings => Err(warnings.to_string()),
        }
    }

    /// The one number of a statement with one row and one column; null counts as 0.
    pub(crate) fn number(&self, statement: &str) -> u64 {
        let rows = self.sql(statement);
        let row = rows[0].as_object().unwrap();
        row.values().next().unwrap().as_u64().unwrap_or(0)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Asks it to end, and waits; its exit status.
    pub(crate) fn stop(mut self) -> std::process::ExitStatus {
        self.signal(Signal::TERM);
        let child = &mut self.child;
        wait_for("the process to stop", || child.try_wait().unwrap())
    }

    /// Kills it without a chance to clean up. It must not have ended before.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}:\n{}", self.log());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.signal(Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.child.try_wait().ok().flatten().is_none() {
                if Instant::now() > deadline {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), read(&self.log));
        }
    }
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        let _ = file.read_to_string(&mut text);
    }
    text
}
