//! The target of a rule, as its place and its conditions allow.

use super::author::{Author, Conditions, Place};
use super::skeleton::Hooks;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{Hook, TableId};
use std::net::IpAddr;

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Return,
    Accept,
    Drop,
    Reject,
    Mark,
    Connmark,
    Log,
    Notrack,
    Dnat,
    Redirect,
    Snat,
    Masquerade,
    Netmap,
}

impl Author<'_> {
    /// `-j …`, or nothing for a rule that only counts.
    pub(super) fn target(&mut self, place: Place, conditions: &Conditions) -> String {
        let kinds = self.kinds(place, conditions);
        let total: u64 = kinds.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = self.numbers.below(total);
        for (kind, weight) in kinds {
            match at.checked_sub(u64::from(weight)) {
                Some(left) => at = left,
                None => return self.write_target(kind, place, conditions),
            }
        }
        String::new()
    }

    /// What may stand here, with how often it should.
    fn kinds(&self, place: Place, conditions: &Conditions) -> Vec<(Kind, u32)> {
        // What ends a walk must not take every packet.
        let narrow = conditions.count >= 2;
        let ending = |weight: u32| if narrow { weight } else { 1 };
        let mut kinds = vec![
            (Kind::None, 4),
            (Kind::Return, ending(8)),
            (Kind::Accept, ending(7)),
            (Kind::Mark, 14),
            (Kind::Log, 1),
        ];
        if self.with.conntrack {
            kinds.push((Kind::Connmark, 4));
        }
        match place.table {
            TableId::Filter => kinds.extend([(Kind::Drop, ending(5)), (Kind::Reject, ending(8))]),
            TableId::Raw => kinds.extend([(Kind::Drop, ending(2)), (Kind::Notrack, ending(4))]),
            TableId::Mangle | TableId::Security => kinds.push((Kind::Drop, ending(2))),
            TableId::Nat if self.with.conntrack => kinds.extend(nat_kinds(place.hooks)),
            TableId::Nat => {}
        }
        kinds
    }

    fn write_target(&mut self, kind: Kind, place: Place, conditions: &Conditions) -> String {
        match kind {
            Kind::None => String::new(),
            Kind::Return => "-j RETURN".into(),
            Kind::Accept => "-j ACCEPT".into(),
            Kind::Drop => "-j DROP".into(),
            Kind::Reject => self.reject(conditions),
            Kind::Mark => self.set_mark(),
            Kind::Connmark => self.set_connmark(),
            Kind::Log => "-j LOG".into(),
            Kind::Notrack => self
                .numbers
                .choose(["-j CT --notrack", "-j NOTRACK"])
                .into(),
            Kind::Dnat => self.dnat(conditions),
            Kind::Redirect => {
                format!("-j REDIRECT{}", self.ports_option(conditions))
            }
            Kind::Snat => self.snat(conditions),
            Kind::Masquerade => {
                let ports = self.ports_option(conditions);
                format!("-j MASQUERADE{ports}{}", self.drawn())
            }
            Kind::Netmap => self.netmap(place),
        }
    }

    fn reject(&mut self, conditions: &Conditions) -> String {
        if conditions.protocol == Some("tcp") && self.numbers.chance(0.5) {
            return "-j REJECT --reject-with tcp-reset".into();
        }
        let with = match self.family() {
            Family::V4 => self.numbers.choose([
                "icmp-port-unreachable",
                "icmp-net-unreachable",
                "icmp-host-unreachable",
                "icmp-proto-unreachable",
                "icmp-net-prohibited",
                "icmp-host-prohibited",
                "icmp-admin-prohibited",
            ]),
            Family::V6 => self.numbers.choose([
                "icmp6-port-unreachable",
                "icmp6-no-route",
                "icmp6-adm-prohibited",
                "icmp6-addr-unreachable",
                "icmp6-port-unreachable",
                "icmp6-policy-fail",
                "icmp6-reject-route",
            ]),
        };
        format!("-j REJECT --reject-with {with}")
    }

    fn set_mark(&mut self) -> String {
        let value = self.numbers.choose(self.values.marks);
        let mask = self.numbers.choose(self.values.masks);
        match self.numbers.index(8) {
            0 => format!("-j MARK --set-mark 0x{value:x}"),
            1 => format!("-j MARK --set-mark 0x{:x}/0x{mask:x}", value & mask),
            2 => format!("-j MARK --and-mark 0x{mask:x}"),
            3 => format!("-j MARK --or-mark 0x{value:x}"),
            4 => format!("-j MARK --xor-mark 0x{value:x}"),
            5 => format!("-j MARK --set-xmark 0x{value:x}/0x0"),
            _ => format!("-j MARK --set-xmark 0x{value:x}/0x{mask:x}"),
        }
    }

    fn set_connmark(&mut self) -> String {
        let value = self.numbers.choose(self.values.marks);
        let mask = self.numbers.choose(self.values.masks);
        match self.numbers.index(8) {
            0 => format!("-j CONNMARK --set-mark 0x{value:x}"),
            1 => format!("-j CONNMARK --set-xmark 0x{value:x}/0x{mask:x}"),
            2 => format!("-j CONNMARK --or-mark 0x{value:x}"),
            3 | 4 => "-j CONNMARK --save-mark".into(),
            5 => format!("-j CONNMARK --save-mark --nfmask 0x{mask:x} --ctmask 0x{mask:x}"),
            6 => "-j CONNMARK --restore-mark".into(),
            _ => format!("-j CONNMARK --restore-mark --nfmask 0x{mask:x} --ctmask 0x{mask:x}"),
        }
    }

    /// An address to rewrite to: mostly an endpoint.
    fn rewritten(&mut self) -> IpAddr {
        match self.numbers.index(10) {
            0 => self.numbers.choose(self.values.locals),
            1 => self.numbers.choose(self.values.addresses),
            2 if self.family() == Family::V4 => IpAddr::from([127, 0, 0, 1]),
            _ => self.numbers.choose(self.values.endpoints()),
        }
    }

    fn dnat(&mut self, conditions: &Conditions) -> String {
        let ports = conditions.has_ports();
        let port = self.numbers.choose(self.values.ports);
        // A port range starts above 0, which iptables refuses as a nat port there.
        let port = port.max(1);
        let address = self.rewritten();
        let range = self.range();
        let to = match self.numbers.index(12) {
            0..=3 if ports => joined(&address.to_string(), &port.to_string()),
            4 if ports => format!(":{port}"),
            5 if ports => joined(&address.to_string(), "8080-8089"),
            6 if ports => joined(&address.to_string(), "5000-5009/79"),
            7 if ports => joined(&range, &port.to_string()),
            8 => range,
            9 => format!("{range} --persistent"),
            _ => address.to_string(),
        };
        format!("-j DNAT --to-destination {to}")
    }

    /// A range of a few addresses that holds two endpoints.
    fn range(&mut self) -> String {
        let mut ends = self.values.endpoints();
        ends.sort_unstable();
        // The ends may be far from one another: then the first alone.
        let near = |a: IpAddr, b: IpAddr| {
            let number = kpclass_ruleset::value::address_number;
            number(b) - number(a) < 4
        };
        let [first, second, _] = ends;
        if near(first, second) {
            format!("{first}-{second}")
        } else {
            format!("{first}-{first}")
        }
    }

    fn snat(&mut self, conditions: &Conditions) -> String {
        let local = self.numbers.choose(self.values.locals);
        let far = self.numbers.choose(self.values.addresses);
        let address = if self.numbers.chance(0.7) { local } else { far };
        let to = match self.numbers.index(6) {
            0 if conditions.has_ports() => {
                joined(&address.to_string(), "20000-20100") + self.drawn()
            }
            1 if conditions.has_ports() => format!(":20000-20100{}", self.drawn()),
            2 => self.range(),
            _ => address.to_string(),
        };
        format!("-j SNAT --to-source {to}")
    }

    /// Whether a source port is drawn.
    fn drawn(&mut self) -> &'static str {
        match self.numbers.index(8) {
            0 => " --random",
            1 => " --random-fully",
            _ => "",
        }
    }

    fn ports_option(&mut self, conditions: &Conditions) -> &'static str {
        if conditions.has_ports() && self.numbers.chance(0.6) {
            return self.numbers.choose([
                " --to-ports 8080",
                " --to-ports 8080-8089",
                " --to-ports 443",
            ]);
        }
        ""
    }

    fn netmap(&mut self, place: Place) -> String {
        let to = match (self.family(), place.builtin) {
            (Family::V4, Some(Hook::Postrouting)) => "192.168.10.0/30",
            (Family::V4, _) => "10.0.0.4/30",
            (Family::V6, Some(Hook::Postrouting)) => "fd00:a::/126",
            (Family::V6, _) => "fd01::4/126",
        };
        format!("-j NETMAP --to {to}")
    }
}

/// What rewrites a packet at these hooks.
fn nat_kinds(hooks: Hooks) -> Vec<(Kind, u32)> {
    if hooks.only(Hooks::DESTINATION) {
        vec![(Kind::Dnat, 28), (Kind::Redirect, 6), (Kind::Netmap, 3)]
    } else if hooks.only(Hooks::of(Hook::Postrouting)) {
        vec![(Kind::Snat, 9), (Kind::Masquerade, 14), (Kind::Netmap, 2)]
    } else if hooks.only(Hooks::SOURCE) {
        vec![(Kind::Snat, 9), (Kind::Netmap, 2)]
    } else {
        Vec::new()
    }
}

/// Address and port, the address of IPv6 in brackets.
fn joined(address: &str, port: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}
