//! The README's demo: what it shows is what comes out, but for the time it took.

use crate::program::Run;
use std::path::Path;
use std::process::Command;

/// The commands of the README with the text block right behind each.
fn blocks(readme: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = readme.split("```").collect();
    let pair = |i: usize| {
        let command = parts.get(i)?.strip_prefix("sh\n")?;
        let output = parts.get(i + 2)?.strip_prefix("text\n")?;
        parts[i + 1]
            .trim()
            .is_empty()
            .then_some((command.trim(), output))
    };
    (0..parts.len()).filter_map(pair).collect()
}

/// The arguments behind `kpclass` or `cargo run --release --`; quotes hold a packet together.
fn arguments(command: &str) -> Vec<String> {
    let (_, rest) = command
        .split_once(" -- ")
        .or_else(|| command.split_once("kpclass "))
        .expect("a call");
    let words = rest
        .split('\'')
        .enumerate()
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
    words.collect()
}

fn without_time(text: &str) -> String {
    let mut lines = text.lines().map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let first = match (first.find(") in "), first.find(" ms;")) {
        (Some(from), Some(to)) => format!("{}{}", &first[..from], &first[to..]),
        _ => first,
    };
    std::iter::once(first)
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_demo_shows_what_comes_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let blocks = blocks(&readme);
    assert_eq!(blocks.len(), 2, "two commands with their output");
    for (command, shown) in blocks {
        let mut call = Command::new(env!("CARGO_BIN_EXE_kpclass"));
        call.args(arguments(command)).current_dir(&root);
        let text = Run::from(call.output().expect("run kpclass")).fine();
        assert_eq!(without_time(&text), without_time(shown), "{command}");
    }
}
