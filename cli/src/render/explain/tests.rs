use super::*;

fn step(table: &'static str, chain: &str, rule: u32, text: &str, depth: usize) -> Step {
    Step {
        place: Place {
            table,
            chain: chain.to_owned(),
            rule,
            line: 10 * rule,
        },
        file: None,
        text: text.to_owned(),
        depth,
        lo_leg: false,
        reason: None,
    }
}

fn forward(probability: f64, exact: &str, port: u16, path: Vec<Step>) -> Outcome {
    Outcome {
        probability,
        exact: exact.to_owned(),
        disposition: "forward",
        dnat: Some(Destination {
            address: Some("10.0.0.1".to_owned()),
            port: Some(port),
        }),
        snat: None,
        mark: 0,
        reject_with: None,
        service: Some("ns/web:http".to_owned()),
        unknown: None,
        assumptions: Vec::new(),
        path,
        ended_by: None,
    }
}

fn explanation(outcomes: Vec<Outcome>) -> Explanation {
    Explanation {
        schema: Explanation::SCHEMA,
        packet: AskedPacket {
            spec: "tcp 10.1.0.1:1 > 10.2.0.1:80".to_owned(),
            hook: "prerouting",
        },
        outcomes,
        program_agrees: true,
        connection: None,
    }
}

fn service_path(endpoint: &str) -> Vec<Step> {
    let mut mark = step("nat", "KUBE-SVC-A", 1, "-j KUBE-MARK-MASQ", 2);
    mark.reason = Some("source outside the cluster");
    vec![
        step("nat", "PREROUTING", 1, "-j KUBE-SERVICES", 0),
        step("nat", "KUBE-SERVICES", 7, "-d 10.2.0.1/32 -j KUBE-SVC-A", 1),
        mark,
        step("nat", "KUBE-MARK-MASQ", 1, "-j MARK", 3),
        step("nat", "KUBE-SVC-A", 2, "-j KUBE-SEP", 2),
        step("nat", endpoint, 2, "-j DNAT", 3),
        step("filter", "FORWARD", 3, "-j ACCEPT", 0),
    ]
}

#[test]
fn the_way_is_a_tree_that_comes_back_from_each_chain() {
    let text = text(
        &explanation(vec![forward(1.0, "1/1", 80, service_path("SEP-1"))]),
        Palette::PLAIN,
    );
    assert_eq!(
        text,
        "\
tcp 10.1.0.1:1 > 10.2.0.1:80  (it arrives)

forwarded, destination becomes 10.0.0.1:80  ns/web:http
  nat PREROUTING
    1  -j KUBE-SERVICES  line 10
    KUBE-SERVICES
      7  -d 10.2.0.1/32 -j KUBE-SVC-A  line 70
      KUBE-SVC-A
        1  -j KUBE-MARK-MASQ  line 10
           source outside the cluster
        KUBE-MARK-MASQ
          1  -j MARK  line 10
        2  -j KUBE-SEP  line 20
        SEP-1
          2  -j DNAT  line 20
  filter FORWARD
    3  -j ACCEPT  line 30
"
    );
}

#[test]
fn several_outcomes_begin_with_a_table_and_share_their_way() {
    let outcomes = vec![
        forward(0.5, "1/2", 80, service_path("SEP-1")),
        forward(0.5, "1/2", 81, service_path("SEP-2")),
    ];
    let text = text(&explanation(outcomes), Palette::PLAIN);
    assert!(
        text.contains(
            "         50 %    1/2  forwarded, destination becomes 10.0.0.1:81  ns/web:http\n"
        ),
        "{text}"
    );
    let second = text
        .split("… as above to nat KUBE-SVC-A rule 2\n")
        .nth(1)
        .expect("shares its way");
    assert_eq!(
        second,
        "        SEP-2\n          2  -j DNAT  line 20\n  filter FORWARD\n    3  -j ACCEPT  line 30\n"
    );
}

#[test]
fn an_unknown_says_what_is_missing_and_who_asked() {
    let mut outcome = forward(1.0, "1/1", 80, Vec::new());
    outcome.disposition = "unknown";
    outcome.dnat = None;
    outcome.service = None;
    outcome.unknown = Some(Missing {
        rule: Some(Place {
            table: "nat",
            chain: "KUBE-SERVICES".to_owned(),
            rule: 4,
            line: 40,
        }),
        fact: "whether the address is one of this node's".to_owned(),
        option: Some("--local-addrs"),
    });
    outcome.assumptions = vec!["something".to_owned()];
    let text = text(&explanation(vec![outcome]), Palette::PLAIN);
    let expected = "\
unknown
  not known: whether the address is one of this node's
  asked by nat KUBE-SERVICES rule 4 (line 40)
  --local-addrs would tell
  assumed: something
  no rule matches
";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn the_record_has_the_keys_of_the_contract_in_their_order() {
    let mut explanation = explanation(vec![forward(1.0, "1/1", 16443, Vec::new())]);
    explanation.outcomes[0].snat = Some(SourceNat::Masquerade);
    explanation.outcomes[0].path = vec![step("nat", "PREROUTING", 2, "-j X", 0)];
    assert_eq!(
        serde_json::to_string(&explanation).unwrap(),
        concat!(
            r#"{"schema":"kpclass.explain/1","packet":{"spec":"tcp 10.1.0.1:1 > 10.2.0.1:80","hook":"prerouting"},"#,
            r#""outcomes":[{"probability":1.0,"exact":"1/1","disposition":"forward","dnat":{"address":"10.0.0.1","port":16443},"#,
            r#""snat":{"kind":"masquerade"},"mark":0,"reject_with":null,"service":"ns/web:http","unknown":null,"assumptions":[],"#,
            r#""path":[{"table":"nat","chain":"PREROUTING","rule":2,"line":20}]}],"program_agrees":true}"#
        )
    );
    let snat = SourceNat::Snat {
        address: Some("192.0.2.1".to_owned()),
    };
    let text = serde_json::to_string(&snat).unwrap();
    assert_eq!(text, r#"{"kind":"snat","address":"192.0.2.1"}"#);
}

#[test]
fn destinations_are_written_as_rules_write_them() {
    let to = |address: Option<&str>, port| {
        endpoint(&Destination {
            address: address.map(str::to_owned),
            port,
        })
    };
    assert_eq!(to(Some("fd00::1"), Some(80)), "[fd00::1]:80");
    assert_eq!(to(Some("10.0.0.1"), None), "10.0.0.1");
    assert_eq!(to(None, Some(80)), "an address of this node, port 80");
}

#[test]
fn a_disagreement_is_said_last() {
    let mut explanation = explanation(vec![forward(1.0, "1/1", 80, Vec::new())]);
    explanation.program_agrees = false;
    assert!(text(&explanation, Palette::PLAIN).ends_with("outcomes differ from these\n"));
}

#[test]
fn a_goto_and_the_lo_leg_show_where_the_way_goes() {
    let mut back = step("mangle", "PREROUTING", 1, "-j X", 0);
    back.lo_leg = true;
    let path = vec![
        step("mangle", "PREROUTING", 1, "-g A", 0),
        step("mangle", "A", 1, "-j X", 0),
        step("mangle", "B", 1, "-j X", 2),
        back,
    ];
    let text = way(&[], &path, Palette::PLAIN);
    assert_eq!(
        text,
        "  mangle PREROUTING
    1  -g A  line 10
  mangle A
    1  -j X  line 10
      B
        1  -j X  line 10
  mangle PREROUTING  (back in by lo)
    1  -j X  line 10
"
    );
}

#[test]
fn a_policy_that_ends_a_packet_is_said_behind_its_way() {
    let mut outcome = forward(1.0, "1/1", 80, Vec::new());
    outcome.ended_by = Some("filter FORWARD: policy DROP".to_owned());
    let text = text(&explanation(vec![outcome]), Palette::PLAIN);
    assert!(
        text.ends_with("  no rule matches\n  filter FORWARD: policy DROP\n"),
        "{text}"
    );
}

#[test]
fn endless_fractions_are_left_out_of_the_text() {
    let exact = format!("1/{}", "9".repeat(100));
    let text = text(
        &explanation(vec![forward(0.1, &exact, 80, Vec::new())]),
        Palette::PLAIN,
    );
    assert!(text.contains("  10 % (…)\n"), "{text}");
}

#[test]
fn the_ways_to_many_outcomes_are_cut_short_but_the_table_is_not() {
    let outcome = |port| forward(0.05, "1/20", port, service_path("SEP"));
    let text = text(
        &explanation((1..=20).map(outcome).collect()),
        Palette::PLAIN,
    );
    assert_eq!(text.matches("10.0.0.1:20  ns/web").count(), 1, "{text}");
    assert_eq!(text.matches("10.0.0.1:10  ns/web").count(), 2, "{text}");
    assert!(
        text.ends_with("… and the ways to 10 more outcomes; --json has them all\n"),
        "{text}"
    );
}
