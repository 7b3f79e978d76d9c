//! A ruleset and a packet on which something fails, made as small as they go while it still fails.
//!
//! ```text
//! text ─► Draft ─┬─ tables ─ chains ─ rules ─ matches ─ targets ─► packet ─┐
//!                └───────────── until a round changes nothing ◄────────────┘
//! ```
//!
//! Each try is written as canonical text and read back before it is asked about, so that what is left is what a file would hold.

mod draft;

use draft::Draft;
use kpclass_ruleset::packet::{Packet, tcp_flag};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::save::save;
use kpclass_ruleset::value::{Family, protocol};
use kpclass_ruleset::{Hook, Ruleset};
use std::net::IpAddr;

/// How often is asked at most.
pub const MOST_TRIES: usize = 5000;

/// What is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduced {
    /// The rules, as canonical `iptables-save` text.
    pub text: String,
    /// The packet.
    pub packet: Packet,
    /// How often `still_fails` was asked.
    pub tries: usize,
}

/// Drops tables, chains (with the jumps to them), rules and matches, then simplifies the packet, again and again, as long as `still_fails` says
/// so; at most [`MOST_TRIES`] times. The same input gives the same result, if `still_fails` does.
///
/// A text that does not read, or does not fail in its canonical form, is returned as it is.
pub fn reduce(
    text: &str,
    packet: &Packet,
    still_fails: &mut dyn FnMut(&Ruleset, &str, &Packet) -> bool,
) -> Reduced {
    reduce_within(MOST_TRIES, text, packet, still_fails)
}

/// As [`reduce`], with another bound, for a judge that takes its time.
pub fn reduce_within(
    most_tries: usize,
    text: &str,
    packet: &Packet,
    still_fails: &mut dyn FnMut(&Ruleset, &str, &Packet) -> bool,
) -> Reduced {
    let unchanged = |tries| Reduced {
        text: text.to_owned(),
        packet: packet.clone(),
        tries,
    };
    let Some(ruleset) = ruleset(packet.family(), text) else {
        return unchanged(0);
    };
    let mut search = Search {
        draft: Draft::of(&ruleset),
        packet: packet.clone(),
        text: String::new(),
        tries: 0,
        most_tries,
        still_fails,
    };
    let all = search.draft.clone();
    if !search.try_draft(all) {
        return unchanged(search.tries);
    }
    while search.round() {}
    Reduced {
        text: search.text,
        packet: search.packet,
        tries: search.tries,
    }
}

fn ruleset(family: Family, text: &str) -> Option<Ruleset> {
    let input = Input {
        family: Some(family),
        ..Input::new("reduced", text)
    };
    let rules = read(&[input]).ok()?;
    match family {
        Family::V4 => rules.v4,
        Family::V6 => rules.v6,
    }
}

struct Search<'f> {
    /// What fails so far, and its text.
    draft: Draft,
    text: String,
    packet: Packet,
    tries: usize,
    most_tries: usize,
    still_fails: &'f mut dyn FnMut(&Ruleset, &str, &Packet) -> bool,
}

impl Search<'_> {
    /// Tries everything once; whether something went.
    fn round(&mut self) -> bool {
        let before = (self.text.clone(), self.packet.clone());
        self.drop_runs(Draft::tables, Draft::without_table);
        self.drop_runs(Draft::chains, Draft::without_chain);
        self.drop_runs(Draft::rules, Draft::without_rule);
        self.drop_runs(Draft::matches, Draft::without_match);
        self.drop_modules();
        self.simplify_targets();
        self.simplify_packet();
        !self.is_spent() && before != (self.text.clone(), self.packet.clone())
    }

    /// Drops runs of parts, first long ones, then ever shorter ones.
    fn drop_runs(&mut self, count: fn(&Draft) -> usize, without: fn(&mut Draft, usize)) {
        let mut size = count(&self.draft).div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < count(&self.draft) && !self.is_spent() {
                let end = (at + size).min(count(&self.draft));
                let mut draft = self.draft.clone();
                (at..end).rev().for_each(|part| without(&mut draft, part));
                if !self.try_draft(draft) {
                    at = end;
                }
            }
            size /= 2;
        }
    }

    /// Drops `-p` together with the modules that need it.
    fn drop_modules(&mut self) {
        for rule in 0..self.draft.rules() {
            if self.is_spent() {
                return;
            }
            let mut draft = self.draft.clone();
            if draft.drop_transport(rule) {
                self.try_draft(draft);
            }
        }
    }

    /// Policies that accept, and jumps in place of gotos.
    fn simplify_targets(&mut self) {
        for chain in 0..self.draft.chains() {
            if self.is_spent() {
                return;
            }
            let mut draft = self.draft.clone();
            if draft.accept_by_policy(chain) {
                self.try_draft(draft);
            }
        }
        for rule in 0..self.draft.rules() {
            if self.is_spent() {
                return;
            }
            let mut draft = self.draft.clone();
            if draft.jump_for_goto(rule) {
                self.try_draft(draft);
            }
        }
    }

    fn simplify_packet(&mut self) {
        for change in SIMPLER {
            let mut packet = self.packet.clone();
            let first = packet.ctstate == packet.first_ctstate();
            change(&mut packet);
            if first {
                packet.ctstate = packet.first_ctstate();
            }
            if packet != self.packet {
                self.try_packet(packet);
            }
        }
    }

    /// Whether no more may be asked.
    fn is_spent(&self) -> bool {
        self.tries >= self.most_tries
    }

    /// Keeps the draft if it still fails.
    fn try_draft(&mut self, draft: Draft) -> bool {
        if self.is_spent() {
            return false;
        }
        let family = self.packet.family();
        let text = save(&draft.ruleset(family));
        if text == self.text {
            return false;
        }
        // Whoever reads the text will meet the same rules: so do we.
        let Some(ruleset) = ruleset(family, &text) else {
            return false;
        };
        let packet = self.packet.clone();
        let fails = self.ask(&ruleset, &text, &packet);
        if fails {
            (self.draft, self.text) = (draft, text);
        }
        fails
    }

    fn try_packet(&mut self, packet: Packet) {
        let text = self.text.clone();
        let ruleset = ruleset(packet.family(), &text);
        if ruleset.is_some_and(|ruleset| self.ask(&ruleset, &text, &packet)) {
            self.packet = packet;
        }
    }

    fn ask(&mut self, ruleset: &Ruleset, text: &str, packet: &Packet) -> bool {
        if self.is_spent() {
            return false;
        }
        self.tries += 1;
        (self.still_fails)(ruleset, text, packet)
    }
}

/// Ways to make a packet plainer, each a field.
const SIMPLER: [fn(&mut Packet); 12] = [
    |p| p.mark = 0,
    |p| p.dscp = None,
    |p| p.ttl = None,
    |p| p.length = None,
    |p| p.source_mac = None,
    |p| p.fragment = false,
    |p| p.tcp_flags = p.tcp_flags.map(|_| tcp_flag::SYN),
    |p| p.icmp = p.icmp.map(|_| echo_request(p.protocol)),
    |p| p.ports = p.ports.map(|(_, destination)| (40_000, destination)),
    |p| p.ports = p.ports.map(|(source, _)| (source, 80)),
    |p| {
        let device = kpclass_ruleset::value::Interface::new("eth0");
        p.in_interface = device.filter(|_| p.hook == Hook::Prerouting);
    },
    |p| {
        p.source = match p.family() {
            Family::V4 => IpAddr::from([192, 0, 2, 1]),
            Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        }
    },
];

fn echo_request(number: u8) -> (u8, u8) {
    match number {
        protocol::ICMPV6 => (128, 0),
        _ => (8, 0),
    }
}
