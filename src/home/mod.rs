//! The files that a person keeps for a node: keys, keyrings, the genesis, the configuration.
//!
//! **Owns** the formats of these files and what is said when one is wrong. **May not** run anything: what it reads, it hands
//! over as values.
//!
//! - Upon a file with a secret: it is made with mode 0600, and refused if others may read it. A key that others know is no key.
//! - Upon a file that is already there: it is never overwritten. Whoever wants another one removes it first.
//! - Upon a key in a file that nobody knows: refused, with file and line. A typing error must not become a default.
//! - Upon a relative path in a configuration: it counts from the configuration's folder, so that a home can be moved as a whole.
//!
//! Everything that a person writes is TOML; the genesis is its canonical bytes, since its hash names the chain.

mod config;
mod files;
mod genesis;
mod keys;

#[cfg(test)]
mod tests;

pub use config::{Config, ConfigFile, parse_config, read_config};
pub use files::HomeError;
pub use genesis::{
    Layout, Validator, Written, parse_genesis, parse_validators, read_genesis, read_validators, write_chain,
    write_genesis,
};
pub use keys::{Keyring, Secret, new_key, parse_secret, read_key, read_secret, write_key};
