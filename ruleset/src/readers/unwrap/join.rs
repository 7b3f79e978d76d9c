//! Joins lines that a narrow window, a mail program or a shell's `\` broke.

use super::Piece;
use super::shape::Shape;
use crate::readers::list;
use std::borrow::Cow;

/// How the halves of a broken line belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seam {
    /// The break took the place of a blank.
    Blank,
    /// The break stands within a word.
    Word,
}

/// Joins each broken line with what follows it; the line keeps the number of its beginning.
pub(super) fn join(pieces: &mut Vec<Piece<'_>>) {
    let mut kept = 0;
    for at in 0..pieces.len() {
        let (before, after) = pieces.split_at_mut(at);
        if let (Some(last), Some(next)) = (before.get_mut(kept.max(1) - 1), after.first())
            && kept > 0
            && let Some(seam) = seam(last, next)
        {
            append(last, seam, &next.text);
            continue;
        }
        pieces.swap(kept, at);
        kept += 1;
    }
    pieces.truncate(kept);
}

fn append(last: &mut Piece<'_>, seam: Seam, next: &str) {
    let mut text = last.text.trim_end_matches('\\').trim_end().to_owned();
    if seam == Seam::Blank {
        text.push(' ');
    }
    text.push_str(next);
    *last = Piece::of(Cow::Owned(text), last.number);
}

/// Longest line that is continued, in bytes: an open quote would otherwise swallow the rest of the text, line by line.
const LONGEST: usize = 4 << 10;

/// How `next` continues `last`, if it does.
fn seam(last: &Piece<'_>, next: &Piece<'_>) -> Option<Seam> {
    if last.text.len() > LONGEST {
        return None;
    }
    let continues = next.shape == Shape::Noise && !next.text.starts_with("```");
    match last.shape {
        Shape::Rule | Shape::Command if last.text.ends_with('\\') => {
            matches!(next.shape, Shape::Noise | Shape::Row).then_some(Seam::Blank)
        }
        Shape::Rule if continues => rule_seam(&last.text, &next.text),
        Shape::Row if continues => row_seam(&last.text, &next.text),
        Shape::Noise if continues => halves_of_a_row(&last.text, &next.text),
        _ => None,
    }
}

/// A rule goes on if a quote or an option is left open, or if the next line begins with an option.
fn rule_seam(rule: &str, next: &str) -> Option<Seam> {
    let quotes = rule.matches('"').count() - rule.matches("\\\"").count();
    let last_word = rule.rsplit(' ').next().unwrap_or("");
    let option = |word: &str| {
        let name = word.trim_start_matches('-');
        name.len() < word.len() && name.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    if last_word.contains('.')
        && last_word.ends_with(':')
        && next.starts_with(|c: char| c.is_ascii_digit())
    {
        return Some(Seam::Word);
    }
    let open = quotes % 2 == 1 || option(last_word) || last_word == "!";
    (open || option(next.trim_start_matches("! "))).then_some(Seam::Blank)
}

/// A row goes on if its comment is open, or if the next line is something that only a row says.
fn row_seam(row: &str, next: &str) -> Option<Seam> {
    let open = row.matches("/*").count() > row.matches("*/").count();
    let open = open
        || ["match", "src-type", "dst-type", "match-set"]
            .iter()
            .any(|end| row.ends_with(end));
    (open || list::is_row_text(next)).then_some(Seam::Blank)
}

/// Two lines that say nothing, and together are a row.
fn halves_of_a_row(first: &str, second: &str) -> Option<Seam> {
    const LONGEST: usize = 400;
    if first.len() > LONGEST || !first.contains(" -") {
        return None;
    }
    list::is_row(&format!("{first} {second}")).then_some(Seam::Blank)
}
