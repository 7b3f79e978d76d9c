//! The conditions of a rule: one short function a match.

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

    fn fragment(&mut self, to: &mut Conditions) -> bool {
        let not = self.not();
        if self.with.conntrack || self.family() == Family::V6 {
            return false;
        }
        to.transport.push_str(&format!("{not}-f "));
        true
    }

    /// `-p`, mostly with its module.
    fn protocol(&mut self, to: &mut Conditions) -> bool {
        if to.protocol.is_some() || to.transport.contains("-p ") {
            return false;
        }
        let icmp = match self.family() {
            Family::V4 => "icmp",
            Family::V6 => "ipv6-icmp",
        };
        if self.numbers.chance(0.08) {
            let name = self.numbers.choose(["tcp", "udp", icmp, "gre"]);
            to.transport.insert_str(0, &format!("! -p {name} "));
            return true;
        }
        let name = self.numbers.choose([
            "tcp", "tcp", "tcp", "tcp", "tcp", "udp", "udp", icmp, "sctp", "dccp", "gre", "esp",
            "udplite", "253",
        ]);
        to.protocol = Some(name);
        to.transport.insert_str(0, &format!("-p {name} "));
        let module = match name {
            "tcp" if self.numbers.chance(0.8) => self.tcp(),
            "udp" | "sctp" | "dccp" if self.numbers.chance(0.8) => {
                format!("-m {name}{}", self.ports())
            }
            "icmp" if self.numbers.chance(0.8) => self.icmp(),
            "ipv6-icmp" if self.numbers.chance(0.8) => self.icmp6(),
            _ => return true,
        };
        to.modules.push_str(&module);
        to.modules.push(' ');
        true
    }

    fn tcp(&mut self) -> String {
        let ports = self.ports();
        if self.numbers.chance(0.7) {
            return format!("-m tcp{ports}");
        }
        let flags = self.numbers.choose([
            "FIN,SYN,RST,ACK SYN",
            "SYN,ACK SYN,ACK",
            "RST RST",
            "FIN,SYN,RST,PSH,ACK,URG NONE",
            "ACK NONE",
            "PSH,URG URG",
        ]);
        format!("-m tcp{ports} {}--tcp-flags {flags}", self.not())
    }

    /// `--dport`, `--sport`, both, or neither, each with a blank before it.
    fn ports(&mut self) -> String {
        let mut text = String::new();
        for (option, chance) in [(" --sport", 0.15), (" --dport", 0.85)] {
            if self.numbers.chance(chance) {
                let not = self.not();
                let text_of = self.port_range(option == " --sport");
                text.push_str(&format!(" {not}{} {text_of}", option.trim_start()));
            }
        }
        text
    }

    fn port_range(&mut self, source: bool) -> String {
        if source && self.numbers.chance(0.6) {
            return "40000:40500".into();
        }
        if self.numbers.chance(0.7) {
            return self.numbers.choose(self.values.ports).to_string();
        }
        let (first, last) = self.numbers.choose(self.values.port_ranges);
        format!("{first}:{last}")
    }

    fn icmp(&mut self) -> String {
        let kind = self
            .numbers
            .choose(["8", "8", "8/0", "13", "3", "3/1", "0", "any"]);
        // Nothing matches "not any", and iptables-nft writes it in another way.
        let not = if kind == "any" { "" } else { self.not() };
        format!("-m icmp {not}--icmp-type {kind}")
    }

    fn icmp6(&mut self) -> String {
        let kind = self
            .numbers
            .choose(["128", "128", "128/0", "129", "1", "1/4", "135"]);
        format!("-m icmp6 {}--icmpv6-type {kind}", self.not())
    }

    fn multiport(&mut self, to: &mut Conditions) -> Option<String> {
        if to.protocol.is_none() {
            if to.transport.contains("-p ") {
                return None;
            }
            let name = self
                .numbers
                .choose(["tcp", "tcp", "udp", "sctp", "dccp", "udplite"]);
            to.protocol = Some(name);
            to.transport.insert_str(0, &format!("-p {name} "));
        }
        if !to.has_ports() && to.protocol != Some("udplite") {
            return None;
        }
        let side = self
            .numbers
            .choose(["--dports", "--dports", "--ports", "--sports"]);
        let list: Vec<String> = (0..1 + self.numbers.index(4))
            .map(|_| self.port_range(side == "--sports"))
            .collect();
        Some(format!(
            "-m multiport {}{side} {}",
            self.not(),
            list.join(",")
        ))
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

    /// `0x1/0xff`, `0x4000`.
    fn mark(&mut self) -> String {
        let value = if self.numbers.chance(0.25) {
            0
        } else {
            self.numbers.choose(self.values.marks)
        };
        match self.numbers.choose(self.values.masks) {
            u32::MAX => format!("0x{value:x}"),
            mask => format!("0x{:x}/0x{mask:x}", value & mask),
        }
    }

    fn states(&mut self) -> &'static str {
        self.numbers.choose([
            "NEW",
            "NEW",
            "INVALID",
            "INVALID,NEW",
            "RELATED,ESTABLISHED",
            "UNTRACKED",
            "NEW,UNTRACKED",
        ])
    }

    fn conntrack(&mut self) -> String {
        let mut text = String::from("-m conntrack");
        let full = self.numbers.index(10);
        if full < 7 {
            let states = match self.numbers.index(4) {
                0 => "DNAT",
                1 => self
                    .numbers
                    .choose(["SNAT", "RELATED,ESTABLISHED,DNAT", "INVALID,DNAT"]),
                _ => self.states(),
            };
            text.push_str(&format!(" {}--ctstate {states}", self.not()));
        }
        if full >= 6 {
            let address = self.numbers.choose(self.values.addresses);
            let prefix = self.numbers.choose(self.values.prefixes);
            let port = self.port_range(false);
            let not = self.not();
            text.push_str(&match self.numbers.index(6) {
                0 => format!(" {not}--ctproto {}", self.numbers.choose([6, 17, 1, 58])),
                1 => format!(" {not}--ctorigsrc {prefix}"),
                2 => format!(" {not}--ctorigdst {address}"),
                3 => format!(" {not}--ctorigdst {prefix}"),
                4 => format!(" {not}--ctorigdstport {port}"),
                _ => format!(" {not}--ctorigsrcport {}", self.port_range(true)),
            });
            if self.numbers.chance(0.2) {
                let direction = self.numbers.choose(["ORIGINAL", "ORIGINAL", "REPLY"]);
                text.push_str(&format!(" --ctdir {direction}"));
            }
        }
        text
    }

    fn addrtype(&mut self, place: Place) -> String {
        // The kernel has no BROADCAST, and no types of routes beyond these, for IPv6.
        let types = match self.family() {
            Family::V4 => [
                "LOCAL",
                "LOCAL",
                "UNICAST",
                "BROADCAST",
                "MULTICAST",
                "UNICAST,LOCAL",
                "BROADCAST,MULTICAST",
                "UNSPEC",
                "LOCAL,BLACKHOLE",
            ],
            Family::V6 => [
                "LOCAL",
                "LOCAL",
                "UNICAST",
                "UNSPEC",
                "MULTICAST",
                "UNICAST,LOCAL",
                "LOCAL,MULTICAST",
                "UNSPEC,UNICAST",
                "LOCAL,ANYCAST",
            ],
        };
        let mut text = String::from("-m addrtype");
        let sides = self.numbers.index(6);
        for (option, wanted) in [("--src-type", sides < 2), ("--dst-type", sides > 0)] {
            if wanted {
                let types = self.numbers.choose(types);
                text.push_str(&format!(" {}{option} {types}", self.not()));
            }
        }
        if place.hooks.only(Hooks::ARRIVING) && self.numbers.chance(0.25) {
            text.push_str(" --limit-iface-in");
        }
        text
    }

    fn statistic(&mut self) -> String {
        let not = self.not();
        if self.numbers.chance(0.6) {
            let chance = self.numbers.choose([
                "0.50000000000",
                "0.33333333349",
                "0.25000000000",
                "0.10000000009",
                "1.00000000000",
                "0.00000000000",
            ]);
            return format!("-m statistic --mode random {not}--probability {chance}");
        }
        let every = 1 + self.numbers.index(4);
        let packet = self.numbers.index(every);
        format!("-m statistic --mode nth {not}--every {every} --packet {packet}")
    }

    fn recent(&mut self) -> String {
        let not = self.not();
        let operation = self.numbers.choose([
            "--set", "--set", "--set", "--rcheck", "--rcheck", "--update", "--remove",
        ]);
        let counted = matches!(operation, "--rcheck" | "--update") && self.numbers.chance(0.3);
        let hits = match counted {
            true => format!(" --hitcount {}", 1 + self.numbers.index(3)),
            false => String::new(),
        };
        let name = self.numbers.choose(["seen", "other"]);
        let mask = match self.family() {
            Family::V4 => {
                self.numbers
                    .choose(["255.255.255.255", "255.255.255.255", "255.255.0.0"])
            }
            Family::V6 => self.numbers.choose([
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "ffff:ffff:ffff:ffff::",
            ]),
        };
        let side = self.numbers.choose(["--rsource", "--rsource", "--rdest"]);
        format!("-m recent {not}{operation}{hits} --name {name} --mask {mask} {side}")
    }

    fn set(&mut self) -> String {
        let not = self.not();
        let Some(set) = self.numbers.pick(&self.sets.all) else {
            return "-m comment --comment none".into();
        };
        let (name, parts, by_source) = (set.name.clone(), set.parts, set.by_source);
        // One direction less than parts: nothing is a member. One more: it is ignored.
        let count = match self.numbers.index(12) {
            0 if parts > 1 => parts - 1,
            1 => parts + 1,
            _ => parts,
        };
        let directions: Vec<&str> = (0..count)
            .map(|part| match part {
                1 if by_source => "src",
                1 => self.numbers.choose(["dst", "dst", "dst", "src"]),
                _ => self.numbers.choose(["src", "dst"]),
            })
            .collect();
        format!("-m set {not}--match-set {name} {}", directions.join(","))
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
