//! Holds the order of the house: a folder of `src` uses only folders before it, the four in the middle do not know one
//! another, and no file grows beyond what one can read.

use std::path::Path;

/// The folders of `src`, each with the folders before it that it may nevertheless not use.
const FOLDERS: [(&str, &[&str]); 16] = [
    ("types", &[]),
    ("crypto", &[]),
    ("wire", &[]),
    ("metrics", &[]),
    ("mempool", &[]),
    ("ledger", &["mempool"]),
    ("consensus", &["mempool", "ledger"]),
    ("store", &["mempool", "ledger", "consensus"]),
    ("node", &[]),
    ("audit", &[]),
    ("net", &[]),
    ("sim", &["net"]),
    ("home", &["sim"]),
    ("api", &[]),
    ("lab", &[]),
    ("cli", &[]),
];

/// The most lines of a file in `src`.
const LINES_MAX: usize = 600;

/// The first names of all `crate::` paths, also of those inside `crate::{…}`. Comments do not count.
fn imports(text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut names = Vec::new();
    for (start, marker) in code.match_indices("crate::") {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code[start + marker.len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.extend(name(rest)),
        }
    }
    names
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

fn name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first name of each item of a group, up to the brace that closes it.
fn group_names(group: &str) -> Vec<String> {
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            c if depth == 0 => items.last_mut().expect("there is always one").push(c),
            _ => {}
        }
    }
    items.iter().filter_map(|item| name(item.trim())).collect()
}

/// What a file breaks, in words. `path` is relative to `src`, with `/` between its parts.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{path} has {lines} lines, more than {LINES_MAX}: split it"));
    }
    // Files beside the folders (lib.rs, main.rs, build.rs) only name them.
    let Some((folder, _)) = path.split_once('/') else { return found };
    let place = |folder: &str| FOLDERS.iter().position(|(name, _)| *name == folder);
    let Some(own) = place(folder) else {
        found.push(format!("{path}: the folder has no place in the order (tests/layers.rs)"));
        return found;
    };
    for used in imports(text) {
        match place(&used) {
            None => found.push(format!("{path} uses crate::{used}, which is no folder of the order")),
            Some(other) if other > own => {
                found.push(format!("{path} uses {used}, which comes after {folder}"))
            }
            Some(_) if FOLDERS[own].1.contains(&used.as_str()) => {
                found.push(format!("{path} uses {used}, which {folder} may not know"));
            }
            Some(_) => {}
        }
    }
    found
}

fn visit(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of src is readable") {
        let path = entry.expect("an entry of src is readable").path();
        if path.is_dir() {
            visit(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn folders_use_only_what_comes_before_them_and_files_stay_short() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    visit(&src, &mut files);
    files.sort_unstable();
    assert!(files.len() > 20, "the source was found");
    let mut found = Vec::new();
    for file in &files {
        let parts = file.strip_prefix(&src).expect("found inside src").iter();
        let path = parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
        let text = std::fs::read_to_string(file).expect("source is text");
        found.extend(violations(&path, &text));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_way_to_name_a_folder_is_read() {
    let text = "
        use crate::types::{Seat, wire};
        pub use crate::{crypto, net::{mio, store}, lab as other};
        use crate::{
            wire::Batch,
        };
        // use crate::cli;
        /// [`crate::sim`]
        fn f(x: crate::node::Node) { $crate::api::g(); not_crate::ledger(); pub(in crate::metrics) mod m; }
    ";
    let found = imports(text);
    assert_eq!(found, ["types", "crypto", "net", "lab", "wire", "node", "api", "metrics"]);
}

#[test]
fn violations_are_found() {
    let breaks = |path: &str, text: &str| violations(path, text).len();
    assert_eq!(breaks("wire/batch.rs", "use crate::types::Seat;\nuse crate::crypto;"), 0);
    assert_eq!(breaks("wire/batch.rs", "use crate::ledger::Ledger;"), 1);
    assert_eq!(breaks("ledger/mod.rs", "use crate::{types, mempool::Mempool};"), 1);
    assert_eq!(breaks("mempool/mod.rs", "use crate::ledger::Ledger;"), 1);
    assert_eq!(breaks("store/deep/er.rs", "fn f() { crate::consensus::g() }"), 1);
    assert_eq!(breaks("sim/mod.rs", "use crate::net::X;\nuse crate::node::Node;"), 1);
    assert_eq!(breaks("garage/mod.rs", ""), 1);
    assert_eq!(breaks("cli/mod.rs", "use crate::garage;\nuse crate::sim;"), 1);
    assert_eq!(breaks("lib.rs", "pub mod cli; use crate::cli;"), 0);
    assert_eq!(breaks("types/mod.rs", &"\n".repeat(LINES_MAX)), 0);
    assert_eq!(breaks("types/mod.rs", &"\n".repeat(LINES_MAX + 1)), 1);
}
