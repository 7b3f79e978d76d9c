//! The kernel with rules loaded, asked what it does with packets. Each has a namespace of its own, into which every call moves its thread.

use crate::backend::Backend;
use crate::error::KernelError;
use crate::namespace::Namespace;
use crate::observe::Event;
use crate::seen::{End, Seen};
use crate::subject::Subject;
use crate::world::{Follow, World};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::Family;
use std::net::IpAddr;

/// So many packets are sent before the log is read.
const BATCH: usize = 256;

/// Numbers that packets have between two flushes of the connections: one short of a zone's 16 bits, and without 0, which the
/// kernel replaces.
const NUMBERS: usize = 65_000;

/// The kernel, in a network namespace of its own.
pub struct Kernel {
    namespace: Namespace,
    world: World,
    family: Family,
    /// Whether packets leave traces in `recent` lists that the next one would meet.
    remembers: bool,
    next: usize,
}

impl Kernel {
    /// Makes a namespace and sets it up.
    ///
    /// # Errors
    /// Where the privilege or a program lacks.
    pub fn new(backend: Backend) -> Result<Self, KernelError> {
        let namespace = Namespace::enter_new()?;
        Ok(Self {
            namespace,
            world: World::new(backend, Follow::Packets)?,
            family: Family::V4,
            remembers: false,
            next: 0,
        })
    }

    /// Replaces everything that was loaded before.
    ///
    /// # Errors
    /// Where the rules are refused ([`KernelError::refusal`]), or the system fails.
    pub fn load(&mut self, subject: &Subject) -> Result<(), KernelError> {
        self.namespace.enter()?;
        self.world.load(subject)?;
        self.family = subject.family();
        self.remembers = subject.rules.contains("-m recent");
        self.next = 0;
        Ok(())
    }

    /// Which iptables.
    pub fn backend(&self) -> Backend {
        self.world.backend
    }

    /// Whether conntrack is on with the rules that are loaded.
    pub fn is_conntrack_on(&self) -> bool {
        self.world.is_conntrack_on()
    }

    /// Whether an address is one of the node's, loopback and the judge's spare ones included.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.world.is_local(address)
    }

    /// What the kernel holds, with counters, as `iptables-save` prints it and our readers read it; `None` if it prints nothing.
    ///
    /// # Errors
    /// Where `iptables-save` fails, or prints what is not read.
    pub fn saved(&self) -> Result<Option<Ruleset>, KernelError> {
        self.namespace.enter()?;
        let text = self.world.backend.save(self.family)?;
        if !text.contains('*') {
            return Ok(None);
        }
        let family = Some(self.family);
        let input = Input {
            family,
            ..Input::new("the kernel's rules", text)
        };
        let rules = read(&[input]).map_err(|error| KernelError::log(error.report()))?;
        Ok(rules.v4.or(rules.v6))
    }

    /// What becomes of packets, each the first of its connection.
    ///
    /// # Errors
    /// Where the system fails.
    pub fn ask(&mut self, packets: &[Packet]) -> Result<Vec<Seen>, KernelError> {
        self.namespace.enter()?;
        let mut seen = vec![Seen::default(); packets.len()];
        let batch = if self.remembers { 1 } else { BATCH };
        for (packets, seen) in packets.chunks(batch).zip(seen.chunks_mut(batch)) {
            if self.next + packets.len() > NUMBERS {
                self.world.forget_connections()?;
                self.next = 0;
            }
            if self.remembers {
                self.world.forget_recent()?;
            }
            let first = self.next + 1;
            for (at, packet) in packets.iter().enumerate() {
                self.world.injector.send(packet, (first + at) as u16)?;
            }
            self.next += packets.len();
            self.world
                .finish_batch(&mut |event| note(seen, first, event))?;
        }
        Ok(seen)
    }
}

/// Puts an event to its packet.
fn note(seen: &mut [Seen], first: usize, event: Event) {
    let (number, change): (u16, &dyn Fn(&mut Seen)) = match &event {
        Event::Probe | Event::ByLo(_) | Event::Info(_) | Event::Status(_) | Event::Connmark(_) => {
            return;
        }
        Event::BehindNat(number, sighting) => (*number, &|seen| {
            seen.behind_nat.get_or_insert(*sighting);
        }),
        Event::Delivered(number, sighting) => (*number, &|seen| {
            if seen.end != End::Left {
                (seen.end, seen.last) = (End::Delivered, Some(*sighting));
            }
        }),
        Event::Left(number, sighting) => (*number, &|seen| {
            (seen.end, seen.last) = (End::Left, Some(*sighting));
        }),
        Event::Answered(number, answer) => (*number, &|seen| {
            seen.answer.get_or_insert(*answer);
        }),
    };
    let place = usize::from(number).checked_sub(first);
    if let Some(seen) = place.and_then(|at| seen.get_mut(at)) {
        change(seen);
    }
}
