//! The columns of a listing: what its header announces, and one line taken apart by it.
//!
//! `iptables` pads columns but never cuts them, so positions mean nothing: a line is read word by word, and what the header
//! announces says which words to expect. Two things are optional without any trace: the target (its column is blank), and the
//! `opt` column (`--`), which ip6tables left blank for years. Of the four ways to read a line, the first is taken in which the
//! protocol and both addresses can be what their columns say.

use super::names;
use crate::ruleset::Counters;

/// The columns beside target, protocol, source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// `num`, of `--line-numbers`.
    pub(super) number: bool,
    /// `pkts bytes`, of `-v`.
    pub(super) counters: bool,
    /// `in out`, of `-v`.
    pub(super) interfaces: bool,
}

impl Layout {
    /// Every layout that `iptables` prints.
    const ALL: [Self; 4] = [
        Self {
            number: false,
            counters: false,
            interfaces: false,
        },
        Self {
            number: true,
            counters: false,
            interfaces: false,
        },
        Self {
            number: false,
            counters: true,
            interfaces: true,
        },
        Self {
            number: true,
            counters: true,
            interfaces: true,
        },
    ];

    /// What a header line announces, `None` for any other line. The header may be cut short behind `prot`.
    pub(super) fn of_header(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace().peekable();
        let number = words.next_if_eq(&"num").is_some();
        let counters = words.next_if_eq(&"pkts").is_some() && words.next()? == "bytes";
        if words.next()? != "target" || words.next()? != "prot" {
            return None;
        }
        // Counters and interfaces both come with `-v`; a cut header shows the first only.
        Some(Self {
            number,
            counters,
            interfaces: counters,
        })
    }
}

/// One line of a listing, in columns. Words are as printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'t> {
    /// The rule's number in its chain.
    pub(super) number: Option<u32>,
    /// Its counters; rounded where printed with K, M, G or T.
    pub(super) counters: Option<Counters>,
    /// Its target; empty if it has none.
    pub(super) target: &'t str,
    /// Its protocol, perhaps after a `!`.
    pub(super) protocol: &'t str,
    /// Whether the option column says `-f`, or `!f` (then false).
    pub(super) fragment: Option<bool>,
    /// In- and out-interface, each perhaps after a `!`; `None` without `-v`.
    pub(super) interfaces: Option<(&'t str, &'t str)>,
    /// The source, perhaps after a `!`.
    pub(super) source: &'t str,
    /// The destination, perhaps after a `!`.
    pub(super) destination: &'t str,
    /// What follows: matches and the target's options.
    pub(super) text: &'t str,
}

impl<'t> Row<'t> {
    /// Takes a line apart by its header's layout, or, without a header or against it, by any layout that fits. The word `--` says
    /// most, so what has one is tried first.
    pub(super) fn read(line: &'t str, header: Option<Layout>) -> Option<Self> {
        let by = |layout, options| {
            [true, false]
                .into_iter()
                .find_map(|target| Self::one_way(line, layout, target, options))
        };
        let any = |options| {
            let mut rows = Layout::ALL
                .into_iter()
                .filter_map(|layout| by(layout, options));
            rows.find(|row| !row.target.starts_with(|c: char| c.is_ascii_digit()))
        };
        let headed = |options| header.and_then(|layout| by(layout, options));
        [true, false]
            .into_iter()
            .find_map(|options| headed(options).or_else(|| any(options)))
    }

    /// Reads the line as one with or without a target and with or without an option column.
    fn one_way(line: &'t str, layout: Layout, target: bool, options: bool) -> Option<Self> {
        let mut words = Words { rest: line };
        let number = if layout.number {
            Some(words.next()?.parse().ok()?)
        } else {
            None
        };
        let counters = if layout.counters {
            Some(words.counters()?)
        } else {
            None
        };
        let target = if target { words.next()? } else { "" };
        let protocol = words.next()?;
        if protocol.starts_with('-') || !options && !names::is_protocol(protocol) {
            return None;
        }
        let fragment = if options { words.options()? } else { None };
        let interfaces = if layout.interfaces {
            Some((words.next()?, words.next()?))
        } else {
            None
        };
        let (source, destination) = (words.next()?, words.next()?);
        // The word `--` is an unmistakable place; without it, the other words must be beyond doubt.
        let certain = |word| names::is_anywhere(word) || names::family(word).is_some();
        let fits = names::is_address(source)
            && names::is_address(destination)
            && (options || certain(source) && certain(destination));
        let text = words.rest.trim_ascii();
        fits.then_some(Self {
            number,
            counters,
            target,
            protocol,
            fragment,
            interfaces,
            source,
            destination,
            text,
        })
    }
}

/// The words of a line, one after the other.
struct Words<'t> {
    rest: &'t str,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let text = self.rest.trim_ascii_start();
        let end = text
            .find(|c: char| c.is_ascii_whitespace())
            .unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn counters(&mut self) -> Option<Counters> {
        Some(Counters {
            packets: count(self.next()?)?,
            bytes: count(self.next()?)?,
        })
    }

    /// The option column: `--`, `-f`, `!f`. A negated source may be joined to it (`--!10.0.0.0/8`).
    fn options(&mut self) -> Option<Option<bool>> {
        let before = self.rest.trim_ascii_start();
        match self.next()? {
            "--" => Some(None),
            "-f" => Some(Some(true)),
            "!f" => Some(Some(false)),
            joined if joined.starts_with("--!") => {
                self.rest = before.strip_prefix("--")?;
                Some(None)
            }
            _ => None,
        }
    }
}

/// A counter: exact (`82391`), or rounded to thousands, millions… (`545K`, `83M`, `113G`, `70T`).
pub(super) fn count(word: &str) -> Option<u64> {
    let units = [
        ('K', 1_000),
        ('M', 1_000_000),
        ('G', 1_000_000_000),
        ('T', 1_000_000_000_000u64),
    ];
    let unit = units
        .into_iter()
        .find_map(|(letter, unit)| Some((word.strip_suffix(letter)?, unit)));
    let (digits, unit) = unit.unwrap_or((word, 1));
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
