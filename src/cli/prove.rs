//! `throng account --prove`: an account as a quorum signed it, whatever the node says that is asked.

use super::files::refused;
use super::talk::{AccountArgs, show_account};
use super::{AGAINST, BAD_INPUT, INTERRUPTED};
use crate::api::{AccountEvidence, http};
use crate::home::{self, HomeError};
use crate::lab::Interrupt;
use crate::types::AccountNumber;
use crate::wire::chain_id;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long it takes until what was not there yet is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// The least time for an answer, also where time is up.
const ANSWER_MIN: Duration = Duration::from_millis(100);

/// A node that is asked over HTTP, and until when.
struct Asked<'a> {
    address: &'a str,
    patience: Duration,
    until: Instant,
    interrupt: &'a Interrupt,
}

fn fail(status: u8, line: &str) -> u8 {
    eprintln!("throng: {line}");
    status
}

impl Asked<'_> {
    /// The document that a path has. A node that is busy, not ready yet or asked too often is asked again.
    #[allow(clippy::disallowed_methods, reason = "a person waits so long")]
    fn get(&self, path: &str) -> Result<Value, u8> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now()).max(ANSWER_MIN);
            let answer = http::get(self.address, path, left, &|| self.interrupt.is_raised());
            let (status, body) = answer.map_err(|error| match error {
                http::HttpError::Interrupted => fail(INTERRUPTED, "interrupted: there is no proof yet"),
                error => fail(BAD_INPUT, &error.to_string()),
            })?;
            let document: Value = serde_json::from_slice(&body).map_err(|_| self.strange())?;
            if status == 200 {
                return Ok(document);
            }
            let words = document["error"].as_str().ok_or_else(|| self.strange())?;
            if !matches!(status, 429 | 503) {
                return Err(fail(BAD_INPUT, words));
            }
            self.rest(words)?;
        }
    }

    /// Waits a moment before the node is asked again, unless time is up.
    #[allow(clippy::disallowed_methods, reason = "a person waits so long")]
    fn rest(&self, why: &str) -> Result<(), u8> {
        if Instant::now() + AGAIN > self.until {
            return Err(fail(AGAINST, &format!("no proof within {:?}: {why}", self.patience)));
        }
        match self.interrupt.wait(AGAIN) {
            true => Err(fail(INTERRUPTED, &format!("interrupted: there is no proof yet: {why}"))),
            false => Ok(()),
        }
    }

    fn strange(&self) -> u8 {
        fail(BAD_INPUT, &format!("what listens at {} is no HTTP server of a node", self.address))
    }

    /// What proves an account, once there is something.
    fn evidence(&self, number: AccountNumber) -> Result<AccountEvidence, u8> {
        loop {
            let document = self.get(&format!("/v1/account/{number}"))?;
            if let Some(evidence) = document.get("proof") {
                return serde_json::from_value(evidence.clone()).map_err(|_| self.strange());
            }
            self.rest(document["no_proof"].as_str().ok_or_else(|| self.strange())?)?;
        }
    }
}

/// Asks for a proof until there is one, checks it by the genesis, and prints what it proves.
#[allow(clippy::disallowed_methods, reason = "a person waits so long")]
pub fn account(args: &AccountArgs, interrupt: &Interrupt) -> Result<(), u8> {
    let missing = || refused(&HomeError::Missing { key: "genesis", flag: "genesis".to_owned() });
    let path = args.node.genesis.as_deref().ok_or_else(missing)?;
    let genesis = home::read_genesis(path).map_err(|error| refused(&error))?;
    let patience = args.node.timeout;
    let asked = Asked { address: &args.http, patience, until: Instant::now() + patience, interrupt };
    let (wanted, status) = (chain_id(&genesis).to_string(), asked.get("/status")?);
    let found = status["chain"].as_str().ok_or_else(|| asked.strange())?;
    if found != wanted {
        let node = asked.address;
        let line = format!("the node at {node} is of chain {found}, but the genesis is of chain {wanted}");
        return Err(fail(BAD_INPUT, &line));
    }
    let number = AccountNumber(args.account);
    let proven = asked.evidence(number)?.check(&genesis, number);
    let proven = proven.map_err(|error| fail(AGAINST, &format!("the proof does not hold: {error}")))?;
    show_account(args, &proven.account, Some(&proven))
}
