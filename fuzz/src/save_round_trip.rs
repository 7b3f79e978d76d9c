//! Rules grown from choices: they are read without an error, what is read saves to text that reads back equal, and that is saved the same again.

use super::choices::Choices;
use super::dump_text::round_trip;
use super::rule_lines::dump;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::Family;

/// Holds the rules that the bytes choose to what the module says.
///
/// # Panics
/// Where it does not hold.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let family = choices.one(&[Family::V4, Family::V6]);
    let text = dump(&mut choices, family);
    match read(&[Input::new("grown", text.as_str())]) {
        Ok(rules) => round_trip(&rules),
        Err(error) => panic!("{error}\n{text}"),
    }
}
