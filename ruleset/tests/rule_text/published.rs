//! Rule text as people publish it: nothing panics, and no rule line is lost in silence.

use super::corpus::{files, layout, only, read_text, shared};
use kpclass_ruleset::readers::{Input, Rules, WarningKind, read};
use kpclass_ruleset::save::save;
use std::collections::BTreeSet;

/// Files of the corpus that hold no rule at all: two logs, a README and a router's configuration.
const NO_DUMPS: [&str; 4] = [
    "frag-log-aws-cni-rules-2837.txt",
    "frag-cmds-cilium-debuglog-32184.txt",
    "ipmasq-readme.txt",
    "list-netnet-fritzbox.txt",
];

/// Files whose table nobody can tell: listings of one chain that many tables have.
const AMBIGUOUS: [&str; 2] = [
    "list-jc-generic-iptables-no-jump.txt",
    "save-kind-1.23-traefik.txt",
];

/// Lines that begin as a rule does, by their numbers: found without the readers' help.
fn rule_lines(text: &str) -> BTreeSet<u32> {
    let is_rule = |line: &str| {
        let line = line.trim_start();
        let line = line
            .split_once("] ")
            .filter(|_| line.starts_with('['))
            .map_or(line, |(_, rule)| rule);
        line.starts_with("-A ") && line.contains(" -j ")
    };
    text.lines()
        .zip(1..)
        .filter(|(line, _)| is_rule(line))
        .map(|(_, number)| number)
        .collect()
}

/// The lines that rules come from, or warnings name.
fn accounted(rules: &Rules) -> BTreeSet<u32> {
    let rulesets = [&rules.v4, &rules.v6].into_iter().flatten();
    let read = rulesets.flat_map(|ruleset| ruleset.rules().map(|(_, rule)| rule.source.line));
    let named = rules
        .warnings
        .iter()
        .filter_map(|warning| warning.source.map(|source| source.line));
    read.chain(named).collect()
}

#[test]
fn every_rule_line_of_a_published_dump_is_read_or_named() {
    let Some(folder) = shared("dumps/wild") else {
        return;
    };
    for path in files(&folder, |_| true) {
        let name = path
            .file_name()
            .expect("named")
            .to_string_lossy()
            .into_owned();
        let bytes = std::fs::read(&path).expect("reads");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let rules = match read(&[Input::new(name.clone(), bytes)]) {
            Ok(rules) => rules,
            Err(error) if NO_DUMPS.contains(&&*name) => {
                assert!(
                    error
                        .message()
                        .starts_with("no iptables rule, chain or table"),
                    "{error}"
                );
                continue;
            }
            Err(_) if AMBIGUOUS.contains(&&*name) => continue,
            Err(error) => panic!("{}", error.report()),
        };
        assert!(!NO_DUMPS.contains(&&*name), "{name} is read");
        // A table that is given again replaces rules of the earlier one.
        if !rules
            .warnings
            .iter()
            .any(|warning| warning.kind == WarningKind::TableTwice)
        {
            let accounted = accounted(&rules);
            let lost: Vec<_> = rule_lines(&text).difference(&accounted).copied().collect();
            assert!(lost.is_empty(), "{name}: lines {lost:?} are lost");
        }
    }
}

#[test]
fn what_is_read_of_a_published_dump_is_written_and_read_alike() {
    let Some(folder) = shared("dumps/wild") else {
        return;
    };
    for path in files(&folder, |_| true) {
        let Ok(rules) = read(&[Input::new("wild", std::fs::read(&path).expect("reads"))]) else {
            continue;
        };
        for ruleset in [rules.v4, rules.v6].into_iter().flatten() {
            let written = save(&ruleset);
            if ruleset.chains().len() == 0 {
                continue;
            }
            let again = only(read_text(&written));
            let same = layout(&again) == layout(&ruleset);
            assert!(same, "{}\n{written}\n{}", path.display(), save(&again));
        }
    }
}

/// A text and what its rules are, as `iptables-save` prints them.
const SPELLINGS: &[(&str, &str)] = &[
    ("-s ! 10.0.0.1 -j ACCEPT", "! -s 10.0.0.1/32 -j ACCEPT"),
    ("--source 10/8 --jump ACCEPT", "-s 10.0.0.0/8 -j ACCEPT"),
    (
        "-p tcp --dport ! 80 -j ACCEPT",
        "-p tcp -m tcp ! --dport 80 -j ACCEPT",
    ),
    (
        "-m tcp -p tcp --dport https -j ACCEPT",
        "-p tcp -m tcp --dport 443 -j ACCEPT",
    ),
    (
        "-m comment --comment a/b:c -d 10.0.0.1 -j ACCEPT",
        "-d 10.0.0.1/32 -m comment --comment \"a/b:c\" -j ACCEPT",
    ),
    (
        "-m comment --comment AWS SNAT CHAIN -j ACCEPT",
        "-m comment --comment \"AWS SNAT CHAIN\" -j ACCEPT",
    ),
    (
        "-m mark --mark 0x00004000/0x00004000 -j ACCEPT",
        "-m mark --mark 0x4000/0x4000 -j ACCEPT",
    ),
    (
        "-m mark --mark 1337 -j ACCEPT",
        "-m mark --mark 0x539 -j ACCEPT",
    ),
    (
        "-j MARK --or-mark 0x4000",
        "-j MARK --set-xmark 0x4000/0x4000",
    ),
    (
        "-j MARK --xor-mark 0x4000",
        "-j MARK --set-xmark 0x4000/0x0",
    ),
    (
        "-j MARK --and-mark 0xff",
        "-j MARK --set-xmark 0x0/0xffffff00",
    ),
    ("-j MARK --set-mark 5/0xff", "-j MARK --set-xmark 0x5/0xff"),
    (
        "-j MARK --set-mark 1337",
        "-j MARK --set-xmark 0x539/0xffffffff",
    ),
    (
        "-j CONNMARK --restore-mark --mask 0x80",
        "-j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80",
    ),
    (
        "-j CONNMARK --save-mark",
        "-j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
    ),
    ("-j DNAT --to 1.2.3.4", "-j DNAT --to-destination 1.2.3.4"),
    (
        "-p tcp -j SNAT --to-source :53",
        "-p tcp -j SNAT --to-source :53",
    ),
    (
        "-j REDIRECT --to-port 15001",
        "-j REDIRECT --to-ports 15001",
    ),
    ("-i azv+ -j ACCEPT", "-i azv+ -j ACCEPT"),
    (
        "-m nfacct --nfacct-name  X -j ACCEPT",
        "-m nfacct --nfacct-name  X -j ACCEPT",
    ),
    (
        "-m statistic --mode random --probability 0.3333333333 -j ACCEPT",
        "-m statistic --mode random --probability 0.33333333349 -j ACCEPT",
    ),
    (
        "-m recent --rcheck --seconds 10800 --reap --name N -j ACCEPT",
        "-m recent --rcheck --seconds 10800 --reap --name N --mask 255.255.255.255 --rsource -j ACCEPT",
    ),
    (
        "-p tcp --syn -j ACCEPT",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
    ),
    (
        "-p icmp --icmp-type echo-request -j ACCEPT",
        "-p icmp -m icmp --icmp-type 8 -j ACCEPT",
    ),
    (
        "-m mac --mac 00:60:08:76:35:51 -j ACCEPT",
        "-m mac --mac-source 00:60:08:76:35:51 -j ACCEPT",
    ),
    (
        "-m mac --mac-source XX:XX:XX:XX:XX:XX -j ACCEPT",
        "-m mac --mac-source XX:XX:XX:XX:XX:XX -j ACCEPT",
    ),
    (
        "-m limit --limit 5/minute -j ACCEPT",
        "-m limit --limit 5/min -j ACCEPT",
    ),
    (
        "-m physdev ! --physdev-is-in -j ACCEPT",
        "-m physdev ! --physdev-is-in -j ACCEPT",
    ),
    (
        "-m newmodule --with x ! --and y -j ACCEPT",
        "-m newmodule --with x ! --and y -j ACCEPT",
    ),
    ("-j NEWTARGET --with x", "-j NEWTARGET --with x"),
    (
        "-p sctp -m sctp --dport 80 --chunk-types any INIT -j ACCEPT",
        "-p sctp -m sctp --dport 80 --chunk-types any INIT -j ACCEPT",
    ),
    ("-j ACCEPT # why", "-j ACCEPT"),
    ("-j ACCEPT (why)", "-j ACCEPT"),
    ("\u{2013}\u{2013}jump ACCEPT", "-j ACCEPT"),
    ("-p all -s 0.0.0.0/0 -j ACCEPT", "-j ACCEPT"),
    ("-c 1 2 -j ACCEPT", "-j ACCEPT"),
    (
        "-m set --match-set S src,dst --return-nomatch -j ACCEPT",
        "-m set --match-set S src,dst --return-nomatch -j ACCEPT",
    ),
    (
        "-j LOG --log-prefix x --log-level 7",
        "-j LOG --log-prefix x --log-level 7",
    ),
];

#[test]
fn spellings_read_as_iptables_would_print_them() {
    for (spelling, expected) in SPELLINGS {
        let ruleset = only(read_text(&format!("*nat\n-A X {spelling}\nCOMMIT\n")));
        let rules: Vec<_> = ruleset
            .rules()
            .map(|(id, _)| kpclass_ruleset::save::rule_text(&ruleset, id))
            .collect();
        assert_eq!(rules, [format!("-A X {expected}")], "{spelling}");
    }
}

#[test]
fn a_list_of_addresses_is_a_rule_for_each() {
    let ruleset = only(read_text(
        "*nat\n-A X -s 10.0.0.1,10.0.0.2 -d 10.1.0.0/16,10.2.0.0/16 -j ACCEPT\nCOMMIT\n",
    ));
    let rules: Vec<_> = ruleset
        .rules()
        .map(|(id, _)| kpclass_ruleset::save::rule_text(&ruleset, id))
        .collect();
    assert_eq!(rules[1], "-A X -s 10.0.0.1/32 -d 10.2.0.0/16 -j ACCEPT");
    assert_eq!(rules[2], "-A X -s 10.0.0.2/32 -d 10.1.0.0/16 -j ACCEPT");
    assert_eq!(rules.len(), 4);
}

#[test]
fn commands_change_what_is_there() {
    let text = "#!/bin/sh\n\
        iptables -F\niptables -t nat -N WEB\n\
        sudo iptables -t nat -A WEB -p tcp --dport 80 -j ACCEPT || true\n\
        iptables -w 5 -t nat -I WEB -s 10.0.0.1 -j RETURN\n\
        iptables -t nat -I WEB 2 -s 10.0.0.2 -j RETURN\n\
        iptables -t nat -A WEB -j MASQUERADE\n\
        iptables -t nat -D WEB -s 10.0.0.1 -j RETURN 2>/dev/null\n\
        iptables -t nat -D WEB 3\n\
        iptables -t nat -R WEB 2 -p tcp --dport 443 -j ACCEPT\n\
        iptables -t nat -E WEB SITE\n\
        iptables -P INPUT DROP\n\
        /sbin/ip6tables -A INPUT -s fd00::/8 -j DROP\n";
    let rules = read_text(text);
    let v4 = rules.v4.expect("v4");
    let expected = "# Generated by iptables-save (kpclass)\n\
        *nat\n:SITE - [0:0]\n\
        -A SITE -s 10.0.0.2/32 -j RETURN\n-A SITE -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n\
        *filter\n:INPUT DROP [0:0]\nCOMMIT\n";
    assert_eq!(save(&v4), expected);
    assert_eq!(rules.v6.expect("v6").rules().len(), 1);
}

#[test]
fn a_table_is_inferred_where_only_one_is_possible() {
    let table = |text: &str| {
        let ruleset = only(read_text(text));
        let (_, chain) = ruleset.chains().next().expect("a chain");
        chain.table.name()
    };
    assert_eq!(table("-A PREROUTING -j KUBE-SERVICES\n"), "nat");
    assert_eq!(table("-A X -j DNAT --to-destination 10.0.0.1\n"), "nat");
    assert_eq!(table("-A FORWARD -j REJECT\n"), "filter");
    assert_eq!(table("-A PREROUTING -p udp -j NOTRACK\n"), "raw");
    assert_eq!(
        table("-P PREROUTING ACCEPT\n-P INPUT ACCEPT\n-P OUTPUT ACCEPT\n-P POSTROUTING ACCEPT\n"),
        "nat"
    );
    assert_eq!(
        table("# iptables -t mangle -S\n-A PREROUTING -j ACCEPT\n"),
        "mangle"
    );
    // `grep KUBE-SERVICES` of a whole save: two tables have the chain.
    let text = "-A KUBE-SERVICES -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j REJECT\n\
                -A KUBE-SERVICES -d 10.0.0.2/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X\n";
    let ruleset = only(read_text(text));
    let tables: Vec<_> = ruleset
        .rules()
        .map(|(_, rule)| ruleset.chain(rule.chain).table.name())
        .collect();
    assert_eq!(tables, ["nat", "filter"]);
}

#[test]
fn what_misleads_is_named() {
    let kinds = |text: &str| -> Vec<WarningKind> {
        read_text(text).warnings.iter().map(|w| w.kind).collect()
    };
    let nat = |rules: &str| {
        format!("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j KUBE-SERVICES\n{rules}COMMIT\n")
    };
    let lost =
        nat(":KUBE-SVC-X - [0:0]\n-A KUBE-SERVICES -d 10.0.0.1/32 -p tcp -m tcp -j KUBE-SVC-X\n");
    assert_eq!(kinds(&lost), [WarningKind::LostPort]);
    let kept = nat(
        ":KUBE-SVC-X - [0:0]\n-A KUBE-SERVICES -d 10.0.0.1/32 -p tcp -m tcp --dport 1 -j KUBE-SVC-X\n",
    );
    assert_eq!(kinds(&kept), []);
    let sets = nat("-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT\n");
    assert_eq!(kinds(&sets), [WarningKind::ServicesInIpsets]);
    assert_eq!(
        kinds(&nat(":KUBE-SERVICES - [0:0]\n:KUBE-SEP-X - [0:0]\n")),
        [WarningKind::StaleChains]
    );
    assert_eq!(
        kinds(&nat(":KUBE-SERVICES - [0:0]\n:KUBE-PORTALS-HOST - [0:0]\n")),
        [WarningKind::UserspaceMode]
    );
    assert_eq!(kinds(&nat("")), [WarningKind::MissingChain]);
    let twice =
        "*nat\n:X - [0:0]\n-A X -j ACCEPT\nCOMMIT\n*nat\n:X - [0:0]\n-A X -j RETURN\nCOMMIT\n";
    assert_eq!(kinds(twice), [WarningKind::TableTwice]);
    assert_eq!(only(read_text(twice)).rules().len(), 1);
    let greps = "-A KUBE-SVC-X -j KUBE-SEP-Y\n-A KUBE-SEP-Y -j KUBE-MARK-MASQ\n-A KUBE-SVC-X -j KUBE-SEP-Y\n";
    assert!(kinds(greps).contains(&WarningKind::DuplicateRule));
    assert_eq!(only(read_text(greps)).rules().len(), 2);
    let other = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n*nat\n:X - [0:0]\nCOMMIT\n";
    assert_eq!(kinds(other), [WarningKind::OtherBackend]);
}
