//! Reads the listings of `iptables -L`, of any version, with any of `-n`, `-v`, `-x` and `--line-numbers`.
//!
//! ```text
//! lines ─► headings, headers, rows ─► listings ─ table ─► each row ─ spell ─► `-A` options ─ rule ─► Builders
//! ```
//!
//! A row is turned back into the options it was made with and read as `-A` would be, so a listing and a save of the same
//! rules give the same rules. What a listing does not show is never made up: text that is not known, and names that stand for
//! numbers only the node knows, become undecided matches; rules whose chain was cut away are left out. Both are named in warnings.

mod collect;
mod columns;
mod heading;
mod matches;
mod names;
mod read;
mod spell;
mod table;
mod targets;
mod text;

pub(crate) use collect::Listings;

use columns::{Layout, Row};
use heading::Heading;

/// Whether a line is the heading of a chain.
pub(crate) fn is_heading(text: &str) -> bool {
    Heading::read(text).is_some()
}

/// Whether a line is the header over a chain's rules.
pub(crate) fn is_header(text: &str) -> bool {
    Layout::of_header(text).is_some()
}

/// Whether a line is a rule of a listing, beyond doubt: its target looks like a name.
pub(crate) fn is_row(text: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || "_-.~+@".contains(c);
    let named = |target: &str| !target.starts_with(['-', '+', '.']) && target.chars().all(letter);
    Row::read(text, None).is_some_and(|row| named(row.target))
}

/// Whether a line begins like the text behind a rule's columns.
pub(crate) fn is_row_text(text: &str) -> bool {
    let mut text = text::Text::new(text);
    text.rest().starts_with("to:")
        || text.rest().starts_with("reject-with ")
        || matches::read(&mut text, &mut spell::Options::default())
}

#[cfg(test)]
mod tests;
