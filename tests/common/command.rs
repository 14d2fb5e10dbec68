//! The command as a person or a service manager runs it: what it says, and processes that stay until they are told to end.

#![allow(dead_code, reason = "each test uses some of it")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

pub fn throng<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Output {
    throng_in(Path::new("."), args)
}

/// Runs it in a directory.
pub fn throng_in<A: AsRef<std::ffi::OsStr>>(dir: &Path, args: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_throng"))
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the binary was built for this test")
}

/// Runs it; what it says on standard output. It must succeed.
pub fn good<A: AsRef<std::ffi::OsStr> + std::fmt::Debug>(args: &[A]) -> String {
    let output = throng(args);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

/// Ports that were free a moment ago.
pub fn ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("its address").port()).collect()
}

/// A command that stays, killed at the end of the test whatever happens.
pub struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it has said.
    pub said: String,
}

impl Running {
    /// Starts it, and waits for a line that begins like this.
    pub fn start(args: &[String], until: &str) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_throng"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary was built for this test");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let (mut line, mut said) = (String::new(), String::new());
        while !line.starts_with(until) {
            line.clear();
            assert!(out.read_line(&mut line).expect("text") > 0, "{args:?} ended");
            said.push_str(&line);
        }
        Running { child, out, said }
    }

    /// Asks it to end; the exit status, and what else it said.
    pub fn end(mut self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signalled");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ended").code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
