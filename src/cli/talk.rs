//! `throng status`, `throng account`, `throng send` and `throng watch`: what a person says to a node that runs.

use super::files::refused;
use super::table::grouped;
use super::{AGAINST, AGREED, BAD_INPUT, INTERRUPTED, prove, value};
use crate::api::{
    Client, ClientError, Proven, account_document, notice_document, status_document, transfers_document,
};
use crate::crypto;
use crate::home::{self, HomeError};
use crate::lab::Interrupt;
use crate::types::{Account, AccountNumber, Effect, Height, Witness};
use crate::wire::client::{Absent, BlockNotice, Refusal, Submission};
use crate::wire::{Rows, chain_id, transaction_digest};
use serde_json::json;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long one look for blocks lasts, so that Ctrl-C is heard.
const LOOK: Duration = Duration::from_millis(200);
/// The nonces of an account that may be under way at once.
const SENT_MAX: u64 = crate::types::NONCE_WINDOW;

/// Which node is asked.
#[derive(clap::Args, Clone, Debug)]
pub struct NodeArgs {
    /// A node's address for clients
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:27101")]
    node: String,
    /// How long an answer may take
    #[arg(long, value_name = "SPAN", value_parser = value::span, allow_hyphen_values = true, default_value = "10s")]
    pub(super) timeout: Duration,
    /// The genesis of the chain: a node of another chain is refused
    #[arg(long, value_name = "FILE")]
    pub(super) genesis: Option<PathBuf>,
}

impl NodeArgs {
    fn connect(&self) -> Result<Client, u8> {
        let genesis = self.genesis.as_deref().map(home::read_genesis).transpose();
        let wanted = genesis.map_err(|error| refused(&error))?.map(|genesis| chain_id(&genesis));
        let client = Client::connect(&self.node, self.timeout.max(Duration::from_millis(1)));
        let client = client.map_err(|error| no_answer(&error))?;
        if let Some(wanted) = wanted {
            client.must_be_of(wanted).map_err(|error| no_answer(&error))?;
        }
        Ok(client)
    }
}

/// The flags of `throng status`.
#[derive(clap::Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// The flags of `throng account`.
#[derive(clap::Args, Clone, Debug)]
pub struct AccountArgs {
    /// The account's number
    #[arg(value_name = "N", value_parser = value::number, allow_negative_numbers = true)]
    pub(super) account: u32,
    #[command(flatten)]
    pub(super) node: NodeArgs,
    /// Ask for a proof over HTTP, and check it with --genesis: what is printed then is the record at a checkpoint that a
    /// quorum signed, and no node's word. Waits for one up to --timeout
    #[arg(long, requires = "genesis")]
    prove: bool,
    /// A node's address for HTTP, for --prove
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:28100")]
    pub(super) http: String,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// The flags of `throng send`.
#[derive(clap::Args, Clone, Debug)]
pub struct SendArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The key of the sender, or a keyring, such as accounts.toml of `throng genesis`
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The account that pays
    #[arg(long, value_name = "N", value_parser = value::number, allow_negative_numbers = true)]
    from: u32,
    /// The account that is paid
    #[arg(long, value_name = "N", value_parser = value::number, allow_negative_numbers = true)]
    to: u32,
    /// How much
    #[arg(long, value_name = "AMOUNT", value_parser = value::count, allow_negative_numbers = true)]
    amount: u64,
    /// What the validator that settles it gets
    #[arg(long, value_name = "AMOUNT", value_parser = value::number, allow_negative_numbers = true, default_value_t = 1)]
    fee: u32,
    /// The number that keeps a transfer from being played twice; the next free one unless given
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true)]
    nonce: Option<u64>,
    /// So many transfers with nonces one after the other
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true, default_value_t = 1)]
    count: u64,
    /// Do not wait until they are settled
    #[arg(long)]
    no_wait: bool,
    /// Sign them, print them as POST /v1/tx takes them over HTTP, and submit nothing
    #[arg(long, conflicts_with = "no_wait")]
    print: bool,
}

/// The flags of `throng watch`.
#[derive(clap::Args, Clone, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// End after so many blocks
    #[arg(long, value_name = "N", value_parser = value::count, allow_negative_numbers = true)]
    blocks: Option<u64>,
    /// One JSON document a line for each block, instead of a line a second
    #[arg(long)]
    json: bool,
}

fn no_answer(error: &ClientError) -> u8 {
    eprintln!("throng: {error}");
    match error {
        ClientError::Lost { .. } => AGAINST,
        _ => BAD_INPUT,
    }
}

fn end(result: Result<(), u8>) -> u8 {
    result.err().unwrap_or(AGREED)
}

/// Runs `throng status`; the exit status.
pub fn status(args: &StatusArgs) -> u8 {
    end(args.node.connect().and_then(|mut client| {
        let status = client.status().map_err(|error| no_answer(&error))?;
        let certified = client.certificate(Height(0)).map_err(|error| no_answer(&error))?;
        let certified = certified.map(|certificate| certificate.height);
        let (absent, more) = client.absent().map_err(|error| no_answer(&error))?;
        let (chain, (seat, seats)) = (client.chain().to_string(), client.seat());
        // Account 0 is the sentinel: nobody's.
        let accounts = status.accounts.saturating_sub(1);
        if args.json {
            let who = (client.chain(), seat, seats.into());
            let mut document = status_document(who, &status, certified);
            document["node"] = json!(args.node.node);
            document["absent_more"] = json!(more);
            let absent = absent.iter().map(|Absent { seat, place, reason }| {
                json!({ "seat": seat.taken(), "place": place, "reason": reason })
            });
            document["absent"] = absent.collect();
            return super::print(&format!("{document:#}"));
        }
        let who = match seat.taken() {
            Some(seat) => format!("{seat} of {seats}"),
            None => format!("observer of {seats} validators"),
        };
        let certified =
            certified.map_or("no checkpoint yet".to_owned(), |height| format!("up to {}", grouped(height.0)));
        super::print(&format!(
            "chain      {chain}\nnode       {who}, {} validators connected\nheight     {}, block {}\n\
             certified  {certified}\naccounts   {}\npending    {} rows in the mempool{}",
            status.peers,
            grouped(status.height.0),
            status.hash,
            grouped(accounts.into()),
            grouped(status.pending.into()),
            of_absent(&absent, more),
        ))
    }))
}

/// Those of whom something is the matter, a line each.
fn of_absent(absent: &[Absent], more: u32) -> String {
    let line = |Absent { seat, place, reason }: &Absent| {
        let who = seat.taken().map_or("a node".to_owned(), |seat| format!("validator {seat}"));
        let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
        format!("\nabsent     {who}{place}: {reason}")
    };
    let more =
        if more > 0 { format!("\nabsent     and {} more", grouped(more.into())) } else { String::new() };
    absent.iter().map(line).chain([more]).collect()
}

/// Runs `throng account`; the exit status.
pub fn account(args: &AccountArgs, interrupt: &Interrupt) -> u8 {
    if args.prove {
        return end(prove::account(args, interrupt));
    }
    end(args.node.connect().and_then(|mut client| {
        let account = known(&mut client, args.account)?;
        show_account(args, &account, None)
    }))
}

pub(super) fn show_account(args: &AccountArgs, account: &Account, proven: Option<&Proven>) -> Result<(), u8> {
    if args.json {
        let mut document = account_document(AccountNumber(args.account), account);
        if let Some(Proven { height, votes, .. }) = proven {
            document["proven"] = json!({ "height": height, "votes": votes });
        }
        return super::print(&format!("{document:#}"));
    }
    let proof = proven.map_or(String::new(), |Proven { height, votes, .. }| {
        format!("\nproven   at height {}, signed by {votes} validators", grouped(height.0))
    });
    super::print(&format!(
        "account  {}\nkey      {}\nbalance  {}\nnonce    {} is the highest used{proof}",
        args.account,
        hex::encode(account.key),
        grouped(account.balance.get()),
        account.nonce_high.get(),
    ))
}

fn known(client: &mut Client, number: u32) -> Result<Account, u8> {
    let found = client.account(AccountNumber(number)).map_err(|error| no_answer(&error))?;
    // Account 0 is the sentinel: nobody's.
    found.filter(|_| number > 0).ok_or_else(|| {
        eprintln!(
            "throng: there is no account {number} on this chain; see `throng status` for how many there are"
        );
        BAD_INPUT
    })
}

/// Runs `throng send`; the exit status.
pub fn send(args: &SendArgs, interrupt: &Interrupt) -> u8 {
    end(send_all(args, interrupt))
}

fn send_all(args: &SendArgs, interrupt: &Interrupt) -> Result<(), u8> {
    let secret = home::read_secret(&args.keys).map_err(|error| refused(&error))?;
    let wrong = |line: String| refused(&HomeError::Flag(line));
    if !(1..=SENT_MAX).contains(&args.count) {
        return Err(wrong(format!(
            "--count must lie between 1 and {SENT_MAX}: more may not be under way at once"
        )));
    }
    let mut client = args.node.connect()?;
    let (from, to) = (known(&mut client, args.from)?, known(&mut client, args.to)?);
    let key = secret.key(args.from).filter(|key| crypto::public_key(key) == from.key).ok_or_else(|| {
        wrong(format!("{} has no key of account {} of this chain", args.keys.display(), args.from))
    })?;
    let first = args.nonce.unwrap_or_else(|| from.nonce_high.get().saturating_add(1));
    let nonces = first..=first.saturating_add(args.count - 1);
    let effects: Vec<Effect> = nonces
        .clone()
        .map(|nonce| Effect::transfer(args.from, args.to, args.amount, nonce, args.fee))
        .collect();
    let sign = |effect| {
        Witness(crypto::sign(&key, &transaction_digest(&client.chain(), effect, &from.key, &to.key)))
    };
    let witnesses: Vec<Witness> = effects.iter().map(sign).collect();
    if args.print {
        return super::print(&format!("{:#}", transfers_document(&effects, &witnesses)));
    }
    let rows = Submission::pack(Rows { effects: &effects, keys: &[], witnesses: &witnesses });
    let rows = rows.ok_or_else(|| wrong("--count is too large for one submission".to_owned()))?;
    client.subscribe().map_err(|error| no_answer(&error))?;
    if interrupt.is_raised() {
        eprintln!("throng: interrupted: nothing was submitted");
        return Err(INTERRUPTED);
    }
    let refusals = client.submit(rows).map_err(|error| no_answer(&error))?;
    if !refusals.is_empty() {
        eprintln!("throng: {}", refused_words(&nonces, &refusals));
        return Err(AGAINST);
    }
    if args.no_wait {
        return super::print(&format!("accepted: nonces {first} to {}", nonces.end()));
    }
    let (words, status) = match wait_for(args, interrupt, &mut client, &nonces)? {
        Waited::Settled(height, account) => {
            let (height, left) = (grouped(height.0), grouped(account.balance.get()));
            let words = format!(
                "settled, as this node has it at height {height}: account {} has {left} left",
                args.from
            );
            (words, Ok(()))
        }
        Waited::Late => {
            let (from, timeout) = (args.from, args.node.timeout);
            let words =
                format!("accepted, not settled within {timeout:?}: `throng account {from}` tells later");
            (words, Err(AGAINST))
        }
        Waited::Interrupted(settled) => {
            let settled = settled.map_or_else(
                || "how many have settled is not known".to_owned(),
                |settled| format!("{settled} of {} settled so far", args.count),
            );
            let words = format!(
                "interrupted: accepted nonces {first} to {}, {settled}: `throng account {}` tells later",
                nonces.end(),
                args.from
            );
            (words, Err(INTERRUPTED))
        }
    };
    super::print(&words)?;
    status
}

/// What was refused, and what was not: nobody should pay that a second time.
fn refused_words(nonces: &RangeInclusive<u64>, refusals: &[(u32, Refusal)]) -> String {
    let refused: BTreeSet<u64> =
        refusals.iter().map(|(index, _)| nonces.start() + u64::from(*index)).collect();
    let Some((index, reason)) = refusals.first() else { return String::new() };
    let nonce = nonces.start() + u64::from(*index);
    let more = match refusals.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let accepted: Vec<u64> = nonces.clone().filter(|nonce| !refused.contains(nonce)).collect();
    let rest = match (accepted.len(), nonces.start() == nonces.end()) {
        (_, true) => String::new(),
        (0, false) => "; none was accepted".to_owned(),
        (1, false) => format!("; one was accepted and settles by itself: nonce {}", spans(&accepted)),
        (some, false) => {
            format!("; {some} were accepted and settle by themselves: nonces {}", spans(&accepted))
        }
    };
    format!("the transfer of nonce {nonce} was refused: {}{more}{rest}", reason.words())
}

/// Ascending numbers, such as `3 to 5, 9`.
fn spans(numbers: &[u64]) -> String {
    let spans = numbers.chunk_by(|one, next| one + 1 == *next);
    let words = spans.filter_map(|span| match span {
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first} to {last}")),
        [] => None,
    });
    words.collect::<Vec<_>>().join(", ")
}

/// How a wait for transfers ended.
enum Waited {
    /// All are settled at this height, after which the account that pays is this.
    Settled(Height, Account),
    /// Time is up.
    Late,
    /// Somebody does not want to wait any longer. So many are settled on the node, if it says so.
    Interrupted(Option<usize>),
}

/// Waits until all nonces are used on the node, and the block that used them is durable there.
#[allow(clippy::disallowed_methods, reason = "a person waits so long")]
fn wait_for(
    args: &SendArgs,
    interrupt: &Interrupt,
    client: &mut Client,
    nonces: &RangeInclusive<u64>,
) -> Result<Waited, u8> {
    let until = Instant::now() + args.node.timeout;
    let settled = |account: &Account| nonces.clone().filter(|nonce| !account.accepts(*nonce)).count();
    while Instant::now() < until {
        if interrupt.is_raised() {
            let account = client.account(AccountNumber(args.from)).ok().flatten();
            return Ok(Waited::Interrupted(account.as_ref().map(settled)));
        }
        let Some(notice) = client.next_block(LOOK).map_err(|error| no_answer(&error))? else { continue };
        if notice.rows == 0 {
            continue;
        }
        let account = known(client, args.from)?;
        if nonces.clone().all(|nonce| !account.accepts(nonce)) {
            return Ok(Waited::Settled(notice.height, account));
        }
    }
    Ok(Waited::Late)
}

/// Runs `throng watch`; the exit status.
pub fn watch(args: &WatchArgs, interrupt: &Interrupt) -> u8 {
    end(follow(args, interrupt))
}

#[allow(clippy::disallowed_methods, reason = "a person watches the rates")]
fn follow(args: &WatchArgs, interrupt: &Interrupt) -> Result<(), u8> {
    let mut client = args.node.connect()?;
    client.subscribe().map_err(|error| no_answer(&error))?;
    let (mut left, mut seen, mut since) = (args.blocks.unwrap_or(u64::MAX), Vec::new(), Instant::now());
    while left > 0 && !interrupt.is_raised() {
        let notice = client.next_block(LOOK).map_err(|error| no_answer(&error))?;
        left -= u64::from(notice.is_some());
        match notice {
            Some(notice) if args.json => super::print(&notice_document(&notice).to_string())?,
            notice => seen.extend(notice),
        }
        let elapsed = since.elapsed();
        if !args.json && (elapsed >= Duration::from_secs(1) || left == 0) {
            let status = client.status().map_err(|error| no_answer(&error))?;
            super::print(&line(&seen, elapsed, status.height, status.pending, status.peers))?;
            seen.clear();
            since = Instant::now();
        }
    }
    Ok(())
}

fn line(seen: &[BlockNotice], elapsed: Duration, height: Height, pending: u32, peers: u16) -> String {
    let per_second = |count: u64| count as f64 / elapsed.as_secs_f64().max(1e-9);
    let rows: u64 = seen.iter().map(|notice| u64::from(notice.rows)).sum();
    let ok: u64 = seen.iter().map(|notice| u64::from(notice.ok)).sum();
    let failed = if ok < rows { format!(", {} of them failed", grouped(rows - ok)) } else { String::new() };
    format!(
        "height {:>9}  {:>5.1} blocks/s  {:>9} tx/s{failed}  pending {}  peers {peers}",
        grouped(height.0),
        per_second(seen.len() as u64),
        grouped(per_second(rows) as u64),
        grouped(pending.into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_is_told_beside_what_was_refused() {
        let refused = |of: &[u32]| of.iter().map(|index| (*index, Refusal::BadNonce)).collect::<Vec<_>>();
        let words = |of: &[u32]| refused_words(&(7..=11), &refused(of));
        assert!(words(&[0]).contains("of nonce 7 was refused: the nonce was used"));
        assert!(words(&[0]).ends_with("; 4 were accepted and settle by themselves: nonces 8 to 11"));
        assert!(
            words(&[1, 3])
                .ends_with(", and 1 more; 3 were accepted and settle by themselves: nonces 7, 9, 11")
        );
        assert!(words(&[0, 1, 2, 3]).ends_with("; one was accepted and settles by itself: nonce 11"));
        assert!(words(&[0, 1, 2, 3, 4]).ends_with(", and 4 more; none was accepted"));
        assert!(!refused_words(&(7..=7), &refused(&[0])).contains("accepted"), "there was one alone");
    }
}
