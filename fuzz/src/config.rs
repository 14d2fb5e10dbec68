//! The files of a node that runs by itself: configuration, validators, keys, genesis. What is wrong is named in one line, with
//! the line of the file where it has lines.

use std::path::Path;
use throng::home::{HomeError, Secret, parse_config, parse_genesis, parse_secret, parse_validators};
use throng::wire::encode_genesis;

/// The first byte says what the rest is: a configuration (0), validators (1), a key or keyring (2), or a genesis.
pub fn config(bytes: &[u8]) -> bool {
    let Some((&kind, bytes)) = bytes.split_first() else { return false };
    let path = Path::new("home/file");
    if kind > 2 {
        return match parse_genesis(path, bytes) {
            Ok(genesis) => {
                assert_eq!(encode_genesis(&genesis), bytes);
                genesis.table();
                true
            }
            Err(error) => wrong(&error, 0),
        };
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    match kind {
        0 => match parse_config(path, text) {
            Ok(file) => {
                let printed = toml::to_string(&file).expect("what was read can be written");
                assert_eq!(parse_config(path, &printed).expect("and read again"), file);
                true
            }
            Err(error) => wrong(&error, lines),
        },
        1 => match parse_validators(path, text) {
            Ok(validators) => !validators.is_empty(),
            Err(error) => wrong(&error, lines),
        },
        _ => match parse_secret(path, text) {
            Ok(Secret::Key(_)) => true,
            Ok(Secret::Keyring(keyring)) => {
                assert!(keyring.key(0).is_none() && keyring.key(1).is_some());
                true
            }
            Err(error) => wrong(&error, lines),
        },
    }
}

/// An error is one line that names the file.
fn wrong(error: &HomeError, lines: usize) -> bool {
    let words = error.to_string();
    assert!(words.starts_with("home/file") && words.lines().count() == 1, "{words}");
    if let HomeError::Toml { line, .. } = error {
        assert!((1..=lines).contains(line), "{words}");
    }
    false
}
