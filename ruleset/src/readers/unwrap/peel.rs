//! Takes the wrapping off one line.

use super::shape::Shape;
use crate::readers::echo::is_command;
use std::borrow::Cow;

/// The marks that the lines of a text share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// `+`, `-` and blank, of `diff -u`.
    unified: bool,
    /// `<` and `>`, of `diff`.
    sides: bool,
    /// Each line begins with its number, as an editor or `cat -n` shows it.
    numbered: bool,
}

impl Marks {
    /// Those of a text.
    pub(super) fn of(text: &str) -> Self {
        let under = |mark: char| {
            let mut marked = text.lines().filter_map(move |line| line.strip_prefix(mark));
            marked.any(|line| Shape::of(line.trim()).is_of_rules())
        };
        Self {
            unified: under('+'),
            sides: under('<'),
            numbered: is_numbered(text),
        }
    }

    /// Whether a line is the old side of a diff: what was, and is no more.
    pub(super) fn is_removed(self, line: &str) -> bool {
        let old = match line.as_bytes().first() {
            Some(b'-') if self.unified => &line[1..],
            Some(b'<') if self.sides => &line[1..],
            _ => return false,
        };
        Shape::of(line) == Shape::Noise
            && !matches!(Shape::of(old.trim_start()), Shape::Noise | Shape::Blank)
    }

    /// A line without its wrapping; as it stands, but for blanks at both ends, if nothing is recognised under it.
    pub(super) fn peel(self, line: &str) -> Cow<'_, str> {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if line.contains(FOREIGN_BLANKS) {
            let plain = line.replace(FOREIGN_BLANKS, " ");
            return Cow::Owned(self.peel_plain(&plain).to_owned());
        }
        Cow::Borrowed(self.peel_plain(line))
    }

    fn peel_plain(self, line: &str) -> &str {
        if self.numbered
            && let Some(rest) = line_number(line)
        {
            let rest = Self {
                numbered: false,
                ..self
            }
            .peel_plain(rest);
            return rest;
        }
        if Shape::of(line) != Shape::Noise {
            return line;
        }
        let mut inner = line;
        for peel in [
            quote,
            code,
            backslash,
            log_prefix,
            file_name,
            diff_mark,
            line_number,
            prompt,
        ] {
            let Some(rest) = peel(inner).map(str::trim).filter(|rest| !rest.is_empty()) else {
                continue;
            };
            inner = rest;
            if Shape::of(inner) != Shape::Noise {
                return inner;
            }
        }
        // A prompt that stands under no other wrapping.
        prompt(line).unwrap_or(line)
    }
}

/// Blanks that pages and chats put in the place of a space.
const FOREIGN_BLANKS: [char; 4] = ['\u{a0}', '\u{3000}', '\u{2003}', '\u{202f}'];

/// Whether the lines that are not blank count up by one, headings and all.
fn is_numbered(text: &str) -> bool {
    let mut expected = None;
    let mut says_something = false;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let digits = line
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap_or("");
        let Ok(number) = digits.parse::<u32>() else {
            return false;
        };
        if expected.is_some_and(|expected| expected != number) {
            return false;
        }
        expected = Some(number.wrapping_add(1));
        let rest = line_number(line.trim_start()).map_or("", str::trim);
        says_something |= matches!(Shape::of(rest), Shape::Rule | Shape::Frame | Shape::Heading);
    }
    says_something
}

/// `> `, also several, and `| `.
fn quote(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(['>', '|', '│', ' ']);
    (rest.len() < line.len()).then_some(rest)
}

/// `12 `, `12:`, `12.`, `12|`.
fn line_number(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() == line.len() {
        return None;
    }
    Some(
        rest.trim_start_matches([':', '.', ')', '|', '│'])
            .trim_start(),
    )
}

/// `Jul 19 09:03:35 node unit[6717]: `, and the `I0719 … file.go:12] ` of klog: up to a bracket that closes on a number.
fn log_prefix(line: &str) -> Option<&str> {
    const LONGEST: usize = 160;
    let ends = line
        .match_indices(']')
        .map(|(at, _)| at)
        .take_while(|at| *at < LONGEST);
    let mut numbers = ends.filter(|at| {
        let number = line[..*at].rsplit(['[', ':']).next().unwrap_or("");
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    });
    let rest = &line[numbers.next()? + 1..];
    Some(rest.strip_prefix(':').unwrap_or(rest).trim_start())
}

/// `rules.txt:`, `rules.txt:12:`, `12:`, of `grep`.
fn file_name(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once(':')?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    let numbered = rest
        .split_once(':')
        .filter(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    Some(numbered.map_or(rest, |(_, rest)| rest))
}

fn diff_mark(line: &str) -> Option<&str> {
    line.strip_prefix(['+', '<'])
}

/// `\Chain`, as Markdown escapes.
fn backslash(line: &str) -> Option<&str> {
    line.strip_prefix('\\')
}

/// `` `code` ``.
fn code(line: &str) -> Option<&str> {
    line.strip_prefix('`')
        .map(|rest| rest.trim_end_matches('`'))
}

/// The command behind a shell's prompt: `root@node:~# `, `[root@node ~]$ `, `/ # `, `$ `, `% `, `> `.
fn prompt(line: &str) -> Option<&str> {
    const LONGEST: usize = 100;
    let ends = line
        .match_indices(['#', '$', '%', '>'])
        .take_while(|(at, _)| *at < LONGEST);
    ends.map(|(at, end)| line[at + end.len()..].trim_start())
        .find(|rest| is_command(rest))
}
