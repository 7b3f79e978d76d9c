//! Bytes as what `iptables -L` prints, with and without the user's hints: as for a dump of any form.

use super::dump_text::round_trip;
use kpclass_ruleset::TableId;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::Family;

/// A heading to put where the text has none, so that the fuzzer need not find one.
const HEADING: &str =
    "Chain INPUT (policy ACCEPT)\ntarget     prot opt source               destination         \n";

/// Holds the bytes to what the module says. Text that begins no chain is read below a heading.
///
/// # Panics
/// Where it does not hold.
pub fn check(bytes: &[u8]) {
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return;
    }
    let hints = [(None, None), (Some(Family::V6), Some(TableId::Nat))];
    for (family, table) in hints {
        let mut input = Input::new("fuzz", bytes);
        if !bytes.windows(6).any(|window| window == b"Chain ") {
            input.bytes = [HEADING.as_bytes(), bytes].concat();
        }
        (input.family, input.table) = (family, table);
        if let Ok(rules) = read(&[input]) {
            round_trip(&rules);
        }
    }
}
