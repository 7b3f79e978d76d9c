//! The commands whose output a paste holds: `root@node:~# iptables -t nat -nvL` says what the lines below it are.

use crate::ruleset::TableId;
use crate::value::Family;

/// A command that prints rules, as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    /// The family of the program's name.
    pub(crate) family: Family,
    /// The table it prints: `-t`, or filter; `None` for `iptables-save` without `-t`, whose output names its tables.
    pub(crate) table: Option<TableId>,
    /// Whether it lists (`-L`), with interfaces hidden unless `-v` is given.
    pub(crate) lists: bool,
}

impl Echo {
    /// Reads a line that is such a command (the prompt in front is gone); anything else, also a command that changes rules, is `None`.
    pub(crate) fn of(text: &str) -> Option<Self> {
        if !is_command(text) {
            return None;
        }
        let mut words = text.split_ascii_whitespace();
        let program = words
            .by_ref()
            .take(MAX_WORDS)
            .map(base_name)
            .find(|word| is_program(word))?;
        let family = if program.starts_with("ip6") {
            Family::V6
        } else {
            Family::V4
        };
        let saves = program.ends_with("-save");
        let mut echo = Self {
            family,
            table: None,
            lists: false,
        };
        let mut prints = saves;
        while let Some(word) = words.next() {
            if word.starts_with(['|', ';', '#', '>', '<']) || word == "&&" {
                break;
            }
            if let Some(table) = table_option(word) {
                let name = if table.is_empty() {
                    words.next()?
                } else {
                    table
                };
                echo.table = Some(TableId::from_name(name)?);
            }
            echo.lists |= lists(word);
            prints |= echo.lists || matches!(word, "-S" | "--list-rules") || short(word, 'S');
        }
        if !saves && echo.table.is_none() {
            echo.table = Some(TableId::Filter);
        }
        prints.then_some(echo)
    }
}

/// A program stands among a command's first words: behind `sudo`, `kubectl exec … --`, `docker exec NAME`.
const MAX_WORDS: usize = 12;

fn base_name(word: &str) -> &str {
    word.rsplit_once('/').map_or(word, |(_, name)| name)
}

/// Whether a line is a command that prints or changes rules, perhaps behind `sudo` or run in a container.
pub(super) fn is_command(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let mut first = words.next().unwrap_or("");
    if first == "sudo" {
        first = words.find(|word| !word.starts_with('-')).unwrap_or("");
    }
    let program = base_name(first);
    if is_program(program) {
        return !matches!(program, "iptables" | "ip6tables")
            || words.any(|word| word.starts_with('-'));
    }
    // `kubectl exec node -- iptables-save`
    RUNNERS.contains(&program)
        && words
            .take(MAX_WORDS)
            .any(|word| is_program(base_name(word)))
}

/// Programs that run another, somewhere else.
const RUNNERS: [&str; 8] = [
    "kubectl", "docker", "crictl", "minikube", "ssh", "nsenter", "chroot", "ip",
];

/// Whether a word names `iptables`, `ip6tables-legacy`, `iptables-nft-save`, `xtables-save`, …
fn is_program(word: &str) -> bool {
    let Some(rest) = ["iptables", "ip6tables", "xtables"]
        .iter()
        .find_map(|n| word.strip_prefix(n))
    else {
        return false;
    };
    let rest = rest
        .strip_prefix("-legacy")
        .or(rest.strip_prefix("-nft"))
        .unwrap_or(rest);
    matches!(rest, "" | "-save" | "-restore")
}

/// The value joined to `-t` or `--table`, empty if it is the next word; `None` for another option.
fn table_option(word: &str) -> Option<&str> {
    if let Some(rest) = word.strip_prefix("--table") {
        return Some(rest.strip_prefix('=').unwrap_or(rest));
    }
    let flags = word
        .strip_prefix('-')
        .filter(|flags| !flags.starts_with('-'))?;
    let at = flags.find('t')?;
    let before = &flags[..at];
    before
        .bytes()
        .all(|b| b"nvxLSw".contains(&b))
        .then(|| &flags[at + 1..])
}

/// Whether `-L` or `--list` is asked for, perhaps among other letters.
fn lists(word: &str) -> bool {
    word == "--list" || short(word, 'L')
}

/// Whether a bundle of one-letter options, all of which may stand beside a listing, holds `letter`.
fn short(word: &str, letter: char) -> bool {
    let flags = word
        .strip_prefix('-')
        .filter(|flags| !flags.starts_with('-'))
        .unwrap_or("");
    let bundled = flags.split('t').next().unwrap_or("");
    bundled.contains(letter) && bundled.bytes().all(|b| b"nvxLSw".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_print_rules_name_their_table() {
        let (v4, v6) = (Family::V4, Family::V6);
        let cases = [
            ("iptables -t nat -nvL", Some((v4, Some(TableId::Nat), true))),
            (
                "sudo iptables -nvL KUBE-ROUTER-HAIRPIN -t nat",
                Some((v4, Some(TableId::Nat), true)),
            ),
            (
                "iptables --table=mangle --list",
                Some((v4, Some(TableId::Mangle), true)),
            ),
            ("iptables -nvLt raw", Some((v4, Some(TableId::Raw), true))),
            ("iptables -tnat -S", Some((v4, Some(TableId::Nat), false))),
            ("iptables -L", Some((v4, Some(TableId::Filter), true))),
            (
                "/usr/sbin/ip6tables-legacy -L -n",
                Some((v6, Some(TableId::Filter), true)),
            ),
            ("iptables-save", Some((v4, None, false))),
            (
                "iptables-save -t nat | grep KUBE-SVC",
                Some((v4, Some(TableId::Nat), false)),
            ),
            ("ip6tables-nft-save", Some((v6, None, false))),
            (
                "kubectl exec -n kube-system node -- iptables -t nat -L",
                Some((v4, Some(TableId::Nat), true)),
            ),
            (
                "docker exec kind-control-plane iptables-save",
                Some((v4, None, false)),
            ),
            (
                "sudo -n iptables -L",
                Some((v4, Some(TableId::Filter), true)),
            ),
            // What changes rules, or prints none.
            ("iptables -t nat -A PREROUTING -j KUBE-SERVICES", None),
            ("iptables -N -L-1", None),
            ("iptables -t nats -L", None),
            ("iptables -t", None),
            ("iptables --version", None),
            ("iptables v1.6.1", None),
            ("iptables-restore < rules", None),
            ("# Generated by iptables-save v1.8.9", None),
            ("the output of iptables -L is below", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let echo = Echo::of(text).map(|echo| (echo.family, echo.table, echo.lists));
            assert_eq!(echo, expected, "{text}");
        }
    }
}
