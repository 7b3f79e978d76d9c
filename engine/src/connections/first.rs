//! First packets: the program decides, nat chooses, the entry is made (CONNTRACK.md 3).

use super::entry::{Client, Entry};
use super::look::Look;
use super::nat::{Choice, Wanted};
use super::tuple::{End, Tuple, Width};
use super::{Packet, Shows, Tracked, Tracker, context, ends};
use kpclass_compiler::header::Header;
use kpclass_compiler::{Connection, Followed, FollowedFirst, Left, Progress};
use kpclass_ruleset::conntrack::{CtStatus, Direction};
use kpclass_ruleset::decision::{Decision, Disposition, Fact, Unknown};
use kpclass_ruleset::target::{NatRange, Target};
use kpclass_ruleset::value::{CtState, address_number};
use kpclass_ruleset::{Hook, RuleId, TableId};

impl<A: Width> Tracker<'_, A> {
    pub(super) fn first(
        &mut self,
        packet: &Packet,
        look: &Look<A>,
        followed: Followed,
        draw: u64,
        shows: Option<&dyn Shows<A>>,
    ) -> Tracked<A> {
        let Followed { decision, left, .. } = followed;
        if let Disposition::Unknown(unknown) = decision.disposition {
            return self.unknown(packet, look, unknown);
        }
        // It is gone before nat chooses.
        self.end(look, &left);
        let is_tracked = left.ctstate != Some(CtState::Untracked);
        let new = match look.entry {
            Some((entry, _)) if is_tracked && left.progress == Progress::Confirmed => {
                match self.made(entry, look, &decision, &left) {
                    Made::Entry(entry, doubt) => Some((entry, doubt)),
                    Made::Unknown(unknown) => return self.unknown(packet, look, unknown),
                    Made::Clash(lost) => {
                        return self.clashed(packet, look, &lost, (decision, left), draw);
                    }
                }
            }
            _ => None,
        };
        let mut tracked = tracked(look, decision, &left);
        if let Some((mut entry, doubt)) = new {
            tracked.of_entry(&entry);
            tracked.source_shown = self.pin(&mut entry, shows);
            tracked.begins = true;
            self.close_if_reset(&mut entry, packet, &tracked.decision);
            entry.status = entry.status.with(CtStatus::CONFIRMED);
            tracked.status = entry.status;
            let id = self.table.insert(entry);
            if let Some(unknown) = doubt {
                self.table.doubt(id, unknown);
            }
        }
        tracked
    }

    /// Of a first packet that is lost where its connection is confirmed (CONNTRACK.md 3.7).
    fn clashed(
        &mut self,
        packet: &Packet,
        look: &Look<A>,
        lost: &Entry<A>,
        (mut decision, mut left): (Decision, Left),
        draw: u64,
    ) -> Tracked<A> {
        if packet.context.hook == Hook::Output {
            // What the rules did behind that has not come to be.
            self.lists.undo();
            let followed = self.walk(packet, look, draw, true);
            (decision, left) = (followed.decision, followed.left);
            if let Disposition::Unknown(unknown) = decision.disposition {
                return self.unknown(packet, look, unknown);
            }
        }
        decision.disposition = Disposition::Drop;
        decision.decided_by = None;
        let mut tracked = tracked(look, decision, &left);
        tracked.of_entry(lost);
        tracked.status = lost.status;
        tracked.clashes = true;
        tracked
    }

    /// By the compiled program where that says enough, else by the rules.
    pub(super) fn decide(&mut self, packet: &Packet, look: &Look<A>, draw: u64) -> Followed {
        let context = context(packet, look.ctstate);
        let header = &packet.header;
        if !context.is_joined
            && !self.walks(header)
            && let Some(decision) = self.program.decide(header, &context, draw)
            && let Some(left) = self.left_by(packet, &decision)
        {
            return Followed {
                decision,
                left,
                varies: false,
                is_common: false,
            };
        }
        self.walk(packet, look, draw, false)
    }

    /// By the rules. `is_lost`: it is, where its connection is confirmed.
    fn walk(&mut self, packet: &Packet, look: &Look<A>, draw: u64, is_lost: bool) -> Followed {
        let context = context(packet, look.ctstate);
        let asked = look.entry.map(|(entry, direction)| Connection {
            is_lost,
            ..entry.asked(direction, false, self.now)
        });
        let lists = &mut self.lists;
        self.program
            .follow(&packet.header, &context, asked.as_ref(), lists, draw)
    }

    /// Whether the rules must be walked for a first packet.
    fn walks(&self, header: &Header) -> bool {
        match self.walks {
            FollowedFirst::None => false,
            FollowedFirst::SomeClasses => self.program.meets_recent(self.program.class(header)),
            FollowedFirst::All => true,
        }
    }

    /// What a decision of the program says of where the packet ended; `None`: not enough.
    fn left_by(&self, packet: &Packet, decision: &Decision) -> Option<Left> {
        use Disposition::{Drop, Forward, Local, Out, Reject, Unknown};
        let progress = match (decision.disposition, decision.decided_by) {
            (Forward | Local | Out, _) => Progress::Confirmed,
            (Unknown(_), _) => return Some(Left::default()),
            // What arrives does not pass INPUT's or POSTROUTING's end before a rule drops it.
            (Drop | Reject(_), Some(rule)) if packet.context.hook != Hook::Output => {
                match self.table_of(rule) {
                    TableId::Raw => return None,
                    _ => Progress::Seen,
                }
            }
            _ => return None,
        };
        let (nat, own) = (decision.dnat.map(|(nat, _)| nat), packet.ports());
        let to = match nat {
            None => Some(packet.header.destination),
            Some(nat) => nat.address.map(address_number),
        };
        let port = nat.and_then(|nat| nat.port);
        Some(Left {
            ctstate: Some(CtState::New),
            progress,
            connmark: 0,
            source: Some(packet.header.source),
            destination: to,
            ports: own.map(|(from, own)| (from, port.unwrap_or(own))),
        })
    }

    fn table_of(&self, rule: RuleId) -> TableId {
        self.ruleset.chain(self.ruleset.rule(rule).chain).table
    }

    /// The entry of a packet that came to the end of POSTROUTING or INPUT.
    fn made(
        &mut self,
        mut entry: Entry<A>,
        look: &Look<A>,
        decision: &Decision,
        left: &Left,
    ) -> Made<A> {
        entry.mark = left.connmark;
        let mut doubt = look.is_out_of_the_blue.then_some(Unknown {
            rule: None,
            fact: Fact::Conntrack,
        });
        if let Err(unknown) = self.translate(&mut entry, decision, left) {
            doubt = Some(unknown);
        }
        let mut tuples = [Some(entry.original), entry.reply()].into_iter().flatten();
        let clashes = tuples.any(|tuple| self.table.by_tuple(&tuple, self.now).is_some());
        match doubt {
            // Which tuple it gets is not known, so neither is whether another has it.
            Some(unknown) if unknown.fact == Fact::NatAddress => Made::Unknown(unknown),
            _ if clashes => Made::Clash(entry),
            doubt => Made::Entry(entry, doubt),
        }
    }

    /// Closes an open source by what the captures show.
    fn pin(&mut self, entry: &mut Entry<A>, shows: Option<&dyn Shows<A>>) -> Option<End<A>> {
        let Client::Open(open) = entry.client else {
            return None;
        };
        let (address, part) = shows?.source(entry.server)?;
        let reply = Tuple::new(entry.original.protocol, entry.server, (address, part));
        let is_kept = open.part.is_none_or(|kept| kept == part);
        let is_inside = open
            .addresses
            .is_none_or(|(first, last)| (first..=last).contains(&address));
        // Two connections never have one: what is shown is not this one's.
        if !is_kept || !is_inside || self.table.by_tuple(&reply, self.now).is_some() {
            return None;
        }
        entry.client = Client::Known(address, part);
        if entry.original.from() == (address, part) {
            entry.status = entry.status.without(CtStatus::SNAT);
        }
        Some((address, part))
    }

    /// Lets nat choose; an error says what is not known of its choice.
    fn translate(
        &mut self,
        entry: &mut Entry<A>,
        decision: &Decision,
        left: &Left,
    ) -> Result<(), Unknown> {
        entry.rules = (decision.dnat.map(|d| d.1), decision.snat.map(|s| s.1));
        let (ruleset, now) = (self.ruleset, self.now);
        let locals = self.program.local_addresses();
        let table = &mut self.table;
        let mut choice = Choice { table, locals, now };
        if let Some(rule) = entry.rules.0 {
            let lacks = |fact| Unknown {
                rule: Some(rule),
                fact,
            };
            let address = left.destination.ok_or(lacks(Fact::LocalAddresses))?;
            let part = left.ports.map_or(entry.server.1, |(_, port)| port);
            let server = (A::of(address), part);
            if server != entry.server {
                entry.status = entry.status.with(CtStatus::DNAT);
            }
            entry.server = server;
            // A range of ports would try another one, which the rules behind it have not seen.
            let source = entry.original.from();
            if has_several_ports(&ruleset.rule(rule).target) && choice.is_taken(entry, source) {
                return Err(lacks(Fact::NatAddress));
            }
        }
        let range = entry.rules.1.map(|rule| match &ruleset.rule(rule).target {
            Target::Snat(range) | Target::Masquerade(range) => *range,
            _ => NatRange::default(),
        });
        let wanted = Wanted {
            snat: decision.snat.map(|(snat, _)| snat),
            range: range.unwrap_or_default(),
        };
        choice.choose(entry, &wanted).map_err(|_| Unknown {
            rule: None,
            fact: Fact::NatAddress,
        })
    }
}

/// What is made of a first packet.
enum Made<A> {
    /// Its entry; with what nobody knows of it, if so.
    Entry(Entry<A>, Option<Unknown>),
    /// What nat chooses decides.
    Unknown(Unknown),
    /// Another connection has one of its tuples: it is lost.
    Clash(Entry<A>),
}

fn has_several_ports(target: &Target) -> bool {
    match target {
        Target::Dnat(range) | Target::Redirect(range) => {
            range.ports.is_some_and(|ports| ports.first != ports.last)
        }
        _ => false,
    }
}

/// Of a first packet as the rules left it.
fn tracked<A: Width>(look: &Look<A>, decision: Decision, left: &Left) -> Tracked<A> {
    let ctstate = left.ctstate.unwrap_or(look.ctstate);
    let has_connection = !matches!(ctstate, CtState::Invalid | CtState::Untracked);
    let entry = look.entry.filter(|_| has_connection);
    Tracked {
        direction: entry.map(|_| Direction::Original),
        tuples: entry.map(|(entry, _)| (entry.original, entry.reply())),
        connmark: left.connmark,
        header: ends(left),
        ..Tracked::alone(ctstate, decision)
    }
}

impl<A: Width> Tracked<A> {
    /// Of a new connection nat's last word on the source is the entry's.
    fn of_entry(&mut self, entry: &Entry<A>) {
        self.tuples = Some((entry.original, entry.reply()));
        self.rules = entry.rules;
        let (source, from) = match entry.client {
            Client::Known(address, part) => (Some(address.number()), Some(part)),
            Client::Open(open) => (None, open.part),
        };
        let header = &mut self.header;
        header.source = source;
        header.ports = header.ports.map(|(_, to)| (from, to));
    }
}
