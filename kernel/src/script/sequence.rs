//! The corpus' sequences, played as they are written.

use super::playing::{Playing, Put};
use super::{Played, Player, write_settings};
use crate::error::KernelError;
use crate::subject::Subject;
use kpclass_reference::Walk;
use kpclass_reference::connections::Tracker;
use kpclass_ruleset::packet::tcp_flag;
use kpclass_ruleset::value::Interface;
use kpclass_workload::corpus::{Sequence, SequenceStep};
use kpclass_workload::frame::{Sctp, Tag};

impl Player {
    /// Plays one sequence. TCP windows are not looked at; the tags of SCTP are as they should be.
    ///
    /// # Errors
    /// Where the rules are refused, or the system fails.
    pub fn play_sequence(&mut self, sequence: &Sequence) -> Result<Played, KernelError> {
        self.namespace.enter()?;
        let packets = sequence.steps.iter().filter_map(|step| match step {
            SequenceStep::Packet(_, datagram, _) => datagram.packet.in_interface,
            SequenceStep::Rules(..) => None,
        });
        let mut devices: Vec<Interface> = packets.collect();
        devices.sort();
        devices.dedup();
        let (rules, ruleset) = sequence.rules.clone();
        let subject = Subject {
            rules,
            ruleset,
            ipsets: None,
            node: sequence.node.clone(),
            devices,
        };
        self.world.load(&subject)?;
        self.world.forget_connections()?;
        write_settings(&sequence.settings, true)?;
        let walk = |ruleset| {
            Walk::new(ruleset, &subject.node).map_err(|error| KernelError::log(error.to_string()))
        };
        let tracker = Tracker::new(walk(&subject.ruleset)?, sequence.settings.clone());
        let mut playing = Playing::new(self, tracker, &subject.ruleset);
        for step in &sequence.steps {
            match step {
                SequenceStep::Rules(text, ruleset) => {
                    playing.player.world.replace(ruleset.family(), text)?;
                    playing.tracker.replace(walk(ruleset)?);
                    playing.ruleset = ruleset;
                }
                SequenceStep::Packet(at, datagram, _) => {
                    playing.wait_until(*at);
                    let mut datagram = (**datagram).clone();
                    let tag = tag(&datagram);
                    let length = playing.player.world.injector.length(&datagram.packet, &tag);
                    datagram.packet.length = Some(length);
                    datagram.packet.ttl = datagram.packet.ttl.or(Some(64));
                    if let Put::Stopped = playing.put(&datagram, &tag)? {
                        break;
                    }
                }
            }
        }
        Ok(playing.played)
    }
}

/// Numbers and tags that stand where both sides' do from the first packet on.
fn tag(datagram: &kpclass_ruleset::conntrack::Datagram) -> Tag {
    const INIT: u8 = 1;
    let syn = |flags| flags & tcp_flag::SYN != 0;
    let is_syn = datagram.packet.tcp_flags.is_some_and(syn);
    let chunks = datagram.chunks.as_ref().map(|list| {
        let mut chunks = [None; 3];
        for (to, kind) in chunks.iter_mut().zip(list) {
            *to = Some(*kind);
        }
        Sctp {
            tag: if list.contains(&INIT) { 0 } else { 7 },
            initiate: 7,
            chunks,
        }
    });
    let [a, b, c, d] = datagram.packet.mark.to_ne_bytes();
    Tag {
        identification: 1,
        flow_label: 1,
        sequence: if is_syn { 1_000 } else { 1_001 },
        acknowledgment: Some(1_001),
        destination_mac: Some([2, 0, a, b, c, d]),
        icmp_id: datagram.icmp_id,
        carried: datagram.carried,
        sctp: chunks,
        ..Tag::default()
    }
}
