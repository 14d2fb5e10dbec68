//! The configuration of a node: a file in TOML, and flags that stand above it.

use super::files::{HomeError, key_and_words, parse, read_text, text, value, write_new};
use super::genesis::read_genesis;
use super::keys::read_key;
use crate::crypto::{self, SigningKey};
use crate::net::{NOWHERE, Name, Named, NetConfig, Resolve, SystemResolver};
use crate::node::NodeConfig;
use crate::store::StoreConfig;
use crate::types::{Genesis, Seat};
use crate::wire::is_callable;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A configuration as it is written. Sections that are left out have their defaults.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The genesis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genesis: Option<PathBuf>,
    /// The key file of its seat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Its data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Where it listens for peers, such as `0.0.0.0:27100`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_peers: Option<SocketAddr>,
    /// Where it listens for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_clients: Option<SocketAddr>,
    /// Where it serves HTTP to people; without it, it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Where each validator is reached, in the order of seats, its own address among them. An observer has none, and a
    /// validator may leave it out where `bootstrap` leads to the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<String>>,
    /// Any nodes of the chain, by which others are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Vec<String>>,
    /// Where the node tells others that it is reached; a validator's own address among `peers` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announce: Option<String>,
    /// The node has no seat: it follows the chain, verifies all of it and serves others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observe: bool,
    /// Its conduct.
    #[serde(default)]
    pub node: NodeConfig,
    /// Its block files.
    #[serde(default)]
    pub store: StoreConfig,
    /// Its driver.
    #[serde(default)]
    pub net: NetConfig,
}

/// A configuration that is whole.
pub struct Config {
    /// The genesis, checked.
    pub genesis: Genesis,
    /// The seat of the key; [`Seat::NONE`] of an observer.
    pub seat: Seat,
    /// The key.
    pub key: SigningKey,
    /// The data directory.
    pub dir: PathBuf,
    /// Where it listens for peers.
    pub listen_peers: SocketAddr,
    /// Where it listens for clients.
    pub listen_clients: SocketAddr,
    /// Where it serves HTTP to people, if it does.
    pub http: Option<SocketAddr>,
    /// Where each validator is reached, if that is known.
    pub peers: Vec<SocketAddr>,
    /// Any nodes of the chain.
    pub bootstrap: Vec<SocketAddr>,
    /// Where it tells others that it is reached.
    pub announce: Option<SocketAddr>,
    /// Those of `peers` and `bootstrap`, and of itself, that are given by name.
    pub names: Vec<Name>,
    /// Its conduct.
    pub node: NodeConfig,
    /// Its block files.
    pub store: StoreConfig,
    /// Its driver.
    pub net: NetConfig,
}

/// Parses the text of a configuration file.
///
/// # Errors
/// It does not parse, or has a key that nobody knows: the line and the key are named.
pub fn parse_config(path: &Path, text: &str) -> Result<ConfigFile, HomeError> {
    parse(path, text)
}

/// Reads a configuration file, if there is one, and lays a table of the same shape over it, in which relative paths count
/// from the working directory.
///
/// # Errors
/// The file is not there, does not parse, or has a key that nobody knows.
pub fn read_config(path: Option<&Path>, over: toml::Table) -> Result<ConfigFile, HomeError> {
    let mut table = match path {
        None => toml::Table::new(),
        Some(path) => {
            // Once for the shape: only here lines are known.
            let mut file = parse_config(path, &read_text(path)?)?;
            file.count_from(path.parent().unwrap_or(Path::new(".")));
            toml::Table::try_from(file).map_err(|error| value(path, error.to_string()))?
        }
    };
    lay_over(&mut table, over);
    // The file is good: what is wrong now was laid over it.
    table.try_into().map_err(|error| match key_and_words(&error) {
        (Some(key), words) => HomeError::Flag(format!("{}: {words}", flag_of(&key))),
        (None, words) => HomeError::Flag(words),
    })
}

/// The flag that stands for a key: sections are left out of its name.
fn flag_of(key: &str) -> String {
    let name = ["node.", "store.", "net."].iter().find_map(|section| key.strip_prefix(section));
    format!("--{}", name.unwrap_or(key).replace(['_', '.'], "-"))
}

fn lay_over(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => _ = table.insert(key, value),
        }
    }
}

impl ConfigFile {
    /// That of a validator of a new chain, which has a port for peers and the next one for clients. `here`: all of them run on
    /// this machine.
    pub(super) fn of_seat(peers: &[String], here: bool, port: u16) -> ConfigFile {
        let host = if here { [127, 0, 0, 1] } else { [0, 0, 0, 0] };
        let clients = ([127, 0, 0, 1], port.saturating_add(1));
        ConfigFile {
            genesis: Some("../genesis".into()),
            key: Some("key.toml".into()),
            dir: Some("data".into()),
            listen_peers: Some((host, port).into()),
            listen_clients: Some(clients.into()),
            peers: Some(peers.to_vec()),
            ..ConfigFile::default()
        }
    }

    /// As a file of what differs from node to node only: the rest has its defaults, also in a later version.
    pub(super) fn short(&self, seat: usize) -> Result<String, HomeError> {
        let comment = format!(
            "# Validator {seat}: `throng node --config` with this file starts it, and with --print-config shows every key.\n\n"
        );
        let mut table = toml::Table::try_from(self).map_err(|error| HomeError::Flag(error.to_string()))?;
        table.retain(|_, value| !value.is_table());
        text(&comment, &table)
    }

    /// Writes all of it into a new file.
    ///
    /// # Errors
    /// There is such a file, a number is larger than TOML knows, or the system refuses.
    pub fn write(&self, path: &Path) -> Result<(), HomeError> {
        write_new(path, text("", self)?.as_bytes(), false)
    }

    fn count_from(&mut self, folder: &Path) {
        for path in [&mut self.genesis, &mut self.key, &mut self.dir].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// Opens what it names, and holds the parts against each other.
    ///
    /// # Errors
    /// Something is not set, not there, or fits nothing else.
    pub fn open(self) -> Result<Config, HomeError> {
        let genesis_path = set("genesis", self.genesis)?;
        let key_path = set("key", self.key)?;
        let dir = set("dir", self.dir)?;
        let listen_peers = set("listen_peers", self.listen_peers)?;
        let listen_clients = set("listen_clients", self.listen_clients)?;
        let bootstrap = self.bootstrap.unwrap_or_default();
        // An observer has no seats in order; a validator needs one or the other.
        let names = match self.peers {
            None if self.observe || !bootstrap.is_empty() => Vec::new(),
            names => set("peers", names)?,
        };
        let genesis = read_genesis(&genesis_path)?;
        let key = read_key(&key_path)?;
        let public = crypto::public_key(&key);
        let seat = genesis.seats.iter().position(|seat| seat.key.0 == public);
        let seat = match seat {
            Some(seat) if self.observe => {
                let words = format!(
                    "the key has seat {seat}: leave out observe, or make the observer a key of its own"
                );
                return Err(value(&key_path, words));
            }
            Some(seat) => Seat(seat as u16),
            None if self.observe => Seat::NONE,
            None => {
                let (public, genesis) = (hex::encode(public), genesis_path.display());
                return Err(value(
                    &key_path,
                    format!(
                        "no seat of {genesis} has the key {public}: use the key or the genesis that belongs to the other, or \
                         follow the chain without a seat (observe = true, --observe)"
                    ),
                ));
            }
        };
        if self.observe && (!names.is_empty() || bootstrap.is_empty()) {
            let words = "an observer needs bootstrap, the addresses of any nodes of the chain, and no peers in the order of seats";
            return Err(HomeError::Flag(words.to_owned()));
        }
        if !names.is_empty() && names.len() != genesis.seats.len() {
            let (found, seats) = (names.len(), genesis.seats.len());
            let reason = format!(
                "peers has {found} addresses for {seats} seats: give one for each, in the order of seats"
            );
            return Err(HomeError::Flag(reason));
        }
        let found = resolve_all("peers", &names)?;
        let nearby = resolve_all("bootstrap", &bootstrap)?;
        let own_name = self.announce.clone().or_else(|| names.get(seat.index()).cloned());
        let others = (0..).zip(names.into_iter().zip(&found)).filter(|(number, _)| *number != seat.0);
        let of_seat = |(number, (name, address)): (u16, (String, &Option<SocketAddr>))| Name {
            of: Named::Seat(Seat(number)),
            name,
            address: *address,
        };
        let of_any = |(name, address): (String, &Option<SocketAddr>)| Name {
            of: Named::Bootstrap,
            name,
            address: *address,
        };
        let mut names: Vec<Name> =
            others.map(of_seat).chain(bootstrap.into_iter().zip(&nearby).map(of_any)).collect();
        // Without a word, where the configuration says that it is, unless that is no address to be called at.
        let implied = self.announce.is_none();
        let own = resolve_all("announce", own_name.as_slice())?.pop().flatten();
        names.extend(own_name.filter(|_| own.is_none()).map(|name| Name {
            of: Named::Own,
            name,
            address: None,
        }));
        let announce = own.filter(|address| !implied || is_callable(address));
        // An address needs no looking up.
        names.retain(|name| name.name.parse::<SocketAddr>().is_err());
        let peers: Vec<SocketAddr> = found.into_iter().map(|found| found.unwrap_or(NOWHERE)).collect();
        let bootstrap: Vec<SocketAddr> = nearby.into_iter().flatten().collect();
        let (node, store, net) = (self.node, self.store, self.net);
        Ok(Config {
            genesis,
            seat,
            key,
            dir,
            listen_peers,
            listen_clients,
            http: self.http,
            peers,
            bootstrap,
            announce,
            names,
            node,
            store,
            net,
        })
    }
}

fn set<T>(key: &'static str, value: Option<T>) -> Result<T, HomeError> {
    value.ok_or_else(|| HomeError::Missing { key, flag: key.replace('_', "-") })
}

/// The addresses of names. A name that cannot be found now is said: the node goes on with whom it can, and looks it up again.
fn resolve_all(key: &str, names: &[String]) -> Result<Vec<Option<SocketAddr>>, HomeError> {
    if let Some(name) = names.iter().find(|name| !has_form(name)) {
        // No address at any time.
        return resolve(key, name).map(|_| Vec::new());
    }
    let said = |name: &String| {
        let found = resolve(key, name);
        found.inspect_err(|error| tracing::warn!(%error, "a name is looked up again later")).ok()
    };
    Ok(names.iter().map(said).collect())
}

/// Whether a name can be an address: a host and a port.
fn has_form(name: &str) -> bool {
    port_of(name).is_some()
}

/// The port of an address, if it has the form of one.
pub(super) fn port_of(name: &str) -> Option<u16> {
    let (host, port) = name.rsplit_once(':')?;
    // Of IPv6 the brackets tell where the port begins.
    let good = !host.is_empty() && (!host.contains(':') || name.parse::<SocketAddr>().is_ok());
    port.parse().ok().filter(|_| good)
}

/// The first address of a name.
fn resolve(key: &str, name: &str) -> Result<SocketAddr, HomeError> {
    match SystemResolver.resolve(name).map(|addresses| addresses.first().copied()) {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(HomeError::Flag(format!("{key}: `{name}` has no address"))),
        Err(error) => Err(HomeError::Flag(format!(
            "{key}: `{name}` is no address that can be found, such as 10.0.0.7:27100 or node-0.example:27100: {error}"
        ))),
    }
}
