//! `kpclass man`: one page for the program and all its verbs.

use crate::Ending;
use crate::args::Typed;
use crate::output::Output;
use crate::trouble::Trouble;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::io::{self, Write};

/// Prints the page: the program's, then each verb's, in the order of `--help`.
pub(crate) fn run(output: &mut Output) -> Result<Ending, Trouble> {
    let mut command = Typed::command();
    command.build();
    let mut text = Vec::new();
    page(&command, &mut text).map_err(Trouble::output)?;
    for verb in command.get_subcommands() {
        section(verb, &mut text).map_err(Trouble::output)?;
        for part in verb.get_subcommands() {
            section(part, &mut text).map_err(Trouble::output)?;
        }
    }
    output.write(&String::from_utf8_lossy(&text))?;
    Ok(Ending::Fine)
}

fn page(command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    let page = Man::new(command.clone());
    page.render_title(text)?;
    page.render_name_section(text)?;
    page.render_synopsis_section(text)?;
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    examples(command, "EXAMPLES", text)
}

fn section(verb: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    let name = verb.get_display_name().unwrap_or(verb.get_name());
    let name = name.replace('-', " ").to_uppercase();
    writeln!(text, ".SH \"{name}\"")?;
    let page = Man::new(verb.clone());
    page.render_synopsis_section(text)?;
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    examples(verb, &format!("EXAMPLES OF {name}"), text)
}

/// The examples of `--help`, line by line as they stand there.
fn examples(command: &Command, title: &str, text: &mut Vec<u8>) -> io::Result<()> {
    let Some(help) = command.get_after_long_help() else {
        return Ok(());
    };
    writeln!(text, ".SH \"{title}\"\n.nf")?;
    for line in help.to_string().lines().skip(1) {
        writeln!(
            text,
            "{}",
            line.trim_start().replace('\\', "\\e").replace('-', "\\-")
        )?;
    }
    writeln!(text, ".fi")
}
