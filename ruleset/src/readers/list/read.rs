//! Reads collected listings into the builders.

use super::collect::{Listed, Listing, span};
use super::columns::Row;
use super::{names, spell, table};
use crate::ids::ChainId;
use crate::readers::text::{self, Place, Spelt};
use crate::readers::{Builders, Line, ReadError, WarningKind};
use crate::ruleset::{Policy, TableId};
use crate::value::Family;
use ahash::AHashMap;

/// Reads every listing of an input. Those whose table shows come first: they help to tell the others'.
///
/// # Errors
/// A listing whose table cannot be told; a rule that is malformed.
pub(super) fn listings(listings: &[Listing<'_>], builders: &mut Builders) -> Result<(), ReadError> {
    let shown = listings.iter().find_map(family_shown);
    let mut reading = Reading {
        builders,
        unknown: Unknown::default(),
        hidden: false,
        shown,
        twice: None,
    };
    let mut untold = Vec::new();
    let mut before = None;
    for listing in listings.iter().filter(|listing| !listing.chains.is_empty()) {
        match listing
            .table
            .map_or_else(|| table::infer(&listing.chains), Ok)
        {
            Ok(table) => {
                reading.listing(listing, table)?;
                before = Some((listing, table));
            }
            Err(possible) => untold.push((listing, possible, before)),
        }
    }
    for (listing, possible, before) in untold {
        let builder = reading.builders.of(reading.family(listing));
        let table = table::by_others(listing, &possible, before, builder);
        reading.listing(listing, table.ok_or_else(|| ambiguous(listing, &possible))?)?;
    }
    reading.unknown.warn(reading.builders);
    Ok(())
}

fn ambiguous(listing: &Listing<'_>, possible: &[TableId]) -> ReadError {
    let what = "the table of this listing cannot be told";
    let names: Vec<&str> = possible.iter().map(|table| table.name()).collect();
    let message = match possible {
        [] => format!("{what}: no table has these chains and targets together"),
        _ => format!(
            "{what}: by its chains and targets it may be {}",
            names.join(", ")
        ),
    };
    let error = match listing.chains.first() {
        Some(first) => ReadError::line(&first.line, message),
        None => ReadError::new(message),
    };
    error.note("name the table, as in `--rules nat:FILE`")
}

/// The family that the addresses of a listing show.
fn family_shown(listing: &Listing<'_>) -> Option<Family> {
    let rows = || {
        listing
            .chains
            .iter()
            .flat_map(|listed| &listed.rows)
            .map(|(_, row)| row)
    };
    let addresses = rows().flat_map(|row| [row.source, row.destination]);
    let icmp6 =
        |row: &Row<'_>| row.protocol == "ipv6-icmp" || row.text.contains("reject-with icmp6-");
    addresses
        .filter_map(names::family)
        .next()
        .or_else(|| rows().any(icmp6).then_some(Family::V6))
}

/// The listings of one input being read.
struct Reading<'a> {
    builders: &'a mut Builders,
    unknown: Unknown,
    /// Whether it was said that a listing hides devices.
    hidden: bool,
    /// The family that some listing of the input shows.
    shown: Option<Family>,
    /// The chains at hand that are given before.
    twice: Option<Twice>,
}

/// Chains, one below the other, that the inputs have already.
struct Twice {
    /// The first.
    name: String,
    /// How many follow it.
    more: usize,
    /// Their first and last rule.
    lines: (u32, u32),
}

impl Reading<'_> {
    /// The family: as said, or as the addresses are; IPv4 if none shows in the whole input.
    fn family(&self, listing: &Listing<'_>) -> Family {
        let shown = || family_shown(listing).or(self.shown);
        listing.family.or_else(shown).unwrap_or(Family::V4)
    }

    fn listing(&mut self, listing: &Listing<'_>, table: TableId) -> Result<(), ReadError> {
        let place = Place {
            family: self.family(listing),
            table,
        };
        if let Some(first) = listing.chains.first() {
            self.introduce(listing, &first.line, table);
        }
        for listed in &listing.chains {
            self.chain(listed, place)?;
        }
        self.warn_twice();
        Ok(())
    }

    /// Says what nobody says: the table, and that a listing without `-v` shows no devices (once for an input).
    fn introduce(&mut self, listing: &Listing<'_>, line: &Line<'_>, table: TableId) {
        if listing.table.is_none() {
            let message = format!(
                "nothing names the table of this listing: by its chains and targets it is {}",
                table.name()
            );
            self.builders
                .warn(WarningKind::TableInferred, line, message);
        }
        if !self.hidden && !listing.chains.iter().any(|listed| listed.interfaces) {
            self.hidden = true;
            let message = "a listing without -v hides the devices of rules: one with -i or -o looks as if it had none";
            self.builders.warn(WarningKind::HiddenByForm, line, message);
        }
    }

    fn chain(&mut self, listed: &Listed<'_>, place: Place) -> Result<(), ReadError> {
        let name = listed.heading.name;
        if let Some(reason) = text::not_a_chain(name) {
            return Err(ReadError::line(&listed.line, reason));
        }
        let builder = self.builders.of(place.family);
        let chain = builder.chain(place.table, name);
        if builder.is_declared(chain) && builder.rule_count(chain) > 0 {
            self.note_twice(listed);
            return Ok(());
        }
        if builder.is_builtin(chain) && !builder.is_declared(chain) {
            self.heading(listed, chain, place)?;
        }
        if !listed.rows.is_empty() {
            self.warn_twice();
        }
        self.builders.of(place.family).declare(chain);
        listed
            .rows
            .iter()
            .try_for_each(|(line, row)| self.rule(name, line, row, place))
    }

    /// The policy of a built-in chain and its counters.
    fn heading(
        &mut self,
        listed: &Listed<'_>,
        chain: ChainId,
        place: Place,
    ) -> Result<(), ReadError> {
        let builder = self.builders.of(place.family);
        match listed.heading.policy {
            Some("ACCEPT") => builder.set_policy(chain, Policy::Accept),
            Some("DROP") => builder.set_policy(chain, Policy::Drop),
            // Cut away.
            None => {}
            Some(other) => {
                let message = format!("`{other}` is not a policy: ACCEPT or DROP");
                return Err(ReadError::line(&listed.line, message));
            }
        }
        if let Some(counters) = listed.heading.counters {
            builder.set_counters(chain, counters);
        }
        Ok(())
    }

    /// Notes that the inputs have the chain already, and that what stands here is not read.
    fn note_twice(&mut self, listed: &Listed<'_>) {
        let (Some((first, _)), Some((last, _))) = (listed.rows.first(), listed.rows.last()) else {
            return;
        };
        let twice = self.twice.get_or_insert_with(|| Twice {
            name: listed.heading.name.to_owned(),
            more: 0,
            lines: (first.number, last.number),
        });
        twice.more += usize::from(twice.lines != (first.number, last.number));
        twice.lines.1 = last.number;
    }

    /// Says which lines were left out since the last chain that was not given before.
    fn warn_twice(&mut self) {
        let Some(Twice {
            name,
            more,
            lines: (first, last),
        }) = self.twice.take()
        else {
            return;
        };
        let [first, last] = [first, last].map(|number| Line { text: "", number });
        let lines = span(&first, &last);
        let message = match more {
            0 => format!("{lines} left out: chain {name} is given before"),
            _ => format!("{lines} left out: chain {name} and {more} more are given before"),
        };
        self.builders.warn(WarningKind::TableTwice, &first, message);
    }

    fn rule(
        &mut self,
        chain: &str,
        line: &Line<'_>,
        row: &Row<'_>,
        place: Place,
    ) -> Result<(), ReadError> {
        let spelled = spell::spell(row, place.family);
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
        text::append(self.builders, place, rule).map_err(|error| {
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
