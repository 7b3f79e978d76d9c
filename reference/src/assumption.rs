//! What an answer rests on beside the rules: each use of a convention is named.

use std::fmt;

/// Something that the walk took for granted. Its `Display` is the sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Assumption {
    /// The node's addresses were not given, and routing asked for them.
    NoLocalAddresses,
    /// `KUBE-MARK-MASQ` is missing and was jumped to.
    MarkMasq,
    /// `KUBE-MARK-DROP` is missing and was jumped to.
    MarkDrop,
    /// `KUBE-POSTROUTING` is missing and was jumped to.
    KubePostrouting,
    /// Chain POSTROUTING of nat is missing or empty, and the packet carries the masquerade mark.
    Postrouting,
    /// Another missing chain, by name, was jumped to.
    ChainReturns(String),
    /// nat chose one of several addresses.
    NatRange,
    /// A `statistic --mode nth` was asked.
    NthCounter,
    /// A `recent` asked for an address that the packet's own way had not put there.
    RecentEmpty,
    /// A packet of this node goes from 127.0.0.0/8 to another host, and `route_localnet` was not given.
    RouteLocalnet,
    /// The first reply that fitted told which source nat had given a connection.
    NatSource,
    /// A TCP connection was silent for longer than it would have lived with data that nobody acknowledged.
    Acknowledged,
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLocalAddresses => {
                "without --local-addrs, routing takes no address but loopback as this node's"
            }
            Self::MarkMasq => "KUBE-MARK-MASQ is not in the dump; taken to set mark 0x4000",
            Self::MarkDrop => "KUBE-MARK-DROP is not in the dump; taken to set mark 0x8000",
            Self::KubePostrouting => {
                "KUBE-POSTROUTING is not in the dump; taken to masquerade what KUBE-MARK-MASQ marked"
            }
            Self::Postrouting => {
                "nat POSTROUTING is not in the dump; taken to masquerade what KUBE-MARK-MASQ marked"
            }
            Self::ChainReturns(name) => {
                return write!(f, "chain {name} is not in the dump; taken to return");
            }
            Self::NatRange => "the address of a nat range is taken as equally likely",
            Self::NthCounter => "where the counter of a statistic --mode nth stands is taken as equally likely",
            Self::RecentEmpty => "recent lists are taken as empty at first",
            Self::RouteLocalnet => "route_localnet is taken to be 1, as kube-proxy sets it",
            Self::NatSource => "the source that nat chose is taken from the first reply that fits",
            Self::Acknowledged => "all TCP data is taken to have been acknowledged",
        })
    }
}
