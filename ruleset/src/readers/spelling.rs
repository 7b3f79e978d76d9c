//! Options that are written otherwise than by their name: shortened, as iptables allows, or garbled by a word processor.

use super::words::Cursor;

/// The options of the typed matches and targets, and of the most common kept ones.
const OPTIONS: &[&str] = &[
    "--and-mark",
    "--checksum-fill",
    "--clamp-mss-to-pmtu",
    "--comment",
    "--connlimit-above",
    "--ctdir",
    "--ctmask",
    "--ctorigdst",
    "--ctorigdstport",
    "--ctorigsrc",
    "--ctorigsrcport",
    "--ctproto",
    "--ctstate",
    "--destination",
    "--destination-port",
    "--destination-ports",
    "--dport",
    "--dports",
    "--dscp",
    "--dscp-class",
    "--dst-range",
    "--dst-type",
    "--every",
    "--gid-owner",
    "--goto",
    "--hitcount",
    "--hl-eq",
    "--hl-gt",
    "--hl-lt",
    "--icmp-type",
    "--icmpv6-type",
    "--in-interface",
    "--jump",
    "--length",
    "--limit",
    "--limit-burst",
    "--limit-iface-in",
    "--limit-iface-out",
    "--log-level",
    "--log-prefix",
    "--mac-source",
    "--mark",
    "--mask",
    "--match",
    "--match-set",
    "--mode",
    "--name",
    "--nfacct-name",
    "--nfmask",
    "--notrack",
    "--or-mark",
    "--out-interface",
    "--packet",
    "--persistent",
    "--physdev-in",
    "--physdev-is-bridged",
    "--physdev-is-in",
    "--physdev-is-out",
    "--physdev-out",
    "--ports",
    "--probability",
    "--protocol",
    "--random",
    "--random-fully",
    "--rcheck",
    "--rdest",
    "--reap",
    "--reject-with",
    "--remove",
    "--restore-mark",
    "--rsource",
    "--rttl",
    "--save-mark",
    "--seconds",
    "--set",
    "--set-counters",
    "--set-mark",
    "--set-mss",
    "--set-xmark",
    "--source",
    "--source-port",
    "--source-ports",
    "--sport",
    "--sports",
    "--src-range",
    "--src-type",
    "--state",
    "--syn",
    "--tcp-flags",
    "--tcp-option",
    "--to-destination",
    "--to-ports",
    "--to-source",
    "--ttl-eq",
    "--ttl-gt",
    "--ttl-lt",
    "--uid-owner",
    "--update",
    "--xor-mark",
];

/// What a word is taken to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repaired {
    /// The option's name.
    pub(super) name: &'static str,
    /// Words after it that are part of the name.
    pub(super) words: usize,
    /// Whether iptables would not take it so.
    pub(super) garbled: bool,
}

/// The option that `name`, perhaps with the words after it, stands for.
pub(super) fn repair(name: &str, cursor: &Cursor<'_, '_>) -> Option<Repaired> {
    let dashes = ['-', '\u{2013}', '\u{2014}', '\u{2212}'];
    let stem = name.trim_start_matches(dashes);
    if stem.len() == name.len() {
        return None;
    }
    if let Some(name) = option(stem) {
        return Some(Repaired {
            name,
            words: 0,
            garbled: true,
        });
    }
    if name.starts_with("--") && stem.len() > 1 {
        let mut longer = OPTIONS.iter().filter(|option| option.starts_with(name));
        if let Some(name) = longer.next() {
            return Some(Repaired {
                name,
                words: 0,
                garbled: false,
            });
        }
    }
    // `-- set -xmark`: the longest name counts.
    let mut joined = stem.to_owned();
    let mut repaired = None;
    for (words, word) in (1..=3).zip(cursor.ahead()) {
        joined.push_str(word);
        if let Some(name) = option(&joined) {
            repaired = Some(Repaired {
                name,
                words,
                garbled: true,
            });
        }
    }
    repaired
}

fn option(stem: &str) -> Option<&'static str> {
    OPTIONS
        .iter()
        .find(|option| option.trim_start_matches('-') == stem)
        .copied()
}

/// An option that differs from `name` by two letters at most.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    OPTIONS
        .iter()
        .find(|option| option.len().abs_diff(name.len()) <= 2 && distance(option, name) <= 2)
        .copied()
}

/// How many letters must be added, removed or changed to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::Line;
    use super::super::words::split;
    use super::*;

    #[test]
    fn options_are_repaired_or_told_apart() {
        let line = Line {
            text: "-- set -xmark 0x1",
            number: 1,
        };
        let mut words = Vec::new();
        split(&line, 2, &mut words).expect("splits");
        let cursor = Cursor::new(line, &words);
        let repaired = |name: &str| repair(name, &cursor).map(|r| (r.name, r.words, r.garbled));
        assert_eq!(repaired("--"), Some(("--set-xmark", 2, true)));
        assert_eq!(repaired("\u{2013}dport"), Some(("--dport", 0, true)));
        assert_eq!(repaired("--mac"), Some(("--mac-source", 0, false)));
        assert_eq!(repaired("word"), None);
        assert_eq!(nearest("--dprot"), Some("--dport"));
        assert_eq!(nearest("--something-else"), None);
    }
}
