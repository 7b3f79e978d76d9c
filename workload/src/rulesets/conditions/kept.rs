//! Matches on what the kernel keeps beside a packet: marks, connections, addresses, counters, lists, sets.

use crate::rulesets::author::{Author, Place};
use crate::rulesets::skeleton::Hooks;
use kpclass_ruleset::value::Family;

impl Author<'_> {
    /// `0x1/0xff`, `0x4000`.
    pub(super) fn mark(&mut self) -> String {
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

    pub(super) fn states(&mut self) -> &'static str {
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

    pub(super) fn conntrack(&mut self) -> String {
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
            // iptables 1.8.9 takes a mask with holes here for a whole address.
            let prefix = self.numbers.choose(self.values.prefixes);
            let prefix = match prefix.to_string().split_once('/') {
                Some((_, mask)) if mask.parse::<u8>().is_ok() => prefix.to_string(),
                _ => address.to_string(),
            };
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

    pub(super) fn addrtype(&mut self, place: Place) -> String {
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

    pub(super) fn statistic(&mut self) -> String {
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

    pub(super) fn recent(&mut self) -> String {
        let not = self.not();
        let operation = self.numbers.choose([
            "--set", "--set", "--set", "--rcheck", "--rcheck", "--update", "--remove",
        ]);
        let counted = matches!(operation, "--rcheck" | "--update") && self.numbers.chance(0.3);
        let hits = match counted {
            true => format!(" --hitcount {}", 1 + self.numbers.index(3)),
            false => String::new(),
        };
        // A list has one mask, that of the rule which the kernel loaded first.
        let name = self.numbers.choose(["seen", "other"]);
        let mask = match (self.family(), name) {
            (Family::V4, "seen") => "255.255.255.255",
            (Family::V4, _) => "255.255.0.0",
            (Family::V6, "seen") => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            (Family::V6, _) => "ffff:ffff:ffff:ffff::",
        };
        let side = self.numbers.choose(["--rsource", "--rsource", "--rdest"]);
        format!("-m recent {not}{operation}{hits} --name {name} --mask {mask} {side}")
    }

    pub(super) fn set(&mut self) -> String {
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
}
