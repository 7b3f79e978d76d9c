//! The conditions of a rule: one short function a match.

mod kept;
mod transport;

use super::author::{Author, Conditions, Place};
use super::skeleton::Hooks;
use kpclass_ruleset::Hook;
use kpclass_ruleset::value::Family;
use std::net::IpAddr;

/// A kind of condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Source,
    Destination,
    InInterface,
    OutInterface,
    Protocol,
    Fragment,
    Multiport,
    Iprange,
    Mark,
    Connmark,
    Conntrack,
    State,
    Addrtype,
    Statistic,
    Recent,
    Set,
    Mac,
    Length,
    Ttl,
    Dscp,
    Comment,
}

/// The kinds, those that narrow a rule usefully more than once.
const KINDS: [Kind; 34] = {
    use Kind::*;
    [
        Source,
        Source,
        Source,
        Destination,
        Destination,
        Destination,
        Destination,
        InInterface,
        InInterface,
        OutInterface,
        Protocol,
        Protocol,
        Protocol,
        Protocol,
        Protocol,
        Protocol,
        Fragment,
        Multiport,
        Multiport,
        Iprange,
        Iprange,
        Mark,
        Mark,
        Connmark,
        Conntrack,
        Conntrack,
        State,
        Addrtype,
        Statistic,
        Recent,
        Set,
        Mac,
        Length,
        Comment,
    ]
};
const RARER: [Kind; 2] = [Kind::Ttl, Kind::Dscp];

impl Author<'_> {
    /// So many conditions, or fewer where the place or the ingredients refuse one.
    pub(super) fn conditions(&mut self, place: Place, count: usize) -> Conditions {
        let mut conditions = Conditions::default();
        let mut used: Vec<Kind> = Vec::new();
        for _ in 0..count {
            let kind = if self.numbers.chance(0.06) {
                self.numbers.choose(RARER)
            } else {
                self.numbers.choose(KINDS)
            };
            if !used.contains(&kind) && self.write(kind, place, &mut conditions) {
                used.push(kind);
                conditions.count += 1;
            }
        }
        conditions
    }

    /// Adds a condition; false where it may not stand here.
    fn write(&mut self, kind: Kind, place: Place, to: &mut Conditions) -> bool {
        let text = match kind {
            Kind::Source => return self.address("-s", 0, to),
            Kind::Destination => return self.address("-d", 1, to),
            Kind::InInterface => return self.device(place, true, to),
            Kind::OutInterface => return self.device(place, false, to),
            Kind::Protocol => return self.protocol(to),
            Kind::Fragment => return self.fragment(to),
            Kind::Multiport => match self.multiport(to) {
                Some(text) => text,
                None => return false,
            },
            Kind::Connmark | Kind::Conntrack | Kind::State if !self.with.conntrack => return false,
            Kind::Statistic if !self.with.statistic => return false,
            Kind::Recent if !self.with.recent => return false,
            Kind::Set if !self.with.sets => return false,
            Kind::Mac if !place.hooks.only(Hooks::ARRIVING) => return false,
            Kind::Iprange => self.iprange(),
            Kind::Mark => format!("-m mark {}--mark {}", self.not(), self.mark()),
            Kind::Connmark => format!("-m connmark {}--mark {}", self.not(), self.mark()),
            Kind::Conntrack => self.conntrack(),
            Kind::State => format!("-m state {}--state {}", self.not(), self.states()),
            Kind::Addrtype => self.addrtype(place),
            Kind::Statistic => self.statistic(),
            Kind::Recent => self.recent(),
            Kind::Set => self.set(),
            Kind::Mac => {
                let mac = self.numbers.choose(self.values.macs);
                format!("-m mac {}--mac-source {mac}", self.not())
            }
            Kind::Length => self.length(),
            Kind::Ttl => self.ttl(),
            Kind::Dscp => {
                let dscp = self.numbers.choose(["0x00", "0x2e", "0x0a"]);
                format!("-m dscp {}--dscp {dscp}", self.not())
            }
            Kind::Comment => {
                let words = ["plain", "\"a few words\"", "\"it's \\\"quoted\\\"\""];
                format!("-m comment --comment {}", self.numbers.choose(words))
            }
        };
        to.modules.push_str(&text);
        to.modules.push(' ');
        true
    }

    fn address(&mut self, option: &str, slot: usize, to: &mut Conditions) -> bool {
        let not = self.not();
        let prefix = match self.numbers.index(10) {
            0..=5 => self.numbers.choose(self.values.addresses).to_string(),
            6 => self.numbers.choose(self.values.locals).to_string(),
            7 if slot == 1 => self.odd_destination().to_string(),
            _ => self.numbers.choose(self.values.prefixes).to_string(),
        };
        to.header[slot] = format!("{not}{option} {prefix} ");
        true
    }

    /// Addresses that routing treats in its own way.
    fn odd_destination(&mut self) -> &'static str {
        match self.family() {
            Family::V4 => self.numbers.choose([
                "127.0.0.1",
                "127.0.0.0/8",
                "224.0.0.1",
                "224.0.0.0/4",
                "255.255.255.255",
                "0.0.0.0/8",
            ]),
            Family::V6 => self
                .numbers
                .choose(["::1/128", "ff02::1/128", "ff00::/8", "fe80::/10"]),
        }
    }

    fn device(&mut self, place: Place, arrival: bool, to: &mut Conditions) -> bool {
        use Hook::{Input, Output, Postrouting, Prerouting};
        // iptables refuses the option in these chains themselves.
        let refused = match arrival {
            true => [Output, Postrouting],
            false => [Prerouting, Input],
        };
        if place.builtin.is_some_and(|hook| refused.contains(&hook)) {
            return false;
        }
        let not = self.not();
        let (option, slot, name) = if arrival {
            let names = ["eth0", "eth1", "cni0", "eth+", "c+", "lo", "wlan0"];
            ("-i", 2, self.numbers.choose(names))
        } else {
            // Whether any other device is the one that it leaves by, a dump does not tell.
            (
                "-o",
                3,
                if self.numbers.chance(0.95) {
                    "lo"
                } else {
                    "eth0"
                },
            )
        };
        to.header[slot] = format!("{not}{option} {name} ");
        true
    }

    fn iprange(&mut self) -> String {
        let mut range = |option: &str| {
            let not = self.not();
            let mut ends: [IpAddr; 2] = match self.numbers.chance(0.6) {
                true => {
                    let [a, b, _] = self.values.endpoints();
                    [a, b]
                }
                false => {
                    let addresses = self.values.addresses;
                    [
                        self.numbers.choose(addresses),
                        self.numbers.choose(addresses),
                    ]
                }
            };
            ends.sort_unstable();
            format!(" {not}{option} {}-{}", ends[0], ends[1])
        };
        let (source, destination) = (range("--src-range"), range("--dst-range"));
        match self.numbers.index(5) {
            0 | 1 => format!("-m iprange{source}"),
            2 => format!("-m iprange{source}{destination}"),
            _ => format!("-m iprange{destination}"),
        }
    }

    fn length(&mut self) -> String {
        let range = match self.family() {
            Family::V4 => self.numbers.choose(["40", "0:60", "60:100", "28:40"]),
            Family::V6 => self.numbers.choose(["60", "0:80", "80:120", "48:60"]),
        };
        format!("-m length {}--length {range}", self.not())
    }

    fn ttl(&mut self) -> String {
        let name = match self.family() {
            Family::V4 => "ttl",
            Family::V6 => "hl",
        };
        let test = self.numbers.choose(["eq", "lt", "gt"]);
        let bound = self.numbers.choose([63, 64, 30]);
        let not = if test == "eq" { self.not() } else { "" };
        format!("-m {name} {not}--{name}-{test} {bound}")
    }
}
