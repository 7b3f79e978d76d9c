//! `generate`: what it writes can be replayed at once, and what it cannot write it says.

use crate::program::Place;

/// A cluster of every feature, a capture in each form that hits it, and a replay that agrees with the reference.
#[test]
fn a_generated_capture_replays_without_disagreement() {
    for (family, node, file, link) in [
        ("4", "192.168.10.2", "x.pcap", "ethernet"),
        ("6", "fd00:a::2", "x.pcapng", "sll2"),
        ("4", "192.168.10.2", "y.pcap", "raw"),
    ] {
        let place = Place::new();
        let cluster = [
            "generate",
            "cluster",
            "--services",
            "48",
            "--endpoints",
            "3",
            "--family",
            family,
            "-o",
            "c.rules",
        ];
        let run = place.run(&cluster);
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (Some(0), ""),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("48 services"), "{}", run.stderr);
        let capture = [
            "generate", "capture", "--rules", "c.rules", "--frames", "500", "--link", link, "-o",
            file,
        ];
        let run = place.run(&capture);
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (Some(0), ""),
            "{}",
            run.stderr
        );
        let run = place.run(&[
            "replay",
            file,
            "--rules",
            "c.rules",
            "--local-addrs",
            node,
            "--json",
        ]);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(
            (&report["frames"], &report["classified"]),
            (&500.into(), &500.into()),
            "{file}"
        );
        assert_eq!(report["check"]["disagreements"], 0, "{file}");
        let missed = report["unmatched"].as_u64().unwrap();
        assert!(
            (20..100).contains(&missed),
            "{file}: {missed} of 500 met no Service"
        );
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let place = Place::new();
    place.file(
        "plain.rules",
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n",
    );
    let capture = [
        "generate",
        "capture",
        "--rules",
        "plain.rules",
        "--frames",
        "1",
        "-o",
        "x.pcap",
    ];
    let cluster = [
        "generate",
        "cluster",
        "--endpoints",
        "1",
        "-o",
        "x.rules",
        "--services",
    ];
    for (arguments, says) in [
        ([&capture[..], &[]].concat(), "no Services"),
        (
            [&capture[..], &["--hit", "2"]].concat(),
            "a share from 0 to 1",
        ),
        (
            [&capture[..], &["--hit", "NaN"]].concat(),
            "a share from 0 to 1",
        ),
        (
            [&capture[..], &["--local-addrs", "x"]].concat(),
            "--local-addrs",
        ),
        (
            [&capture[..], &["--link", "token-ring"]].concat(),
            "token-ring",
        ),
        ([&capture[..], &["--size", "70000"]].concat(), "--size"),
        ([&cluster[..], &["0"]].concat(), "--services"),
        ([&cluster[..], &["9000000"]].concat(), "at most"),
        (
            [&cluster[..], &["1", "--features", "magic"]].concat(),
            "magic",
        ),
    ] {
        let run = place.run(&arguments);
        assert_eq!(
            (run.status, run.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {}",
            run.stderr
        );
        assert!(
            run.stderr.contains(says) && !run.stderr.contains("panicked"),
            "{arguments:?}: {}",
            run.stderr
        );
    }
    let missing = [
        "generate",
        "cluster",
        "--services",
        "1",
        "--endpoints",
        "1",
        "-o",
        "absent/x.rules",
    ];
    assert!(
        place
            .run(&missing)
            .stderr
            .contains("absent/x.rules: no such file")
    );
    // Without Services there are still packets that miss them.
    let run = place.run(&[&capture[..], &["--hit", "0"]].concat());
    assert_eq!(run.status, Some(0), "{}", run.stderr);
}
