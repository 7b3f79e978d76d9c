use super::*;
use crate::index::keys;
use crate::lower::lower;
use crate::machine::{Rules, Stop};
use crate::tail::Tail;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::readers::{Input, read};

/// A Service with one endpoint. Rules are counted from 0: `sep`'s are the fourth and the fifth.
const SERVICE: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:mark - [0:0]
:sep - [0:0]
-A PREROUTING -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j sep
-A OUTPUT -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j sep
-A mark -j MARK --set-xmark 0x4000/0x4000
-A sep -s 10.1.0.5/32 -j mark
-A sep -p tcp -m tcp -j DNAT --to-destination 10.1.0.5:8080
COMMIT
*filter
:FORWARD ACCEPT [0:0]
COMMIT
";

fn rules(text: &str, node: &NodeFacts) -> Rules {
    let ruleset = read(&[Input::new("rules", text)]).unwrap_or_else(|error| panic!("{error}"));
    let ruleset = ruleset.v4.or(ruleset.v6).expect("rules of one family");
    Rules::new(lower(&ruleset, node), node).0
}

/// The endpoints met on all ways of the first key that the rules single out.
fn met(text: &str, node: &NodeFacts, hook: Hook) -> Vec<Endpoint> {
    let rules = rules(text, node);
    let (exact, ports) = keys(&rules.graph);
    let class = match (exact.first(), ports.first()) {
        (Some(&(protocol, destination, port)), _) => Class::Exact {
            protocol,
            destination,
            port,
        },
        (None, Some(&(protocol, port))) => Class::Port { protocol, port },
        (None, None) => Class::Other,
    };
    let mut machine = Machine::new(&rules, Tail::new(&rules.tail));
    let (mut met, mut acts) = (Vec::new(), Vec::new());
    let mut work = vec![State::start(hook, CtState::New, class, Some(0))];
    while let Some(state) = work.pop() {
        match machine.run(state, &mut acts) {
            Stop::Test { test, yes, no, .. } => {
                met.extend(machine.endpoint(&test, &yes).map(|(_, endpoint)| endpoint));
                work.extend([yes, no]);
            }
            Stop::Draw { yes, no, .. } => work.extend([yes, no]),
            Stop::Route {
                local,
                forward,
                dropped,
                ..
            } => work.extend([local, forward, dropped]),
            Stop::Settled(state) => work.push(state),
            Stop::NeedsKey | Stop::End(_) => {}
        }
    }
    met
}

/// [`SERVICE`] with one thing written otherwise wherever it stands.
fn but(find: &str, replace: &str) -> String {
    assert!(SERVICE.contains(find), "{find}");
    SERVICE.replace(find, replace)
}

fn without_route() -> NodeFacts {
    NodeFacts {
        route_localnet: Some(false),
        ..NodeFacts::default()
    }
}

#[test]
fn the_ways_of_kube_proxys_endpoints_are_copied() {
    let node = NodeFacts::default();
    for text in [
        SERVICE.to_owned(),
        // A chain that the dump lacks marks, too.
        but("-j mark", "-j KUBE-MARK-MASQ"),
        // Only the address changes, or only the port; a node port.
        but("--dport 80 ", "--dport 8080 "),
        but("-d 10.96.0.1/32", "-d 10.1.0.5/32"),
        but("-d 10.96.0.1/32 ", ""),
    ] {
        for hook in [Hook::Prerouting, Hook::Output] {
            let met = met(&text, &node, hook);
            let [endpoint] = &met[..] else {
                panic!("{hook:?}: {met:?}\n{text}");
            };
            assert_eq!(endpoint.rules, [RuleId(3), RuleId(4)]);
            assert_eq!(endpoint.dnat.rule, RuleId(4));
            assert_eq!(endpoint.dnat.port, Some(8080));
            assert_eq!(endpoint.dnat.address, "10.1.0.5".parse().ok());
        }
    }
}

#[test]
fn no_way_that_depends_on_more_is_copied() {
    let node = NodeFacts::default();
    let in_front = "COMMIT\n*filter";
    #[rustfmt::skip]
    let rows = [
        // The chain has another form.
        but("-s 10.1.0.5/32", "-s 10.1.0.0/24"),
        but("-s 10.1.0.5/32", "! -s 10.1.0.5/32"),
        but("-s 10.1.0.5/32", "-s 10.1.0.5/32 -m mark --mark 0x1"),
        but(in_front, "-A sep -p udp -j DROP\nCOMMIT\n*filter"),
        // The first rule does more than mark, or may not.
        but(in_front, "-A mark -j ACCEPT\nCOMMIT\n*filter"),
        but("-A mark -j", "-A mark -m mark --mark 0x1 -j"),
        but("-A mark -j MARK --set-xmark 0x4000/0x4000", "-A mark -j ACCEPT"),
        but("-j mark", "-j ACCEPT"),
        // The second does not take every packet, or not to one endpoint.
        but("-A sep -p tcp -m tcp", "-A sep -p udp -m udp"),
        but("-A sep -p tcp -m tcp", "-A sep -p tcp -m tcp --sport 5"),
        but("-A sep -p tcp -m tcp", "-A sep -p tcp -m conntrack --ctproto 6"),
        but("-A sep -p tcp -m tcp -j DNAT --to-destination 10.1.0.5:8080", "-A sep -p tcp -m tcp -j ACCEPT"),
        but("10.1.0.5:8080", "10.1.0.5"),
        but("10.1.0.5:8080", ":8080"),
        but("10.1.0.5:8080", "10.1.0.5-10.1.0.6:8080"),
        but("10.1.0.5:8080", "10.1.0.5:8080-8081"),
        but("10.1.0.5:8080", "10.1.0.5:8080-8080/80"),
        // Nothing changes, or only the packet knows.
        but("-d 10.96.0.1/32 -p tcp -m tcp --dport 80", "-d 10.1.0.5/32 -p tcp -m tcp --dport 8080"),
        but("-d 10.96.0.1/32 -p tcp -m tcp --dport 80", "-p tcp -m tcp --dport 8080"),
        // The class does not say that there are ports.
        but("-d 10.96.0.1/32 -p tcp -m tcp --dport 80", "-p tcp"),
        // A later rule draws again, or tells where the packet was sent to.
        SERVICE.replace(":FORWARD ACCEPT [0:0]\n", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m statistic --mode random --probability 0.5 -j DROP\n"),
        SERVICE.replace(":FORWARD ACCEPT [0:0]\n", ":FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctorigdst 10.96.0.1 -j DROP\n"),
        // A hook at which no destination is rewritten.
        SERVICE.replace("-A PREROUTING", "-A POSTROUTING").replace("-A OUTPUT", "-A POSTROUTING"),
    ];
    for text in rows {
        for hook in [Hook::Prerouting, Hook::Output] {
            let met = met(&text, &node, hook);
            assert!(met.is_empty(), "{hook:?}: {met:?}\n{text}");
        }
    }
}

#[test]
fn what_is_sent_may_need_a_route() {
    let met = |text: &str, hook| met(text, &without_route(), hook).len();
    assert_eq!(met(SERVICE, Hook::Output), 0);
    assert_eq!(met(SERVICE, Hook::Prerouting), 1);
    let of_v6 = SERVICE
        .replace("10.96.0.1/32", "fd00:96::1/128")
        .replace("10.1.0.5/32", "fd00:1::5/128")
        .replace("10.1.0.5:", "[fd00:1::5]:");
    assert_eq!(met(&of_v6, Hook::Output), 1);
}

#[test]
fn a_side_is_a_rewrite_and_at_most_one_mark() {
    let endpoint = &met(SERVICE, &NodeFacts::default(), Hook::Prerouting)[0];
    let by = |rule| Act::MarkedBy(RuleId(rule));
    let other = Act::Dnat(DnatAct {
        port: Some(1),
        ..endpoint.dnat
    });
    let side = |acts: &[Act]| endpoint.side(acts, NodeId(7));
    let marked = |acts: &[Act]| side(acts).expect("a side").marked;
    let dnat = endpoint.dnat();
    assert!(marked(&[dnat]).is_none());
    assert!(matches!(marked(&[by(3), dnat]), Some(MarkedBy::Own)));
    assert!(
        matches!(marked(&[by(2), dnat]), Some(MarkedBy::Rule(rule)) if rule == RuleId(2)),
        "the mark chain's"
    );
    // In the way of another endpoint this would be that one's own rewriting rule.
    assert!(side(&[by(4), dnat]).is_none());
    assert!(side(&[by(2), by(3), dnat]).is_none());
    assert!(side(&[other]).is_none());
    assert!(side(&[]).is_none());
}
