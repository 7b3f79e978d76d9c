//! The check: every distinct packet that was replayed is asked of the reference too, which reads its frame with its own reader and walks
//! the rules one by one. Program and reference must agree for every number that could be drawn.

use crate::capture::Frame;
use crate::judge::{first_difference, first_miscount};
use crate::replay::Settings;
use crate::rules::Rules;
use ahash::AHashMap;
use kpclass_compiler::header::{Header, known};
use kpclass_compiler::{Context, Program};
use kpclass_reference::packet::{FramePacket, read_frame};
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Family, number_address};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Every distinct packet (up to [`MAX_PENDING`]).
    #[default]
    Full,
    /// About one distinct packet in so many, chosen by a hash.
    Sample(u64),
    /// Nothing.
    Off,
}

/// At most this many distinct packets are checked; of more, those with the lowest hashes.
pub const MAX_PENDING: usize = 1 << 22;

/// Disagreements that a report shows.
pub const MAX_SHOWN: usize = 20;

/// How far the check is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Distinct packets checked so far.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// A packet as far as rules ask about it: fields that no rule asks for are zero, and so is the source port, which otherwise only
/// chooses the number drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Distinct {
    /// The fields.
    pub header: Header,
    /// Where it starts, and by which device.
    pub context: Context,
}

/// Where a distinct packet was met first, and what the reference's reader said there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Met {
    capture: u32,
    frame: u64,
    /// Whether the reference's reader reads the frame otherwise.
    misread: bool,
}

/// What is still to be checked. A set: it does not depend on the order in which it was filled.
#[derive(Debug)]
pub struct Pending {
    check: Check,
    /// Only packets whose hash is at most this.
    limit: u64,
    met: AHashMap<Distinct, Met>,
    dropped: bool,
}

impl Pending {
    /// Nothing yet.
    pub fn new(check: Check) -> Self {
        let limit = match check {
            Check::Sample(n) => u64::MAX / n.max(1),
            Check::Full | Check::Off => u64::MAX,
        };
        Self {
            check,
            limit,
            met: AHashMap::new(),
            dropped: false,
        }
    }

    /// Remembers a packet, unless it is known already.
    #[inline]
    pub fn remember(
        &mut self,
        capture: u32,
        frame: &Frame<'_>,
        program: &Program,
        header: &Header,
        context: &Context,
    ) {
        if self.check == Check::Off {
            return;
        }
        let distinct = Distinct {
            header: asked(program, header),
            context: *context,
        };
        if self.limit != u64::MAX && hash(&distinct) > self.limit {
            return;
        }
        let here = (capture, frame.number);
        if let Some(met) = self.met.get_mut(&distinct) {
            if here < (met.capture, met.frame) {
                let misread = met.misread || misread(frame, header);
                *met = Met {
                    capture,
                    frame: frame.number,
                    misread,
                };
            }
            return;
        }
        let misread = misread(frame, header);
        self.met.insert(
            distinct,
            Met {
                capture,
                frame: frame.number,
                misread,
            },
        );
        self.shrink();
    }

    /// Gives the frames other numbers, which must be in the same order.
    pub(crate) fn renumber(&mut self, number: impl Fn(u64) -> u64) {
        self.met
            .values_mut()
            .for_each(|met| met.frame = number(met.frame));
    }

    /// The frames where packets were met first.
    #[cfg(test)]
    pub(crate) fn frames_met(&self) -> Vec<u64> {
        let mut frames: Vec<u64> = self.met.values().map(|met| met.frame).collect();
        frames.sort_unstable();
        frames
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: Self) {
        self.limit = self.limit.min(other.limit);
        self.dropped |= other.dropped;
        for (distinct, theirs) in other.met {
            let met = self.met.entry(distinct).or_insert(theirs);
            let misread = met.misread || theirs.misread;
            *met = (*met).min(theirs);
            met.misread = misread;
        }
        let limit = self.limit;
        self.met
            .retain(|distinct, _| limit == u64::MAX || hash(distinct) <= limit);
        self.shrink();
    }

    /// Halves what is kept while it is too much.
    fn shrink(&mut self) {
        while self.met.len() > MAX_PENDING {
            self.limit /= 2;
            self.dropped = true;
            let limit = self.limit;
            self.met.retain(|distinct, _| hash(distinct) <= limit);
        }
    }
}

/// Zeroes what no rule asks for.
#[inline]
fn asked(program: &Program, header: &Header) -> Header {
    let asked = program.asked();
    let mut h = *header;
    let mut forget = 0;
    if !asked.source_port {
        h.source_port = 0;
    }
    if !asked.tcp_flags {
        h.tcp_flags = 0;
    }
    if !asked.icmp {
        (h.icmp_type, h.icmp_code) = (0, 0);
    }
    if !asked.length {
        h.length = 0;
        forget |= known::LENGTH;
    }
    if !asked.ttl {
        h.ttl = 0;
        forget |= known::TTL;
    }
    if !asked.dscp {
        h.dscp = 0;
        forget |= known::DSCP;
    }
    if !asked.mac {
        h.source_mac = [0; 6];
        forget |= known::MAC;
    }
    h.known &= !forget;
    h
}

/// A fixed hash, so that a sample is the same each time.
fn hash(distinct: &Distinct) -> u64 {
    let mut h = distinct.header;
    h.source_port ^= u16::from(h.icmp_type) << 8 | u16::from(h.icmp_code);
    let device = distinct.context.in_interface.map_or(0, |d| {
        d.name().bytes().fold(1u64, |sum, byte| {
            sum.wrapping_mul(257).wrapping_add(byte.into())
        })
    });
    let flags = u64::from(h.tcp_flags) << 16 | u64::from(h.length);
    let hook = distinct.context.hook as u64;
    crate::draw::number(
        &h,
        device ^ flags << 8 ^ u64::from(h.ttl) << 40 ^ hook << 56,
    )
}

/// Whether the reference's reader reads a frame otherwise than the engine did.
fn misread(frame: &Frame<'_>, header: &Header) -> bool {
    let read = read_frame(frame.link.0, frame.captured);
    read.map_or(true, |read| differs(read, header))
}

/// Whether the reference's reader has read other fields.
pub(crate) fn differs(mut read: FramePacket, header: &Header) -> bool {
    // Where segmentation offload left the length open, only the engine knows the frame's.
    read.length = read
        .length
        .or((header.known & known::LENGTH != 0).then_some(header.length));
    Header::from(&read.at(Hook::Prerouting, None)) != *header
}

/// A packet on which program and reference differ.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// Which capture, in the order given.
    pub capture: u32,
    /// The frame where it was met first.
    pub frame: u64,
    /// Its family.
    pub family: Family,
    /// The packet.
    pub packet: Packet,
    /// A number drawn for which they differ.
    pub draw: u64,
    /// What the reference says, or `None`: it reads other fields from the frame.
    pub reference: Option<Decision>,
    /// What the program says.
    pub program: Decision,
}

/// A packet of which the reference's tracker says something else than the engine's.
#[derive(Clone, Debug)]
pub struct FollowedDisagreement {
    /// Which capture, in the order given.
    pub capture: u32,
    /// The frame.
    pub frame: u64,
    /// The packet, as a SPEC.
    pub packet: String,
    /// What the reference says.
    pub reference: String,
    /// What the engine says.
    pub program: String,
}

/// What the check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// What was to be checked.
    pub check: Check,
    /// Distinct packets checked.
    pub checked: u64,
    /// Those on which program and reference differ.
    pub disagreements: u64,
    /// The first of them, by frame.
    pub shown: Vec<Disagreement>,
    /// The same, where connections are followed.
    pub followed: Vec<FollowedDisagreement>,
    /// Whether there were more distinct packets than are checked at most.
    pub limited: bool,
}

/// Asks the reference about everything that is pending, on all threads.
pub(crate) fn run(
    pending: Pending,
    rules: &Rules<'_>,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
) -> CheckReport {
    let mut all: Vec<(Met, Distinct)> = pending.met.into_iter().map(|(d, met)| (met, d)).collect();
    all.sort_by_key(|(met, _)| *met);
    let (next, total) = (AtomicU64::new(0), all.len() as u64);
    let mut found: Vec<Disagreement> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..settings.threads.max(1))
            .map(|_| scope.spawn(|| judge(&all, &next, rules, progress)))
            .collect();
        workers
            .into_iter()
            .flat_map(|w| {
                w.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    found.sort_by_key(|d| (d.capture, d.frame));
    let disagreements = found.len() as u64;
    found.truncate(MAX_SHOWN);
    CheckReport {
        check: settings.check,
        checked: total,
        disagreements,
        shown: found,
        followed: Vec::new(),
        limited: pending.dropped,
    }
}

/// Packets are taken in blocks of this many.
const BLOCK: u64 = 64;

fn judge(
    all: &[(Met, Distinct)],
    next: &AtomicU64,
    rules: &Rules<'_>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Vec<Disagreement> {
    let mut found = Vec::new();
    loop {
        let first = next.fetch_add(BLOCK, Ordering::Relaxed);
        let Some(block) = all.get(first as usize..) else {
            return found;
        };
        if block.is_empty() {
            return found;
        }
        let block = &block[..block.len().min(BLOCK as usize)];
        found.extend(
            block
                .iter()
                .filter_map(|(met, distinct)| compare(met, distinct, rules)),
        );
        progress(Progress {
            done: first + block.len() as u64,
            total: all.len() as u64,
        });
    }
}

/// Asks both about one packet; `None` if they agree.
fn compare(met: &Met, distinct: &Distinct, rules: &Rules<'_>) -> Option<Disagreement> {
    let family = distinct.header.family();
    let of = rules.of(family)?;
    let packet = packet_of(family, &distinct.header, &distinct.context);
    let program = of.program.partition(&distinct.header, &distinct.context)?;
    let reference = of.walk.partition(&packet);
    let disagreement = |draw, reference, program| Disagreement {
        capture: met.capture,
        frame: met.frame,
        family,
        packet: packet.clone(),
        draw,
        reference,
        program,
    };
    if met.misread {
        let program = program.into_iter().next()?.decision;
        return Some(disagreement(0, None, program));
    }
    if let Some((draw, reference, program)) = first_difference(&reference, &program) {
        return Some(disagreement(draw, Some(reference.clone()), program.clone()));
    }
    // The program decides as the reference does: what is counted is still to be held against it.
    let (header, context) = (&distinct.header, &distinct.context);
    let (draw, counted) = first_miscount(&of.program, header, context, &program)?;
    let piece = program.into_iter().find(|piece| draw <= piece.last)?;
    Some(disagreement(draw, Some(piece.decision), counted))
}

/// The packet for the reference.
pub(crate) fn packet_of(family: Family, h: &Header, context: &Context) -> Packet {
    let has = |bit: u16| h.known & bit != 0;
    Packet {
        hook: context.hook,
        in_interface: context.in_interface,
        source: number_address(family, h.source),
        destination: number_address(family, h.destination),
        protocol: h.protocol,
        ports: has(known::PORTS).then_some((h.source_port, h.destination_port)),
        tcp_flags: has(known::TCP_FLAGS).then_some(h.tcp_flags),
        icmp: has(known::ICMP).then_some((h.icmp_type, h.icmp_code)),
        fragment: has(known::FRAGMENT),
        mark: context.mark,
        ctstate: context.ctstate,
        length: has(known::LENGTH).then_some(h.length),
        ttl: has(known::TTL).then_some(h.ttl),
        dscp: has(known::DSCP).then_some(h.dscp),
        source_mac: has(known::MAC).then_some(h.source_mac),
    }
}
