use super::*;

#[test]
fn the_table_is_in_the_order_of_its_kinds_and_names_are_those_of_plans() {
    for (number, about) in KINDS.iter().enumerate() {
        assert_eq!(about.kind as usize, number);
        assert_eq!(serde_json::to_value(about.kind).unwrap(), about.name);
        assert!(!about.doors.is_empty() && !about.help.is_empty());
    }
}
