//! Bytes as a dump of any form: reading them ends, and what is read saves to text that reads back equal.

use super::equal;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::readers::{Input, Rules, read};
use kpclass_ruleset::save::save;

/// A zstd archive longer than this can unpack to more text than one run has time for: four bytes of it to 128 KiB.
const LONGEST_ZSTD: usize = 400;

/// Holds the bytes to what the module says.
///
/// # Panics
/// Where it does not hold.
pub fn check(bytes: &[u8]) {
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) && bytes.len() > LONGEST_ZSTD {
        return;
    }
    if let Ok(rules) = read(&[Input::new("fuzz", bytes)]) {
        round_trip(&rules);
    }
}

/// Each family's rules save to text that reads back equal, alone and together with the other's, and that is saved the same again.
///
/// # Panics
/// Where that does not hold.
pub fn round_trip(rules: &Rules) {
    let mut all = String::new();
    for ruleset in rules.v4.iter().chain(&rules.v6) {
        let text = save(ruleset);
        let again = read_back(&text);
        let (same, other) = match ruleset.family() {
            kpclass_ruleset::value::Family::V4 => (&again.v4, &again.v6),
            kpclass_ruleset::value::Family::V6 => (&again.v6, &again.v4),
        };
        assert!(
            other.is_none(),
            "read back with a family that it has not:\n{text}"
        );
        assert_equal(ruleset, same.as_ref(), &text);
        assert_eq!(
            same.as_ref().map(save).as_deref(),
            Some(&*text),
            "saved otherwise the second time"
        );
        all += &text;
    }
    if let (Some(v4), Some(v6)) = (&rules.v4, &rules.v6) {
        let again = read_back(&all);
        assert_equal(v4, again.v4.as_ref(), &all);
        assert_equal(v6, again.v6.as_ref(), &all);
    }
}

fn read_back(text: &str) -> Rules {
    match read(&[Input::new("saved", text)]) {
        Ok(rules) => rules,
        Err(error) => panic!("saved text does not read back: {error}\n{text}"),
    }
}

fn assert_equal(first: &Ruleset, second: Option<&Ruleset>, text: &str) {
    let Some(second) = second else {
        panic!("{:?} is not read back:\n{text}", first.family());
    };
    if let Some(difference) = equal::difference(first, second) {
        panic!("reads back otherwise: {difference}\n{text}");
    }
}
