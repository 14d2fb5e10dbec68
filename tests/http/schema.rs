//! JSON Schema as far as the description uses it. A keyword that is not known here fails, so that nothing passes unseen.

use serde_json::{Map, Value, json};

/// A repeatable source of numbers.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (u128::from(self.0 ^ (self.0 >> 29)).wrapping_mul(u128::from(sides)) >> 64) as u64 % sides.max(1)
    }
}

/// Follows references.
pub fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        None => schema,
        Some(path) => {
            document.pointer(path.strip_prefix('#').expect("local")).expect("a schema that is there")
        }
    }
}

/// Why a value is not of a schema.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema).as_object().expect("a schema is an object");
    for (keyword, rule) in schema {
        keyword_holds(document, schema, keyword, rule, value)
            .map_err(|why| format!("{why} ({keyword} of {value})"))?;
    }
    Ok(())
}

fn that(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

fn keyword_holds(
    document: &Value,
    schema: &Map<String, Value>,
    keyword: &str,
    rule: &Value,
    value: &Value,
) -> Result<(), String> {
    let matching = |rules: &Value| {
        rules.as_array().expect("a list").iter().filter(|rule| check(document, rule, value).is_ok()).count()
    };
    match keyword {
        "type" => that(is_of(rule.as_str().expect("one type"), value), "another type"),
        "const" => that(rule == value, "another value"),
        "enum" => that(rule.as_array().expect("a list").contains(value), "none of the values"),
        "anyOf" => that(matching(rule) > 0, "none of the schemas"),
        "oneOf" => that(matching(rule) == 1, "not exactly one of the schemas"),
        "minimum" => that(value.as_u64() >= rule.as_u64(), "too small"),
        "maximum" => that(value.as_u64() <= rule.as_u64(), "too large"),
        "minItems" => that(value.as_array().map(Vec::len) >= rule.as_u64().map(|n| n as usize), "too few"),
        "maxItems" => that(value.as_array().map(Vec::len) <= rule.as_u64().map(|n| n as usize), "too many"),
        "pattern" => {
            that(value.as_str().is_some_and(|text| fits(rule.as_str().expect("text"), text)), "no match")
        }
        "items" => value.as_array().into_iter().flatten().try_for_each(|item| check(document, rule, item)),
        "required" => rule.as_array().expect("a list").iter().try_for_each(|name| {
            that(value.get(name.as_str().expect("a name")).is_some(), &format!("without {name}"))
        }),
        "properties" => rule.as_object().expect("an object").iter().try_for_each(|(name, rule)| {
            value.get(name).map_or(Ok(()), |value| check(document, rule, value))
        }),
        "additionalProperties" => {
            assert_eq!(rule, &json!(false));
            let known = schema["properties"].as_object().expect("an object");
            value.as_object().into_iter().flat_map(Map::keys).try_for_each(|name| {
                that(known.contains_key(name), &format!("with {name}, which is not described"))
            })
        }
        other => panic!("the keyword {other} is not known here"),
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not known here"),
    }
}

/// Digits, and how many, of the patterns that occur: `^[digits]{n}$` and `^([digits]{2})*$`.
fn digits_of(pattern: &str) -> (bool, Option<usize>) {
    let upper = pattern.contains("A-F");
    let class = if upper { "[0-9a-fA-F]" } else { "[0-9a-f]" };
    if pattern == format!("^({class}{{2}})*$") {
        return (upper, None);
    }
    let count = pattern.strip_prefix(&format!("^{class}{{")).and_then(|rest| rest.strip_suffix("}$"));
    (upper, Some(count.and_then(|count| count.parse().ok()).expect("a pattern of a known form")))
}

fn fits(pattern: &str, text: &str) -> bool {
    let (upper, count) = digits_of(pattern);
    let digit = |byte: u8| {
        byte.is_ascii_digit()
            || (b'a'..=b'f').contains(&byte.to_ascii_lowercase()) && (upper || !byte.is_ascii_uppercase())
    };
    text.bytes().all(digit) && count.map_or(text.len().is_multiple_of(2), |count| text.len() == count)
}

/// A value of a schema, drawn.
pub fn sample(document: &Value, schema: &Value, dice: &mut Dice) -> Value {
    let schema = resolve(document, schema);
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    for choice in ["enum", "oneOf", "anyOf"] {
        if let Some(choices) = schema.get(choice).and_then(Value::as_array) {
            let chosen = &choices[dice.below(choices.len() as u64) as usize];
            return if choice == "enum" { chosen.clone() } else { sample(document, chosen, dice) };
        }
    }
    match schema["type"].as_str().expect("a type") {
        "integer" => {
            let (least, most) = (schema["minimum"].as_u64().unwrap(), schema["maximum"].as_u64().unwrap());
            let drawn = [least, most, least + dice.below(8), dice.below(most), most / 2];
            json!(drawn[dice.below(5) as usize].clamp(least, most))
        }
        "string" => {
            let count =
                schema["pattern"].as_str().map_or(Some(8), |pattern| digits_of(pattern).1).unwrap_or(6);
            json!((0..count).map(|_| format!("{:x}", dice.below(16))).collect::<String>())
        }
        "array" => {
            let count = 1 + dice.below(3);
            (0..count).map(|_| sample(document, &schema["items"], dice)).collect()
        }
        "object" => {
            let members = schema["properties"].as_object().expect("an object");
            members.iter().map(|(name, schema)| (name.clone(), sample(document, schema, dice))).collect()
        }
        other => panic!("the type {other} is not known here"),
    }
}

/// One change somewhere in a value.
pub fn spoil(value: &mut Value, dice: &mut Dice) {
    let inside = dice.below(4) > 0;
    match value {
        Value::Object(members) if inside && !members.is_empty() => {
            let place = dice.below(members.len() as u64) as usize;
            let name = members.keys().nth(place).expect("counted").clone();
            match dice.below(4) {
                0 => _ = members.remove(&name),
                1 => _ = members.insert(format!("{name}s"), json!(1)),
                _ => spoil(members.get_mut(&name).expect("it is there"), dice),
            }
        }
        Value::Array(items) if inside && !items.is_empty() => {
            let place = dice.below(items.len() as u64) as usize;
            match dice.below(4) {
                0 => _ = items.remove(place),
                _ => spoil(&mut items[place], dice),
            }
        }
        value => {
            let others = [
                json!(null),
                json!(-1),
                json!(1.5),
                json!(u64::MAX),
                json!("é\u{0}"),
                json!([]),
                json!({}),
                json!(true),
            ];
            *value = others[dice.below(others.len() as u64) as usize].clone();
        }
    }
}
