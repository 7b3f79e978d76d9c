//! Rule text of real clusters: what is read is what was written, in every form and to the byte.

use super::corpus::{files, folders, layout, only, read_files, read_text, text};
use kpclass_ruleset::readers::WarningKind;
use kpclass_ruleset::save::{rule_text, save};
use kpclass_ruleset::{Counters, Ruleset, TableId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every `iptables-save` file of the kube-proxy corpus, `-c` or not.
fn saves() -> Vec<PathBuf> {
    let folders = folders("dumps/kube-proxy");
    folders
        .iter()
        .flat_map(|folder| files(folder, |name| name.contains("iptables-save")))
        .collect()
}

/// The rule lines of a save, by table, without their counters: found without the readers' help.
fn rule_lines(text: &str) -> BTreeMap<String, Vec<&str>> {
    let mut tables = BTreeMap::<String, Vec<&str>>::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        }
        let rule = line
            .strip_prefix('[')
            .map_or(line, |rest| rest.split_once("] ").expect("counters").1);
        if rule.starts_with("-A ") {
            tables.entry(table.clone()).or_default().push(rule);
        }
    }
    tables
}

fn table_rules(ruleset: &Ruleset, table: TableId) -> Vec<String> {
    let rules = ruleset
        .rules()
        .filter(|(_, rule)| ruleset.chain(rule.chain).table == table);
    rules.map(|(id, _)| rule_text(ruleset, id)).collect()
}

#[test]
fn every_rule_line_of_a_save_is_read_and_written_back_to_the_byte() {
    let saves = saves();
    assert!(!saves.is_empty(), "no dump at all");
    for path in saves {
        let text = text(&path);
        let ruleset = only(read_files(&[&path]));
        let lines = rule_lines(&text);
        let count: usize = lines.values().map(Vec::len).sum();
        assert_eq!(ruleset.rules().len(), count, "{}", path.display());
        for table in TableId::ALL {
            let expected = lines.get(table.name()).cloned().unwrap_or_default();
            assert!(
                table_rules(&ruleset, table) == expected,
                "{} table {}",
                path.display(),
                table.name()
            );
        }
        let chains = text.lines().filter(|line| line.starts_with(':')).count();
        let declared = ruleset.chains().filter(|(_, chain)| chain.declared).count();
        assert_eq!(declared, chains, "{}", path.display());
    }
}

#[test]
fn each_rule_knows_its_line() {
    for path in saves() {
        let text = text(&path);
        let lines: Vec<_> = text.lines().collect();
        let ruleset = only(read_files(&[&path]));
        for (id, rule) in ruleset.rules() {
            let line = lines[rule.source.line as usize - 1];
            assert!(
                line.ends_with(&rule_text(&ruleset, id)),
                "{}:{}",
                path.display(),
                rule.source.line
            );
        }
    }
}

#[test]
fn writing_and_reading_again_changes_nothing() {
    for path in saves() {
        let ruleset = only(read_files(&[&path]));
        let written = save(&ruleset);
        let again = only(read_text(&written));
        assert!(layout(&again) == layout(&ruleset), "{}", path.display());
        assert_eq!(again.family(), ruleset.family());
        assert!(save(&again) == written, "{}", path.display());
    }
}

#[test]
fn counters_are_read() {
    for path in saves()
        .iter()
        .filter(|path| path.to_string_lossy().contains("save-c"))
    {
        let text = text(path);
        let ruleset = only(read_files(&[path]));
        for (id, rule) in ruleset.rules() {
            let Counters { packets, bytes } = rule.counters.expect("counted");
            let line = format!("[{packets}:{bytes}] {}", rule_text(&ruleset, id));
            let written = text.lines().nth(rule.source.line as usize - 1);
            assert_eq!(written, Some(&*line), "{}", path.display());
            if rule.source.line > 2_000 {
                break; // finding a line is a walk from the first
            }
        }
    }
}

/// `-S` of a table shows all but the counters of chains.
#[test]
fn list_rules_reads_as_the_save_does() {
    let mut compared = 0;
    for folder in folders("dumps/kube-proxy") {
        for path in files(&folder, |name| {
            name.ends_with("-S.txt") || name.ends_with("-S-v.txt")
        }) {
            let name = path
                .file_name()
                .expect("named")
                .to_string_lossy()
                .into_owned();
            let table = if name.contains("nat-") {
                TableId::Nat
            } else {
                TableId::Filter
            };
            let prefix = if name.starts_with("ip6") { "ip6-" } else { "" };
            let save = path.with_file_name(format!("{prefix}iptables-save.txt"));
            let listed = read_files(&[&path]);
            let inferred = listed
                .warnings
                .iter()
                .any(|w| w.kind == WarningKind::TableInferred);
            assert!(!inferred, "{}: {:?}", path.display(), listed.warnings);
            let listed = only(listed);
            let mut expected = layout(&only(read_files(&[&save])));
            expected.retain(|(of, _), _| *of == table);
            assert!(layout(&listed) == expected, "{}", path.display());
            if name.ends_with("-v.txt") {
                assert!(
                    listed.rules().all(|(_, rule)| rule.counters.is_some()),
                    "{}",
                    path.display()
                );
            }
            compared += 1;
        }
    }
    assert!(compared > 0);
}

#[test]
fn the_tables_of_one_node_come_from_several_files() {
    for folder in folders("dumps/kube-proxy") {
        for nat in files(&folder, |name| name == "nat-S.txt") {
            let filter = nat.with_file_name("filter-S.txt");
            let both = only(read_files(&[&nat, &filter]));
            let mut expected = layout(&only(read_files(&[
                &nat.with_file_name("iptables-save.txt")
            ])));
            expected.retain(|(table, _), _| matches!(table, TableId::Nat | TableId::Filter));
            assert!(layout(&both) == expected, "{}", nat.display());
            let files = [0, 1].map(|id| both.file(kpclass_ruleset::FileId(id)).to_owned());
            assert_eq!(
                files,
                [nat.display().to_string(), filter.display().to_string()]
            );
        }
    }
}

/// What kube-proxy restores is what both backends then print.
#[test]
fn restore_input_reads_as_what_iptables_makes_of_it() {
    let mut compared = 0;
    for folder in folders("flows") {
        for rules in files(&folder, |name| name.ends_with(".rules")) {
            let restored = layout(&only(read_files(&[&rules])));
            for backend in ["nft.save", "legacy.save"] {
                let save = rules.with_extension(backend);
                assert_same(&restored, &layout(&only(read_files(&[&save]))), &save);
                compared += 1;
            }
        }
    }
    assert!(compared > 0);
}

/// Chains and rules are alike; a table without rules and with ACCEPT everywhere may be absent from one.
fn assert_same(restored: &super::corpus::Layout, saved: &super::corpus::Layout, path: &Path) {
    let tables = |layout: &super::corpus::Layout| -> Vec<TableId> {
        layout.keys().map(|(table, _)| *table).collect()
    };
    let both: Vec<_> = tables(restored)
        .into_iter()
        .filter(|table| tables(saved).contains(table))
        .collect();
    for (key, chain) in restored.iter().chain(saved) {
        if both.contains(&key.0) {
            assert_eq!(
                restored.get(key),
                saved.get(key),
                "{}: {} {}",
                path.display(),
                key.0.name(),
                key.1
            );
        } else {
            assert!(
                chain.2.is_empty(),
                "{}: {} {}",
                path.display(),
                key.0.name(),
                key.1
            );
        }
    }
}

#[test]
fn two_families_in_one_text() {
    let text = "# Generated by iptables-save v1.8.9\n*filter\n:INPUT DROP [0:0]\nCOMMIT\n\
                # Generated by ip6tables-save v1.8.9\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s fd00::/8 -j DROP\nCOMMIT\n";
    let rules = read_text(text);
    let (v4, v6) = (rules.v4.expect("v4"), rules.v6.expect("v6"));
    assert_eq!((v4.rules().len(), v6.rules().len()), (0, 1));
    assert!(rules.warnings.is_empty(), "{:?}", rules.warnings);
}
