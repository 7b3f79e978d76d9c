//! Listings of real dumps give the rules that their `iptables-save` gives, but for what a listing cannot show; published listings lose
//! no line silently.

use kpclass_ruleset::readers::{Input, ReadError, Rules, WarningKind, read};
use kpclass_ruleset::save::rule_text;
use kpclass_ruleset::{Policy, Ruleset, TableId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a form of listing shows, beside chains, policies, and each rule's target, protocol, addresses, matches and comment, which
/// all forms show.
struct Form {
    /// The options, as they stand in the file's name.
    options: &'static str,
    /// `-i` and `-o`.
    interfaces: bool,
    /// Packets and bytes.
    counters: bool,
}

const FORMS: [Form; 7] = [
    Form {
        options: "L",
        interfaces: false,
        counters: false,
    },
    Form {
        options: "L-n",
        interfaces: false,
        counters: false,
    },
    Form {
        options: "L-n-line-numbers",
        interfaces: false,
        counters: false,
    },
    Form {
        options: "L-v",
        interfaces: true,
        counters: true,
    },
    Form {
        options: "L-n-v",
        interfaces: true,
        counters: true,
    },
    Form {
        options: "L-n-v-line-numbers",
        interfaces: true,
        counters: true,
    },
    Form {
        options: "L-n-v-x",
        interfaces: true,
        counters: true,
    },
];

/// The versions of iptables that listed: 1.8.9 has no prefix.
const VERSIONS: [&str; 2] = ["", "1.8.11-"];

fn shared(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("KPCLASS_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("SKIPPED: {} is not here\n", path.display()),
    )
    .ok();
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    files
}

fn input(path: &Path) -> Input {
    Input::new(
        path.display().to_string(),
        std::fs::read(path).expect("readable"),
    )
}

/// The file, compressed or not, if it is there.
fn existing(folder: &Path, name: &str) -> Option<PathBuf> {
    [format!("{name}.txt"), format!("{name}.txt.gz")]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.exists())
}

fn ruleset(rules: Rules, v6: bool) -> Ruleset {
    let (wanted, other) = if v6 {
        (rules.v6, rules.v4)
    } else {
        (rules.v4, rules.v6)
    };
    assert!(other.is_none(), "rules of the other family");
    wanted.expect("rules of the family")
}

/// The declared chains of a table: policy and rules as text.
type Chains = BTreeMap<String, (Policy, Vec<String>)>;

fn chains(ruleset: &Ruleset, table: TableId, interfaces: bool) -> Chains {
    let declared = ruleset
        .chains()
        .filter(|(_, chain)| chain.table == table && chain.declared);
    let texts = declared.map(|(id, chain)| {
        let rules = ruleset
            .chain_rules(id)
            .map(|(rule, _)| rule_text(ruleset, rule));
        let rules = rules.map(|text| {
            if interfaces {
                text
            } else {
                without_interfaces(&text)
            }
        });
        (
            ruleset.chain_name(id).to_owned(),
            (chain.policy, rules.collect()),
        )
    });
    texts.collect()
}

/// A rule's text without `-i` and `-o`. (No comment of these dumps holds such words.)
fn without_interfaces(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let negated = usize::from(words[at] == "!");
        if matches!(words.get(at + negated), Some(&("-i" | "-o"))) {
            at += negated + 2;
        } else {
            kept.push(words[at]);
            at += 1;
        }
    }
    kept.join(" ")
}

/// Compares every listing of one family in a folder; returns how many.
fn compare(folder: &Path, prefix: &str) -> usize {
    let v6 = prefix == "ip6-";
    let Some(save) = existing(folder, &format!("{prefix}iptables-save")) else {
        return 0;
    };
    let save = ruleset(read(&[input(&save)]).expect("a save"), v6);
    let mut compared = 0;
    for (version, table) in VERSIONS
        .iter()
        .flat_map(|v| [(v, TableId::Nat), (v, TableId::Filter)])
    {
        for form in &FORMS {
            let name = format!("{version}{prefix}{}-{}", table.name(), form.options);
            let Some(path) = existing(folder, &name) else {
                continue;
            };
            let shown = path.display();
            let rules = read(&[input(&path)]).unwrap_or_else(|error| panic!("{}", error.report()));
            let kinds: Vec<_> = rules.warnings.iter().map(|warning| warning.kind).collect();
            assert_eq!(
                kinds.contains(&WarningKind::HiddenByForm),
                !form.interfaces,
                "{shown}"
            );
            assert_eq!(
                kinds
                    .iter()
                    .filter(|kind| **kind == WarningKind::HiddenByForm)
                    .count(),
                usize::from(!form.interfaces),
                "{shown}"
            );
            assert!(kinds.contains(&WarningKind::TableInferred), "{shown}");
            assert!(!kinds.contains(&WarningKind::SkippedLine), "{shown}");
            let listed = ruleset(rules, v6);
            let counted = listed
                .rules()
                .filter(|(_, rule)| rule.counters.is_some())
                .count();
            assert_eq!(
                counted,
                if form.counters {
                    listed.rules().len()
                } else {
                    0
                },
                "{shown}"
            );
            let [left, right] =
                [&listed, &save].map(|ruleset| chains(ruleset, table, form.interfaces));
            assert_eq!(
                left.keys().collect::<Vec<_>>(),
                right.keys().collect::<Vec<_>>(),
                "{shown}"
            );
            for (name, chain) in &left {
                assert_eq!(chain, &right[name], "{shown}: chain {name}");
            }
            compared += 1;
        }
    }
    compared
}

#[test]
fn listings_give_the_rules_of_the_save() {
    let Some(dumps) = shared("dumps/kube-proxy") else {
        return;
    };
    let mut compared = 0;
    for scenario in files(&dumps) {
        for folder in files(&scenario) {
            compared += compare(&folder, "") + compare(&folder, "ip6-");
        }
    }
    assert!(compared > 190, "only {compared} listings");
}

#[test]
fn several_listings_of_one_file_find_their_tables() {
    let Some(dumps) = shared("dumps/kube-proxy/b-zoo/v1.30-legacy") else {
        return;
    };
    let text = |name: &str| std::fs::read_to_string(dumps.join(name)).expect("readable");
    let save = ruleset(
        read(&[input(&dumps.join("iptables-save.txt"))]).expect("a save"),
        false,
    );
    let (nat, filter) = (text("nat-L-n-v.txt"), text("filter-L-n-v.txt"));
    for both in [
        format!("{nat}\n{filter}"),
        format!("{filter}\n{nat}"),
        format!("$ sudo iptables -t nat -L -nv\n{nat}\n$ sudo iptables -nvL\n{filter}$ \n"),
        format!("```\n{nat}```\nand\n```\n{filter}```\n"),
        nat.lines()
            .chain(filter.lines())
            .map(|line| format!("> {line}\r\n"))
            .collect(),
    ] {
        let listed = ruleset(read(&[Input::new("both", both)]).expect("listings"), false);
        for table in [TableId::Nat, TableId::Filter] {
            assert_eq!(chains(&listed, table, true), chains(&save, table, true));
        }
    }
}

#[test]
fn the_tutorials_listing() {
    let Some(folder) = shared("dumps/tutorial") else {
        return;
    };
    let rules = read(&[input(&folder.join("listing.txt"))]).expect("a listing");
    let listed = ruleset(rules, false);
    let chains = chains(&listed, TableId::Nat, true);
    let names = [
        "INPUT",
        "KUBE-SEP-SZEZPYI4DJWRAXYB",
        "KUBE-SERVICES",
        "KUBE-SVC-NPX46M4PTMTKRN6Y",
        "OUTPUT",
        "PREROUTING",
    ];
    assert_eq!(chains.keys().collect::<Vec<_>>(), names);
    assert_eq!(listed.rules().len(), 13);
    assert_eq!(
        chains["KUBE-SEP-SZEZPYI4DJWRAXYB"].1,
        [
            "-A KUBE-SEP-SZEZPYI4DJWRAXYB -s 10.10.2.58/32 -m comment --comment \"default/kubernetes:https\" -j KUBE-MARK-MASQ",
            "-A KUBE-SEP-SZEZPYI4DJWRAXYB -p tcp -m comment --comment \"default/kubernetes:https\" -m tcp -j DNAT --to-destination 10.10.2.58:16443",
        ]
    );
    assert_eq!(
        chains["KUBE-SVC-NPX46M4PTMTKRN6Y"].1,
        [
            "-A KUBE-SVC-NPX46M4PTMTKRN6Y ! -s 10.1.0.0/16 -d 10.152.183.1/32 -p tcp -m comment --comment \"default/kubernetes:https cluster IP\" -m tcp --dport 443 -j KUBE-MARK-MASQ",
            "-A KUBE-SVC-NPX46M4PTMTKRN6Y -m comment --comment \"default/kubernetes:https -> 10.10.2.58:16443\" -j KUBE-SEP-SZEZPYI4DJWRAXYB",
        ]
    );
    let missing = listed
        .chain_named(TableId::Nat, "KUBE-SVC-EX4PWVDXGVVZMQ46")
        .expect("named by a jump");
    assert!(!listed.chain(missing).declared);
}

/// Lines of a text that are rules, told by nothing but a glance: a `--` in the option column, or a line under a header.
fn rule_lines(text: &str) -> BTreeSet<u32> {
    let mut under_header = false;
    let mut found = BTreeSet::new();
    for (at, line) in text.split('\n').enumerate() {
        let words: Vec<&str> = line
            .split_whitespace()
            .skip_while(|word| *word == ">")
            .collect();
        let header = words.contains(&"target") && words.contains(&"prot");
        let option = words
            .iter()
            .take(8)
            .position(|word| matches!(*word, "--" | "-f"));
        let row = option.is_some_and(|at| {
            (1..7).contains(&at) && words.len() > at + 2 && !words[0].starts_with(['-', ':', '['])
        });
        let blank_option = under_header
            && words.len() >= 5
            && words.iter().filter(|word| word.contains("::")).count() >= 2;
        under_header = header || (under_header && !words.is_empty() && !line.starts_with("Chain"));
        if !header && (row || blank_option) {
            found.insert(at as u32 + 1);
        }
    }
    found
}

/// The lines that warnings name.
fn named_lines(rules: &Rules) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    for warning in &rules.warnings {
        if !matches!(
            warning.kind,
            WarningKind::SkippedLine | WarningKind::TableTwice
        ) {
            continue;
        }
        named.extend(warning.source.map(|source| source.line));
        let words: Vec<&str> = warning.message.split([' ', ',', ':']).collect();
        for range in words
            .windows(4)
            .filter(|words| words[0] == "lines" && words[2] == "to")
        {
            let [first, last] =
                [range[1], range[3]].map(|word| word.parse::<u32>().expect("a line"));
            named.extend(first..=last);
        }
        for line in words.windows(2).filter(|words| words[0] == "line") {
            named.extend(line[1].parse::<u32>());
        }
    }
    named
}

fn source_lines(rules: &Rules) -> BTreeSet<u32> {
    let rulesets = rules.v4.iter().chain(&rules.v6);
    rulesets
        .flat_map(|ruleset| ruleset.rules().map(|(_, rule)| rule.source.line))
        .collect()
}

/// Published texts with listings that are refused, and why.
const REFUSED: [(&str, &str); 1] = [(
    "list-jc-generic-iptables-no-jump.txt",
    "the table of this listing cannot be told",
)];

#[test]
fn published_listings_lose_no_rule_silently() {
    let Some(folder) = shared("dumps/wild") else {
        return;
    };
    let mut listings = 0;
    let mut problems = Vec::new();
    for path in files(&folder) {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let bytes = std::fs::read(&path).expect("readable");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let rows = rule_lines(&text);
        let result: Result<Rules, ReadError> = read(&[Input::new(name.clone(), bytes)]);
        if rows.is_empty() {
            continue;
        }
        listings += 1;
        match (result, REFUSED.iter().find(|(refused, _)| *refused == name)) {
            (Err(error), Some((_, why))) => assert!(error.message().starts_with(why), "{error}"),
            (Err(error), None) => problems.push(error.report()),
            (Ok(_), Some(_)) => problems.push(format!("{name} is read")),
            (Ok(rules), None) => {
                let (read, named) = (source_lines(&rules), named_lines(&rules));
                let lost: Vec<_> = rows
                    .iter()
                    .filter(|line| !read.contains(line) && !named.contains(line))
                    .collect();
                if !lost.is_empty() {
                    problems.push(format!("{name}: lines {lost:?} are lost"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(listings > 35, "only {listings} listings");
}

#[test]
fn what_is_not_a_dump_is_refused() {
    let Some(folder) = shared("dumps/wild") else {
        return;
    };
    for name in [
        "frag-log-aws-cni-rules-2837.txt",
        "frag-cmds-cilium-debuglog-32184.txt",
    ] {
        let path = folder.join(name);
        if !path.exists() {
            std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED: {name} is not here\n"),
            )
            .ok();
            continue;
        }
        let error = read(&[input(&path)]).map(|_| ()).expect_err(name);
        assert!(
            error
                .message()
                .starts_with("no iptables rule, chain or table in it"),
            "{error}"
        );
    }
}
