//! Key files: one key, or the keys of many accounts from one secret.

use super::files::{HomeError, parse, read_secret_text, text, value, write_new};
use crate::crypto::{self, Domain, SigningKey};
use crate::types::params::ACCOUNTS_MAX;
use serde::{Deserialize, Serialize};
use std::path::Path;

const KEY_COMMENT: &str = "# A signing key of throng. Whoever reads the secret can sign in its name.\n";
const KEYRING_COMMENT: &str =
    "# The keys of accounts 1 to `accounts`, all from one secret. Whoever reads it can spend from them.\n";

/// One key as a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    public: String,
    secret: String,
}

/// A keyring as a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyringFile {
    accounts: u32,
    secret: String,
}

/// The keys of the accounts 1, 2, … of a genesis, derived from one secret: a chain for trying things out has too many
/// accounts for a file each.
#[derive(Clone)]
pub struct Keyring {
    secret: [u8; 32],
    accounts: u32,
}

/// What a file of secrets holds.
pub enum Secret {
    /// One key.
    Key(Box<SigningKey>),
    /// The keys of many accounts.
    Keyring(Keyring),
}

/// A key from the operating system's randomness.
///
/// # Errors
/// The system has none.
pub fn new_key() -> Result<SigningKey, HomeError> {
    Ok(crypto::signing_key_from_seed(random()?))
}

fn random() -> Result<[u8; 32], HomeError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| HomeError::Flag(format!("the operating system gives no randomness: {error}")))?;
    Ok(secret)
}

/// Writes a key into a new file of mode 0600.
///
/// # Errors
/// [`HomeError::Exists`], or what the system says.
pub fn write_key(path: &Path, key: &SigningKey) -> Result<(), HomeError> {
    let (public, secret) = (hex::encode(crypto::public_key(key)), hex::encode(key.to_bytes()));
    write_new(path, text(KEY_COMMENT, &KeyFile { public, secret })?.as_bytes(), true)
}

/// Reads a key.
///
/// # Errors
/// The file is not there, others may read it, or it is no key.
pub fn read_key(path: &Path) -> Result<SigningKey, HomeError> {
    let file: KeyFile = parse(path, &read_secret_text(path)?)?;
    key_of(path, &file).map(|key| *key)
}

/// Reads a key or a keyring, whichever the file holds.
///
/// # Errors
/// As [`read_key`].
pub fn read_secret(path: &Path) -> Result<Secret, HomeError> {
    parse_secret(path, &read_secret_text(path)?)
}

/// Parses the text of a key file or a keyring, whichever it is.
///
/// # Errors
/// It is neither: the line and the key are named.
pub fn parse_secret(path: &Path, text: &str) -> Result<Secret, HomeError> {
    let table: toml::Table = parse(path, text)?;
    if table.contains_key("accounts") {
        let file: KeyringFile = parse(path, text)?;
        let secret = digits(path, "secret", &file.secret)?;
        if file.accounts == 0 || file.accounts >= ACCOUNTS_MAX {
            return Err(value(path, format!("accounts must lie between 1 and {}", ACCOUNTS_MAX - 1)));
        }
        return Ok(Secret::Keyring(Keyring { secret, accounts: file.accounts }));
    }
    let file: KeyFile = parse(path, text)?;
    key_of(path, &file).map(Secret::Key)
}

fn key_of(path: &Path, file: &KeyFile) -> Result<Box<SigningKey>, HomeError> {
    let key = crypto::signing_key_from_seed(digits(path, "secret", &file.secret)?);
    if crypto::public_key(&key) != digits(path, "public", &file.public)? {
        return Err(value(path, "the public key is not the one of the secret"));
    }
    Ok(Box::new(key))
}

/// 32 bytes in hex.
pub(super) fn digits(path: &Path, what: &str, text: &str) -> Result<[u8; 32], HomeError> {
    let mut bytes = [0; 32];
    // The text may be a secret: it is not repeated.
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| value(path, format!("{what} must be 64 hex digits")))?;
    Ok(bytes)
}

impl Keyring {
    /// A new keyring for so many accounts.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(accounts: u32) -> Result<Keyring, HomeError> {
        Ok(Keyring { secret: random()?, accounts })
    }

    /// How many accounts it has keys of.
    pub fn accounts(&self) -> u32 {
        self.accounts
    }

    /// The key of an account, if it is one of them.
    pub fn key(&self, number: u32) -> Option<SigningKey> {
        let has = (1..=self.accounts).contains(&number);
        let seed = || crypto::hash(Domain::Keyring, &[&self.secret, &number.to_le_bytes()]);
        has.then(|| crypto::signing_key_from_seed(seed()))
    }

    /// Writes it into a new file of mode 0600.
    ///
    /// # Errors
    /// As [`write_key`].
    pub fn write(&self, path: &Path) -> Result<(), HomeError> {
        let file = KeyringFile { accounts: self.accounts, secret: hex::encode(self.secret) };
        write_new(path, text(KEYRING_COMMENT, &file)?.as_bytes(), true)
    }
}

impl Secret {
    /// The key that signs for an account.
    pub fn key(&self, number: u32) -> Option<SigningKey> {
        match self {
            Secret::Key(key) => Some((**key).clone()),
            Secret::Keyring(keyring) => keyring.key(number),
        }
    }
}
