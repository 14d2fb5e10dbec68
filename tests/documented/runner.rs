//! Runs the rows of a group, each once.

use super::command::{Running, throng_in};
use super::table::{BESIDES, Group, Row, TABLE};
use super::wire;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long something that has to come may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A file of the project.
pub fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A function of a source file, from its name to the end of its body.
pub fn body(source: &str, function: &str) -> String {
    let start =
        source.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("there is no test {function}"));
    let rest = &source[start..];
    let line = source[..start].rsplit('\n').next().unwrap_or_default();
    let indent: String = line.chars().take_while(|c| *c == ' ').collect();
    let end = rest.find(&format!("\n{indent}}}\n")).expect("a body ends");
    rest[..end].to_owned()
}

/// Text with its white space made one blank each.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first of so many ports, one after the other, that were free a moment ago. They lie below those that the system gives to
/// connections, which come and go meanwhile.
pub fn ports_in_a_row(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id().wrapping_mul(131);
    loop {
        let step = NEXT.fetch_add(u32::from(count), Relaxed);
        let first = 20_000 + (own.wrapping_add(step) % 12_000) as u16;
        if (0..count).all(|more| TcpListener::bind(("127.0.0.1", first + more)).is_ok()) {
            return first;
        }
    }
}

/// Runs the rows of a group in a directory of its own.
pub struct Runner {
    group: Group,
    dir: tempfile::TempDir,
    places: BTreeMap<&'static str, String>,
    said: BTreeMap<&'static str, String>,
}

impl Runner {
    pub fn new(group: Group) -> Runner {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("a path in UTF-8").to_owned();
        Runner { group, dir, places: BTreeMap::from([("dir", path)]), said: BTreeMap::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Says what a name in braces stands for.
    pub fn place(&mut self, name: &'static str, value: String) {
        self.places.insert(name, value);
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> + use<> {
        let group = self.group;
        TABLE.iter().chain(BESIDES).filter(move |row| row.group == group)
    }

    fn row(&self, command: &str) -> &'static Row {
        let row = self.rows().find(|row| row.command == command);
        let row = row.unwrap_or_else(|| panic!("the table has no {command} in {:?}", self.group));
        assert!(!self.said.contains_key(row.command), "{command} is run already");
        row
    }

    fn expand(&self, text: &str) -> String {
        self.places
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// The words of a row as they are run: all that is documented, and what is said besides.
    fn words(&self, row: &Row) -> Vec<String> {
        let mut filled = row.filled.iter();
        let mut word = |word: &str| {
            let shorter = row.shorter.iter().find(|(from, _)| *from == word);
            if let Some((_, to)) = shorter {
                return (*to).to_owned();
            }
            let stands = ["/tmp/chain", "127.0.0.1:34101", "DIR", "FILE", "HOST:PORT", "IP:PORT", "N"]
                .into_iter()
                .find(|name| {
                    word.strip_prefix(name)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ',']))
                });
            let Some(name) = stands else { return word.to_owned() };
            let value = filled.next().unwrap_or_else(|| panic!("{}: what stands {word} for?", row.command));
            word.replacen(name, value, 1)
        };
        let words: Vec<String> = row.command.split(' ').map(&mut word).collect();
        assert_eq!(filled.next(), None, "{}: more is filled in than stands for something", row.command);
        let more = row.more.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
        words.into_iter().chain(more).map(|word| self.expand(&word)).collect()
    }

    /// Runs a row to its end. It must succeed and say what it should.
    pub fn run(&mut self, command: &str) {
        let row = self.row(command);
        let words = self.words(row);
        let said = match words.as_slice() {
            [curl, address] if curl == "curl" => self.curl(address),
            _ => {
                let output = throng_in(self.dir.path(), &words);
                let (said, complaint) = (
                    String::from_utf8_lossy(&output.stdout).into_owned(),
                    String::from_utf8_lossy(&output.stderr).into_owned(),
                );
                // What a run under hostile peers judges by the clock, a busy machine need not keep.
                let judged = row.command.starts_with("stress") && output.status.code() == Some(1);
                assert!(output.status.success() || judged, "{words:?}: {said} {complaint}");
                said
            }
        };
        self.check(row, said);
    }

    fn curl(&self, address: &str) -> String {
        let path = address.strip_prefix("http://127.0.0.1:28100").expect("the first node of `throng up`");
        let answer = wire::get(self.places["http"].parse().expect("an address"), path);
        assert_eq!(answer.status, 200, "{answer:?}");
        String::from_utf8(answer.body).expect("text")
    }

    fn check(&mut self, row: &'static Row, said: String) {
        let (all, words) = (flat(&said), self.words(row));
        for says in row.says {
            let says = flat(&self.expand(says));
            assert!(all.contains(&says), "{words:?} does not say `{says}`: {said}");
        }
        self.said.insert(row.command, said);
    }

    /// Starts a row that stays, and waits for the line by which it is ready.
    pub fn start(&mut self, command: &str, ready: &str) -> Running {
        let row = self.row(command);
        let running = Running::start(&self.words(row), ready);
        self.check(row, running.said.clone());
        running
    }

    /// Runs the rows of the group before this one that were not run yet.
    pub fn run_until(&mut self, command: &str) {
        self.run_while(|before| before != command);
    }

    /// Runs the rows of the group that were not run yet.
    pub fn run_rest(&mut self) {
        self.run_while(|_| true);
    }

    fn run_while(&mut self, more: impl Fn(&str) -> bool) {
        let commands: Vec<_> =
            self.rows().map(|row| row.command).take_while(|command| more(command)).collect();
        for command in commands {
            if !self.said.contains_key(command) {
                self.run(command);
            }
        }
    }

    /// What a row printed.
    pub fn said(&self, command: &str) -> &str {
        &self.said[command]
    }

    /// Waits until the node at `{http}` calls itself healthy and sees all others.
    pub fn until_healthy(&self) {
        let server = self.places["http"].parse().expect("an address");
        let began = Instant::now();
        while wire::get(server, "/health").status != 200 || wire::get(server, "/status").json()["peers"] != 3
        {
            assert!(began.elapsed() < PATIENCE, "the chain does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn the_body_of_a_function_ends_where_it_ends() {
    let source = "fn a() {\n    one;\n}\n\nimpl X {\n    fn b() {\n        two;\n    }\n\n    fn c() {}\n}\n";
    assert_eq!((body(source, "a").contains("one"), body(source, "a").contains("two")), (true, false));
    assert!(body(source, "b").contains("two"));
}
