//! A strict reader of the text format of Prometheus, version 0.0.4: what its grammar does not allow fails.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a page by name and labels, and the kind of each family.
pub struct Page {
    pub kinds: BTreeMap<String, String>,
    pub samples: BTreeMap<String, f64>,
}

fn is_name(name: &str, colons: bool) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || colons && c == ':';
    name.chars().all(good) && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

/// The labels between braces; names distinct, values with known escapes only.
fn labels(text: &str) -> BTreeMap<String, String> {
    let (mut found, mut rest) = (BTreeMap::new(), text);
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label is name=\"value\"");
        assert!(is_name(name, false), "{name} is no label");
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().expect("a label value ends") {
                (at, '"') => break at,
                (_, '\\') => match chars.next().expect("something is escaped").1 {
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    other => panic!("\\{other} is no escape"),
                },
                (_, c) => value.push(c),
            }
        };
        assert!(found.insert(name.to_owned(), value).is_none(), "{name} twice");
        rest = &after[end + 1..];
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').expect("labels are divided by commas");
            assert!(!rest.is_empty(), "nothing follows the comma");
        }
    }
    found
}

/// Reads a page whose names all begin with `prefix`.
pub fn read(text: &str, prefix: &str) -> Page {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut page = Page { kinds: BTreeMap::new(), samples: BTreeMap::new() };
    let (mut helped, mut done, mut family) = (BTreeSet::new(), BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("help has words");
            assert!(is_name(name, true) && !words.is_empty() && helped.insert(name.to_owned()), "{line}");
            assert!(done.insert(name.to_owned()), "the samples of {name} stand together");
            name.clone_into(&mut family);
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(name == family && ["counter", "gauge"].contains(&kind), "{line}");
            assert!(
                page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(),
                "the type of {name} twice"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            continue;
        }
        assert!(!line.starts_with('#') && !line.is_empty(), "a comment or empty line: {line:?}");
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let (name, own) = match series.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').expect("the labels end"))),
            None => (series, BTreeMap::new()),
        };
        assert!(is_name(name, true) && name.starts_with(prefix), "{name} is no name");
        assert!(name == family && page.kinds.contains_key(name), "{name} comes after its help and type");
        let value: f64 = value.parse().expect("a number");
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(page.samples.insert(format!("{name}{own:?}"), value).is_none(), "{series} twice");
    }
    let empty: Vec<_> = page
        .kinds
        .keys()
        .filter(|name| !page.samples.keys().any(|series| series.starts_with(*name)))
        .collect();
    assert!(empty.is_empty(), "without samples: {empty:?}");
    page
}

#[test]
fn what_the_grammar_does_not_allow_fails() {
    let good = "# HELP t_a_total Words.\n# TYPE t_a_total counter\nt_a_total{x=\"1\",y=\"\\\"\"} 3\nt_a_total{x=\"2\"} 4e3\n";
    assert_eq!(read(good, "t_").samples.len(), 2);
    let bad = [
        ("counter", "gauge"),
        ("counter", "number"),
        ("# TYPE t_a_total counter\n", ""),
        ("# HELP t_a_total Words.\n", ""),
        ("x=\"2\"", "x=\"1\",y=\"\\\"\""),
        ("x=\"2\"", "x=\"2\",x=\"3\""),
        ("x=\"2\"", "2x=\"2\""),
        ("x=\"2\"", "x=\"\\t\""),
        ("x=\"2\"", "x=\"2\","),
        ("4e3", "many"),
        ("4e3", "-1"),
        ("4e3\n", "4e3"),
        ("t_a_total{x=\"2\"}", "t_b_total"),
        ("t_a_total{x=\"2\"}", "u_a_total"),
        (" 4e3", ""),
    ];
    for (from, to) in bad {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        assert!(std::panic::catch_unwind(|| read(&text, "t_")).is_err(), "{text}");
    }
}
