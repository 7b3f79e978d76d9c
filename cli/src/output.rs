//! Standard output (buffered, coloured or not) and what is said on standard error.

use crate::args::Colour;
use crate::trouble::Trouble;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Standard output, and how text for it is coloured.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    palette: Palette,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout(colour: Colour) -> Self {
        let coloured = coloured(colour, io::stdout().is_terminal(), no_color());
        Self {
            out: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            palette: Palette { coloured },
        }
    }

    /// How text is coloured.
    pub(crate) fn palette(&self) -> Palette {
        self.palette
    }

    /// Writes text as it is.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Trouble> {
        self.out.write_all(text.as_bytes()).map_err(Trouble::output)
    }

    /// Writes one NDJSON record.
    pub(crate) fn record(&mut self, record: &impl serde::Serialize) -> Result<(), Trouble> {
        let written = serde_json::to_writer(&mut self.out, record).map_err(io::Error::from);
        written
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(Trouble::output)
    }

    /// Hands everything to whoever reads it.
    pub(crate) fn flush(&mut self) -> Result<(), Trouble> {
        self.out.flush().map_err(Trouble::output)
    }
}

/// `NO_COLOR` counts when it is set and not empty (no-color.org).
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn coloured(colour: Colour, terminal: bool, no_color: bool) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && !no_color,
    }
}

/// Colours for text, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    coloured: bool,
}

impl Palette {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { coloured: false };

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A headline.
    pub(crate) fn head(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// A reason, in Service words.
    pub(crate) fn reason(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// What is as it should be.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is not.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// What is not known.
    pub(crate) fn open(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// The most warnings that are printed one by one.
const MOST_WARNINGS: usize = 20;

/// Prints warnings on standard error, the first ones in full and the rest as a number.
pub(crate) fn warn<W: std::fmt::Display>(warnings: &[W]) {
    for warning in warnings.iter().take(MOST_WARNINGS) {
        complain("warning: ", &warning.to_string());
    }
    if let Some(rest @ 1..) = warnings.len().checked_sub(MOST_WARNINGS) {
        complain("warning: ", &format!("… and {rest} more"));
    }
}

/// Says `text` on standard error, after the program's name. That nobody can read it is no reason to fail.
pub(crate) fn complain(kind: &str, text: &str) {
    let _ = writeln!(io::stderr().lock(), "kpclass: {kind}{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_and_no_color_forbids_it() {
        for (choice, terminal, no_color, expected) in [
            (Colour::Auto, true, false, true),
            (Colour::Auto, true, true, false),
            (Colour::Auto, false, false, false),
            (Colour::Always, false, true, true),
            (Colour::Never, true, false, false),
        ] {
            assert_eq!(coloured(choice, terminal, no_color), expected, "{choice:?}");
        }
    }

    #[test]
    fn a_plain_palette_changes_nothing() {
        assert_eq!(Palette::PLAIN.head("x"), "x");
        assert_eq!(Palette { coloured: true }.head("x"), "\x1b[1mx\x1b[0m");
        assert_eq!(Palette { coloured: true }.head(""), "");
    }
}
