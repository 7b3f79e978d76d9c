//! Collects the lines of listings, chain by chain.

use super::columns::{Layout, Row};
use super::heading::Heading;
use super::{read, table};
use crate::readers::echo::Echo;
use crate::readers::{Builders, Line, ReadError, WarningKind};
use crate::ruleset::{Hook, TableId};
use crate::value::Family;
use ahash::AHashSet;

/// A chain as listed.
#[derive(Debug)]
pub(super) struct Listed<'t> {
    pub(super) line: Line<'t>,
    pub(super) heading: Heading<'t>,
    pub(super) rows: Vec<(Line<'t>, Row<'t>)>,
    /// Whether its rules' devices are shown.
    pub(super) interfaces: bool,
}

/// The chains of one command's output.
#[derive(Debug, Default)]
pub(super) struct Listing<'t> {
    /// The table, where the command or the user says it.
    pub(super) table: Option<TableId>,
    pub(super) family: Option<Family>,
    pub(super) chains: Vec<Listed<'t>>,
    /// The names of its chains.
    pub(super) names: AHashSet<&'t str>,
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
    /// Whether something else stands between the last chain and what follows.
    apart: bool,
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

    /// Whether no chain was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.listings
            .iter()
            .all(|listing| listing.chains.is_empty())
    }

    /// The error of an input that holds rules of a listing, and no chain.
    pub(crate) fn headless(&self) -> Option<ReadError> {
        let stray = self.stray.map(|(first, _)| first);
        let line = self.remarks.first().map(|remark| remark.line).or(stray)?;
        let message = "a listing's rules need the heading of their chain above them";
        Some(
            ReadError::line(&line, message)
                .note("a heading reads `Chain KUBE-SERVICES (2 references)`"),
        )
    }

    /// Notes a command: what follows is its output.
    pub(crate) fn echo(&mut self, echo: Echo) {
        self.interrupt();
        self.apart = false;
        self.begin_listing(echo.table, Some(echo.family));
    }

    /// Notes that something else stands between the last chain and what follows, which may be of another table.
    pub(crate) fn interrupt(&mut self) {
        self.end_chain();
        // A command with nothing below it yet stays in force.
        self.apart = self
            .listings
            .last()
            .is_some_and(|listing| !listing.chains.is_empty());
    }

    fn begin_listing(&mut self, table: Option<TableId>, family: Option<Family>) {
        let table = self.table.or(table);
        let family = self.family.or(family);
        self.listings.push(Listing {
            table,
            family,
            ..Listing::default()
        });
    }

    fn end_chain(&mut self) {
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
        self.end_chain();
        if self.apart || self.begins_another(heading.name) {
            self.begin_listing(None, None);
        }
        self.apart = false;
        if let Some(listing) = self.listings.last_mut() {
            listing.names.insert(heading.name);
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
        listing.names.contains(name)
            || (listing.table.is_none()
                && Hook::from_chain(name).is_some()
                && table::contradicts(&listing.chains, name))
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
            _ => self.end_chain(),
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
                let name = listed.heading.name;
                let message = match (last + 1, number - 1) {
                    (first, last) if first == last => {
                        format!("rule {last} of chain {name} was cut away")
                    }
                    (first, last) => {
                        format!("rules {first} to {last} of chain {name} were cut away")
                    }
                };
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
        let lines = span(&first, &last);
        let message = format!("{lines}: rules without the heading of their chain are left out");
        self.remarks.push(Remark {
            kind: WarningKind::SkippedLine,
            line: first,
            message,
        });
    }

    /// A row whose columns are cut: left out, and said so.
    fn broken(&mut self, line: Line<'t>) -> bool {
        if line.text.starts_with("```") {
            self.interrupt();
        }
        let words = line.text.split_ascii_whitespace().take(6);
        let cut = self.open && words.skip(1).any(|word| matches!(word, "--" | "-f" | "!f"));
        if cut && !line.text.starts_with('-') {
            let message = "a rule whose columns are cut or malformed is left out".to_owned();
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
        read::listings(&self.listings, builders)?;
        for remark in self.remarks {
            builders.warn(remark.kind, &remark.line, remark.message);
        }
        Ok(())
    }
}

/// `line 3`, or `lines 3 to 5`.
pub(super) fn span(first: &Line<'_>, last: &Line<'_>) -> String {
    match first.number == last.number {
        true => format!("line {}", first.number),
        false => format!("lines {} to {}", first.number, last.number),
    }
}
