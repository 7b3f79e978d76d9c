//! Facts of the node.

use super::{bad, check};

#[test]
fn facts_of_the_node() {
    let ask = |arguments: &'static [&'static str], says| bad(arguments, says);
    check(
        &[
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "10.0.0.300",
                ],
                &["--local-addrs", "`10.0.0.300`", "an address"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "",
                ],
                &["--local-addrs", "at least one address"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "empty",
                ],
                &["empty: line 1", "at least one address"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--local-addrs",
                    "bad.json",
                ],
                &["bad.json: line"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--ipset",
                    "absent",
                ],
                &["absent: no such file or directory"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--ipset",
                    "bad.sets",
                ],
                &["bad.sets: line 1"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--ipset",
                    "a.sets",
                    "--ipset",
                    "a.sets",
                ],
                &["a.sets: ipset `a` is given twice"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--sysctl",
                    "route_localnet=2",
                ],
                &["--sysctl `route_localnet=2`", "route_localnet=1"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--sysctl",
                    "ip_forward=1",
                ],
                &["--sysctl `ip_forward=1`"],
            ),
            ask(
                &[
                    "dump",
                    "ruleset",
                    "--rules",
                    "good.rules",
                    "--missing-chains",
                    "drop",
                ],
                &["'drop'", "return, unknown"],
            ),
        ],
        &[
            ("empty", b""),
            ("bad.json", b"[{\"ifname\": 3}]"),
            ("bad.sets", b"create x hash:nonsense\n"),
            ("a.sets", b"create a hash:ip family inet\nadd a 10.0.0.1\n"),
        ],
    );
}
