//! Which packets `explain` is asked about.

use crate::args::{Explain, HookChoice, StartArgs};
use crate::inputs::frame::{self, FoundFrame};
use crate::trouble::Trouble;
use crate::{inputs, options};
use kpclass_ruleset::Hook;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::spec::{self, Spec};
use std::path::Path;

/// A packet and how it was written.
pub(super) struct Asked {
    /// As it was typed, or as a frame reads.
    pub(super) spec: String,
    /// The packet.
    pub(super) packet: Packet,
}

/// The packets of `--packet`, `--packets` or `--frame`, in order.
pub(super) fn packets(typed: &Explain, facts: &NodeFacts) -> Result<Vec<Asked>, Trouble> {
    let start = Start::new(&typed.start)?;
    if let Some(frame) = &typed.asked.frame {
        let (capture, number) = options::frame(frame)?;
        return Ok(vec![start.framed(&frame::packet(capture, number)?, facts)]);
    }
    if let Some(path) = &typed.asked.packets {
        return file(path, &start, facts);
    }
    let parse = |text: &String| {
        let spec = spec::parse(text).map_err(|e| Trouble::new(format!("--packet: {e}")))?;
        Ok(start.asked(text, spec, facts))
    };
    typed.asked.packet.iter().map(parse).collect()
}

fn file(path: &Path, start: &Start, facts: &NodeFacts) -> Result<Vec<Asked>, Trouble> {
    let text = inputs::read_text(path)?;
    let name = if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    };
    let specs = spec::parse_file(&text).map_err(|e| Trouble::new(format!("{name}: {e}")))?;
    if specs.is_empty() {
        return Err(Trouble::new(format!(
            "{name}: needs one packet a line, holds none"
        )));
    }
    let lines: Vec<&str> = text.lines().collect();
    let asked = |(number, spec): (u32, Spec)| {
        let line = lines.get(number as usize - 1).copied().unwrap_or_default();
        let typed = line.split('#').next().unwrap_or_default();
        start.asked(typed, spec, facts)
    };
    Ok(specs.into_iter().map(asked).collect())
}

/// What holds for packets that do not say it themselves.
struct Start {
    hook: Option<Hook>,
    in_interface: Option<kpclass_ruleset::value::Interface>,
    mark: u32,
}

impl Start {
    fn new(typed: &StartArgs) -> Result<Self, Trouble> {
        Ok(Self {
            hook: match typed.hook {
                HookChoice::Auto => None,
                HookChoice::Prerouting => Some(Hook::Prerouting),
                HookChoice::Output => Some(Hook::Output),
            },
            in_interface: typed
                .in_interface
                .as_deref()
                .map(options::interface)
                .transpose()?,
            mark: typed
                .mark
                .as_deref()
                .map(options::mark)
                .transpose()?
                .unwrap_or(0),
        })
    }

    /// The packet of a frame: what the options say holds for it, as no SPEC does.
    fn framed(&self, found: &FoundFrame, facts: &NodeFacts) -> Asked {
        let hook = self
            .hook
            .unwrap_or(match facts.is_local(found.packet.source) {
                Some(true) => Hook::Output,
                _ => Hook::Prerouting,
            });
        let mut packet = found
            .packet
            .at(hook, self.in_interface.or(found.in_interface));
        packet.mark = self.mark;
        Asked {
            spec: spec::of_packet(&packet),
            packet,
        }
    }

    fn asked(&self, typed: &str, mut spec: Spec, facts: &NodeFacts) -> Asked {
        spec.hook = spec.hook.or(self.hook);
        spec.in_interface = spec.in_interface.or(self.in_interface);
        if spec.mark == 0 {
            spec.mark = self.mark;
        }
        Asked {
            spec: typed.trim().to_owned(),
            packet: spec.packet(facts),
        }
    }
}
