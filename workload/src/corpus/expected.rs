//! What a case expects of a packet.

use std::fmt;

/// One outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How likely it is.
    pub chance: Chance,
    /// The whole line, with the rules that took the decision, as [`describe`](super::describe) writes it.
    pub line: String,
    /// The line without those rules, as [`effect`](super::effect) writes it.
    pub effect: String,
}

impl Expected {
    /// Whether something that is not known decides.
    pub fn is_unknown(&self) -> bool {
        self.line.starts_with("unknown ")
    }

    /// Reads `1/2 forward dnat=10.0.0.1:80`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (chance, line) = match text.split_once(' ') {
            Some((first, rest)) if first.contains('/') => (Chance::parse(first)?, rest),
            _ => (Chance { n: 1, d: 1 }, text),
        };
        Ok(Self {
            chance,
            effect: without_rules(line)?,
            line: line.to_owned(),
        })
    }
}

const DISPOSITIONS: &str = "forward, local, out, drop, reject TYPE or unknown at …";

/// Leaves `by CHAIN N` and `marked-by CHAIN N` out. What [`describe`](super::describe) never writes is an error.
fn without_rules(line: &str) -> Result<String, String> {
    if line.starts_with("unknown at ") {
        return Ok(line.to_owned());
    }
    let mut words = line.split(' ');
    let mut kept = match words.next() {
        Some(word @ ("forward" | "local" | "out" | "drop")) => word.to_owned(),
        Some("reject") => format!("reject {}", words.next().unwrap_or_default()),
        _ => return Err(format!("`{line}`: needs {DISPOSITIONS}")),
    };
    while let Some(word) = words.next() {
        let known = word == "masquerade"
            || ["dnat=", "snat=", "netmap=", "mark=0x"]
                .iter()
                .any(|name| word.starts_with(name));
        match word {
            "by" | "marked-by" => {
                let rule = words.next().and(words.next());
                if rule.is_none_or(|number| number.parse::<u32>().is_err()) {
                    return Err(format!("`{line}`: `{word}` needs a chain and a number"));
                }
            }
            _ if known => {
                kept.push(' ');
                kept.push_str(word);
            }
            _ => return Err(format!("`{line}`: `{word}` says nothing")),
        }
    }
    Ok(kept)
}

/// A reduced fraction of 0 to 1, without 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chance {
    /// Numerator.
    pub n: u128,
    /// Denominator.
    pub d: u128,
}

impl Chance {
    /// The nearest `f64`, about.
    pub fn as_f64(self) -> f64 {
        self.n as f64 / self.d as f64
    }

    fn parse(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('/')
            .and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
        let needed = || format!("`{text}`: needs a reduced fraction above 0 and up to 1");
        let (n, d): (u128, u128) = parts.ok_or_else(needed)?;
        if n == 0 || n > d || divisor(n, d) != 1 {
            return Err(needed());
        }
        Ok(Self { n, d })
    }

    /// The sum; `None` where it does not fit.
    fn plus(self, other: Self) -> Option<Self> {
        let shared = divisor(self.d, other.d);
        let (a, b) = (other.d / shared, self.d / shared);
        let n = self
            .n
            .checked_mul(a)?
            .checked_add(other.n.checked_mul(b)?)?;
        let d = self.d.checked_mul(a)?;
        let by = divisor(n, d);
        Some(Self {
            n: n / by,
            d: d / by,
        })
    }

    /// Whether these sum to 1.
    pub(super) fn are_all(mut chances: impl Iterator<Item = Self>) -> bool {
        let first = chances.next();
        let sum = first.and_then(|first| chances.try_fold(first, Self::plus));
        sum == Some(Self { n: 1, d: 1 })
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.n, self.d)
    }
}

/// Euclid's.
fn divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
