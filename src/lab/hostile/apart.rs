//! The process of hostile peers: the line to it, and the loop in it.
//!
//! The line is the child's standard input, one end of a pair of Unix sockets: the plan goes one way in one line of JSON, what
//! they did comes back ten times a second, a line each. When the line ends, the child ends.

use super::{Crowd, Plan, Told};
use crate::lab::machine;
use crate::types::Time;
use mio::{Events, Interest};
use parking_lot::Mutex;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often they tell what they did.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// The longest line either way: a plan with ten thousand keys.
const LINE_BYTES_MAX: u64 = 1 << 21;

/// Hostile peers in a process of their own. Dropping it ends them.
pub struct Apart {
    child: Child,
    line: UnixStream,
    mirror: Arc<Mirror>,
    listener: Option<JoinHandle<()>>,
}

/// What was told last, and whether no more will come.
#[derive(Default)]
struct Mirror {
    told: Mutex<(Told, bool)>,
}

impl Apart {
    /// Starts the process and lets them loose.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn start(program: &Path, plan: &Plan) -> io::Result<Apart> {
        let (line, its) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.arg("hostile").stdin(Stdio::from(OwnedFd::from(its))).stdout(Stdio::null()).process_group(0);
        let child = command.spawn()?;
        let mirror = Arc::new(Mirror::default());
        let mut apart = Apart { child, line, mirror: mirror.clone(), listener: None };
        let reader = BufReader::new(apart.line.try_clone()?);
        let mut plan = serde_json::to_vec(plan)?;
        plan.push(b'\n');
        (&apart.line).write_all(&plan)?;
        let thread = thread::Builder::new().name("hostile".to_owned());
        apart.listener = Some(thread.spawn(move || follow(reader, &mirror))?);
        Ok(apart)
    }

    /// What they did, as of the last time that they told.
    pub fn told(&self) -> Told {
        self.mirror.told.lock().0.clone()
    }

    /// Whether their process is gone, which nobody has asked for.
    pub fn is_gone(&self) -> bool {
        self.mirror.told.lock().1
    }

    /// Ends them; what they did.
    pub fn stop(mut self) -> Told {
        self.end();
        self.told()
    }

    fn end(&mut self) {
        let _ = self.line.shutdown(Shutdown::Write); // it may be gone
        if let Some(listener) = self.listener.take()
            && listener.join().is_err()
        {
            tracing::error!("the thread that listens to the hostile peers panicked");
        }
        if !self.is_gone() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads what is told until the line ends.
fn follow(mut reader: BufReader<UnixStream>, mirror: &Mirror) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let told = match (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(count) if count > 0 => serde_json::from_slice(&line).ok(),
            _ => None,
        };
        let mut mirrored = mirror.told.lock();
        match told {
            Some(told) => mirrored.0 = told,
            None => mirrored.1 = true,
        }
        if mirrored.1 {
            return;
        }
    }
}

/// The child's part: takes the plan from standard input, and lets them loose until the line ends.
///
/// # Errors
/// In words: standard input is no such line, or the plan cannot be followed.
pub fn serve() -> Result<(), String> {
    let strange = |error: io::Error| format!("standard input is not the line of a stress run: {error}");
    let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(strange)?);
    let mut text = Vec::new();
    let mut reader = BufReader::new(line.try_clone().map_err(strange)?);
    (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(strange)?;
    let plan: Plan = serde_json::from_slice(&text).map_err(|error| strange(error.into()))?;
    machine::raise_descriptor_limit();
    let mut crowd = Crowd::new(&plan)?;
    let token = crowd.token_end();
    let mut watched = mio::net::UnixStream::from_std(line.try_clone().map_err(strange)?);
    crowd.registry().register(&mut watched, token, Interest::READABLE).map_err(strange)?;
    let (mut events, mut next) = (Events::with_capacity(1024), Time::default());
    loop {
        crowd.turn(&mut events).map_err(|error| format!("the event poll failed: {error}"))?;
        let over = events.iter().any(|event| event.token() == token) && is_over(&line);
        let now = crowd.now();
        if now >= next || over {
            next = now + TELL_EVERY;
            tell(&line, &crowd.told());
        }
        if over {
            return Ok(());
        }
    }
}

/// Says what they did. Waits if the other side is stuck: then nobody measures anything.
fn tell(mut line: &UnixStream, told: &Told) {
    let Ok(mut text) = serde_json::to_vec(told) else { return };
    text.push(b'\n');
    let _ = line.write_all(&text); // whoever is gone hears nothing
}

/// Whether the other side has ended the line, of which something is to be read.
fn is_over(mut line: &UnixStream) -> bool {
    match line.read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::Interrupted,
    }
}
