//! `bench`: what it measures is the machine's; what it says of it is not.

use crate::program::Place;
use serde_json::Value;

const TUTORIAL: [&str; 2] = ["../pcaps/tutorial.rules", "../pcaps/tutorial.pcap"];

fn path(file: &str) -> String {
    format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn bench(place: &Place, more: &[&str]) -> String {
    let rules = path(TUTORIAL[0]);
    let mut arguments = vec!["bench", "--rules", &rules, "--time", "1"];
    arguments.extend(more);
    place.run(&arguments).fine()
}

#[test]
fn a_record_holds_every_method_or_says_why_not() {
    let text = bench(&Place::new(), &["--without-kernel", "--json"]);
    assert!(
        text.starts_with(r#"{"schema":"kpclass.bench/1","family":"ipv4","#),
        "{text}"
    );
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["services"], 5);
    assert_eq!(record["packets"], "services");
    let methods = record["methods"].as_array().unwrap();
    let names: Vec<&Value> = methods.iter().map(|method| &method["method"]).collect();
    assert_eq!(names, ["compiled", "linear walk"]);
    for method in methods {
        let points = method["points"].as_array().unwrap();
        assert!(!points.is_empty());
        for point in points {
            assert!(
                point["ns"].as_f64().unwrap() > 0.0 && point["position"].as_f64().unwrap() >= 1.0
            );
        }
    }
    assert_eq!(methods[0]["projected"][4]["services"], 100_000);
    let skipped = record["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 3);
    assert!(skipped.iter().all(|s| s["why"] == "--without-kernel"));
}

#[test]
fn the_kernel_is_timed_or_the_reason_is_given() {
    let text = bench(&Place::new(), &["--json"]);
    let record: Value = serde_json::from_str(&text).unwrap();
    let methods = record["methods"].as_array().unwrap();
    let skipped = record["skipped"].as_array().unwrap();
    assert_eq!(methods.len() + skipped.len(), 5);
    assert!(
        skipped
            .iter()
            .all(|s| !s["why"].as_str().unwrap().is_empty())
    );
    let kernel = methods
        .iter()
        .filter(|m| m["method"].as_str().unwrap().starts_with("kernel"));
    for method in kernel {
        assert!(method["overhead_ns"].as_f64().unwrap() > 0.0, "{method}");
    }
}

#[test]
fn a_capture_s_packets_are_timed_those_to_no_service_too() {
    let text = bench(&Place::new(), &["--without-kernel", &path(TUTORIAL[1])]);
    assert!(text.contains("packets of the capture"), "{text}");
    assert!(text.contains("no Service"), "{text}");
    assert!(
        text.contains("not timed: kernel, legacy (--without-kernel)"),
        "{text}"
    );
    assert!(
        text.contains("too few rules in KUBE-SERVICES to project from"),
        "{text}"
    );
}

#[test]
fn the_plot_is_drawn_as_svg_too() {
    let place = Place::new();
    // So many that the last rule's packets take longer than the first's however busy the machine is.
    let rules: String = (0..2000)
        .map(|n| format!("-A KUBE-SERVICES -d 10.2.{}.{}/32 -p tcp -m comment --comment \"ns/s{n} cluster IP\" -m tcp --dport 80 -j DNAT --to-destination 10.1.0.1:80\n", n / 256, n % 256))
        .collect();
    let head =
        "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n";
    place.file("many.rules", format!("{head}{rules}COMMIT\n"));
    let arguments = [
        "bench",
        "--rules",
        "many.rules",
        "--time",
        "1",
        "--without-kernel",
        "--svg",
        "cost.svg",
    ];
    let text = place.run(&arguments).fine();
    assert!(text.contains("c compiled   w linear walk"), "{text}");
    let svg = std::fs::read_to_string(place.path().join("cost.svg")).unwrap();
    assert!(
        svg.starts_with("<svg ") && svg.contains(">compiled</text>"),
        "{svg}"
    );
}

#[test]
fn rules_without_services_are_trouble() {
    let place = Place::new();
    place.file("empty.rules", "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n");
    let said = place.run(&["bench", "--rules", "empty.rules"]).trouble();
    assert!(said.contains("nothing to time"), "{said}");
}
