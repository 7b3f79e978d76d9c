//! Opens what the options name: dumps, facts of the node, captures' names.

pub(crate) mod frame;
pub(crate) mod node;
pub(crate) mod rules;

use crate::args::RulesArgs;
use crate::trouble::Trouble;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most that is read of a text (a dump, a list of packets): far above any real one, far below a machine's memory.
const MOST_TEXT: u64 = 1 << 30;

/// Standard input can be read only once.
pub(crate) fn stdin_once(rules: &RulesArgs, others: &[PathBuf]) -> Result<(), Trouble> {
    let rules = rules
        .rules
        .iter()
        .filter(|text| text.rsplit(':').next() == Some("-"));
    let others = others.iter().filter(|path| *path == Path::new("-"));
    if rules.count() + others.count() > 1 {
        return Err(Trouble::new(
            "-: given twice; standard input is read only once",
        ));
    }
    Ok(())
}

/// The content of a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    if path == Path::new("-") {
        return read_stdin();
    }
    let file = File::open(path).map_err(|e| Trouble::system(path.display(), &e))?;
    let size = file.metadata().map_or(0, |about| about.len());
    read_bounded((file, size), &path.display().to_string(), MOST_TEXT)
}

/// All of standard input.
pub(crate) fn read_stdin() -> Result<Vec<u8>, Trouble> {
    read_bounded((io::stdin().lock(), 0), "stdin", MOST_TEXT)
}

/// At most `most` bytes, with room from the start for as many as the size says.
fn read_bounded((from, size): (impl Read, u64), name: &str, most: u64) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::with_capacity(size.min(most) as usize + 1);
    let mut from = from.take(most + 1);
    from.read_to_end(&mut bytes)
        .map_err(|e| Trouble::system(name, &e))?;
    if bytes.len() as u64 > most {
        return Err(Trouble::new(format!(
            "{name}: more than {most} bytes of text, which no dump has"
        )));
    }
    Ok(bytes)
}

/// A text file: UTF-8, what is not being replaced.
pub(crate) fn read_text(path: &Path) -> Result<String, Trouble> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// What a program of this node prints.
pub(crate) fn ask(program: &str, arguments: &[&str]) -> Result<Vec<u8>, Trouble> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|e| Trouble::system(format!("running {program}"), &e))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("no message").trim();
    Err(Trouble::new(format!(
        "running {program}: {}: {said}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_its_output_or_the_trouble() {
        assert_eq!(ask("echo", &["x"]).unwrap(), b"x\n");
        let trouble = ask("sh", &["-c", "echo no >&2; exit 3"])
            .unwrap_err()
            .to_string();
        assert_eq!(trouble, "running sh: exit status: 3: no");
        let trouble = ask("no-such-program", &[]).unwrap_err().to_string();
        assert_eq!(
            trouble,
            "running no-such-program: no such file or directory"
        );
    }

    #[test]
    fn endless_text_is_refused() {
        let endless = (io::repeat(0), u64::MAX);
        let trouble = read_bounded(endless, "zero", 100).unwrap_err();
        assert!(
            trouble.to_string().starts_with("zero: more than 100 bytes"),
            "{trouble}"
        );
        assert_eq!(
            read_bounded((io::repeat(0).take(100), 7), "zeros", 100)
                .unwrap()
                .len(),
            100
        );
    }
}
