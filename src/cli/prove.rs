//! `throng account --prove`: an account as a quorum signed it, whatever the node says that is asked.

use super::files::refused;
use super::talk::{AccountArgs, show_account};
use super::{AGAINST, BAD_INPUT};
use crate::api::{AccountEvidence, http};
use crate::home::{self, HomeError};
use crate::types::AccountNumber;
use crate::wire::chain_id;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long it takes until a proof is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// The least time for an answer, also where time is up.
const ANSWER_MIN: Duration = Duration::from_millis(100);

/// A node that is asked over HTTP, and until when.
struct Asked<'a> {
    address: &'a str,
    until: Instant,
}

fn fail(status: u8, line: &str) -> u8 {
    eprintln!("throng: {line}");
    status
}

impl Asked<'_> {
    /// The document that a path has.
    #[allow(clippy::disallowed_methods, reason = "a person waits so long")]
    fn get(&self, path: &str) -> Result<Value, u8> {
        let left = self.until.saturating_duration_since(Instant::now()).max(ANSWER_MIN);
        let answer = http::get(self.address, path, left);
        let (status, body) = answer.map_err(|error| fail(BAD_INPUT, &error.to_string()))?;
        let document: Value = serde_json::from_slice(&body).map_err(|_| self.strange())?;
        if status == 200 {
            return Ok(document);
        }
        let words = document["error"].as_str().ok_or_else(|| self.strange())?;
        Err(fail(if status == 503 { AGAINST } else { BAD_INPUT }, words))
    }

    fn strange(&self) -> u8 {
        fail(BAD_INPUT, &format!("what listens at {} is no HTTP server of a node", self.address))
    }

    /// What proves an account, once there is something.
    #[allow(clippy::disallowed_methods, reason = "a person waits so long")]
    fn evidence(&self, number: AccountNumber, patience: Duration) -> Result<AccountEvidence, u8> {
        loop {
            let document = self.get(&format!("/v1/account/{number}"))?;
            if let Some(evidence) = document.get("proof") {
                return serde_json::from_value(evidence.clone()).map_err(|_| self.strange());
            }
            let why = document["no_proof"].as_str().ok_or_else(|| self.strange())?;
            if Instant::now() + AGAIN > self.until {
                return Err(fail(AGAINST, &format!("no proof within {patience:?}: {why}")));
            }
            std::thread::sleep(AGAIN);
        }
    }
}

/// Asks for a proof until there is one, checks it by the genesis, and prints what it proves.
#[allow(clippy::disallowed_methods, reason = "a person waits so long")]
pub fn account(args: &AccountArgs) -> Result<(), u8> {
    let missing = || refused(&HomeError::Missing { key: "genesis", flag: "genesis".to_owned() });
    let path = args.node.genesis.as_deref().ok_or_else(missing)?;
    let genesis = home::read_genesis(path).map_err(|error| refused(&error))?;
    let asked = Asked { address: &args.http, until: Instant::now() + args.node.timeout };
    let (wanted, status) = (chain_id(&genesis).to_string(), asked.get("/status")?);
    let found = status["chain"].as_str().ok_or_else(|| asked.strange())?;
    if found != wanted {
        let node = asked.address;
        let line = format!("the node at {node} is of chain {found}, but the genesis is of chain {wanted}");
        return Err(fail(BAD_INPUT, &line));
    }
    let number = AccountNumber(args.account);
    let proven = asked.evidence(number, args.node.timeout)?.check(&genesis, number);
    let proven = proven.map_err(|error| fail(AGAINST, &format!("the proof does not hold: {error}")))?;
    show_account(args, &proven.account, Some(&proven))
}
