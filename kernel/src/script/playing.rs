//! One packet after the other, put to the kernel and to the tracker.

use super::fits::{self, fits};
use super::{Played, Player};
use crate::error::KernelError;
use crate::observe::Event;
use crate::seen::{Answer, End, Sighting};
use kpclass_reference::connections::{Tracked, Tracker};
use kpclass_reference::fragments::{self, Joiner, Place};
use kpclass_reference::packet::{link_type, read_datagram, read_fragment};
use kpclass_ruleset::conntrack::Datagram;
use kpclass_ruleset::line::describe;
use kpclass_ruleset::{Hook, Ruleset, spec};
use kpclass_workload::corpus::Cut;
use kpclass_workload::frame::Tag;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// So near to a deadline it is not known on which side of it a packet came.
const TICK: Duration = Duration::from_millis(25);

/// What conntrack made of a packet, at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ct {
    /// `enum ip_conntrack_info`.
    pub(super) info: u32,
    /// `enum ip_conntrack_status`, without CONFIRMED.
    pub(super) status: u32,
    /// Where it ended only.
    pub(super) mark: u32,
}

/// What was seen of one packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) end: End,
    /// Where it ended, as it was there.
    pub(super) last: Option<(Sighting, Option<Ct>)>,
    /// Behind nat PREROUTING or OUTPUT.
    pub(super) nat: Option<(Sighting, Option<Ct>)>,
    pub(super) answer: Option<Answer>,
    /// As it came in by `lo` again.
    pub(super) by_lo: Option<Sighting>,
    /// Told of the sighting that comes next.
    pub(super) ct: Option<Ct>,
}

impl Seen {
    pub(super) fn note(&mut self, event: &Event) {
        match *event {
            Event::Probe => {}
            Event::ByLo(sighting) => self.by_lo = Some(sighting),
            Event::Info(info) => {
                self.ct = Some(Ct {
                    info,
                    ..Ct::default()
                })
            }
            Event::Status(bit) => {
                if let Some(ct) = &mut self.ct {
                    ct.status |= bit;
                }
            }
            Event::Connmark(mark) => {
                if let Some((_, Some(ct))) = &mut self.last {
                    ct.mark = mark;
                }
            }
            Event::BehindNat(_, sighting) => {
                let ct = self.ct.take();
                self.nat.get_or_insert((sighting, ct));
            }
            Event::Delivered(_, sighting) => {
                let ct = self.ct.take();
                if self.end != End::Left {
                    (self.end, self.last) = (End::Delivered, Some((sighting, ct)));
                }
            }
            Event::Left(_, sighting) => {
                (self.end, self.last) = (End::Left, Some((sighting, self.ct.take())));
            }
            Event::Answered(_, answer) => {
                self.answer.get_or_insert(answer);
            }
        }
    }
}

/// What came of putting a packet to both.
pub(super) enum Put {
    /// They agree.
    Went(Box<(Seen, Tracked)>),
    /// They agree that it is a fragment that goes no further.
    Waits,
    /// The script is not played on; the figures tell why.
    Stopped,
}

/// How a packet is sent.
pub(super) enum Sent<'s> {
    /// As a whole, with these fields that no rule asks for.
    Packet(&'s Tag),
    /// As a frame: the fragment that completes it.
    Frame(&'s [u8]),
    /// As fragments of this identification.
    Pieces(&'s Tag, u16),
}

/// A script or sequence that is being played.
pub(super) struct Playing<'p> {
    pub(super) player: &'p mut Player,
    pub(super) tracker: Tracker<'p>,
    pub(super) ruleset: &'p Ruleset,
    /// Fragments that wait.
    joiner: Joiner,
    started: Instant,
    pub(super) played: Played,
    /// What was seen of each packet so far.
    history: Vec<String>,
}

impl<'p> Playing<'p> {
    pub(super) fn new(
        player: &'p mut Player,
        mut tracker: Tracker<'p>,
        ruleset: &'p Ruleset,
    ) -> Self {
        let joiner = Joiner::new(tracker.settings().clone());
        Self {
            player,
            tracker,
            ruleset,
            joiner,
            started: Instant::now(),
            played: Played {
                scripts: 1,
                ..Played::default()
            },
            history: Vec::new(),
        }
    }

    /// Waits until so long behind the beginning.
    pub(super) fn wait_until(&self, at: Duration) {
        std::thread::sleep(at.saturating_sub(self.started.elapsed()));
    }

    /// Puts one packet to both; what was seen of it, and the way that it took.
    pub(super) fn put(&mut self, datagram: &Datagram, sent: &Sent<'_>) -> Result<Put, KernelError> {
        let from = self.started.elapsed();
        let seen = self.player.send(datagram, sent)?;
        let to = self.started.elapsed();
        // Before and behind the time when it may have come.
        let mut early = self.tracker.clone();
        let early = early.ask(datagram, from.saturating_sub(TICK));
        let mut late = self.tracker.clone();
        let late = late.ask(datagram, to + TICK);
        let is_same = |(a, b): (&Tracked, &Tracked)| {
            (
                a.ctstate,
                a.direction,
                a.status,
                a.connmark,
                &a.traced.decision,
                a.header,
            ) == (
                b.ctstate,
                b.direction,
                b.status,
                b.connmark,
                &b.traced.decision,
                b.header,
            )
        };
        let (early, late) = (early.ways(), late.ways());
        if early.len() != late.len() || !early.iter().zip(late).all(is_same) {
            self.played.clocked += 1;
            return Ok(Put::Stopped);
        }
        let asked = self.tracker.ask(datagram, from + (to - from) / 2);
        if asked
            .ways()
            .iter()
            .any(|way| way.traced.decision.is_unknown())
        {
            self.played.unknown += 1;
        } else {
            self.played.packets += 1;
        }
        let world = &self.player.world;
        let is_local = |address| world.is_local(address);
        let ways = asked.ways().iter().enumerate();
        let mut fitting = ways.filter(|(_, way)| fits(datagram, way, &seen, &is_local).is_ok());
        let Some((way, _)) = fitting.next() else {
            drop(fitting);
            let difference = self.difference(datagram, &seen, asked.ways());
            self.played.differences.push(difference);
            return Ok(Put::Stopped);
        };
        if fitting.any(|(other, _)| !asked.leave_the_same(way, other)) {
            self.played.ambiguous += 1;
            return Ok(Put::Stopped);
        }
        let tracked = &asked.ways()[way];
        self.count(tracked, datagram);
        let last = seen.last.as_ref().map(|(last, _)| last);
        let source = last
            .or(seen.by_lo.as_ref())
            .map(|last| (last.source, last.ports.map(|p| p.0)));
        self.tracker.settle(&asked, way, source);
        let line = format!(
            "{from:.2?} {} {}; {}, {}",
            spec::of_packet(&datagram.packet),
            fits::told(&seen),
            describe(self.ruleset, &tracked.traced.decision),
            fits::expected(tracked)
        );
        self.history.push(line);
        Ok(Put::Went(Box::new((seen, tracked.clone()))))
    }

    /// Puts a fragment to both. One that completes no datagram must not be seen at all.
    pub(super) fn put_fragment(
        &mut self,
        packet: &Datagram,
        cut: &Cut,
    ) -> Result<Put, KernelError> {
        let (frame, is_sent) = (cut.frame(packet), packet.packet.hook == Hook::Output);
        let read = read_fragment(link_type::ETHERNET, &frame, frame.len() as u32);
        let fragment = read.ok().flatten();
        let fragment = fragment.ok_or_else(|| KernelError::log("the step is no fragment"))?;
        let at = self.started.elapsed();
        let put = self.joiner.put(&fragment, Place::default(), is_sent, at);
        let alone = || read_datagram(link_type::ETHERNET, &frame, frame.len() as u32);
        let goes_on = match &put {
            fragments::Put::Whole(whole) => Some(whole.clone()),
            fragments::Put::AsItIs => Some(alone()),
            fragments::Put::Unjoined(_) => None,
        };
        if let Some(whole) = goes_on {
            let whole = whole.map_err(|why| KernelError::log(why.to_string()))?;
            return self.put(&whole.at(&packet.packet), &Sent::Frame(&frame));
        }
        let seen = self.player.send(packet, &Sent::Frame(&frame))?;
        self.played.packets += 1;
        if (seen.end, &seen.nat, seen.answer) == (End::Gone, &None, None) {
            self.history.push(format!("{at:.2?} a fragment; {put:?}"));
            return Ok(Put::Waits);
        }
        let spec = spec::of_packet(&packet.packet);
        let told = fits::told(&seen);
        let mut text = format!("  fragment   {spec} {cut:?}\n  kernel     {told}\n");
        writeln!(text, "  reference  {put:?}").ok();
        self.played.differences.push(text);
        Ok(Put::Stopped)
    }

    fn count(&mut self, tracked: &Tracked, datagram: &Datagram) {
        use kpclass_ruleset::decision::Disposition;
        use kpclass_ruleset::value::CtState;
        let at = match tracked.ctstate {
            CtState::New => 0,
            CtState::Established => 1,
            CtState::Related => 2,
            CtState::Invalid | CtState::Untracked => 3,
        };
        self.played.states[at] += 1;
        let packet = &datagram.packet;
        let kept = tracked.header.source == Some(packet.source)
            && tracked.header.destination == Some(packet.destination);
        self.played.rewritten += u64::from(!kept);
        let disposition = tracked.traced.decision.disposition;
        let gone = matches!(disposition, Disposition::Drop | Disposition::Reject(_));
        self.played.gone += u64::from(gone);
    }

    /// Both sides, in lines for a person.
    fn difference(&self, datagram: &Datagram, seen: &Seen, ways: &[Tracked]) -> String {
        let mut text = String::new();
        writeln!(text, "  packet     {}", spec::of_packet(&datagram.packet)).ok();
        if let Some(carried) = datagram.carried {
            writeln!(text, "  carries    {carried}").ok();
        }
        writeln!(text, "  kernel     {}", fits::told(seen)).ok();
        let world = &self.player.world;
        for way in ways.iter().take(4) {
            let line = describe(self.ruleset, &way.traced.decision);
            let why = fits(datagram, way, seen, &|address| world.is_local(address)).err();
            writeln!(
                text,
                "  reference  {line}\n             {}",
                fits::expected(way)
            )
            .ok();
            writeln!(text, "             differs in {}", why.unwrap_or_default()).ok();
            for step in &way.traced.path {
                if let Some(rule) = step.rule {
                    let rule = kpclass_ruleset::save::rule_text(self.ruleset, rule);
                    writeln!(
                        text,
                        "               {} {:?} {rule}",
                        step.table.name(),
                        step.hook
                    )
                    .ok();
                }
            }
        }
        for line in &self.history {
            writeln!(text, "  before     {line}").ok();
        }
        text
    }
}
