//! The options of `-m conntrack` that need more than one packet: those that [`Conntrack::rest`](crate::matches::Conntrack::rest) keeps as text.

use super::CtStatus;
use crate::readers::values;
use crate::value::{Family, PortRange, Prefix};

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaterOption {
    /// Whether a `!` precedes it.
    pub inverted: bool,
    /// What it asks.
    pub test: LaterTest,
}

/// What such an option asks of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaterTest {
    /// `--ctreplsrc`: the reply tuple's source.
    ReplySource(Prefix),
    /// `--ctrepldst`: its destination.
    ReplyDestination(Prefix),
    /// `--ctreplsrcport`.
    ReplySourcePort(PortRange),
    /// `--ctrepldstport`.
    ReplyDestinationPort(PortRange),
    /// `--ctstatus`: it has any of these. (`NONE` is no bit.)
    Status(CtStatus),
    /// `--ctexpire`: whole seconds to its end, both ends included.
    Expires(u32, u32),
}

/// Reads the text of a rule's `rest`; `None` where it is not such options.
pub fn later_options(text: &str, family: Family) -> Option<Vec<LaterOption>> {
    let mut options = Vec::new();
    let mut words = text.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let inverted = word == "!";
        let name = if inverted { words.next()? } else { word };
        let test = test(name, words.next()?, family)?;
        options.push(LaterOption { inverted, test });
    }
    Some(options)
}

fn test(name: &str, value: &str, family: Family) -> Option<LaterTest> {
    let prefix = || values::prefix(value, family).ok();
    let ports = || values::port_range(value).ok();
    Some(match name {
        "--ctreplsrc" => LaterTest::ReplySource(prefix()?),
        "--ctrepldst" => LaterTest::ReplyDestination(prefix()?),
        "--ctreplsrcport" => LaterTest::ReplySourcePort(ports()?),
        "--ctrepldstport" => LaterTest::ReplyDestinationPort(ports()?),
        "--ctstatus" => LaterTest::Status(status(value)?),
        "--ctexpire" => {
            let (first, last) = value.split_once(':').unwrap_or((value, value));
            LaterTest::Expires(first.parse().ok()?, last.parse().ok()?)
        }
        _ => return None,
    })
}

fn status(list: &str) -> Option<CtStatus> {
    let mut status = CtStatus::default();
    for name in list.split(',') {
        let name = name.to_ascii_uppercase();
        let asked = CtStatus::NAMES.iter().take(4).find(|(_, n)| *n == name);
        match asked {
            Some((bit, _)) => status = status.with(*bit),
            None if name == "NONE" => {}
            None => return None,
        }
    }
    Some(status)
}
