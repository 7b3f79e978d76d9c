//! `-m recent`: lists are empty at first, and what the packet's own walk puts there counts.

use crate::support::{ask, assumptions, nobody, rules};

const PACKET: &str = "tcp 10.0.0.1:1 > 10.0.0.2:80";

fn answer(lines: &str) -> String {
    let line = ask(
        &rules(&format!("*filter\n{lines}\n-A FORWARD -j ACCEPT")),
        &nobody(),
        PACKET,
    );
    line.replace("drop by ", "")
}

#[test]
fn a_check_of_an_empty_list_is_false_and_says_so() {
    let lines = "-A FORWARD -m recent --rcheck --name L --mask 255.255.255.255 --rsource -j DROP";
    assert_eq!(answer(lines), "forward");
    let rules = rules(&format!("*filter\n{lines}"));
    let said = assumptions(&rules, &nobody(), PACKET);
    assert!(
        said.contains(&"recent lists are taken as empty at first".to_string()),
        "{said:?}"
    );
}

#[test]
fn what_set_remembers_check_finds() {
    let set = "-A FORWARD -m recent --set --name L --mask 255.255.255.255 --rsource";
    let check = |options: &str| {
        format!(
            "{set}\n-A FORWARD -m recent --rcheck {options} --mask 255.255.255.255 --rsource -j DROP"
        )
    };
    assert_eq!(answer(&check("--seconds 60 --name L")), "FORWARD 2");
    assert_eq!(answer(&check("--name OTHER")), "forward");
    assert_eq!(answer(&check("--hitcount 2 --name L")), "forward");
    assert_eq!(
        answer(&format!("{set}\n{}", check("--hitcount 2 --name L"))),
        "FORWARD 3"
    );
    assert_eq!(
        answer("-A FORWARD -m recent ! --set --name L --mask 255.255.255.255 --rsource -j DROP"),
        "forward"
    );
}

#[test]
fn update_remembers_again_and_remove_forgets() {
    let set = "-A FORWARD -m recent --set --name L --mask 255.255.255.255 --rsource";
    let rule = |option: &str, target: &str| {
        format!(
            "-A FORWARD -m recent --{option} --name L --mask 255.255.255.255 --rsource {target}"
        )
    };
    let twice = [
        set,
        &rule("update", ""),
        &rule("rcheck --hitcount 2", "-j DROP"),
    ]
    .join("\n");
    assert_eq!(answer(&twice), "FORWARD 3");
    let gone = [set, &rule("remove", ""), &rule("rcheck", "-j DROP")].join("\n");
    assert_eq!(answer(&gone), "forward");
    assert_eq!(answer(&rule("remove", "-j DROP")), "forward");
}

#[test]
fn the_mask_and_the_side_count() {
    let set = "-A FORWARD -m recent --set --name L --mask 255.255.255.0 --rdest";
    let check = "-A FORWARD -m recent --rcheck --name L --mask 255.255.255.0 --rsource -j DROP";
    assert_eq!(
        answer(&format!("{set}\n{check}")),
        "FORWARD 2",
        "10.0.0.2 and 10.0.0.1 in one /24"
    );
}
