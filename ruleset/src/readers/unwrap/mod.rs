//! Frees rule text of what it was pasted with: prompts, indents, fences, quote and diff marks, line numbers, log prefixes,
//! file names of `grep`, one JSON string, carriage returns, no-break spaces, and the line breaks of a narrow window.
//!
//! ```text
//! text ─ unescape ─ peel (each line) ─ join (wrapped lines) ─► lines with the numbers they had
//! ```
//!
//! Only a line that says nothing as it stands is changed, and only if what is under the wrapping does say something; so clean
//! text goes through untouched and is not copied.

mod join;
mod peel;
mod shape;

use super::{Builders, Line, WarningKind};
use crate::ordered;
use peel::Marks;
use shape::Shape;
use std::borrow::Cow;

/// The lines of an input, freed of their wrapping.
#[derive(Debug)]
pub(crate) struct Unwrapped<'t> {
    text: Cow<'t, str>,
    /// The number of each line in the input; empty where nothing was changed.
    numbers: Vec<u32>,
    /// Lines that are the old side of a diff.
    removed: Vec<u32>,
}

impl Unwrapped<'_> {
    /// Gives each line to `take`, in order, with what `look`, which is asked on all cores, sees in it.
    pub(crate) fn lines<'s, T: Send>(
        &'s self,
        look: impl Fn(&str) -> T + Sync,
        mut take: impl FnMut(Line<'s>, T),
    ) {
        let number = |at: usize| self.numbers.get(at).copied().unwrap_or(at as u32 + 1);
        let pieces = pieces(&self.text);
        let look_at = |(): &mut (), at: usize, seen: &mut Vec<(&'s str, T)>| {
            seen.extend(lines(pieces[at]).map(|line| (line, look(line))));
        };
        let mut numbers = (0..).map(number);
        ordered::each_again(
            pieces.len(),
            || (),
            look_at,
            |lines| {
                for ((text, seen), number) in lines.drain(..).zip(&mut numbers) {
                    take(Line { text, number }, seen);
                }
            },
        );
    }

    /// Says which lines were left out.
    pub(crate) fn warn(&self, builders: &mut Builders) {
        let Some(first) = self.removed.first() else {
            return;
        };
        let lines = self
            .removed
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("lines {lines} are left out: the old side of a diff");
        builders.warn(
            WarningKind::SkippedLine,
            &Line {
                text: "",
                number: *first,
            },
            message,
        );
    }
}

/// Frees a text of its wrapping.
pub(crate) fn unwrap(text: &str) -> Unwrapped<'_> {
    if is_clean(text) {
        return Unwrapped {
            text: text.into(),
            numbers: Vec::new(),
            removed: Vec::new(),
        };
    }
    let marks = Marks::of(text);
    let mut pieces = Vec::new();
    let mut removed = Vec::new();
    for (at, line) in text.split('\n').enumerate() {
        let number = at as u32 + 1;
        if marks.is_removed(line) {
            removed.push(number);
            continue;
        }
        match unescape(line) {
            Some(unescaped) => {
                for line in unescaped.split('\n') {
                    pieces.push(Piece::of(Cow::Owned(marks.peel(line).into_owned()), number));
                }
            }
            None => pieces.push(Piece::of(marks.peel(line), number)),
        }
    }
    join::join(&mut pieces);
    let mut unwrapped = Unwrapped {
        text: Cow::Owned(String::with_capacity(text.len())),
        numbers: Vec::with_capacity(pieces.len()),
        removed,
    };
    for piece in pieces {
        let text = unwrapped.text.to_mut();
        if !unwrapped.numbers.is_empty() {
            text.push('\n');
        }
        text.push_str(&piece.text);
        unwrapped.numbers.push(piece.number);
    }
    unwrapped
}

/// A line while it is freed.
#[derive(Debug)]
struct Piece<'t> {
    text: Cow<'t, str>,
    number: u32,
    shape: Shape,
}

impl<'t> Piece<'t> {
    fn of(text: Cow<'t, str>, number: u32) -> Self {
        let shape = Shape::of(&text);
        Self {
            text,
            number,
            shape,
        }
    }
}

/// Whether every line says something as it stands.
fn is_clean(text: &str) -> bool {
    let bytes = text.as_bytes();
    let says_something = |line: &str| line.is_empty() || Shape::of(line) != Shape::Noise;
    if memchr::memchr(b'\r', bytes).is_some()
        || memchr::memmem::find(bytes, "\u{a0}".as_bytes()).is_some()
    {
        return false;
    }
    let (pieces, mut clean) = (pieces(text), true);
    let is_clean = |(): &mut (), at: usize| lines(pieces[at]).all(says_something);
    ordered::each(pieces.len(), || (), is_clean, |piece| clean &= piece);
    clean
}

/// Bytes of a piece, but for its last line's.
const PIECE: usize = if cfg!(test) { 16 } else { 1 << 18 };

/// A text in pieces, cut at ends of lines, which belong to none.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::with_capacity(text.len() / PIECE + 1);
    let mut rest = text;
    while let Some(end) = rest
        .as_bytes()
        .get(PIECE..)
        .and_then(|behind| memchr::memchr(b'\n', behind))
    {
        let (piece, behind) = rest.split_at(PIECE + end);
        pieces.push(piece);
        rest = &behind[1..];
    }
    pieces.push(rest);
    pieces
}

/// The lines of a text, as `split('\n')` gives them, only faster.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut from = 0;
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    ends.map(move |end| {
        let line = &text[from..end];
        from = end + 1;
        line
    })
}

/// Undoes the escapes of a JSON string in which several lines of rules stand; `None` for any other line.
fn unescape(line: &str) -> Option<String> {
    let begins = |rest: &str| Shape::of(rest.split("\\n").next().unwrap_or(rest)) != Shape::Noise;
    let escaped = line
        .match_indices("\\n")
        .any(|(at, end)| begins(&line[at + end.len()..]));
    if !escaped || matches!(Shape::of(line), Shape::Rule) && !line.contains("\\n-") {
        return None;
    }
    let line = line.trim();
    let quoted = line
        .strip_prefix('"')
        .and_then(|line| line.strip_suffix('"'));
    let mut text = String::with_capacity(line.len());
    let mut chars = quoted.unwrap_or(line).chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some('t')) => text.push('\t'),
            ('\\', Some('r')) | ('\\', None) => {}
            ('\\', Some('u')) => text.extend(code_point(&mut chars)),
            ('\\', Some(other)) => text.push(other),
            (c, _) => text.push(c),
        }
    }
    Some(text)
}

/// The character of `\u003e`, whose four digits are taken.
fn code_point(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let digits = chars.as_str().get(..4)?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    *chars = chars.as_str().get(4..)?.chars();
    char::from_u32(code)
}

#[cfg(test)]
mod tests;
