use super::*;

fn report() -> ReplayReport {
    let endpoint = |endpoint: &str, packets| EndpointTraffic {
        endpoint: endpoint.to_owned(),
        packets,
        probability: Some(0.5),
    };
    ReplayReport {
        schema: ReplayReport::SCHEMA,
        frames: 1234,
        classified: 1200,
        skipped: [("arp".to_owned(), 30), ("truncated".to_owned(), 4)].into(),
        bytes: 123_456,
        dispositions: Dispositions {
            forward: 1000,
            reject: 150,
            unknown: 50,
            ..Default::default()
        },
        masqueraded: 3,
        services: vec![ServiceTraffic {
            service: "ns/web:http".to_owned(),
            key: "tcp 10.2.0.1:80".to_owned(),
            packets: 1000,
            bytes: 60_000,
            masqueraded: 3,
            endpoints: vec![endpoint("10.0.0.1:80", 490), endpoint("10.0.0.2:80", 510)],
        }],
        unmatched: 0,
        connections: None,
        check: CheckResult {
            mode: "full".to_owned(),
            checked: 12,
            disagreements: 0,
        },
        warnings: vec!["careful".to_owned()],
        timing: Timing {
            compile_s: 0.5,
            replay_s: 0.25,
            check_s: 0.125,
        },
        rules: vec!["IPv4: 12 rules in nat".to_owned()],
        captures: vec!["a.pcap".to_owned()],
        refusals: vec![Refusal {
            disposition: "reject",
            reason: "no endpoints".to_owned(),
            rules: vec!["filter KUBE-SERVICES 1 (line 40)".to_owned()],
            service: Some("ns/empty:http".to_owned()),
            packets: 150,
        }],
        unknowns: vec![MissingFact {
            fact: "the members of ipset x".to_owned(),
            option: Some("--ipset"),
            asked_by: "filter INPUT 3".to_owned(),
            more_rules: 2,
            packets: 50,
        }],
        disagreements: Vec::new(),
    }
}

#[test]
fn the_text_has_a_table_for_each_part() {
    assert_eq!(
        text(&report(), Palette::PLAIN),
        "\
a.pcap: 1 234 frames (123.5 kB) in 250.0 ms; 1 200 classified, 34 skipped
IPv4: 12 rules in nat

Services
  SERVICE      REACHED AS       PACKETS  MASQUERADED  ENDPOINT     PACKETS  SHARE  BY RULES
  ns/web:http  tcp 10.2.0.1:80    1 000            3  10.0.0.1:80      490   49 %      50 %
                                                      10.0.0.2:80      510   51 %      50 %

Verdicts
  forwarded      1 000  83.33 %
  rejected         150  12.50 %
  unknown           50   4.17 %
  (masqueraded)      3   0.25 %

Dropped and rejected
  PACKETS            REASON        SERVICE
      150  rejected  no endpoints  ns/empty:http

Unknown
  PACKETS  NOT KNOWN               ASKED BY                   WOULD TELL
       50  the members of ipset x  filter INPUT 3 and 2 more  --ipset

Skipped
  FRAMES  REASON
      30  arp
       4  truncated

checked 12 distinct packets against the reference: 0 disagreements
"
    );
}

#[test]
fn a_disagreement_can_be_seen_again() {
    let mut report = report();
    report.check.disagreements = 1;
    report.disagreements.push(Disagreement {
        frame: 81_203,
        capture: "office.pcap".to_owned(),
        packet: "tcp 10.1.2.3:51514 > 192.0.2.7:443 in=eth0".to_owned(),
        reference: "drop".to_owned(),
        program: "forward".to_owned(),
        reproduce: "kpclass explain --rules edge.rules --frame office.pcap:81203".to_owned(),
    });
    let text = text(&report, Palette::PLAIN);
    let expected = "\
checked 12 distinct packets against the reference: 1 disagreement

disagreement at frame 81 203 of office.pcap
  packet     tcp 10.1.2.3:51514 > 192.0.2.7:443 in=eth0
  reference  drop
  program    forward
  reproduce  kpclass explain --rules edge.rules --frame office.pcap:81203
";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn an_unchecked_replay_says_so() {
    let mut report = report();
    report.check.mode = "off".to_owned();
    let text = text(&report, Palette::PLAIN);
    assert!(
        text.ends_with("not checked against the reference (--check off)\n"),
        "{text}"
    );
}

#[test]
fn the_record_has_the_keys_of_the_contract_in_their_order() {
    assert_eq!(
        serde_json::to_string(&report()).unwrap(),
        concat!(
            r#"{"schema":"kpclass.replay/1","frames":1234,"classified":1200,"skipped":{"arp":30,"truncated":4},"bytes":123456,"#,
            r#""dispositions":{"forward":1000,"local":0,"out":0,"drop":0,"reject":150,"unknown":50},"masqueraded":3,"#,
            r#""services":[{"service":"ns/web:http","key":"tcp 10.2.0.1:80","packets":1000,"bytes":60000,"masqueraded":3,"#,
            r#""endpoints":[{"endpoint":"10.0.0.1:80","packets":490,"probability":0.5},"#,
            r#"{"endpoint":"10.0.0.2:80","packets":510,"probability":0.5}]}],"unmatched":0,"#,
            r#""check":{"mode":"full","checked":12,"disagreements":0},"warnings":["careful"],"#,
            r#""timing":{"compile_s":0.5,"replay_s":0.25,"check_s":0.125}}"#
        )
    );
}

#[test]
fn many_endpoints_without_packets_are_one_row() {
    let mut report = report();
    let idle = EndpointTraffic {
        endpoint: "10.0.0.9:80".to_owned(),
        packets: 0,
        probability: Some(0.1),
    };
    report.services[0].endpoints.extend(vec![idle; 7]);
    let text = text(&report, Palette::PLAIN);
    assert!(
        text.contains("  7 others           0\n") && !text.contains("10.0.0.9:80"),
        "{text}"
    );
}
