//! Files of a home, written and read again, and everything that can be wrong with them.

use super::*;
use crate::crypto::public_key;
use crate::net::{NOWHERE, Name, Named};
use crate::types::{Policy, Rules, Seat, Time};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn layout(accounts: u32) -> Layout {
    let rules = Rules { policy: Policy::All, ..Rules::default() };
    Layout { name: "a test".into(), time: Time(5), rules, accounts, balance: 70, port: 4_000 }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn words<T>(result: Result<T, HomeError>) -> String {
    result.err().expect("it is refused").to_string()
}

/// Reads and opens the configuration in a file, with nothing above it.
fn open(path: &Path) -> Result<Config, HomeError> {
    read_config(Some(path), toml::Table::new())?.open()
}

#[test]
fn keys_come_back_and_are_never_overwritten_or_shared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.toml");
    let key = new_key().unwrap();
    write_key(&path, &key).unwrap();
    assert_eq!((mode(&path), public_key(&read_key(&path).unwrap())), (0o600, public_key(&key)));
    assert!(words(write_key(&path, &new_key().unwrap())).contains("is not overwritten"));
    assert_eq!(public_key(&read_key(&path).unwrap()), public_key(&key), "nothing was lost");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(words(read_key(&path)).contains("has mode 0640, so that others may read the secret: `chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let changed = |from: &str, to: &str| {
        fs::write(&path, text.replace(from, to)).unwrap();
        words(read_key(&path))
    };
    let other = hex::encode(public_key(&new_key().unwrap()));
    assert!(changed(&hex::encode(public_key(&key)), &other).contains("is not the one of the secret"));
    let secret = hex::encode(key.to_bytes());
    let short = changed(&secret, &secret[1..]);
    assert!(short.contains("secret must be 64 hex digits") && !short.contains(&secret[4..]), "{short}");
    assert!(changed("secret =", "secrets =").contains("line 3: unknown field `secrets`"));
    assert!(words(read_key(&dir.path().join("none"))).contains("cannot open"));
    fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert!(words(read_key(&path)).contains("has more than 1048576 bytes"));
}

#[test]
fn a_keyring_gives_every_account_its_own_key_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accounts.toml");
    let keyring = Keyring::new(40).unwrap();
    keyring.write(&path).unwrap();
    let Secret::Keyring(again) = read_secret(&path).unwrap() else { panic!("a keyring") };
    assert_eq!((mode(&path), again.accounts()), (0o600, 40));
    let keys: Vec<_> = (1..=40).map(|number| public_key(&keyring.key(number).unwrap())).collect();
    assert!((1..=40).all(|number| public_key(&again.key(number).unwrap()) == keys[number as usize - 1]));
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 40);
    assert!(again.key(0).is_none() && again.key(41).is_none());
    let other = Keyring::new(40).unwrap();
    assert_ne!(public_key(&other.key(1).unwrap()), keys[0], "from the system's randomness");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("accounts = 40", "accounts = 0")).unwrap();
    assert!(words(read_secret(&path)).contains("accounts must lie between 1 and"));
}

#[test]
fn a_chain_that_was_written_opens_for_each_of_its_validators() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("chain");
    let written = write_chain(&out, &layout(3), Err(5)).unwrap();
    let genesis = read_genesis(&written.genesis).unwrap();
    assert_eq!((genesis.seats.len(), genesis.accounts.len(), genesis.accounts[2].balance), (5, 3, 70));
    assert_eq!((genesis.rules.policy, genesis.name.as_str()), (Policy::All, "a test"));
    assert_eq!(crate::wire::chain_id(&genesis), written.chain);
    assert_eq!(genesis.seats[4].fee_account.0, 2, "fees go to the accounts in turn");
    let Secret::Keyring(keyring) = read_secret(&written.keyring).unwrap() else { panic!("a keyring") };
    assert_eq!(public_key(&keyring.key(3).unwrap()), genesis.accounts[2].key);
    for (seat, folder) in written.folders.iter().enumerate() {
        let config = open(&folder.join("config.toml")).unwrap();
        assert_eq!(config.seat, Seat(seat as u16));
        assert_eq!((config.listen_peers, config.peers.len()), (config.peers[seat], 5));
        assert_eq!(config.listen_clients.port(), config.listen_peers.port() + 1);
        assert_eq!(config.dir, folder.join("data"), "paths count from the file");
    }
    assert!(words(write_chain(&out, &layout(3), Err(5))).contains("is not overwritten"));
    assert_eq!(crate::wire::chain_id(&read_genesis(&written.genesis).unwrap()), written.chain);
    for (accounts, count, port) in
        [(0, 4, 4_000), (1 << 24, 4, 4_000), (3, 0, 4_000), (3, 4, 0), (3, 4, 65_535)]
    {
        let bad = Layout { port, ..layout(accounts) };
        assert!(words(write_chain(&dir.path().join("bad"), &bad, Err(count))).contains("must lie between"));
    }
    assert!(!dir.path().join("bad").exists(), "nothing is left of what was refused");
}

#[test]
fn validators_who_made_their_own_keys_put_them_into_their_folders() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (0..2).map(|_| new_key().unwrap()).collect();
    let block = |(seat, key): (usize, &crate::crypto::SigningKey)| {
        format!(
            "[[validator]]\nkey = \"{}\"\naddress = \"127.0.0.1:500{seat}\"\n",
            hex::encode(public_key(key))
        )
    };
    let text: String = keys.iter().enumerate().map(block).collect();
    let path = dir.path().join("validators.toml");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        read_validators(&path)
    };
    assert!(words(read("")).contains("it names no validator"));
    let adress = words(read(&text.replacen("address", "adress", 1)));
    assert!(adress.contains("validators.toml, line 3: validator: unknown field `adress`"), "{adress}");
    let key = hex::encode(public_key(&keys[1]));
    let short = words(read(&text.replace(&key, &key[1..])));
    assert!(short.contains("validators.toml, line 5: key must be 64 hex digits"), "{short}");
    for (address, says) in [
        ("127.0.0.1", "is no host with a port, such as node-0.example:27100"),
        (":5001", "is no host with a port"),
        ("::1", "is no host with a port"),
        ("node-1:", "is no host with a port"),
        ("node-1:65536", "is no host with a port"),
        ("\\n:x", "is no host with a port"),
        ("node-1:0", "leaves none for clients"),
        ("node-1:65535", "leaves none for clients"),
    ] {
        let refused = words(read(&text.replace("127.0.0.1:5001", address)));
        let names = format!("validators.toml, line 6: address `{address}`");
        assert!(refused.contains(&names) && refused.contains(says), "{refused}");
        let named = Validator { key: key.clone(), address: address.to_owned() };
        let out = dir.path().join("bad");
        let refused = words(write_chain(&out, &layout(3), Ok(vec![named])));
        assert!(refused.contains("validator 0: address") && !out.exists(), "{refused}");
    }
    for (address, port) in [("[::1]:5003", 5_003), ("node-1.example:65534", 65_534)] {
        let read = read(&text.replace("127.0.0.1:5001", address)).unwrap();
        let out = dir.path().join(port.to_string());
        let written = write_chain(&out, &layout(3), Ok(read)).unwrap();
        let file = read_config(Some(&written.folders[1].join("config.toml")), toml::Table::new()).unwrap();
        let ports = [file.listen_peers, file.listen_clients].map(|address| address.unwrap().port());
        assert_eq!(ports, [port, port + 1]);
    }
    let twice = text.replace(&hex::encode(public_key(&keys[1])), &hex::encode(public_key(&keys[0])));
    let twice = read(&twice).unwrap();
    assert!(
        words(write_chain(&dir.path().join("twice"), &layout(3), Ok(twice)))
            .contains("keys must be distinct")
    );
    let written = write_chain(&dir.path().join("chain"), &layout(3), Ok(read(&text).unwrap())).unwrap();
    let config = written.folders[1].join("config.toml");
    assert!(words(open(&config)).contains("key.toml"), "its key is still to come");
    write_key(&written.folders[1].join("key.toml"), &keys[1]).unwrap();
    let opened = open(&config).unwrap();
    assert_eq!((opened.seat, opened.peers[0].port()), (Seat(1), 5_000));
    let ports = [opened.listen_peers.port(), opened.listen_clients.port()];
    assert_eq!(ports, [5_001, 5_002], "each listens where the others call it");
    assert!(opened.listen_peers.ip().is_unspecified() && opened.listen_clients.ip().is_loopback());
    write_key(&written.folders[0].join("key.toml"), &new_key().unwrap()).unwrap();
    assert!(words(open(&written.folders[0].join("config.toml"))).contains("has the key"), "of nobody");
}

#[test]
fn a_configuration_that_is_wrong_names_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_chain(&dir.path().join("chain"), &layout(3), Err(2)).unwrap();
    let path = written.folders[0].join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        words(open(&path))
    };
    let unknown = with("dir =", "directory =");
    assert!(unknown.contains("config.toml, line 3: unknown field `directory`, expected one of"), "{unknown}");
    let address = with("\"127.0.0.1:4000\"\n", "\"here\"\n");
    assert!(address.contains("line 7: listen_peers: invalid socket address"), "{address}");
    let kind = with("peers = [", "peers = 7 #");
    assert!(kind.contains("config.toml, line 8: peers: invalid type: integer `7`, expected a"), "{kind}");
    let within = with("peers = [", "peers = [\n 7,\n");
    assert!(within.contains("line 9: peers: invalid type: integer `7`, expected a string"), "{within}");
    let nested = |section: &str, line: &str| {
        fs::write(&path, format!("{text}\n[{section}]\n{line}\n")).unwrap();
        words(open(&path))
    };
    for (section, line, says) in [
        ("net", "clients_max = \"many\"", "net.clients_max: invalid type: string"),
        ("net", "clients_max = -1", "net.clients_max: invalid value: integer `-1`"),
        ("net.shape", "delay_ms = true", "net.shape.delay_ms: invalid type: boolean"),
        ("node.vertices_kept", "depths = 1.5", "node.vertices_kept.depths: invalid type: floating point"),
        ("store", "segment_byte = 1", "store: unknown field `segment_byte`"),
    ] {
        let said = nested(section, line);
        assert!(said.contains(&format!("line {}: {says}", text.lines().count() + 3)), "{said}");
    }
    assert!(
        with("dir = \"data\"\n", "")
            .contains("dir is not set: write it into the configuration, or give --dir")
    );
    assert!(with("\", \"127.0.0.1:4002", "").contains("peers has 1 addresses for 2 seats"));
    assert!(with("127.0.0.1:4002", "127.0.0.1").contains("`127.0.0.1` is no address that can be found"));
    // A name that nobody knows now is looked up again later, even if nobody is left to go on with.
    fs::write(&path, text.replace("127.0.0.1:4002", "no..body:4002")).unwrap();
    let config = open(&path).unwrap();
    assert_eq!((config.peers[1], config.peers.len()), (NOWHERE, 2));
    let unknown = |of, name: &str| Name { of, name: name.to_owned(), address: None };
    let other = unknown(Named::Seat(Seat(1)), "no..body:4002");
    assert_eq!((&config.names, config.announce), (&vec![other.clone()], Some(config.peers[0])));
    let nobody =
        text.replace("127.0.0.1:4002", "no..body:4002").replace("127.0.0.1:4000\", ", "no..body:1\", ");
    fs::write(&path, nobody).unwrap();
    let config = open(&path).unwrap();
    assert_eq!((config.names, config.announce), (vec![other, unknown(Named::Own, "no..body:1")], None));
    assert!(with("../genesis", "../accounts.toml").contains("it is no genesis of this version"));
    fs::write(&path, format!("{text}\n[net]\nverify_thread = 3\n")).unwrap();
    assert!(words(open(&path)).contains("unknown field `verify_thread`"));
    fs::write(&path, format!("{text}\n[net]\nverify_threads = 3\n")).unwrap();
    let over: toml::Table = toml::from_str("dir = \"elsewhere\"\n[net]\nclients_max = 9\n").unwrap();
    let file = read_config(Some(&path), over).unwrap();
    assert_eq!((file.net.verify_threads, file.net.clients_max), (3, 9), "flags stand above, key by key");
    assert_eq!(file.dir.as_deref(), Some(Path::new("elsewhere")));
    for (over, flag) in [
        ("[net]\nclients_max = \"many\"", "--clients-max: invalid type"),
        ("[net.shape]\nregions = 3", "--shape-regions: invalid type"),
        ("[node.vertices_kept]\ndepths = -1", "--vertices-kept-depths: invalid value"),
        ("listen_peers = \"here\"", "--listen-peers: invalid socket address"),
    ] {
        let refused = words(read_config(Some(&path), toml::from_str(over).unwrap()));
        assert!(refused.starts_with(flag), "{refused}");
    }
    assert!(words(read_config(None, toml::Table::new()).unwrap().open()).contains("genesis is not set"));
}
