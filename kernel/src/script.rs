//! Scripts of connections played to the kernel and to the reference's tracker, packet by packet.
//!
//! ```text
//! Script ─► speaker (who sends what, from where) ─► packet ─┬─► kernel ─► what was seen, ctstate, ctstatus, connmark
//!                                                           └─► Tracker ─► every way ─► the one that fits is settled
//! ```
//!
//! The two must agree on each packet: where it ended, as what, with which mark, and what conntrack made of it. After the first difference a script is not played
//! on. The clock is the machine's: a packet so near to a deadline that it may have come before or behind it ends the script, too, and is counted.
//!
//! Left out, beside what [`world`](crate::world) and [`left_out`](crate::left_out) say: TCP windows (where a script is wild, `tcp_be_liberal` and
//! `tcp_ignore_invalid_rst` are set; elsewhere all segments are inside theirs), and checksums that are wrong.

mod fits;
mod playing;
mod sequence;
mod speaker;

use crate::backend::Backend;
use crate::error::KernelError;
use crate::namespace::Namespace;
use crate::subject::Subject;
use crate::world::{Follow, OUT, SPARE, World, sysctl};
use kpclass_reference::Walk;
use kpclass_reference::connections::Tracker;
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::{Datagram, Settings};
use kpclass_ruleset::value::Interface;
use kpclass_workload::scripts::{Script, Step, script};
use playing::{Playing, Put, Seen, Sent};
use speaker::Speakers;
use std::fmt;

/// Every so many steps of a script its packet comes in fragments, where conntrack joins them: it must be to the kernel as if it came whole.
const CUT: usize = 5;

/// The kernel, to play scripts to.
pub struct Player {
    namespace: Namespace,
    world: World,
}

/// How scripts fared.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// Scripts that were played.
    pub scripts: u64,
    /// Of them, those that ended early because a packet came too near to a deadline.
    pub clocked: u64,
    /// Of them, those that ended early because a packet that was lost may have been lost in two places, at random, of which only one leaves a trace.
    pub ambiguous: u64,
    /// Packets whose decision was unknown, so that they were not judged.
    pub unknown: u64,
    /// Packets judged.
    pub packets: u64,
    /// Packets judged by what conntrack made of them: NEW, ESTABLISHED, RELATED, no connection.
    pub states: [u64; 4],
    /// Packets that nat rewrote.
    pub rewritten: u64,
    /// Packets that were dropped or rejected.
    pub gone: u64,
    /// What differed, in lines for a person; one entry a script.
    pub differences: Vec<String>,
}

impl Played {
    /// Adds another's figures.
    pub fn add(&mut self, other: Self) {
        self.scripts += other.scripts;
        self.clocked += other.clocked;
        self.ambiguous += other.ambiguous;
        self.unknown += other.unknown;
        self.packets += other.packets;
        self.rewritten += other.rewritten;
        self.gone += other.gone;
        self.differences.extend(other.differences);
        for (sum, count) in self.states.iter_mut().zip(other.states) {
            *sum += count;
        }
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [new, established, related, none] = self.states;
        write!(
            f,
            "{} packets judged ({new} NEW, {established} ESTABLISHED, {related} RELATED, {none} without a connection; {} rewritten, {} dropped or rejected), \
             {} unknown; {} scripts ended by the clock, {} by chance; {} differ",
            self.packets,
            self.rewritten,
            self.gone,
            self.unknown,
            self.clocked,
            self.ambiguous,
            self.differences.len()
        )
    }
}

impl Player {
    /// Makes a namespace and sets it up.
    ///
    /// # Errors
    /// Where the privilege or a program lacks.
    pub fn new(backend: Backend) -> Result<Self, KernelError> {
        let namespace = Namespace::enter_new()?;
        Ok(Self {
            namespace,
            world: World::new(backend, Follow::Connections)?,
        })
    }

    /// Plays the script of a seed, of at least so many packets. What differs is told with the seed.
    ///
    /// # Errors
    /// As of [`Self::play`], with the seed and the rules.
    pub fn play_seed(&mut self, seed: u64, packets: usize) -> Result<Played, String> {
        let backend = self.world.backend;
        let script = script(seed, packets);
        let mut played = self.play(&script).map_err(|error| {
            format!("seed {seed}, {backend}: {error}\n{}", script.generated.text)
        })?;
        for difference in &mut played.differences {
            difference.insert_str(0, &format!("seed {seed}, {backend}: "));
        }
        Ok(played)
    }

    /// Plays one script.
    ///
    /// # Errors
    /// Where the rules are refused, or the system fails.
    pub fn play(&mut self, script: &Script) -> Result<Played, KernelError> {
        self.namespace.enter()?;
        let backend = self.world.backend;
        let mut subject = Subject::from(&script.generated);
        know_spare_addresses(&mut subject);
        let later = Subject {
            rules: script.later.0.clone(),
            ruleset: script.later.1.clone(),
            ..subject.clone()
        };
        let subject = subject.for_backend(backend);
        let later = later.for_backend(backend);
        self.world.load(&subject)?;
        self.world.forget_connections()?;
        let settings = self.set(script)?;
        let walk = |ruleset| {
            Walk::new(ruleset, &subject.node).map_err(|error| KernelError::log(error.to_string()))
        };
        let tracker = Tracker::new(walk(&subject.ruleset)?, settings);
        let mut speakers = Speakers::new(script);
        let mut playing = Playing::new(self, tracker, &subject.ruleset);
        for (at, step) in script.steps.iter().enumerate() {
            match step {
                Step::Wait(pause) => std::thread::sleep(*pause),
                Step::Replace => {
                    let family = later.ruleset.family();
                    playing.player.world.replace(family, &later.rules)?;
                    playing.tracker.replace(walk(&later.ruleset)?);
                    playing.ruleset = &later.ruleset;
                }
                Step::Send(talk, side, what) => {
                    let sent = speakers.speak(*talk, *side, what, playing.player);
                    let Some((mut datagram, tag)) = sent else {
                        continue;
                    };
                    let (packet, world) = (&datagram.packet, &playing.player.world);
                    // Of what comes back by lo in fragments nothing is known.
                    let comes_back =
                        packet.hook == Hook::Output && world.is_local(packet.destination);
                    let is_cut = at % CUT == 0 && world.is_conntrack_on() && !comes_back;
                    let injector = &mut playing.player.world.injector;
                    datagram.is_joined = is_cut && injector.cuts(&datagram.packet, &tag);
                    let sent = match is_cut {
                        // Where it is 0 the kernel gives what is sent one of its own.
                        true => Sent::Pieces(&tag, at as u16 + 1),
                        false => Sent::Packet(&tag),
                    };
                    let Put::Went(went) = playing.put(&datagram, &sent)? else {
                        let settings = (&script.settings, script.is_wild);
                        for difference in &mut playing.played.differences {
                            difference
                                .insert_str(0, &format!("step {at} {step:?}, {settings:?}\n"));
                        }
                        break;
                    };
                    let (seen, tracked) = &*went;
                    speakers.heard(*talk, *side, &datagram, seen, tracked);
                }
            }
        }
        Ok(playing.played)
    }

    fn set(&self, script: &Script) -> Result<Settings, KernelError> {
        let mut settings = Settings::default();
        for line in &script.settings {
            settings
                .set(line)
                .map_err(|error| KernelError::log(error.to_string()))?;
        }
        let rules = [&script.generated.text, &script.later.0];
        let liberal = script.is_wild || rules.iter().any(|rules| is_half_blind(rules));
        write_settings(&settings, liberal)?;
        Ok(settings)
    }

    /// Sends one packet, and waits for what becomes of it.
    fn send(&mut self, datagram: &Datagram, sent: &Sent<'_>) -> Result<Seen, KernelError> {
        let (mut seen, injector) = (Seen::default(), &mut self.world.injector);
        match sent {
            Sent::Packet(tag) => injector.send_tagged(&datagram.packet, tag)?,
            Sent::Frame(frame) => injector.send_frame(&datagram.packet, frame)?,
            Sent::Pieces(tag, id) => injector.send_pieces(&datagram.packet, tag, *id)?,
        }
        self.world.finish_batch(&mut |event| seen.note(&event))?;
        Ok(seen)
    }
}

/// `liberal`: windows are not looked at.
fn write_settings(settings: &Settings, liberal: bool) -> Result<(), KernelError> {
    for (name, seconds) in settings.timeouts() {
        sysctl(&format!("netfilter/{name}"), &seconds.to_string())?;
    }
    sysctl("ipv4/ipfrag_time", &settings.ipfrag.as_secs().to_string())?;
    for (name, on) in [
        ("tcp_loose", settings.tcp_loose),
        ("tcp_be_liberal", liberal),
        ("tcp_ignore_invalid_rst", liberal),
    ] {
        let on = if on { "1" } else { "0" };
        sysctl(&format!("netfilter/nf_conntrack_{name}"), on)?;
    }
    Ok(())
}

/// Replies to what was masqueraded come to these.
fn know_spare_addresses(subject: &mut Subject) {
    let (Some(local), Some(out)) = (&mut subject.node.local, Interface::new(OUT)) else {
        return;
    };
    for spare in SPARE.iter().filter_map(|text| text.parse().ok()) {
        if local.addresses.insert(spare) {
            local.devices.push((out, spare));
        }
    }
}

/// Whether conntrack misses what windows hang on: raw keeps packets from it, or a connection that it takes for closed by a `tcp-reset` goes on.
fn is_half_blind(rules: &str) -> bool {
    let raw = rules.split("*raw").nth(1).unwrap_or_default();
    let raw = raw.split("COMMIT").next().unwrap_or_default();
    let hides = ["notrack", "NOTRACK", "DROP"];
    hides.iter().any(|word| raw.contains(word)) || rules.contains("tcp-reset")
}
