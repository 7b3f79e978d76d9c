//! One input: its lines, sorted by form.

use super::echo::Echo;
use super::list::Listings;
use super::sections::{Origin, TextLine};
use super::shape::{Shape, begins_rule};
use super::unwrap::unwrap;
use super::{Builders, Input, Line, ReadError, WarningKind, open, text};

/// Reads an input into the builders.
///
/// # Errors
/// An input without rules, malformed lines, a table that cannot be told.
pub(crate) fn read(input: &Input, builders: &mut Builders) -> Result<(), ReadError> {
    let text = open::open(&input.bytes)?;
    let unwrapped = unwrap(&text);
    let mut document = Document {
        // A rule's line is longer; room that is left over costs nothing.
        lines: Vec::with_capacity(text.len() / 64),
        listings: Listings::new(input.table, input.family),
        echo: None,
        first: None,
        rules: false,
        in_table: false,
        skipped: Vec::new(),
    };
    unwrapped.lines(Shape::of, |line, shape| document.take(line, shape));
    if !document.rules && document.listings.is_empty() {
        return Err(document
            .listings
            .headless()
            .unwrap_or_else(|| nothing(document.first)));
    }
    unwrapped.warn(builders);
    text::read(&document.lines, input, builders)?;
    document.listings.finish(builders)?;
    warn_skipped(&document.skipped, builders);
    Ok(())
}

/// The lines of an input by what reads them.
struct Document<'t> {
    lines: Vec<TextLine<'t>>,
    listings: Listings<'t>,
    /// The last command whose output may begin at the next line.
    echo: Option<Origin>,
    first: Option<Line<'t>>,
    /// Whether any of `lines` is a rule, chain or table.
    rules: bool,
    /// Whether the line stands between `*table` and `COMMIT`.
    in_table: bool,
    skipped: Vec<Line<'t>>,
}

impl<'t> Document<'t> {
    #[inline]
    fn take(&mut self, line: Line<'t>, shape: Shape) {
        let shape = match shape {
            // A chain may have any name, and nobody writes prose here.
            Shape::Other if self.in_table && begins_rule(line.text) => Shape::Bare,
            shape => shape,
        };
        match shape {
            Shape::Table => self.in_table = true,
            Shape::Commit => self.in_table = false,
            _ => {}
        }
        match shape {
            Shape::Blank => {
                self.listings.take(line);
                return;
            }
            Shape::Other => self.other(line),
            Shape::Comment if self.echoed(line.text) => {}
            Shape::Comment | Shape::Commit => self.lines.push(TextLine {
                line,
                shape,
                echo: None,
            }),
            _ => {
                self.rules = true;
                self.listings.interrupt();
                self.lines.push(TextLine {
                    line,
                    shape,
                    echo: self.echo.take(),
                });
            }
        }
        self.first = self.first.or(Some(line));
    }

    fn other(&mut self, line: Line<'t>) {
        if !self.echoed(line.text) && !self.listings.take(line) {
            self.skipped.push(line);
        }
    }

    /// Whether the line is a command whose output follows; a root's prompt makes it look like a comment.
    fn echoed(&mut self, text: &str) -> bool {
        if memchr::memmem::find(text.as_bytes(), b"tables").is_none()
            || text.contains("enerated by")
        {
            return false;
        }
        let Some(echo) = Echo::of(text.trim_start_matches(['#', ' ', '\t'])) else {
            return false;
        };
        self.echo = Some(Origin {
            family: Some(echo.family),
            table: echo.table,
        });
        self.listings.echo(echo);
        true
    }
}

/// Names each line that may have been a rule, and counts the others.
fn warn_skipped(skipped: &[Line<'_>], builders: &mut Builders) {
    let cut = |line: &&Line<'_>| {
        let words = line.text.split_ascii_whitespace();
        words
            .clone()
            .any(|word| matches!(word, "-j" | "-g" | "-m" | "-A" | "--comment"))
    };
    for line in skipped.iter().filter(cut) {
        let message = "passed over: it looks like a rule whose beginning is cut off or misspelt";
        builders.warn(WarningKind::SkippedLine, line, message);
    }
    let mut rest = skipped.iter().filter(|line| !cut(line));
    if let Some(first) = rest.next() {
        let message = match rest.count() {
            0 => "passed over: it is no rule, chain or table".to_owned(),
            more => format!("passed over, as {more} more lines: they are no rule, chain or table"),
        };
        builders.warn(WarningKind::SkippedLine, first, message);
    }
}

/// The error of an input without rules.
fn nothing(first: Option<Line<'_>>) -> ReadError {
    let what = "no iptables rule, chain or table in it";
    match first {
        None => ReadError::new(format!("{what}: it is empty")),
        Some(line) => ReadError::line(&line, format!("{what}; its first line is no such thing")),
    }
}
