//! Where the tests find dumps, and how they compare rulesets.

use kpclass_ruleset::readers::{Input, Rules, read};
use kpclass_ruleset::save::rule_text;
use kpclass_ruleset::{Policy, Ruleset, TableId};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The folders that hold `part` (`dumps/kube-proxy`): the project's own samples and, where it is present, the whole corpus.
pub(crate) fn folders(part: &str) -> Vec<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let own = match part {
        "flows" => project.join("reference/testdata/flows"),
        _ => project.join("testdata").join(part),
    };
    let mut folders: Vec<_> = Some(own)
        .filter(|folder| folder.is_dir())
        .into_iter()
        .collect();
    folders.extend(shared(part));
    folders
}

/// A folder of the shared corpus; says so where it is absent.
pub(crate) fn shared(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("KPCLASS_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let folder = root.join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!(
            "SKIPPED: {part} of the shared corpus is absent (KPCLASS_SHARED says where it is)\n"
        ),
    )
    .ok();
    None
}

/// Every file below a folder whose name passes, in order.
pub(crate) fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut open = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("lists") {
            let path = entry.expect("entry").path();
            let name = path
                .file_name()
                .expect("named")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                open.push(path);
            } else if wanted(&name) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The text of a file, unpacked without the readers' help.
pub(crate) fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("reads");
    if path.extension().is_some_and(|e| e == "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .expect("unpacks");
        return text;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads files together.
pub(crate) fn read_files(paths: &[&Path]) -> Rules {
    let inputs: Vec<_> = paths
        .iter()
        .map(|path| {
            Input::new(
                path.display().to_string(),
                std::fs::read(path).expect("reads"),
            )
        })
        .collect();
    read(&inputs).unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Reads a text.
pub(crate) fn read_text(text: &str) -> Rules {
    read(&[Input::new("text", text)]).unwrap_or_else(|error| panic!("{}", error.report()))
}

/// What a comparison of two rulesets looks at: chains with their policies and the text of their rules. Neither lines nor counters, nor
/// the order of tables and chains.
pub(crate) type Layout = BTreeMap<(TableId, String), (bool, Option<Policy>, Vec<String>)>;

/// The layout of a ruleset.
pub(crate) fn layout(ruleset: &Ruleset) -> Layout {
    let chains = ruleset.chains().map(|(id, chain)| {
        let rules = ruleset
            .chain_rules(id)
            .map(|(rule, _)| rule_text(ruleset, rule));
        let policy = chain.hook.map(|_| chain.policy);
        let name = ruleset.text(chain.name).to_owned();
        (
            (chain.table, name),
            (chain.declared, policy, rules.collect()),
        )
    });
    chains.collect()
}

/// The rules of one family, whichever it is.
pub(crate) fn only(rules: Rules) -> Ruleset {
    match (rules.v4, rules.v6) {
        (Some(ruleset), None) | (None, Some(ruleset)) => ruleset,
        (v4, v6) => panic!("families: {} {}", v4.is_some(), v6.is_some()),
    }
}
