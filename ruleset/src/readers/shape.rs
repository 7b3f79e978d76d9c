//! What a line of rule text is, by how it begins.

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing.
    Blank,
    /// `# …`.
    Comment,
    /// `*nat`.
    Table,
    /// `:KUBE-SERVICES - [0:0]`.
    Chain,
    /// `-A …`, `-P …`, `-t nat -A …`; perhaps after `[12:345]`.
    Bare,
    /// `COMMIT`.
    Commit,
    /// `iptables -A …`, perhaps after `sudo` or a prompt: byte at which its options begin, and whether the program is `ip6tables`.
    Command(u32, bool),
    /// Something else.
    Other,
}

impl Shape {
    /// Of a line.
    #[inline]
    pub(crate) fn of(text: &str) -> Self {
        let trimmed = text.trim_start();
        let bytes = trimmed.as_bytes();
        match bytes {
            [] => Self::Blank,
            [b'-', second, ..] if second.is_ascii_alphabetic() || *second == b'-' => bare(trimmed),
            [b':', second, ..] if !second.is_ascii_whitespace() => chain(trimmed),
            [b'[', digit, ..] if digit.is_ascii_digit() => match after_counters(trimmed) {
                Some(rest) if rest.starts_with('-') => bare(rest),
                _ => Self::Other,
            },
            [b'#', ..] => Self::Comment,
            [b'*', ..] => table(trimmed),
            _ if trimmed.trim_end() == "COMMIT" => Self::Commit,
            _ => command(text),
        }
    }
}

/// Options that can stand at the beginning of a bare line.
const FIRST: &[&str] = &[
    "-A",
    "-I",
    "-D",
    "-R",
    "-P",
    "-N",
    "-F",
    "-X",
    "-E",
    "-Z",
    "-C",
    "-t",
    "-w",
    "-4",
    "-6",
    "--append",
    "--insert",
    "--delete",
    "--replace",
    "--policy",
    "--new",
    "--new-chain",
    "--flush",
    "--delete-chain",
    "--rename-chain",
    "--zero",
    "--check",
    "--table",
    "--wait",
];

fn bare(text: &str) -> Shape {
    // A sentence about an option, not the option.
    let prose = text
        .split_ascii_whitespace()
        .nth(1)
        .is_some_and(|word| !word.is_ascii());
    if (text.starts_with("-A ") || begins_rule(text)) && !prose {
        Shape::Bare
    } else {
        Shape::Other
    }
}

/// Whether the first word, perhaps after `[12:345]`, is one that can begin a bare line.
pub(crate) fn begins_rule(text: &str) -> bool {
    let text = after_counters(text.trim_start()).unwrap_or(text);
    let first = text.split_ascii_whitespace().next().unwrap_or("");
    FIRST.contains(&first)
}

fn chain(text: &str) -> Shape {
    let mut words = text.split_ascii_whitespace();
    let (_, policy) = (words.next(), words.next());
    let policy = policy
        .is_some_and(|policy| policy == "-" || policy.bytes().all(|b| b.is_ascii_uppercase()));
    if policy { Shape::Chain } else { Shape::Other }
}

fn table(text: &str) -> Shape {
    let name = text.trim_start_matches('*').trim();
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    // `* text` is an item of a list, unless the text is a table.
    let close = !text.starts_with("* ") || crate::ruleset::TableId::from_name(name).is_some();
    if is_name && close {
        Shape::Table
    } else {
        Shape::Other
    }
}

/// What stands after `[12:345] `.
pub(crate) fn after_counters(text: &str) -> Option<&str> {
    let (counters, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (packets, bytes) = counters.split_once(':')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(packets) && digits(bytes)).then(|| rest.trim_start())
}

/// Programs stand among a command's first words.
const MAX_WORDS: usize = 6;

fn command(text: &str) -> Shape {
    if memchr::memmem::find(text.as_bytes(), b"tables").is_none() {
        return Shape::Other;
    }
    for word in text.split_ascii_whitespace().take(MAX_WORDS) {
        let Some(v6) = program(word) else { continue };
        let after = word.as_ptr() as usize - text.as_ptr() as usize + word.len();
        let rest = text.get(after..).unwrap_or("");
        let first = rest.split_ascii_whitespace().next().unwrap_or("");
        let changes = rest
            .split_ascii_whitespace()
            .any(|word| FIRST.contains(&word) && word != "-t" && word != "-w");
        if first.starts_with('-') && changes {
            return Shape::Command(after as u32, v6);
        }
        return Shape::Other;
    }
    Shape::Other
}

/// Whether a word names `iptables` (false) or `ip6tables` (true), with any path and backend.
fn program(word: &str) -> Option<bool> {
    let name = word.rsplit_once('/').map_or(word, |(_, name)| name);
    match name {
        "iptables" | "iptables-legacy" | "iptables-nft" => Some(false),
        "ip6tables" | "ip6tables-legacy" | "ip6tables-nft" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_their_beginning() {
        let shapes = [
            ("", Shape::Blank),
            ("  -A X -j Y", Shape::Bare),
            ("[1:2] -A X -j Y", Shape::Bare),
            ("-A 是指后面追加", Shape::Other),
            ("-- 10.0.0.0/8", Shape::Other),
            (":INPUT ACCEPT [0:0]", Shape::Chain),
            (":wq", Shape::Other),
            ("* nat", Shape::Table),
            ("* a list", Shape::Other),
            ("COMMIT", Shape::Commit),
            ("# x", Shape::Comment),
            (
                "sudo /sbin/ip6tables -w -A X -j Y",
                Shape::Command(20, true),
            ),
            ("iptables -t nat -L -n", Shape::Other),
            ("Chain INPUT (policy ACCEPT)", Shape::Other),
        ];
        for (text, shape) in shapes {
            assert_eq!(Shape::of(text), shape, "{text:?}");
        }
    }
}
