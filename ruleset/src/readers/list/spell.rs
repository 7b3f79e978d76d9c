//! A listing's rule in the words of an `iptables -A` command, so that both are read by one reader.

use super::columns::Row;
use super::text::Text;
use super::{matches, names, targets};
use crate::readers::text::not_a_chain;
use crate::value::Family;

/// A rule as a command would give it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spelled {
    /// Its options, as they follow `-A CHAIN`.
    pub(super) options: Options,
    /// What the listing says and no option can: the rule holds these as undecided matches.
    pub(super) unread: Vec<Unread>,
}

/// Part of a rule that is kept as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// The match module it belongs to, as far as that shows.
    pub(super) module: String,
    /// As printed.
    pub(super) text: String,
}

/// The words of a command, as text in which each can be told from the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    text: String,
}

impl Options {
    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Its length, to come back to with [`truncate`](Self::truncate).
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Takes back the words that were added since the length was this.
    pub(super) fn truncate(&mut self, len: usize) {
        self.text.truncate(len);
    }

    /// Adds a word, in quotes if it needs them.
    pub(super) fn push(&mut self, word: impl AsRef<str>) {
        let word = word.as_ref();
        self.text.push(' ');
        let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '\\' | '#');
        if !word.is_empty() && word.chars().all(plain) {
            self.text.push_str(word);
            return;
        }
        self.text.push('"');
        for c in word.chars() {
            if matches!(c, '"' | '\\' | '\'') {
                self.text.push('\\');
            }
            self.text.push(c);
        }
        self.text.push('"');
    }

    /// Adds words that need no quotes.
    pub(super) fn put(&mut self, words: &[&str]) {
        for word in words {
            self.text.push(' ');
            self.text.push_str(word);
        }
    }
}

/// Spells a rule out.
pub(super) fn spell(row: &Row<'_>, family: Family) -> Spelled {
    let mut spelled = Spelled::default();
    address(&mut spelled, row.source, "-s", family);
    address(&mut spelled, row.destination, "-d", family);
    if let Some((input, output)) = row.interfaces {
        interface(&mut spelled.options, input, "-i");
        interface(&mut spelled.options, output, "-o");
    }
    protocol(&mut spelled, row.protocol);
    if let Some(fragment) = row.fragment {
        spelled
            .options
            .put(if fragment { &["-f"] } else { &["!", "-f"] });
    }
    let mut text = Text::new(row.text);
    let goto = text.take(&["[goto]"]);
    let target = text_of_matches(&mut spelled, row.target, &mut text);
    if !row.target.is_empty() {
        spelled.options.put(&[if goto { "-g" } else { "-j" }]);
        spelled.options.push(row.target);
        spelled.options.text.push_str(target.as_str());
    }
    spelled
}

fn unsigned(word: &str) -> (bool, &str) {
    word.strip_prefix('!')
        .map_or((false, word), |word| (true, word))
}

fn put_not(options: &mut Options, negated: bool) {
    if negated {
        options.put(&["!"]);
    }
}

fn address(spelled: &mut Spelled, word: &str, option: &str, family: Family) {
    let (negated, place) = unsigned(word);
    if names::is_anywhere(place) && !negated {
        return;
    }
    match names::prefix(place, family) {
        Some(prefix) => {
            put_not(&mut spelled.options, negated);
            spelled.options.put(&[option]);
            spelled.options.push(prefix);
        }
        None => spelled.unread.push(Unread {
            module: "hostname".into(),
            text: format!("{option} {word}"),
        }),
    }
}

fn interface(options: &mut Options, word: &str, option: &str) {
    let (negated, name) = unsigned(word);
    if matches!(name, "*" | "any") && !negated {
        return;
    }
    put_not(options, negated);
    options.put(&[option]);
    options.push(name);
}

fn protocol(spelled: &mut Spelled, word: &str) {
    let (negated, name) = unsigned(word);
    match names::protocol_number(name) {
        Some(0) if !negated => {}
        Some(number) => {
            put_not(&mut spelled.options, negated);
            spelled.options.put(&["-p", &number.to_string()]);
        }
        // A number that is none: the reader of options says so.
        None if name.bytes().all(|b| b.is_ascii_digit()) => spelled.options.put(&["-p", name]),
        None => spelled.unread.push(Unread {
            module: "protocol".into(),
            text: format!("-p {word}"),
        }),
    }
}

/// Longest text behind the columns that is read: no rule prints as much, and the time to read it may grow with its square.
const LONGEST: usize = 8 << 10;

/// Reads all that follows the columns; matches go into `spelled`, the target's own options are returned.
fn text_of_matches(spelled: &mut Spelled, target: &str, text: &mut Text<'_>) -> Options {
    let mut own = Options::default();
    if text.rest().len() > LONGEST {
        let said = text.rest().to_owned();
        spelled.unread.push(Unread {
            module: "overlong".into(),
            text: said,
        });
        return own;
    }
    while text.peek().is_some() {
        let done = own.len() > 0;
        if !done && targets::read(target, text, &mut own) {
            continue;
        }
        if !matches::read(text, &mut spelled.options) {
            spelled.unread.push(unread(target, text));
        }
    }
    own
}

/// Takes what is not known, up to something that surely is another match or the target's text.
fn unread(target: &str, text: &mut Text<'_>) -> Unread {
    let start = text.rest();
    let first = text.next().unwrap_or("");
    while text.peek().is_some() && !begins_known(target, *text) {
        text.next();
    }
    let said = start[..start.len() - text.rest().len()].trim_ascii_end();
    let module = MODULES
        .iter()
        .find(|(head, _)| first.starts_with(head))
        .map(|(_, module)| *module);
    let first = first.trim_end_matches(':');
    let module = module.unwrap_or(if is_name(first) { first } else { "unread" });
    Unread {
        module: module.to_owned(),
        text: said.to_owned(),
    }
}

/// Whether a module can be called so.
fn is_name(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !word.starts_with('-') && not_a_chain(word).is_none() && word.bytes().all(plain)
}

/// Modules by what their text begins with.
const MODULES: [(&str, &str); 20] = [
    ("#conn", "connlimit"),
    ("limit:", "hashlimit"),
    ("TIME", "time"),
    ("STRING", "string"),
    ("policy", "policy"),
    ("PHYSDEV", "physdev"),
    ("MAC", "mac"),
    ("vaddr", "ipvs"),
    ("vport", "ipvs"),
    ("vproto", "ipvs"),
    ("ECN", "ecn"),
    ("match-set", "set"),
    ("spi", "esp"),
    ("socket", "socket"),
    ("u32", "u32"),
    ("cgroup", "cgroup"),
    ("quota", "quota"),
    ("realm", "realm"),
    ("connbytes", "connbytes"),
    ("!", "negated"),
];

/// Whether a known match, told by more than one common word, or the target's text stands here.
fn begins_known(target: &str, mut text: Text<'_>) -> bool {
    let mut own = Options::default();
    if targets::read(target, &mut { text }, &mut own) {
        return own.len() > 0;
    }
    let rest = text.rest().trim_start_matches(['!', ' ']);
    let surely = [
        "/* ",
        "ctstate ",
        "ADDRTYPE match",
        "mark match",
        "multiport ",
        "match-set ",
        "statistic mode",
        "recent: ",
        "PHYSDEV ",
        "tcp dpt",
        "tcp spt",
        "udp dpt",
        "udp spt",
        "state ",
    ];
    surely.iter().any(|head| rest.starts_with(head)) && matches::read(&mut text, &mut own)
}
