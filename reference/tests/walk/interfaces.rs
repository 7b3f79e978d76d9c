//! `-i` and `-o`, known and not (WALK.md 6).

use crate::support::{ask, node, rules};
use kpclass_ruleset::Ruleset;

const ARRIVES: &str = "tcp 10.0.0.1:1 > 10.0.0.2:80";
const SENT: &str = "tcp 192.168.0.2:1 > 10.0.0.2:80";
const TO_ITSELF: &str = "tcp 192.168.0.2:1 > 192.168.0.2:80";

fn drops(chain: &str, rule: &str) -> Ruleset {
    rules(&format!("*mangle\n-A {chain} {rule} -j DROP"))
}

fn answer(chain: &str, rule: &str, spec: &str) -> String {
    let text = ask(&drops(chain, rule), &node(&["192.168.0.2"]), spec);
    text.split(" by ").next().unwrap().to_string()
}

const IN: &str = "the interface that the packet arrived on";
const OUT: &str = "the interface that the packet leaves by";

#[test]
fn an_arrival_device_that_is_known() {
    let eth0 = "tcp 10.0.0.1:1 > 10.0.0.2:80 in=eth0";
    for chain in ["PREROUTING", "FORWARD"] {
        for (rule, expected) in [
            ("-i eth0", "drop"),
            ("-i eth+", "drop"),
            ("-i eth", "forward"),
            ("-i eth1", "forward"),
            ("! -i eth0", "forward"),
            ("! -i eth1", "drop"),
        ] {
            assert_eq!(answer(chain, rule, eth0), expected, "{chain} {rule}");
        }
    }
}

#[test]
fn an_arrival_device_that_is_not_known_is_not_lo() {
    assert_eq!(answer("PREROUTING", "-i lo", ARRIVES), "forward");
    assert_eq!(answer("PREROUTING", "! -i lo", ARRIVES), "drop");
    assert_eq!(
        answer("PREROUTING", "-i lo+", ARRIVES),
        format!("unknown at PREROUTING 1: {IN}")
    );
    assert_eq!(
        answer("PREROUTING", "! -i eth0", ARRIVES),
        format!("unknown at PREROUTING 1: {IN}")
    );
}

#[test]
fn a_sent_packet_arrived_by_no_device() {
    assert_eq!(answer("OUTPUT", "-i eth0", SENT), "out");
    assert_eq!(answer("OUTPUT", "! -i eth0", SENT), "drop");
    assert_eq!(answer("INPUT", "-i lo", TO_ITSELF), "drop", "the lo leg");
}

#[test]
fn the_device_it_leaves_by() {
    assert_eq!(
        answer("PREROUTING", "-o eth0", ARRIVES),
        "forward",
        "none there"
    );
    assert_eq!(answer("PREROUTING", "! -o eth0", ARRIVES), "drop");
    assert_eq!(
        answer("FORWARD", "-o eth0", ARRIVES),
        format!("unknown at FORWARD 1: {OUT}")
    );
    assert_eq!(answer("FORWARD", "-o lo", ARRIVES), "forward");
    assert_eq!(answer("OUTPUT", "-o lo", SENT), "out");
    assert_eq!(answer("OUTPUT", "-o lo", TO_ITSELF), "drop");
    assert_eq!(answer("OUTPUT", "-o eth0", TO_ITSELF), "local");
    assert_eq!(
        answer("OUTPUT", "-o eth0", SENT),
        format!("unknown at OUTPUT 1: {OUT}")
    );
}
