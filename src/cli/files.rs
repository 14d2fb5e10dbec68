//! `throng keygen` and `throng genesis`.

use super::table::grouped;
use super::{AGAINST, AGREED, BAD_INPUT, bench::Verify, value};
use crate::crypto;
use crate::home::{self, HomeError, Layout, Written};
use crate::types::{Rules, Time};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The flags of `throng keygen`.
#[derive(clap::Args, Clone, Debug)]
pub struct KeygenArgs {
    /// Where the key goes: a new file, which only its owner may read
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The flags of `throng genesis`.
#[derive(clap::Args, Clone, Debug)]
pub struct GenesisArgs {
    /// How many validators are made here, each with a key and ports on this machine; or a TOML file that names those who
    /// made keys of their own: for each a block [[validator]] with key, as printed by keygen, and address, host:port
    #[arg(long, value_name = "N|FILE", allow_negative_numbers = true)]
    validators: String,
    #[command(flatten)]
    chain: ChainArgs,
    /// Where the chain's files go: a new or empty directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// What a new chain looks like, for `throng genesis` and `throng up`.
#[derive(clap::Args, Clone, Debug)]
pub struct ChainArgs {
    /// Accounts that exist from the start
    #[arg(long, value_name = "N", value_parser = value::number, allow_negative_numbers = true, default_value_t = 1000)]
    accounts: u32,
    /// What each of them has at first
    #[arg(long, value_name = "AMOUNT", value_parser = value::count, allow_negative_numbers = true, default_value_t = 1_000_000_000)]
    balance: u64,
    /// Who checks a transaction's signature
    #[arg(long, value_enum, default_value_t = Verify::Quorum)]
    verify: Verify,
    /// A name for people; it is part of what the chain id is the hash of
    #[arg(long, value_name = "NAME", default_value = "throng")]
    name: String,
    /// The first port of validators made here: node K takes this one + 2K for peers and the next one for clients
    #[arg(long, value_name = "PORT", default_value_t = 27_100)]
    port: u16,
}

impl ChainArgs {
    /// The layout of a chain that begins now.
    #[allow(clippy::disallowed_methods, reason = "a chain begins when a person makes it")]
    pub fn layout(&self) -> Layout {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Layout {
            name: self.name.clone(),
            time: Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)),
            rules: Rules { policy: self.verify.policy(), ..Rules::default() },
            accounts: self.accounts,
            balance: self.balance,
            port: self.port,
        }
    }
}

/// What `throng genesis --json` prints.
#[derive(Serialize)]
struct Document<'a> {
    chain: String,
    genesis: &'a Path,
    accounts: &'a Path,
    validators: &'a [PathBuf],
}

/// Runs `throng keygen`; the exit status.
pub fn keygen(args: &KeygenArgs) -> u8 {
    let made = home::new_key().and_then(|key| home::write_key(&args.file, &key).map(|()| key));
    match made {
        Ok(key) => super::print(&hex::encode(crypto::public_key(&key))).err().unwrap_or(AGREED),
        Err(error) => refused(&error),
    }
}

/// Runs `throng genesis`; the exit status.
pub fn genesis(args: &GenesisArgs) -> u8 {
    let known = match args.validators.parse() {
        Ok(count) => Ok(Err(count)),
        Err(_) if args.validators.starts_with('-') || args.validators.parse::<u64>().is_ok() => {
            let reason = format!(
                "--validators is {}, but must lie between 1 and 1024, or name a file",
                args.validators
            );
            Err(HomeError::Flag(reason))
        }
        Err(_) => home::read_validators(Path::new(&args.validators)).map(Ok),
    };
    match known.and_then(|known| home::write_chain(&args.out, &args.chain.layout(), known)) {
        Ok(written) => super::print(&words(args, &written)).err().unwrap_or(AGREED),
        Err(error) => refused(&error),
    }
}

fn words(args: &GenesisArgs, written: &Written) -> String {
    let Written { chain, genesis, keyring, folders } = written;
    if args.json {
        let document = Document { chain: chain.to_string(), genesis, accounts: keyring, validators: folders };
        return serde_json::to_string_pretty(&document).unwrap_or_else(|error| error.to_string());
    }
    let first =
        folders.first().map(|folder| folder.join("config.toml").display().to_string()).unwrap_or_default();
    let own_keys = args.validators.parse::<u16>().is_err();
    let mut lines = vec![
        format!("chain       {chain}"),
        format!("genesis     {}", genesis.display()),
        format!(
            "accounts    {}, the keys of {} accounts",
            keyring.display(),
            grouped(args.chain.accounts.into())
        ),
        format!("validators  {}, a folder for each: node-0 and so on", folders.len()),
    ];
    if own_keys {
        lines.push("            each puts its key beside its configuration, as key.toml".to_owned());
    }
    lines.push(format!("start one   throng node --config {first}"));
    lines.join("\n")
}

/// Tells what is wrong with a file; the exit status.
pub fn refused(error: &HomeError) -> u8 {
    eprintln!("throng: {error}");
    match error {
        HomeError::File { doing: "write" | "sync", .. } => AGAINST,
        _ => BAD_INPUT,
    }
}
