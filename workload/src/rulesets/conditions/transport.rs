//! `-p`, `-f`, and the modules that need a protocol.

use crate::rulesets::author::{Author, Conditions};
use kpclass_ruleset::value::Family;

impl Author<'_> {
    pub(super) fn fragment(&mut self, to: &mut Conditions) -> bool {
        let not = self.not();
        if self.with.conntrack || self.family() == Family::V6 {
            return false;
        }
        to.transport.push_str(&format!("{not}-f "));
        true
    }

    /// `-p`, mostly with its module.
    pub(super) fn protocol(&mut self, to: &mut Conditions) -> bool {
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

    pub(super) fn tcp(&mut self) -> String {
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
    pub(super) fn ports(&mut self) -> String {
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

    pub(super) fn port_range(&mut self, source: bool) -> String {
        if source && self.numbers.chance(0.6) {
            return "40000:40500".into();
        }
        if self.numbers.chance(0.7) {
            return self.numbers.choose(self.values.ports).to_string();
        }
        let (first, last) = self.numbers.choose(self.values.port_ranges);
        format!("{first}:{last}")
    }

    pub(super) fn icmp(&mut self) -> String {
        let kind = self
            .numbers
            .choose(["8", "8", "8/0", "13", "3", "3/1", "0", "any"]);
        // Nothing matches "not any", and iptables-nft writes it in another way.
        let not = if kind == "any" { "" } else { self.not() };
        format!("-m icmp {not}--icmp-type {kind}")
    }

    pub(super) fn icmp6(&mut self) -> String {
        let kind = self
            .numbers
            .choose(["128", "128", "128/0", "129", "1", "1/4", "135"]);
        format!("-m icmp6 {}--icmpv6-type {kind}", self.not())
    }

    pub(super) fn multiport(&mut self, to: &mut Conditions) -> Option<String> {
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
}
