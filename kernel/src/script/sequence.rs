//! The corpus' sequences, played as they are written.

use super::playing::{Playing, Put, Sent};
use super::{Played, Player, write_settings};
use crate::error::KernelError;
use crate::subject::Subject;
use kpclass_reference::Walk;
use kpclass_reference::connections::Tracker;
use kpclass_ruleset::value::Interface;
use kpclass_workload::corpus::{Sequence, SequenceStep, tag};

impl Player {
    /// Plays one sequence. TCP windows are not looked at; the tags of SCTP are as they should be.
    ///
    /// # Errors
    /// Where the rules are refused, or the system fails.
    pub fn play_sequence(&mut self, sequence: &Sequence) -> Result<Played, KernelError> {
        self.namespace.enter()?;
        let packets = sequence.steps.iter().filter_map(|step| match step {
            SequenceStep::Packet(_, datagram, _) | SequenceStep::Fragment(_, datagram, ..) => {
                datagram.packet.in_interface
            }
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
                    if let Put::Stopped = playing.put(&datagram, &Sent::Packet(&tag))? {
                        break;
                    }
                }
                SequenceStep::Fragment(at, datagram, cut, _) => {
                    playing.wait_until(*at);
                    if let Put::Stopped = playing.put_fragment(datagram, cut)? {
                        break;
                    }
                }
            }
        }
        Ok(playing.played)
    }
}
