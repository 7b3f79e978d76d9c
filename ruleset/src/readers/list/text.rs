//! The text behind a listing's columns, word by word.

/// A place in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'t> {
    rest: &'t str,
}

impl<'t> Text<'t> {
    /// The beginning of `text`.
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            rest: text.trim_ascii_start(),
        }
    }

    /// What is still to be read.
    pub(super) fn rest(&self) -> &'t str {
        self.rest
    }

    /// The next word, without taking it. A word that begins with a quote ends with one.
    pub(super) fn peek(&self) -> Option<&'t str> {
        let end = match self.rest.strip_prefix('"') {
            Some(quoted) => closing_quote(quoted).map(|at| at + 2),
            None => None,
        };
        let end = end.or_else(|| self.rest.find(|c: char| c.is_ascii_whitespace()));
        let word = &self.rest[..end.unwrap_or(self.rest.len())];
        (!word.is_empty()).then_some(word)
    }

    /// Takes the next word.
    pub(super) fn next(&mut self) -> Option<&'t str> {
        let word = self.peek()?;
        self.skip(word.len());
        Some(word)
    }

    /// Takes these words if they are next.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let mut ahead = *self;
        let all = words.iter().all(|word| ahead.next() == Some(word));
        if all {
            *self = ahead;
        }
        all
    }

    /// Takes the next word if it begins with `head`, and returns what follows that.
    pub(super) fn take_after(&mut self, head: &str) -> Option<&'t str> {
        let tail = self.peek()?.strip_prefix(head)?;
        self.next();
        Some(tail)
    }

    /// Takes a `!` that is next, as a word of its own or joined to the next word.
    pub(super) fn take_not(&mut self) -> bool {
        let negated = self.rest.starts_with('!');
        if negated {
            self.skip(1);
        }
        negated
    }

    /// Takes a comment, `/* text */`, if one is next.
    pub(super) fn take_comment(&mut self) -> Option<&'t str> {
        let inside = self.rest.strip_prefix("/* ")?;
        let end = inside.get(..LONGEST).unwrap_or(inside).find(" */")?;
        self.rest = inside[end + " */".len()..].trim_ascii_start();
        Some(&inside[..end])
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest[bytes..].trim_ascii_start();
    }
}

/// Bytes in which a comment or a quoted text ends: the kernel keeps at most 256 of either. Without a bound, text full of openings would be
/// searched to its end from each.
const LONGEST: usize = 1024;

/// Where a quoted text ends: at a quote with a blank or nothing behind it.
fn closing_quote(text: &str) -> Option<usize> {
    let text = text.get(..LONGEST).unwrap_or(text);
    let ends = |at: usize| matches!(text.as_bytes().get(at + 1), None | Some(b' ' | b'\t'));
    text.match_indices('"')
        .map(|(at, _)| at)
        .find(|at| ends(*at))
}
