//! Reads collected listings into the builders.

use super::collect::{Listed, Listing, span};
use super::columns::Row;
use super::{names, spell, table};
use crate::readers::text::{self, Place, Spelt};
use crate::readers::{Builders, Line, ReadError, WarningKind};
use crate::ruleset::TableId;
use crate::value::Family;
use ahash::AHashMap;

/// Reads every listing of an input.
///
/// # Errors
/// A listing whose table cannot be told; a rule that is malformed.
pub(super) fn listings(listings: &[Listing<'_>], builders: &mut Builders) -> Result<(), ReadError> {
    let mut unknown = Unknown::default();
    let mut untold = Vec::new();
    for listing in listings.iter().filter(|listing| !listing.chains.is_empty()) {
        match listing
            .table
            .map_or_else(|| table::infer(&listing.chains), Ok)
        {
            Ok(table) => read(listing, table, builders, &mut unknown)?,
            Err(possible) => untold.push((listing, possible)),
        }
    }
    for (listing, possible) in untold {
        let table = by_others(listing, &possible, builders);
        let Some(first) = listing.chains.first() else {
            continue;
        };
        let table = table.ok_or_else(|| ambiguous(&first.line, &possible))?;
        read(listing, table, builders, &mut unknown)?;
    }
    unknown.warn(builders);
    Ok(())
}

fn read(
    listing: &Listing<'_>,
    table: TableId,
    builders: &mut Builders,
    unknown: &mut Unknown,
) -> Result<(), ReadError> {
    let Some(first) = listing.chains.first() else {
        return Ok(());
    };
    introduce(listing, &first.line, table, builders);
    let place = Place {
        family: family(listing),
        table,
    };
    let mut reader = Reader {
        place,
        builders,
        unknown,
    };
    listing
        .chains
        .iter()
        .try_for_each(|listed| reader.chain(listed))
}

/// The table of a listing that does not show it itself, by what the rest of the inputs has: the only table that there is; or the only one
/// that names its chains, one that lacks them before one that has them.
fn by_others(
    listing: &Listing<'_>,
    possible: &[TableId],
    builders: &mut Builders,
) -> Option<TableId> {
    let builder = builders.of(family(listing));
    let only = |tables: &[TableId]| match tables {
        [only] if possible.contains(only) => Some(*only),
        _ => None,
    };
    let present: Vec<TableId> = TableId::ALL
        .into_iter()
        .filter(|table| builder.has_table(*table))
        .collect();
    let names: Vec<&str> = listing
        .chains
        .iter()
        .map(|listed| listed.heading.name)
        .collect();
    let mut naming = present.clone();
    naming.retain(|table| {
        possible.contains(table)
            && names
                .iter()
                .any(|name| builder.find(*table, name).is_some())
    });
    let mut lacking = naming.clone();
    lacking.retain(|table| {
        let found = names.iter().filter_map(|name| builder.find(*table, name));
        found.into_iter().any(|chain| !builder.is_declared(chain))
    });
    only(&present)
        .or_else(|| only(&naming))
        .or_else(|| only(&lacking))
}

fn ambiguous(line: &Line<'_>, possible: &[TableId]) -> ReadError {
    let what = "the table of this listing cannot be told";
    let names = possible
        .iter()
        .map(|table| table.name())
        .collect::<Vec<_>>()
        .join(", ");
    let message = match possible {
        [] => format!("{what}: no table has these chains and targets together"),
        _ => format!("{what}: by its chains and targets it may be {names}"),
    };
    ReadError::line(line, message).note("name the table, as in `--rules nat:FILE`")
}

/// Says what nobody says: the table, and that a listing without `-v` shows no devices (once for an input).
fn introduce(listing: &Listing<'_>, line: &Line<'_>, table: TableId, builders: &mut Builders) {
    const HIDDEN: &str = "a listing without -v hides the devices of rules: one with -i or -o looks as if it had none";
    if listing.table.is_none() {
        let message = format!(
            "nothing names the table of this listing: by its chains and targets it is {}",
            table.name()
        );
        builders.warn(WarningKind::TableInferred, line, message);
    }
    let file = Some(builders.file());
    let said = builders
        .warnings
        .iter()
        .any(|warning| warning.file_id() == file && warning.message == HIDDEN);
    if !said && !listing.chains.iter().any(|listed| listed.interfaces) {
        builders.warn(WarningKind::HiddenByForm, line, HIDDEN);
    }
}

/// The family: as said, or as the addresses are; IPv4 if none shows.
fn family(listing: &Listing<'_>) -> Family {
    let rows = || listing.chains.iter().flat_map(|listed| &listed.rows);
    let addresses = rows().flat_map(|(_, row)| [row.source, row.destination]);
    let icmp6 =
        |row: &Row<'_>| row.protocol == "ipv6-icmp" || row.text.contains("reject-with icmp6-");
    let shown = || addresses.filter_map(names::family).next();
    listing
        .family
        .or_else(shown)
        .unwrap_or_else(|| match rows().any(|(_, row)| icmp6(row)) {
            true => Family::V6,
            false => Family::V4,
        })
}

/// Reads the chains of one listing.
struct Reader<'a> {
    place: Place,
    builders: &'a mut Builders,
    unknown: &'a mut Unknown,
}

impl Reader<'_> {
    fn chain(&mut self, listed: &Listed<'_>) -> Result<(), ReadError> {
        let name = listed.heading.name;
        let builder = self.builders.of(self.place.family);
        let chain = builder.chain(self.place.table, name);
        if builder.is_declared(chain) && builder.rule_count(chain) > 0 {
            self.warn_twice(listed);
            return Ok(());
        }
        if builder.is_builtin(chain) && !builder.is_declared(chain) {
            if let Some(policy) = listed.heading.policy {
                builder.set_policy(chain, policy);
            }
            if let Some(counters) = listed.heading.counters {
                builder.set_counters(chain, counters);
            }
        }
        builder.declare(chain);
        listed
            .rows
            .iter()
            .try_for_each(|(line, row)| self.rule(name, line, row))
    }

    /// Says that the inputs have the chain already, and that what stands here is not read.
    fn warn_twice(&mut self, listed: &Listed<'_>) {
        let (Some((first, _)), Some((last, _))) = (listed.rows.first(), listed.rows.last()) else {
            return;
        };
        let lines = span(first, last);
        let message = format!(
            "{lines} are left out: chain {} is given before",
            listed.heading.name
        );
        self.builders
            .warn(WarningKind::TableTwice, &listed.line, message);
    }

    fn rule(&mut self, chain: &str, line: &Line<'_>, row: &Row<'_>) -> Result<(), ReadError> {
        let spelled = spell::spell(row, self.place.family);
        for unread in &spelled.unread {
            self.unknown.note(&unread.text, line);
        }
        let undecided = spelled.unread.iter();
        let undecided = undecided
            .map(|unread| (&*unread.module, &*unread.text))
            .collect();
        let options = Line {
            text: spelled.options.as_str(),
            number: line.number,
        };
        let rule = Spelt {
            chain,
            options,
            undecided,
            counters: row.counters,
        };
        text::append(self.builders, self.place, rule).map_err(|error| {
            let spelt = format!("the rule reads as: -A {chain}{}", options.text);
            ReadError::line(line, error.message()).note(spelt)
        })
    }
}

/// Text that is not known, each with the lines it stands on.
#[derive(Debug, Default)]
struct Unknown {
    texts: AHashMap<String, usize>,
    found: Vec<(String, Vec<u32>)>,
}

impl Unknown {
    fn note(&mut self, text: &str, line: &Line<'_>) {
        let at = self.texts.get(text).copied().unwrap_or_else(|| {
            self.texts.insert(text.to_owned(), self.found.len());
            self.found.push((text.to_owned(), Vec::new()));
            self.found.len() - 1
        });
        if let Some((_, lines)) = self.found.get_mut(at) {
            lines.push(line.number);
        }
    }

    fn warn(&self, builders: &mut Builders) {
        const SHOWN: usize = 8;
        for (text, lines) in &self.found {
            let numbers: Vec<String> = lines.iter().take(SHOWN).map(u32::to_string).collect();
            let more = match lines.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!(
                "`{text}` is not known; rules that have it match or not, nobody knows (lines {}{more})",
                numbers.join(", ")
            );
            let first = Line {
                text: "",
                number: lines.first().copied().unwrap_or(1),
            };
            builders.warn(WarningKind::HiddenByForm, &first, message);
        }
    }
}
