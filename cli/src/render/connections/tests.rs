use super::*;

fn endpoint(endpoint: &str, shown: u64, share: f64) -> EndpointConnections {
    EndpointConnections {
        endpoint: endpoint.to_owned(),
        shown,
        share: Some(share),
        probability: Some(0.5),
    }
}

fn frame(frame: u64, shown_by: Option<u64>) -> FrameOf {
    FrameOf {
        capture: "a.pcap".to_owned(),
        frame,
        shown_by,
    }
}

fn connections() -> Connections {
    Connections {
        begun: 100,
        table_full: None,
        replied: 98,
        shown: 100,
        packets: [("new".to_owned(), 100), ("established".to_owned(), 900)].into(),
        services: vec![ServiceConnections {
            service: "ns/web:http".to_owned(),
            key: "tcp 10.2.0.1:80".to_owned(),
            begun: 100,
            replied: 98,
            one_way: 2,
            endpoints: vec![
                endpoint("10.0.0.1:80", 90, 0.9),
                endpoint("10.0.0.2:80", 10, 0.1),
            ],
            balance: Balance {
                result: "skewed",
                chi_square: Some(64.0),
                degrees: Some(1),
                p: Some(2e-15),
            },
        }],
        unasked: vec![Unasked {
            service: "ns/web:http".to_owned(),
            from: "10.0.0.1:80".to_owned(),
            packets: 3,
            first: frame(7, None),
        }],
        talks: vec![Talk {
            client: "10.1.0.9".to_owned(),
            service: "ns/web:http".to_owned(),
            key: "tcp 10.2.0.1:80".to_owned(),
            endpoint: "10.0.0.1:80".to_owned(),
            connections: 60,
            shown: 60,
        }],
        more_talks: 4,
        findings: vec![Finding {
            kind: "stale",
            service: "ns/web:http".to_owned(),
            key: Some("tcp 10.2.0.1:80".to_owned()),
            text: "7 connections went astray".to_owned(),
            connections: Some(7),
            endpoint: None,
            packets: None,
            seconds: None,
            rule: None,
            endpoints: Vec::new(),
            frames: vec![frame(1, Some(2)), frame(1300, None)],
        }],
        ..Connections::default()
    }
}

#[test]
fn the_text_has_a_table_for_each_question() {
    assert_eq!(
        text(&connections(), 1000, Palette::PLAIN),
        "
Connections
  begun                            100
  replied to                        98   98 %
  (endpoint shown by the capture)  100  100 %
  frames ESTABLISHED               900   90 %
  frames NEW                       100   10 %

Connections by Service
  SERVICE      REACHED AS       BEGUN  ONE-WAY  FIT                  ENDPOINT     SHOWN  SHARE  BY RULES
  ns/web:http  tcp 10.2.0.1:80    100        2  skewed (p < 0.0001)  10.0.0.1:80     90   90 %      50 %
                                                                     10.0.0.2:80     10   10 %      50 %
  shares of 1 row held against the rules, at one false alarm in 1 000 reports

Who talks to what
  CLIENT    SERVICE      REACHED AS       ENDPOINT     CONNECTIONS  SHOWN
  10.1.0.9  ns/web:http  tcp 10.2.0.1:80  10.0.0.1:80           60     60
  4 others

Answers without a question
  SERVICE      FROM         PACKETS  FIRST FRAME
  ns/web:http  10.0.0.1:80        3            7
"
    );
}

#[test]
fn a_finding_has_its_frames() {
    assert_eq!(
        findings(&connections(), Palette::PLAIN),
        "
Findings
  stale endpoint  ns/web:http (tcp 10.2.0.1:80)
    7 connections went astray
    frames of a.pcap: 1 (shown by 2), 1 300, …
"
    );
    assert_eq!(findings(&Connections::default(), Palette::PLAIN), "");
}

#[test]
fn what_was_left_out_is_counted() {
    let mut rows = connections().services;
    let mut affine = rows[0].clone();
    affine.balance = Balance {
        result: "affinity",
        chi_square: None,
        degrees: None,
        p: None,
    };
    rows.push(affine);
    let said = tested(&rows);
    assert!(
        said.ends_with("reports; left out: 1 (session affinity)"),
        "{said}"
    );
}

#[test]
fn the_record_keeps_the_keys_that_others_rely_on() {
    let record = serde_json::to_value(connections()).expect("JSON");
    let keys: Vec<&String> = record.as_object().expect("an object").keys().collect();
    for key in [
        "begun",
        "replied",
        "shown",
        "elsewhere",
        "packets",
        "invalid",
    ] {
        assert!(keys.iter().any(|k| *k == key), "{keys:?}");
    }
    assert_eq!(record["findings"][0]["frames"][0]["shown_by"], 2);
    assert_eq!(record["unasked"][0]["capture"], "a.pcap");
}
