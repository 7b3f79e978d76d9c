//! Packets that no line describes.

use crate::support::{nobody, rules};
use kpclass_reference::Walk;
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::Disposition;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::protocol;

/// WALK.md 6: a listing may have lost the `-p` that a rule needs, and either protocol is met in the wrong family, too.
#[test]
fn a_match_on_icmp_asks_its_protocol() {
    let [v4, v6] = [["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]];
    for (matches, [source, destination], number, kind, drops) in [
        ("icmp --icmp-type any", v4, protocol::ICMP, 8, true),
        ("icmp --icmp-type any", v4, protocol::ICMPV6, 8, false),
        ("icmp --icmp-type 8", v4, protocol::ICMPV6, 8, false),
        ("icmp6 --icmpv6-type 128", v6, protocol::ICMPV6, 128, true),
        ("icmp6 --icmpv6-type 128", v6, protocol::ICMP, 128, false),
    ] {
        let rules = rules(&format!("*filter\n-A FORWARD -m {matches} -j DROP"));
        let node = nobody();
        let [source, destination] = [source, destination].map(|a| a.parse().unwrap());
        let mut packet = Packet::new(Hook::Prerouting, number, source, destination, None);
        packet.icmp = Some((kind, 0));
        let walk = Walk::new(&rules, &node).unwrap();
        let decision = walk.decide(&packet, 0).decision;
        let dropped = decision.disposition == Disposition::Drop;
        assert_eq!(dropped, drops, "{matches}, protocol {number}");
    }
}
