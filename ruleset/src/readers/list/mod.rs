//! Reads the listings of `iptables -L`, of any version, with any of `-n`, `-v`, `-x` and `--line-numbers`.
//!
//! ```text
//! lines ─► headings, headers, rows ─► listings ─ table ─► each row ─ spell ─► `-A` options ─ rule ─► Builders
//! ```
//!
//! A row is turned back into the options it was made with and read as `-A` would be, so a listing and a save of the same
//! rules give the same rules. What a listing does not show is never made up: text that is not known, and names that stand for
//! numbers only the node knows, become undecided matches; rules whose chain was cut away are left out. Both are named in warnings.

mod columns;
mod heading;
mod matches;
mod names;
mod services;
mod spell;
mod table;
mod targets;
mod text;

use super::echo::Echo;
use super::{Builders, Line, ReadError, WarningKind};
use crate::ruleset::TableId;
use crate::value::Family;
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

/// A chain as listed.
#[derive(Debug)]
struct Listed<'t> {
    line: Line<'t>,
    heading: Heading<'t>,
    rows: Vec<(Line<'t>, Row<'t>)>,
    /// Whether its rules' devices are shown.
    interfaces: bool,
}

/// The chains of one command's output.
#[derive(Debug, Default)]
struct Listing<'t> {
    /// The table, where the command or the user says it.
    table: Option<TableId>,
    family: Option<Family>,
    chains: Vec<Listed<'t>>,
}

/// Something to say about a line once all is read.
#[derive(Debug)]
struct Remark<'t> {
    kind: WarningKind,
    line: Line<'t>,
    message: String,
}

/// Collects the listings of one input; [`finish`](Self::finish) reads them.
#[derive(Debug, Default)]
pub(crate) struct Listings<'t> {
    /// The table and family that the user names for the input.
    table: Option<TableId>,
    family: Option<Family>,
    listings: Vec<Listing<'t>>,
    /// Whether rows belong to the last chain.
    open: bool,
    /// The columns that the last header announces.
    layout: Option<Layout>,
    /// A blank line stands before this one.
    after_blank: bool,
    /// Blank lines stand between any two lines, and mean nothing.
    spaced: bool,
    /// First and last line of the rows at hand that belong to no chain.
    stray: Option<(Line<'t>, Line<'t>)>,
    remarks: Vec<Remark<'t>>,
}

impl<'t> Listings<'t> {
    /// Nothing read yet; `table` and `family` are what the user says of the input.
    pub(crate) fn new(table: Option<TableId>, family: Option<Family>) -> Self {
        Self {
            table,
            family,
            ..Self::default()
        }
    }

    /// Whether any line was taken that matters.
    pub(crate) fn is_empty(&self) -> bool {
        self.listings
            .iter()
            .all(|listing| listing.chains.is_empty())
            && self.stray.is_none()
            && self.remarks.is_empty()
    }

    /// Notes a command: what follows is its output.
    pub(crate) fn echo(&mut self, echo: Echo) {
        self.interrupt();
        let table = self.table.or(echo.table);
        let family = self.family.or(Some(echo.family));
        self.listings.push(Listing {
            table,
            family,
            chains: Vec::new(),
        });
    }

    /// Notes that something stands between this and what follows: a fence, a line of another form.
    pub(crate) fn interrupt(&mut self) {
        self.open = false;
        self.layout = None;
        self.end_stray();
    }

    /// Takes a line of a listing; false if it is none.
    pub(crate) fn take(&mut self, line: Line<'t>) -> bool {
        let text = line.text;
        let taken = if text.trim_ascii().is_empty() {
            self.after_blank = true;
            return true;
        } else if let Some(heading) = Heading::read(text) {
            self.begin(line, heading);
            true
        } else if let Some(layout) = Layout::of_header(text) {
            self.header(layout);
            true
        } else if let Some(row) = Row::read(text, self.layout) {
            self.row(line, row);
            true
        } else {
            self.broken(line)
        };
        self.after_blank = false;
        taken
    }

    fn begin(&mut self, line: Line<'t>, heading: Heading<'t>) {
        self.interrupt();
        if self.listings.is_empty() || self.begins_another(heading.name) {
            self.listings.push(Listing {
                table: self.table,
                family: self.family,
                chains: Vec::new(),
            });
        }
        if let Some(listing) = self.listings.last_mut() {
            listing.chains.push(Listed {
                line,
                heading,
                rows: Vec::new(),
                interfaces: false,
            });
        }
        self.open = true;
        self.spaced = false;
    }

    /// Whether a chain cannot belong to the listing at hand: that has it already, or built-in chains come first in a listing and this one
    /// comes after others, in an input whose commands do not say where one begins.
    fn begins_another(&self, name: &str) -> bool {
        let Some(listing) = self.listings.last() else {
            return true;
        };
        listing
            .chains
            .iter()
            .any(|listed| listed.heading.name == name)
            || (listing.table.is_none()
                && table::is_builtin(name)
                && table::contradicts(&listing.names(), name))
    }

    fn header(&mut self, layout: Layout) {
        let listed = self
            .listings
            .last_mut()
            .and_then(|listing| listing.chains.last_mut());
        match listed {
            Some(listed) if self.open && listed.rows.is_empty() => {
                listed.interfaces = layout.interfaces;
                self.spaced |= self.after_blank;
            }
            // A header in the middle: the heading before it was cut away.
            _ => self.interrupt(),
        }
        self.layout = Some(layout);
    }

    fn row(&mut self, line: Line<'t>, row: Row<'t>) {
        let listed = self
            .listings
            .last_mut()
            .and_then(|listing| listing.chains.last_mut());
        let Some(listed) = listed.filter(|_| self.open) else {
            return self.stray(line);
        };
        let last = listed
            .rows
            .last()
            .and_then(|(_, row)| row.number)
            .unwrap_or(0);
        let apart = self.after_blank && !self.spaced && !listed.rows.is_empty();
        match row.number {
            Some(number) if number <= last => return self.stray(line),
            Some(number) if number > last + 1 => {
                let (first, name) = (last + 1, listed.heading.name);
                let message = format!(
                    "rules {first} to {} of chain {name} were cut away",
                    number - 1
                );
                self.remarks.push(Remark {
                    kind: WarningKind::SkippedLine,
                    line,
                    message,
                });
            }
            None if apart => return self.stray(line),
            _ => {}
        }
        listed.interfaces |= row.interfaces.is_some();
        listed.rows.push((line, row));
    }

    /// A rule whose chain's heading was cut away: nobody knows where it belongs.
    fn stray(&mut self, line: Line<'t>) {
        self.open = false;
        self.stray = Some((self.stray.map_or(line, |(first, _)| first), line));
    }

    fn end_stray(&mut self) {
        let Some((first, last)) = self.stray.take() else {
            return;
        };
        let lines = match first.number == last.number {
            true => format!("line {}", first.number),
            false => format!("lines {} to {}", first.number, last.number),
        };
        let message = format!("{lines}: rules without the heading of their chain are left out");
        self.remarks.push(Remark {
            kind: WarningKind::SkippedLine,
            line: first,
            message,
        });
    }

    /// A row whose columns are cut: left out, and said so.
    fn broken(&mut self, line: Line<'t>) -> bool {
        let words = line.text.split_ascii_whitespace().take(6);
        let cut = self.open && words.skip(1).any(|word| matches!(word, "--" | "-f" | "!f"));
        if cut && !line.text.starts_with('-') {
            let message = "a rule whose columns are cut short is left out".to_owned();
            self.remarks.push(Remark {
                kind: WarningKind::SkippedLine,
                line,
                message,
            });
            return true;
        }
        false
    }

    /// Reads what was collected.
    ///
    /// # Errors
    /// A listing whose table cannot be told; a rule that is malformed.
    pub(crate) fn finish(mut self, builders: &mut Builders) -> Result<(), ReadError> {
        self.end_stray();
        for listing in &self.listings {
            listing.read(builders)?;
        }
        for remark in self.remarks {
            builders.warn(remark.kind, &remark.line, remark.message);
        }
        Ok(())
    }
}

impl<'t> Listing<'t> {
    fn names(&self) -> Vec<&'t str> {
        self.chains
            .iter()
            .map(|listed| listed.heading.name)
            .collect()
    }

    fn read(&self, builders: &mut Builders) -> Result<(), ReadError> {
        let Some(first) = self.chains.first() else {
            return Ok(());
        };
        let family = self.family();
        let table = match self.table {
            Some(table) => table,
            None => table::infer(&self.chains).ok_or_else(|| ambiguous(&first.line))?,
        };
        if self.table.is_none() {
            let message = format!(
                "the table of this listing is taken to be {}, by its chains and targets",
                table.name()
            );
            builders.warn(WarningKind::TableInferred, &first.line, message);
        }
        if !self.chains.iter().any(|listed| listed.interfaces) {
            warn_hidden(&first.line, builders);
        }
        for listed in &self.chains {
            listed.read(table, family, builders)?;
        }
        Ok(())
    }

    /// The family: as said, or as the addresses are; IPv4 if none shows.
    fn family(&self) -> Family {
        let rows = self.chains.iter().flat_map(|listed| &listed.rows);
        let shown = rows
            .flat_map(|(_, row)| [row.source, row.destination])
            .find_map(names::family);
        let v6 = || {
            self.chains
                .iter()
                .flat_map(|listed| &listed.rows)
                .any(|(_, row)| row.protocol == "ipv6-icmp" || row.text.contains("icmp6-"))
        };
        self.family
            .or(shown)
            .unwrap_or_else(|| if v6() { Family::V6 } else { Family::V4 })
    }
}

fn ambiguous(line: &Line<'_>) -> ReadError {
    ReadError::line(
        line,
        "the table of this listing cannot be told from its chains and targets",
    )
    .note("name it, as in --rules nat:FILE")
}

/// Once for an input: a listing without `-v` does not show devices.
fn warn_hidden(line: &Line<'_>, builders: &mut Builders) {
    let file = builders.file();
    let said = builders.warnings.iter().any(|w| {
        w.kind == WarningKind::HiddenByForm && w.file_id() == Some(file) && w.message == HIDDEN
    });
    if !said {
        builders.warn(WarningKind::HiddenByForm, line, HIDDEN);
    }
}

const HIDDEN: &str = "a listing without -v hides the interfaces of rules (-i, -o): a rule that has them looks as if it matched on any";

impl Listed<'_> {
    fn read(
        &self,
        table: TableId,
        family: Family,
        builders: &mut Builders,
    ) -> Result<(), ReadError> {
        let builder = builders.of(family);
        let chain = builder.chain(table, self.heading.name);
        builder.declare(chain);
        for (_, row) in &self.rows {
            spell::spell(row, family);
        }
        Ok(())
    }
}
