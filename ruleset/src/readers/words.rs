//! The words of a rule line, as `iptables-restore` and a shell split them: blanks separate, quotes join, `\` escapes inside quotes.

use super::{Line, ReadError};
use std::borrow::Cow;

/// A word: bytes `start..end` of its line, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Whether it has quotes; its text then is not its bytes.
    pub(crate) quoted: bool,
}

/// Splits a line from byte `from` on into `words`, which is emptied first. A word that begins with `#` ends the line: a shell's comment.
///
/// # Errors
/// A quote that does not close.
pub(crate) fn split(line: &Line<'_>, from: usize, words: &mut Vec<Word>) -> Result<(), ReadError> {
    words.clear();
    let bytes = line.text.as_bytes();
    let mut at = from;
    loop {
        while let Some(width) = blank(bytes, at) {
            at += width;
        }
        if at >= bytes.len() || bytes[at] == b'#' {
            return Ok(());
        }
        let start = at;
        let mut quoted = false;
        loop {
            at = plain_until(bytes, at);
            if at >= bytes.len() || blank(bytes, at).is_some() {
                break;
            }
            let opens = bytes[at] == b'"' || (bytes[at] == b'\'' && at == start);
            if opens && let Some(close) = closing_quote(bytes, at) {
                quoted = true;
                at = close;
            } else if opens && bytes[at] == b'"' {
                let message = "a quote is opened here and never closed";
                let error = ReadError::at(line, at, bytes.len(), message);
                return Err(error.note("a comment ends with `\"`; was the line cut off?"));
            }
            at += 1;
        }
        words.push(Word {
            start: start as u32,
            end: at as u32,
            quoted,
        });
    }
}

/// Where what only makes a word longer, as most bytes do, ends.
#[inline]
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Eight at a time: the highest bit of each is set where it is below `(` or above 0x7f, as all special ones are.
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let eight = u64::from_le_bytes(*eight);
        let below = eight.wrapping_sub(EACH * u64::from(b'(')) & !eight;
        let odd = (below | eight) & (EACH << 7);
        if odd == 0 {
            at += 8;
            continue;
        }
        at += odd.trailing_zeros() as usize / 8;
        if SPECIAL[usize::from(bytes[at])] {
            return at;
        }
        at += 1;
    }
    let rest = &bytes[at..];
    let special = |byte: &u8| SPECIAL[usize::from(*byte)];
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// Bytes that may be a blank, or the beginning of one, or a quote.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let bytes = b" \t\r\x0b\x0c\"'\xc2\xe2\xe3";
    let mut at = 0;
    while at < bytes.len() {
        special[bytes[at] as usize] = true;
        at += 1;
    }
    special
};

/// The width of the blank at `at`, if one stands there. So are no-break and other wide blanks.
#[inline]
fn blank(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at)? {
        b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c' => Some(1),
        0xc2 if bytes.get(at + 1) == Some(&0xa0) => Some(2),
        // U+2000 to U+200B, and the ideographic space.
        0xe2 | 0xe3 => match bytes.get(at..at + 3)? {
            [0xe2, 0x80, 0x80..=0x8b] | [0xe3, 0x80, 0x80] => Some(3),
            _ => None,
        },
        _ => None,
    }
}

/// Where the quote at `open` closes. A `'` only counts if a word ends with its fellow, as it may be an apostrophe.
fn closing_quote(bytes: &[u8], open: usize) -> Option<usize> {
    let quote = bytes[open];
    let mut at = open + 1;
    while let Some(found) = memchr::memchr2(quote, b'\\', bytes.get(at..)?) {
        at += found;
        if bytes[at] == quote {
            let ends = at + 1 == bytes.len() || blank(bytes, at + 1).is_some();
            return (ends || quote == b'"').then_some(at);
        }
        at += 2;
    }
    None
}

/// Without quotes and escapes.
fn unquote(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or("");
    let whole = (raw.starts_with('"') && raw.ends_with('"')) || raw.starts_with('\'');
    if whole && !inner.contains(['\\', '"']) {
        return Cow::Borrowed(inner);
    }
    let quote = if raw.starts_with('\'') { '\'' } else { '"' };
    let mut text = String::with_capacity(raw.len());
    let mut inside = false;
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if inside => text.extend(chars.next()),
            _ if c == quote => inside = !inside,
            _ => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// A walk over a line's words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a, 't> {
    line: Line<'t>,
    words: &'a [Word],
    at: usize,
}

impl<'a, 't> Cursor<'a, 't> {
    /// At the first of `words`.
    pub(crate) fn new(line: Line<'t>, words: &'a [Word]) -> Self {
        Self { line, words, at: 0 }
    }

    /// The line.
    pub(crate) fn line(&self) -> &Line<'t> {
        &self.line
    }

    /// The next word, which is passed.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).copied();
        self.at += usize::from(word.is_some());
        word
    }

    /// The next word.
    #[inline]
    pub(crate) fn peek(&self) -> Option<Word> {
        self.words.get(self.at).copied()
    }

    /// Passes `count` words.
    pub(crate) fn skip(&mut self, count: usize) {
        self.at = self.words.len().min(self.at + count);
    }

    /// How many words were passed.
    pub(crate) fn passed(&self) -> usize {
        self.at
    }

    /// The next words, as they stand.
    pub(crate) fn ahead(&self) -> impl Iterator<Item = &'t str> {
        let rest = self.words.get(self.at..).unwrap_or(&[]);
        rest.iter().map(|word| self.raw(*word))
    }

    /// The bytes of a word, quotes included.
    #[inline]
    pub(crate) fn raw(&self, word: Word) -> &'t str {
        self.line
            .text
            .get(word.start as usize..word.end as usize)
            .unwrap_or("")
    }

    /// What a word says.
    pub(crate) fn text(&self, word: Word) -> Cow<'t, str> {
        if word.quoted {
            unquote(self.raw(word))
        } else {
            Cow::Borrowed(self.raw(word))
        }
    }

    /// Whether the next word is (unquoted) `text`.
    pub(crate) fn next_is(&self, text: &str) -> bool {
        self.peek().is_some_and(|word| self.raw(word) == text)
    }

    /// Whether an option, or a `!` before one, stands at the next word, or the line ends there.
    pub(crate) fn at_option(&self) -> bool {
        let option = |at: usize| {
            let word = self.words.get(at);
            word.is_some_and(|word| is_option(self.raw(*word)))
        };
        match self.peek() {
            None => true,
            Some(word) => option(self.at) || (self.raw(word) == "!" && option(self.at + 1)),
        }
    }

    /// An error about a word.
    pub(crate) fn fail(&self, word: Word, message: impl Into<String>) -> ReadError {
        ReadError::at(&self.line, word.start as usize, word.end as usize, message)
    }

    /// The argument of `option`. The old spelling `--dport ! 80` sets `inverted`.
    pub(crate) fn value(
        &mut self,
        option: Word,
        inverted: &mut bool,
        needs: &str,
    ) -> Result<Word, ReadError> {
        if !*inverted && self.next_is("!") {
            self.next();
            *inverted = true;
        }
        match self.next() {
            Some(word) => Ok(word),
            None => Err(self.ends(option, needs)),
        }
    }

    /// The error of a line that ends after `option`.
    pub(crate) fn ends(&self, option: Word, needs: &str) -> ReadError {
        let message = format!("`{}` needs {needs}", self.raw(option));
        self.fail(option, message)
            .label("ends here")
            .note("was the line cut off?")
    }
}

/// Whether a word looks like an option.
pub(crate) fn is_option(raw: &str) -> bool {
    matches!(raw.as_bytes(), [b'-', second, ..] if second.is_ascii_alphabetic() || *second == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let line = Line { text, number: 1 };
        let mut words = Vec::new();
        split(&line, 0, &mut words).expect("splits");
        let cursor = Cursor::new(line, &words);
        words
            .iter()
            .map(|word| cursor.text(*word).into_owned())
            .collect()
    }

    #[test]
    fn blanks_separate_and_quotes_join() {
        assert_eq!(
            texts("-A  X\u{a0}-m\tcomment "),
            ["-A", "X", "-m", "comment"]
        );
        assert_eq!(
            texts(r#"--comment "a -j \"B\" \\ \'c\'" -j D"#),
            ["--comment", r#"a -j "B" \ 'c'"#, "-j", "D"]
        );
        assert_eq!(texts(r#"--comment "" x"y z"w"#), ["--comment", "", "xy zw"]);
        assert_eq!(
            texts("--comment 'a b' don't"),
            ["--comment", "a b", "don't"]
        );
        assert_eq!(texts("-j X  ##note"), ["-j", "X"]);
    }

    #[test]
    fn plain_bytes_end_at_the_first_special_one() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = *b"-A~KUBE-SERVICES!x()";
                bytes[at] = byte;
                for from in 0..=bytes.len() {
                    let special = |byte: &u8| SPECIAL[usize::from(*byte)];
                    let end = bytes[from..].iter().position(special);
                    let end = end.map_or(bytes.len(), |end| from + end);
                    assert_eq!(
                        plain_until(&bytes, from),
                        end,
                        "{byte} at {at}, from {from}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_open_quote_is_an_error_at_the_quote() {
        let line = Line {
            text: "-A X --comment \"a b",
            number: 7,
        };
        let error = split(&line, 0, &mut Vec::new()).expect_err("open");
        assert_eq!(error.position(), Some((7, 16)));
    }
}
