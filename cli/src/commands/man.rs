//! `kpclass man`: one page for the program and all its verbs.

use crate::Ending;
use crate::args::Typed;
use crate::output::Output;
use crate::trouble::Trouble;
use clap::CommandFactory;
use clap_mangen::Man;

/// Prints the page: the program's, then each verb's, in the order of `--help`.
pub(crate) fn run(output: &mut Output) -> Result<Ending, Trouble> {
    let mut command = Typed::command();
    command.build();
    let mut text = Vec::new();
    Man::new(command.clone())
        .render(&mut text)
        .map_err(Trouble::output)?;
    for verb in command.get_subcommands() {
        verb_section(verb, &mut text).map_err(Trouble::output)?;
    }
    output.write(&String::from_utf8_lossy(&text))?;
    Ok(Ending::Fine)
}

fn verb_section(verb: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let heading = format!(".SH \"KPCLASS {}\"\n", verb.get_name().to_uppercase());
    text.extend_from_slice(heading.as_bytes());
    let page = Man::new(verb.clone());
    page.render_synopsis_section(text)?;
    page.render_description_section(text)?;
    page.render_options_section(text)?;
    page.render_extra_section(text)
}
