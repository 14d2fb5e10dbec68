//! The genesis of a chain that runs on machines, and a folder for each validator.

use super::config::{ConfigFile, port_of};
use super::files::{
    HomeError, at_line, make_folder, parse, read_bytes, read_text, refused, value, write_new,
};
use super::keys::{Keyring, new_key, write_key};
use crate::crypto::{self, SigningKey};
use crate::types::params::{ACCOUNTS_MAX, GENESIS_BYTES_MAX, SEATS_MAX, window_max};
use crate::types::{AccountNumber, ChainId, Genesis, GenesisAccount, Key, Rules, SeatInfo, Time};
use crate::wire::{chain_id, decode_genesis, encode_genesis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use toml::Spanned;

const VALIDATORS_EXAMPLE: &str = "[[validator]]\nkey = \"64 hex digits\"\naddress = \"host:port\"";

/// A validator as others know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// Its public key, 64 hex digits, as `throng keygen` prints it.
    pub key: String,
    /// Where the other validators reach it, such as `node-0.example:27100`.
    pub address: String,
}

impl Validator {
    fn key(&self) -> Result<Key, String> {
        let mut key = [0; 32];
        hex::decode_to_slice(&self.key, &mut key)
            .map(|()| Key(key))
            .map_err(|_| "key must be 64 hex digits, as `throng keygen` prints it".to_owned())
    }

    /// The port at which it listens for peers. The next one is for its clients.
    fn port(&self) -> Result<u16, String> {
        // It may hold anything, and is told in one line.
        let address = self.address.escape_debug();
        match port_of(&self.address) {
            Some(port) if (1..u16::MAX).contains(&port) => Ok(port),
            Some(port) => Err(format!(
                "address `{address}`: port {port} leaves none for clients, who come to the next one: take one from 1 to 65534"
            )),
            None => Err(format!("address `{address}` is no host with a port, such as node-0.example:27100")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorsFile {
    #[serde(default)]
    validator: Vec<Block>,
}

/// A validator, and where it stands in its file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    key: Spanned<String>,
    address: Spanned<String>,
}

impl Block {
    fn read(self, path: &Path, text: &str) -> Result<Validator, HomeError> {
        let [key, address] = [self.key.span().start, self.address.span().start];
        let validator = Validator { key: self.key.into_inner(), address: self.address.into_inner() };
        validator.key().map_err(|reason| at_line(path, text, key, reason))?;
        validator.port().map_err(|reason| at_line(path, text, address, reason))?;
        Ok(validator)
    }
}

/// What a new chain looks like.
#[derive(Clone, Debug)]
pub struct Layout {
    /// A name for people.
    pub name: String,
    /// When it begins.
    pub time: Time,
    /// Its rules.
    pub rules: Rules,
    /// Accounts 1 to this one.
    pub accounts: u32,
    /// What each of them has at first.
    pub balance: u64,
    /// The ports of validators that are made here: for peers this one, for clients the next, and so on upwards.
    pub port: u16,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// The chain's id.
    pub chain: ChainId,
    /// The genesis.
    pub genesis: PathBuf,
    /// The keyring of all accounts.
    pub keyring: PathBuf,
    /// The folder of each validator, in the order of seats.
    pub folders: Vec<PathBuf>,
}

/// Reads the validators of a chain from a file.
///
/// # Errors
/// It is none, names nobody, or has a key or an address that is none: the line is named.
pub fn read_validators(path: &Path) -> Result<Vec<Validator>, HomeError> {
    parse_validators(path, &read_text(path)?)
}

/// Parses the text of a file that names validators.
///
/// # Errors
/// As [`read_validators`].
pub fn parse_validators(path: &Path, text: &str) -> Result<Vec<Validator>, HomeError> {
    let file: ValidatorsFile = parse(path, text)?;
    match file.validator.len() {
        0 => Err(value(
            path,
            format!("it names no validator: write one block for each, {VALIDATORS_EXAMPLE:?}"),
        )),
        1..=SEATS_MAX => file.validator.into_iter().map(|block| block.read(path, text)).collect(),
        more => Err(value(path, format!("{more} validators; a chain has at most {SEATS_MAX}"))),
    }
}

/// Reads a genesis and checks it.
///
/// # Errors
/// It is not there, does not decode, or contradicts itself.
pub fn read_genesis(path: &Path) -> Result<Genesis, HomeError> {
    parse_genesis(path, &read_bytes(path, GENESIS_BYTES_MAX as u64)?)
}

/// Decodes the bytes of a genesis file and checks it.
///
/// # Errors
/// It does not decode, or contradicts itself.
pub fn parse_genesis(path: &Path, bytes: &[u8]) -> Result<Genesis, HomeError> {
    let genesis = decode_genesis(bytes)
        .map_err(|error| value(path, format!("it is no genesis of this version: {error}")))?;
    genesis.check().map_err(|error| value(path, error.to_string()))?;
    Ok(genesis)
}

/// Writes a genesis into a new file.
///
/// # Errors
/// [`HomeError::Exists`], or what the system says.
pub fn write_genesis(path: &Path, genesis: &Genesis) -> Result<(), HomeError> {
    write_new(path, &encode_genesis(genesis), false)
}

/// Writes a chain into a new or empty folder: `genesis`, `accounts.toml` with the keyring of all accounts, and for each
/// validator `node-0`, `node-1` and so on, with `config.toml`. `known`: the validators, if they made keys of their own, which
/// each of them then puts as `key.toml` beside its configuration; else so many are made here.
///
/// # Errors
/// The folder is in use, the layout contradicts itself, or the system refuses.
pub fn write_chain(
    out: &Path,
    layout: &Layout,
    known: Result<Vec<Validator>, u16>,
) -> Result<Written, HomeError> {
    if layout.accounts == 0 || layout.accounts >= ACCOUNTS_MAX {
        return Err(HomeError::Flag(format!("--accounts must lie between 1 and {}", ACCOUNTS_MAX - 1)));
    }
    let (validators, keys) = match known {
        Ok(validators) => (validators, None),
        Err(count) => {
            let (validators, keys) = made(count, layout.port)?;
            (validators, Some(keys))
        }
    };
    let wrong = |(seat, reason)| HomeError::Flag(format!("validator {seat}: {reason}"));
    let ports = validators.iter().enumerate().map(|(seat, it)| it.port().map_err(|reason| (seat, reason)));
    let ports = ports.collect::<Result<Vec<u16>, _>>().map_err(wrong)?;
    let keyring = Keyring::new(layout.accounts)?;
    let genesis = genesis(layout, &validators, &keyring)?;
    make_folder(out)?;
    let (genesis_path, keyring_path) = (out.join("genesis"), out.join("accounts.toml"));
    write_genesis(&genesis_path, &genesis)?;
    keyring.write(&keyring_path)?;
    let peers: Vec<String> = validators.iter().map(|validator| validator.address.clone()).collect();
    let folders: Vec<PathBuf> = (0..validators.len()).map(|seat| out.join(format!("node-{seat}"))).collect();
    for (seat, folder) in folders.iter().enumerate() {
        fs::create_dir(folder).map_err(refused("make", folder))?;
        if let Some(key) = keys.as_ref().and_then(|keys| keys.get(seat)) {
            write_key(&folder.join("key.toml"), key)?;
        }
        let file = ConfigFile::of_seat(&peers, keys.is_some(), ports[seat]);
        write_new(&folder.join("config.toml"), file.short(seat)?.as_bytes(), false)?;
    }
    Ok(Written { chain: chain_id(&genesis), genesis: genesis_path, keyring: keyring_path, folders })
}

/// Validators on this machine, with their keys.
fn made(count: u16, port: u16) -> Result<(Vec<Validator>, Vec<SigningKey>), HomeError> {
    if count == 0 || usize::from(count) > SEATS_MAX {
        return Err(HomeError::Flag(format!("--validators must lie between 1 and {SEATS_MAX}")));
    }
    if port == 0 || u32::from(port) + 2 * u32::from(count) > 1 << 16 {
        let most = (1u32 << 16) - 2 * u32::from(count);
        return Err(HomeError::Flag(format!(
            "--port must lie between 1 and {most}: each validator takes two from there on"
        )));
    }
    let keys = (0..count).map(|_| new_key()).collect::<Result<Vec<_>, _>>()?;
    let validator = |(seat, key): (u16, &SigningKey)| Validator {
        key: hex::encode(crypto::public_key(key)),
        address: format!("127.0.0.1:{}", port + 2 * seat),
    };
    Ok(((0..).zip(&keys).map(validator).collect(), keys))
}

fn genesis(layout: &Layout, validators: &[Validator], keyring: &Keyring) -> Result<Genesis, HomeError> {
    let seat = |(seat, validator): (usize, &Validator)| {
        let key = validator.key().map_err(|reason| HomeError::Flag(format!("validator {seat}: {reason}")))?;
        let fee_account = AccountNumber(seat as u32 % layout.accounts + 1);
        Ok(SeatInfo { key, fee_account })
    };
    let account = |number| GenesisAccount {
        key: keyring.key(number).as_ref().map(crypto::public_key).unwrap_or_default(),
        balance: layout.balance,
    };
    let depth = layout.rules.depth;
    let genesis = Genesis {
        name: layout.name.clone(),
        time: layout.time,
        rules: Rules { window: layout.rules.window.min(window_max(validators.len(), depth)), ..layout.rules },
        seats: validators.iter().enumerate().map(seat).collect::<Result<_, HomeError>>()?,
        accounts: (1..=layout.accounts).into_par_iter().map(account).collect(),
    };
    genesis.check().map_err(|error| HomeError::Flag(error.to_string()))?;
    Ok(genesis)
}
