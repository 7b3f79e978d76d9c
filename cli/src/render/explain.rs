//! The answer of `explain`: one packet's possible ends, and its way to each of them.

use crate::output::Palette;
use crate::render::columns::{Align, Columns};
use crate::render::quantity;
use serde::Serialize;
use story::Story;

/// One record of `explain --json`. The order of the fields is the order of the keys, here and below.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Explanation {
    /// `kpclass.explain/1`.
    pub schema: &'static str,
    /// What was asked about.
    pub packet: AskedPacket,
    /// Every distinct outcome once, most probable first.
    pub outcomes: Vec<Outcome>,
    /// Whether the compiled program's outcomes are the reference's.
    pub program_agrees: bool,
    /// Of a frame whose connection was followed: what was before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Story>,
}

impl Explanation {
    /// The name and version of the record.
    pub(crate) const SCHEMA: &'static str = "kpclass.explain/1";
}

/// A packet that was asked about.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AskedPacket {
    /// As it was written, or as a frame reads.
    pub spec: String,
    /// `prerouting` or `output`.
    pub hook: &'static str,
}

/// One possible end of a packet.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// The nearest number to `exact`.
    pub probability: f64,
    /// A reduced fraction.
    pub exact: String,
    /// `forward local out drop reject unknown`.
    pub disposition: &'static str,
    /// How its destination is rewritten.
    pub dnat: Option<Destination>,
    /// How its source is rewritten.
    pub snat: Option<SourceNat>,
    /// The final mark.
    pub mark: u32,
    /// What the sender is told.
    pub reject_with: Option<&'static str>,
    /// `namespace/name:port`.
    pub service: Option<String>,
    /// What is missing, if the disposition is unknown.
    pub unknown: Option<Missing>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// The rules that matched, in order.
    pub path: Vec<Step>,
    /// What ended it, where no rule did.
    #[serde(skip)]
    pub ended_by: Option<String>,
}

/// A rewritten destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Destination {
    /// `None`: some address of this node.
    pub address: Option<String>,
    /// `None`: the protocol has none.
    pub port: Option<u16>,
}

/// A rewritten source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum SourceNat {
    /// To an address of the device that it leaves by.
    Masquerade,
    /// To an address (or `first-last`, one of them; `None`: kept, and only the port changes).
    Snat {
        /// The address.
        address: Option<String>,
    },
}

/// A fact that is missing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Missing {
    /// The rule that asked; `None`: routing did.
    pub rule: Option<Place>,
    /// What is missing.
    pub fact: String,
    /// The option that would supply it.
    pub option: Option<&'static str>,
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// Its table.
    pub table: &'static str,
    /// Its chain.
    pub chain: String,
    /// Its number in the chain, from 1.
    pub rule: u32,
    /// Its line in the dump.
    pub line: u32,
}

/// A rule on a packet's way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// Its file, where there are several.
    #[serde(skip)]
    pub file: Option<String>,
    /// Its own text, without `-A CHAIN`.
    #[serde(skip)]
    pub text: String,
    /// How many jumps deep it stands.
    #[serde(skip)]
    pub depth: usize,
    /// Whether the packet had come back in by `lo`.
    #[serde(skip)]
    pub lo_leg: bool,
    /// What it means in Service words.
    #[serde(skip)]
    pub reason: Option<&'static str>,
}

/// The ways to so many outcomes are shown as text: those to a Service's fiftieth endpoint tell nothing new.
const MOST_WAYS: usize = 10;

/// The explanation as text.
pub(crate) fn text(explanation: &Explanation, palette: Palette) -> String {
    let packet = &explanation.packet;
    let starts = if packet.hook == "output" {
        "this node sends it"
    } else {
        "it arrives"
    };
    let mut text = format!("{}  ({starts})\n", palette.head(&packet.spec));
    if let Some(story) = &explanation.connection {
        text += &format!("\n{}", story::text(story, palette));
    }
    if explanation.outcomes.len() > 1 {
        text += &format!("\n{}", outcome_table(&explanation.outcomes, palette));
    }
    let mut shown: &[Step] = &[];
    for outcome in explanation.outcomes.iter().take(MOST_WAYS) {
        text += &format!("\n{}\n", headline(outcome, palette));
        text += &facts(outcome, palette);
        text += &way(shown, &outcome.path, palette);
        if let Some(end) = &outcome.ended_by {
            text += &format!("  {}\n", palette.bad(end));
        }
        shown = &outcome.path;
    }
    if let Some(rest @ 1..) = explanation.outcomes.len().checked_sub(MOST_WAYS) {
        let rest = format!("… and the ways to {rest} more outcomes; --json has them all");
        text += &format!("\n{}\n", palette.faint(&rest));
    }
    if !explanation.program_agrees {
        let warning = "disagreement: the compiled program's outcomes differ from these";
        text += &format!("\n{}\n", palette.bad(warning));
    }
    text
}

fn outcome_table(outcomes: &[Outcome], palette: Palette) -> String {
    let mut table = Columns::new(&[
        ("PROBABILITY", Align::Right),
        ("EXACT", Align::Right),
        ("OUTCOME", Align::Left),
        ("SERVICE", Align::Left),
    ]);
    for outcome in outcomes {
        table.row([
            quantity::percent(outcome.probability),
            shown_exact(outcome).to_owned(),
            end(outcome),
            outcome.service.clone().unwrap_or_default(),
        ]);
    }
    table.render(palette)
}

fn headline(outcome: &Outcome, palette: Palette) -> String {
    let end = match outcome.disposition {
        "drop" | "reject" => palette.bad(&end(outcome)),
        "unknown" => palette.open(&end(outcome)),
        _ => palette.good(&end(outcome)),
    };
    let service = outcome
        .service
        .as_ref()
        .map(|name| format!("  {name}"))
        .unwrap_or_default();
    if outcome.exact == "1/1" {
        return format!("{end}{service}");
    }
    let share = quantity::percent(outcome.probability);
    let share = format!("{share} ({})", shown_exact(outcome));
    format!("{end}{service}  {}", palette.faint(&share))
}

/// The fraction, where a person would read it; products of many chances have thousands of digits.
fn shown_exact(outcome: &Outcome) -> &str {
    if outcome.exact.len() <= 43 {
        &outcome.exact
    } else {
        "…"
    }
}

/// What happens, in one line: `forwarded to 10.10.2.58:16443, masqueraded`.
fn end(outcome: &Outcome) -> String {
    let mut text = match outcome.disposition {
        "forward" => "forwarded".to_owned(),
        "local" => "delivered to this node".to_owned(),
        "out" => "sent".to_owned(),
        "drop" => "dropped".to_owned(),
        "reject" => format!(
            "rejected with {}",
            outcome.reject_with.unwrap_or("an error")
        ),
        other => other.to_owned(),
    };
    if let Some(to) = &outcome.dnat {
        text += &format!(", destination becomes {}", endpoint(to));
    }
    match &outcome.snat {
        Some(SourceNat::Masquerade) => text += ", masqueraded",
        Some(SourceNat::Snat { address: Some(to) }) => text += &format!(", source becomes {to}"),
        Some(SourceNat::Snat { address: None }) => text += ", source port rewritten",
        None => {}
    }
    text
}

/// `10.10.2.58:16443`, `[fd00::1]:80`, or the address alone.
fn endpoint(to: &Destination) -> String {
    let address = to.address.as_deref().unwrap_or("an address of this node");
    match to.port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) if to.address.is_none() => format!("{address}, port {port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

/// The lines below an outcome's headline: what is missing, the mark, what was assumed.
fn facts(outcome: &Outcome, palette: Palette) -> String {
    let mut text = String::new();
    if let Some(missing) = &outcome.unknown {
        let asked = missing.rule.as_ref().map_or("routing".to_owned(), |rule| {
            format!(
                "{} {} rule {} (line {})",
                rule.table, rule.chain, rule.rule, rule.line
            )
        });
        text += &format!(
            "  {}\n",
            palette.open(&format!("not known: {}", missing.fact))
        );
        text += &format!("  asked by {asked}\n");
        if let Some(option) = missing.option {
            text += &format!("  {option} would tell\n");
        }
    }
    if outcome.mark != 0 {
        text += &format!("  mark {:#x}\n", outcome.mark);
    }
    for assumption in &outcome.assumptions {
        text += &format!("  assumed: {assumption}\n");
    }
    text
}

/// A chain that the way is in: its table, its name, and whether the packet had come back in by `lo`.
type Entered<'a> = (&'static str, &'a str, bool);

/// The way as an indented tree; what it shares with the way shown just before is left out.
fn way(shown: &[Step], path: &[Step], palette: Palette) -> String {
    if path.is_empty() {
        return format!("  {}\n", palette.faint("no rule matches"));
    }
    let same = shown
        .iter()
        .zip(path)
        .take_while(|(a, b)| a.place == b.place)
        .count();
    let same = if same == path.len() { 0 } else { same };
    let mut text = String::new();
    if let Some(Place {
        table, chain, rule, ..
    }) = same.checked_sub(1).map(|i| &path[i].place)
    {
        let above = format!("… as above to {table} {chain} rule {rule}");
        text += &format!("  {}\n", palette.faint(&above));
    }
    let mut entered: Vec<Entered<'_>> = Vec::new();
    for (i, step) in path.iter().enumerate() {
        let is_new = enter(&mut entered, step);
        if i >= same {
            if is_new {
                text += &chain_line(step, palette);
            }
            text += &step_lines(step, palette);
        }
    }
    text
}

/// Goes back to the step's chain, or into it; whether it is entered anew.
fn enter<'a>(entered: &mut Vec<Entered<'a>>, step: &'a Step) -> bool {
    let chain = (step.place.table, step.place.chain.as_str(), step.lo_leg);
    entered.truncate(step.depth + 1);
    if entered.get(step.depth) == Some(&chain) {
        return false;
    }
    // What lies between is missing where a rule above was not known to match.
    entered.resize(step.depth, ("", "", false));
    entered.push(chain);
    true
}

fn indent(step: &Step) -> String {
    // Deep enough for any real ruleset, and short enough for a hostile one.
    "  ".repeat(step.depth.min(40) + 1)
}

fn chain_line(step: &Step, palette: Palette) -> String {
    let Place { table, chain, .. } = &step.place;
    let name = if step.depth == 0 {
        format!("{table} {chain}")
    } else {
        chain.clone()
    };
    let back = if step.depth == 0 && step.lo_leg {
        "  (back in by lo)"
    } else {
        ""
    };
    format!("{}{}{back}\n", indent(step), palette.head(&name))
}

fn step_lines(step: &Step, palette: Palette) -> String {
    let Place { rule, line, .. } = step.place;
    let indent = indent(step);
    let at = palette.faint(&match &step.file {
        Some(file) => format!("{file}:{line}"),
        None => format!("line {line}"),
    });
    let mut text = format!("{indent}  {rule}  {}  {at}\n", step.text);
    if let Some(reason) = step.reason {
        let gap = " ".repeat(rule.to_string().len());
        text += &format!("{indent}  {gap}  {}\n", palette.reason(reason));
    }
    text
}

pub(crate) mod story;
#[cfg(test)]
mod tests;
