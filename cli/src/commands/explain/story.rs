//! `explain --frame CAPTURE:N`: the frame's packet as its connection makes it, and the connection up to it.

use super::fragment;
use super::record::Names;
use crate::args::{Explain, HookChoice};
use crate::options::replay::tracking;
use crate::output::Output;
use crate::render::explain::story::{Story, StoryFrame};
use crate::render::explain::{self, Explanation};
use crate::trouble::Trouble;
use crate::{Ending, inputs, options};
use kpclass_compiler::header::{Header, known};
use kpclass_compiler::{Config, Passes};
use kpclass_engine::connections::Ends;
use kpclass_engine::following::history::{Became, History, Step, Told, tell};
use kpclass_engine::rules::{FamilyRules, Rules};
use kpclass_engine::skip::SkipReason;
use kpclass_engine::{Settings, Source};
use kpclass_reference::{Outcome, Probability};
use kpclass_ruleset::conntrack::Direction;
use kpclass_ruleset::packet::tcp_flag;
use kpclass_ruleset::spec;
use kpclass_ruleset::value::{Family, number_address};
use std::net::SocketAddr;

/// Explains the frame.
pub(super) fn run(typed: &Explain, output: &mut Output) -> Result<Ending, Trouble> {
    let Some(frame) = &typed.asked.frame else {
        let needed = "--frame CAPTURE:N: a packet alone has no connection";
        return Err(Trouble::option("--mode", "conntrack", needed));
    };
    let (capture, number) = options::frame(frame)?;
    inputs::stdin_once(&typed.rules, &[capture.into()])?;
    let facts = inputs::node::facts_beside_conntrack(&typed.node)?;
    let tracking = tracking(&typed.node.sysctl, &typed.taken.most)?;
    let settings = settings(typed)?;
    let source = Source::Open(Box::new(inputs::frame::open(capture)?));
    let read = inputs::rules::load(&typed.rules)?;
    let config = Config {
        mark: Some(settings.mark),
        passes: Passes::with_all_nodes(),
        ..Config::default()
    };
    let rules = Rules::new(read.v4.as_ref(), read.v6.as_ref(), &facts, &config);
    let rules = rules.map_err(|e| Trouble::new(e.to_string()))?;
    let told = tell(source, &rules, &settings, &tracking, number);
    let history = history(
        told.map_err(|e| Trouble::new(e.to_string()))?,
        capture,
        number,
    )?;
    let of = rules.of(history.family);
    let of = of.ok_or_else(|| Trouble::new(format!("{frame}: no rules of its family")))?;
    let explanation = explanation(&history, of);
    if typed.json {
        output.record(&explanation)?;
    } else {
        output.write(&explain::text(&explanation, output.palette()))?;
    }
    Ok(match explanation.program_agrees {
        true => Ending::Fine,
        false => Ending::Finding,
    })
}

fn settings(typed: &Explain) -> Result<Settings, Trouble> {
    let start = &typed.start;
    let interface = start.in_interface.as_deref().map(options::interface);
    let mark = start.mark.as_deref().map(options::mark);
    Ok(Settings {
        hook: match start.hook {
            HookChoice::Auto => kpclass_engine::HookChoice::Auto,
            HookChoice::Prerouting => kpclass_engine::HookChoice::Prerouting,
            HookChoice::Output => kpclass_engine::HookChoice::Output,
        },
        in_interface: interface.transpose()?,
        mark: mark.transpose()?.unwrap_or(0),
        ..Settings::default()
    })
}

/// The history, or why there is none.
fn history(told: Told, capture: &str, number: u64) -> Result<Box<History>, Trouble> {
    let of_fragment = || {
        let message = format!("{capture}: frame {number} is a fragment that meets no rule");
        Trouble::new(message)
    };
    match told {
        Told::Packet(history) => Ok(history),
        Told::Again(steps) => {
            let met = steps.iter().rev().find(|step| step.became.is_some());
            let again = format!("{capture}: frame {number} shows a packet again, behind nat");
            Err(match met {
                Some(met) => {
                    let frame = met.met.frame;
                    let note = format!("it was met as frame {frame}: --frame {capture}:{frame}");
                    Trouble::new(again).note(note)
                }
                None => Trouble::new(again),
            })
        }
        Told::Skipped(SkipReason::Fragment(why)) => Err(of_fragment().note(fragment::dropped(why))),
        Told::Waited(ended) => Err(of_fragment().note(fragment::waited(ended, capture))),
        Told::Skipped(reason) => {
            // The reference's reader says more of a frame that it cannot read.
            if let (SkipReason::Frame(_), true) = (reason, capture != "-") {
                inputs::frame::packet(capture, number)?;
            }
            let reason = reason.name();
            let message =
                format!("{capture}: frame {number} holds no packet to ask about: {reason}");
            Err(Trouble::new(message))
        }
        Told::Absent(frames, cut) => {
            let message = format!("{capture}: needs frame {number}, holds {frames}");
            Err(match cut {
                Some(cut) => Trouble::new(message).note(format!("the capture is {cut}")),
                None => Trouble::new(message),
            })
        }
    }
}

fn explanation(history: &History, of: &FamilyRules<'_>) -> Explanation {
    let names = Names {
        ruleset: of.ruleset,
        services: &of.services,
    };
    let packet = &history.datagram.packet;
    let became = history.steps.last().and_then(|step| step.became.as_ref());
    let outcomes = match became {
        // nat asks its rules: any of the ways is possible.
        Some(became) if became.begins => of.walk.outcomes(packet),
        _ => {
            let traced = &history.tracked.traced;
            let decision = became.map_or(&traced.decision, |became| &became.decision);
            vec![Outcome {
                probability: Probability::one(),
                decision: decision.clone(),
                path: traced.path.clone(),
                assumptions: traced.assumptions.clone(),
            }]
        }
    };
    let asked = (spec::of_packet(packet), packet.hook);
    Explanation {
        connection: Some(story(history, became)),
        ..names.explanation(asked, &outcomes, history.agrees)
    }
}

fn story(history: &History, became: Option<&Became>) -> Story {
    let tuples = became.and_then(|became| became.tuples);
    let first = history
        .steps
        .first()
        .map_or(0, |step| step.met.timestamp_ns);
    let frame = |step: &Step| frame(step, first, history.family);
    Story {
        original: tuples.map(|(original, _)| original.to_string()),
        reply: tuples.and_then(|(_, reply)| Some(reply?.to_string())),
        frames: history.steps.iter().map(frame).collect(),
        left_out: history.left_out,
        fragments: history.fragments.clone(),
    }
}

fn frame(step: &Step, first: u64, family: Family) -> StoryFrame {
    let h = &step.header;
    let became = step.became.as_ref();
    let since = step.met.timestamp_ns.saturating_sub(first);
    let status = became.map(|became| became.status.to_string());
    StoryFrame {
        frame: step.met.frame,
        seconds: since as f64 / 1e9,
        direction: match became.map(|became| became.direction) {
            None => "behind-nat",
            Some(Some(Direction::Original)) => "original",
            Some(Some(Direction::Reply)) => "reply",
            Some(None) => "none",
        },
        ctstate: became.map(|became| became.ctstate.name()),
        flags: step.tcp_flags().map(flags),
        status: status.filter(|text| !text.is_empty()),
        source: end(h, (h.source, h.source_port), family),
        destination: end(h, (h.destination, h.destination_port), family),
        nat: became.and_then(|became| nat(h, &became.ends, family)),
        disposition: became.map(|became| became.decision.disposition.name()),
    }
}

fn end(header: &Header, (address, port): (u128, u16), family: Family) -> String {
    let address = number_address(family, address);
    match header.known & known::PORTS {
        0 => address.to_string(),
        _ => SocketAddr::new(address, port).to_string(),
    }
}

/// `from 10.9.0.1:2000, to 10.1.0.2:8080`: what is another behind nat.
fn nat(header: &Header, ends: &Ends, family: Family) -> Option<String> {
    let own = [
        (
            "from",
            ends.source,
            ends.ports.map(|p| p.0),
            (header.source, header.source_port),
        ),
        (
            "to",
            ends.destination,
            ends.ports.map(|p| p.1),
            (header.destination, header.destination_port),
        ),
    ];
    let changed = own.into_iter().filter_map(|(word, address, port, own)| {
        let port = port.unwrap_or(Some(own.1));
        match (address, port) {
            (Some(address), Some(port)) if (address, port) == own => None,
            (Some(address), Some(port)) => {
                Some(format!("{word} {}", end(header, (address, port), family)))
            }
            (Some(address), None) => Some(format!(
                "{word} {}, some port",
                number_address(family, address)
            )),
            (None, _) => Some(format!("{word} an address of this node")),
        }
    });
    let changed: Vec<String> = changed.collect();
    (!changed.is_empty()).then(|| changed.join(", "))
}

/// `SA`, as in a packet's spec.
fn flags(flags: u8) -> String {
    use tcp_flag::{ACK, FIN, PSH, RST, SYN, URG};
    let letters = [
        (FIN, 'F'),
        (SYN, 'S'),
        (RST, 'R'),
        (PSH, 'P'),
        (ACK, 'A'),
        (URG, 'U'),
    ];
    letters
        .into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}
