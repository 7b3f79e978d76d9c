//! Connections by Service and endpoint, who talks to what, and what answers though nobody asked.

use super::balance::{self, Cell, Fit};
use super::story::{Met, Noted};
use crate::connections::{Shown, Width};
use crate::rules::FamilyRules;
use ahash::AHashMap;
use kpclass_compiler::header::{Header, known};
use kpclass_compiler::program::node::DnatAct;
use kpclass_compiler::{ClassId, Context, Program};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::Nat;
use kpclass_ruleset::packet::tcp_flag::{ACK, FIN, RST, SYN};
use kpclass_ruleset::value::{CtState, Family, address_number, number_address, protocol};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Connections to one key of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConnections {
    /// `namespace/name:port`.
    pub service: String,
    /// Whose rules.
    pub family: Family,
    /// The key's class.
    pub class: ClassId,
    /// `tcp 10.152.183.1:443`.
    pub key: String,
    /// Those that began.
    pub begun: u64,
    /// Those that a reply was met of.
    pub replied: u64,
    /// The endpoints that the rules or the captures name.
    pub endpoints: Vec<EndpointConnections>,
    /// Whether they go where the rules say, as often as they say.
    pub balance: Balance,
}

/// Connections to one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointConnections {
    /// Where.
    pub endpoint: Nat,
    /// Those that the captures show to have gone there.
    pub shown: u64,
    /// The first of them.
    pub first: Option<Met>,
    /// The chance that the rules give it; `None`: it depends on more than the key.
    pub chance: Option<f64>,
}

/// Whether connections go where the rules say as often as they say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Balance {
    /// There is nothing to choose.
    OneEndpoint,
    /// Connections of one client are not chosen apart.
    Affinity,
    /// The captures show too few connections' endpoints.
    TooFew,
    /// Tested. Where several ways lead to several sets of endpoints, that which fits the least, its p times their number.
    Tested(Fit),
}

/// Packets of a Service's side that nobody was seen to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// The Service.
    pub service: String,
    /// From where they came: an endpoint, or a key of the Service.
    pub from: String,
    /// How many began a connection, or belonged to none.
    pub packets: u64,
    /// The first.
    pub first: Met,
}

/// A client's connections to one endpoint of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Talk {
    /// Who.
    pub client: IpAddr,
    /// The Service.
    pub service: String,
    /// The key of the Service.
    pub key: String,
    /// The endpoint.
    pub endpoint: Nat,
    /// Those that began.
    pub connections: u64,
    /// Of them, those that the captures show to have gone there; of others the endpoint was drawn.
    pub shown: u64,
}

/// Pairs of who talks to what, at most.
const MOST_TALKS: usize = 1 << 20;

/// Sets of endpoints among which one key's packets choose; more are not tested.
const MOST_WAYS: usize = 16;

/// Sums, as packets are followed.
#[derive(Debug, Default)]
pub(super) struct ByService {
    /// Endpoints that the rules name, by the rule.
    servers: AHashMap<(u128, u16), RuleId>,
    classes: AHashMap<ClassId, OfClass>,
    endpoints: AHashMap<(ClassId, RuleId), OfEndpoint>,
    talks: AHashMap<(u128, ClassId, RuleId), (u64, u64)>,
    left_out: u64,
    unasked: BTreeMap<Server, (u64, Met)>,
}

/// The side of a Service that a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Server {
    Endpoint(RuleId),
    Key(ClassId),
}

#[derive(Debug)]
struct OfClass {
    begun: u64,
    replied: u64,
    /// Of those that were seen to begin.
    unseen: u64,
    choice: Choice,
}

/// How rules choose an endpoint for a class.
#[derive(Debug)]
enum Choice {
    Affinity,
    /// For all packets alike.
    Alike,
    /// By more than the class.
    Apart(Vec<Way>),
}

/// One way to choose, and what came of it.
#[derive(Debug)]
struct Way {
    chances: Vec<(Nat, u64)>,
    seen: Vec<u64>,
    unseen: u64,
}

#[derive(Debug)]
struct OfEndpoint {
    endpoint: Nat,
    shown: u64,
    first: Option<Met>,
    /// Of those shown, those that were seen to begin: what was picked up was chosen by rules of its time.
    chosen: u64,
}

impl ByService {
    pub(super) fn new(program: Option<&Program>) -> Self {
        let dnats = program.into_iter().flat_map(Program::dnats);
        let server = |dnat: DnatAct| Some(((address_number(dnat.address?), dnat.port?), dnat.rule));
        let mut servers = AHashMap::new();
        for (server, rule) in dnats.filter_map(server) {
            servers.entry(server).or_insert(rule);
        }
        Self {
            servers,
            ..Self::default()
        }
    }

    /// A packet that begins a connection.
    pub(super) fn begin<A: Width>(&mut self, noted: &Noted<'_, A>) {
        let Some((endpoint, rule)) = noted.decision.dnat else {
            self.stray(noted);
            return;
        };
        let class = noted.class;
        let of = self.classes.entry(class).or_insert_with(|| OfClass {
            begun: 0,
            replied: 0,
            unseen: 0,
            choice: Choice::new(noted.rules, class, rule),
        });
        of.begun += 1;
        let shown = noted.tracked.shown;
        let is_shown = shown == Shown::Taken;
        let is_chosen = is_first(&noted.packet.header);
        // Where it went elsewhere, nothing of these rules chose.
        if is_chosen && shown != Shown::Elsewhere {
            of.unseen += u64::from(!is_shown);
            if let Choice::Apart(ways) = &mut of.choice {
                Way::count(ways, noted, is_shown.then_some(endpoint));
            }
        }
        let row = self.endpoints.entry((class, rule)).or_insert(OfEndpoint {
            endpoint,
            shown: 0,
            first: None,
            chosen: 0,
        });
        if is_shown {
            row.shown += 1;
            row.chosen += u64::from(is_chosen);
            row.first.get_or_insert(noted.met);
        }
        let pair = (noted.key.source, class, rule);
        if self.talks.len() < MOST_TALKS || self.talks.contains_key(&pair) {
            let talk = self.talks.entry(pair).or_default();
            *talk = (talk.0 + 1, talk.1 + u64::from(is_shown));
        } else {
            self.left_out += 1;
        }
    }

    /// The first reply of a connection.
    pub(super) fn reply<A: Width>(&mut self, noted: &Noted<'_, A>) {
        let is_to_service = noted.tracked.rules.0.is_some();
        if let Some(of) = self.classes.get_mut(&noted.class).filter(|_| is_to_service) {
            of.replied += 1;
        }
    }

    /// A packet to no Service: it may be a Service's answer.
    pub(super) fn stray<A: Width>(&mut self, noted: &Noted<'_, A>) {
        let header = &noted.packet.header;
        let program = &noted.rules.program;
        if header.known & known::PORTS == 0 {
            return;
        }
        let from = (header.source, header.source_port);
        let answered = || {
            let class = program.class(&Header {
                destination: from.0,
                destination_port: from.1,
                ..*header
            });
            (class != program.other()).then_some(Server::Key(class))
        };
        let endpoint = self.servers.get(&from);
        if let Some(server) = endpoint
            .map(|rule| Server::Endpoint(*rule))
            .or_else(answered)
        {
            self.unasked.entry(server).or_insert((0, noted.met)).0 += 1;
        }
    }

    /// By class, those of Services.
    pub(super) fn connections(
        &self,
        of: &FamilyRules<'_>,
        family: Family,
    ) -> Vec<ServiceConnections> {
        let mut rows: BTreeMap<(String, ClassId), Vec<&OfEndpoint>> = BTreeMap::new();
        for ((class, rule), row) in &self.endpoints {
            if let Some(service) = of.services.name_of_rule(*rule) {
                rows.entry((service.to_owned(), *class))
                    .or_default()
                    .push(row);
            }
        }
        let row = |((service, class), rows): (_, Vec<&OfEndpoint>)| {
            let counted = self.classes.get(&class)?;
            let chances = chances(&of.program, class);
            Some(ServiceConnections {
                service,
                family,
                class,
                key: of.program.class_name(class),
                begun: counted.begun,
                replied: counted.replied,
                endpoints: endpoints(&chances, &rows),
                balance: counted.balance(&chances, &rows),
            })
        };
        rows.into_iter().filter_map(row).collect()
    }

    pub(super) fn unasked(&self, of: &FamilyRules<'_>, family: Family) -> Vec<Unasked> {
        let end = |(address, port): (u128, u16)| {
            std::net::SocketAddr::new(number_address(family, address), port).to_string()
        };
        let servers = self.servers.iter();
        let ends: AHashMap<RuleId, (u128, u16)> =
            servers.map(|(end, rule)| (*rule, *end)).collect();
        let row = |(server, (packets, first)): (&Server, &(u64, Met))| {
            let (rule, from) = match server {
                Server::Endpoint(rule) => (*rule, end(*ends.get(rule)?)),
                Server::Key(class) => {
                    let rule = of.program.dnat_chances(*class).first()?.0.rule;
                    (rule, of.program.class_name(*class))
                }
            };
            Some(Unasked {
                service: of.services.name_of_rule(rule)?.to_owned(),
                from,
                packets: *packets,
                first: *first,
            })
        };
        self.unasked.iter().filter_map(row).collect()
    }

    /// Who talks to what: so many with the most connections, of those with as many the first by client. And how many there are.
    pub(super) fn talks(
        &self,
        of: &FamilyRules<'_>,
        family: Family,
        top: usize,
    ) -> (Vec<Talk>, u64) {
        let mut all: Vec<_> = self.talks.iter().collect();
        let count = all.len() as u64;
        let order =
            |(pair, talk): &(&(u128, ClassId, RuleId), &(u64, u64))| (Reverse(talk.0), **pair);
        if top < all.len() {
            all.select_nth_unstable_by_key(top, order);
            all.truncate(top);
        }
        all.sort_unstable_by_key(order);
        let row = |((client, class, rule), (connections, shown)): (&(u128, _, _), &(u64, u64))| {
            Some(Talk {
                client: number_address(family, *client),
                service: of.services.name_of_rule(*rule)?.to_owned(),
                key: of.program.class_name(*class),
                endpoint: self.endpoints.get(&(*class, *rule))?.endpoint,
                connections: *connections,
                shown: *shown,
            })
        };
        (all.into_iter().filter_map(row).collect(), count)
    }

    pub(super) fn talks_left_out(&self) -> u64 {
        self.left_out
    }
}

/// Whether a packet that begins a connection is its first, as far as its protocol tells.
fn is_first(header: &Header) -> bool {
    header.protocol != protocol::TCP || header.tcp_flags & (SYN | ACK | FIN | RST) == SYN
}

/// The chance of each endpoint of a class. Where it depends on more than the class, they are more than 1 together.
pub(super) fn chances(program: &Program, class: ClassId) -> BTreeMap<Nat, f64> {
    let mut by_rule: BTreeMap<(Nat, RuleId), f64> = BTreeMap::new();
    for (dnat, chance) in program.dnat_chances(class) {
        let nat = Nat {
            address: dnat.address,
            port: dnat.port,
        };
        let known = by_rule.entry((nat, dnat.rule)).or_default();
        *known = known.max(chance);
    }
    let mut chances = BTreeMap::new();
    for ((nat, _), chance) in by_rule {
        *chances.entry(nat).or_default() += chance;
    }
    chances
}

fn are_alike(chances: &BTreeMap<Nat, f64>) -> bool {
    let sum: f64 = chances.values().sum();
    !chances.is_empty() && sum < CERTAIN
}

/// Chances that are 1 together are less than this.
const CERTAIN: f64 = 1.0 + 1e-6;

fn endpoints(chances: &BTreeMap<Nat, f64>, rows: &[&OfEndpoint]) -> Vec<EndpointConnections> {
    let are_alike = are_alike(chances);
    let empty = |endpoint| EndpointConnections {
        endpoint,
        shown: 0,
        first: None,
        chance: None,
    };
    let mut all: BTreeMap<Nat, EndpointConnections> = BTreeMap::new();
    for (nat, chance) in chances {
        let row = all.entry(*nat).or_insert_with(|| empty(*nat));
        row.chance = are_alike.then_some(*chance);
    }
    for row in rows {
        let nat = row.endpoint;
        let all = all.entry(nat).or_insert_with(|| empty(nat));
        all.shown += row.shown;
        all.first = all.first.into_iter().chain(row.first).min();
    }
    all.into_values().collect()
}

impl OfClass {
    fn balance(&self, chances: &BTreeMap<Nat, f64>, rows: &[&OfEndpoint]) -> Balance {
        let fits: Vec<Option<Fit>> = match &self.choice {
            Choice::Affinity => return Balance::Affinity,
            Choice::Apart(ways) => {
                let ways = ways.iter().filter(|way| way.chances.len() > 1);
                ways.map(Way::fit).collect()
            }
            Choice::Alike => {
                let chosen = |nat| {
                    let of = rows.iter().filter(|row| row.endpoint == nat);
                    of.map(|row| row.chosen).sum::<u64>() as f64
                };
                let cells: Vec<Cell> = chances
                    .iter()
                    .map(|(nat, chance)| Cell {
                        seen: chosen(*nat),
                        chance: *chance,
                    })
                    .collect();
                match cells.len() {
                    0 | 1 => Vec::new(),
                    _ => vec![balance::test(&cells, self.unseen)],
                }
            }
        };
        if fits.is_empty() {
            return Balance::OneEndpoint;
        }
        let tested: Vec<Fit> = fits.into_iter().flatten().collect();
        let worst = tested.iter().min_by(|a, b| a.p.total_cmp(&b.p));
        worst.map_or(Balance::TooFew, |worst| {
            let p = (worst.p * tested.len() as f64).min(1.0);
            Balance::Tested(Fit { p, ..*worst })
        })
    }
}

impl Choice {
    fn new(of: &FamilyRules<'_>, class: ClassId, rule: RuleId) -> Self {
        let service = of.services.of_rule(rule).map(|id| &of.services[id]);
        if service.is_some_and(|service| service.affinity_seconds.is_some()) {
            return Self::Affinity;
        }
        let chances_of_all = of.program.dnat_chances(class);
        let sum: f64 = chances_of_all.iter().map(|(_, chance)| chance).sum();
        // Rewrites may be listed twice; if not even so they are more than 1 together, that says enough.
        let are_few = !chances_of_all.is_empty() && sum < CERTAIN;
        match are_few || are_alike(&chances(&of.program, class)) {
            true => Self::Alike,
            false => Self::Apart(Vec::new()),
        }
    }
}

impl Way {
    /// Counts a connection under the way in which this packet chooses; `None`: where it went was not seen.
    fn count<A: Width>(ways: &mut Vec<Self>, noted: &Noted<'_, A>, endpoint: Option<Nat>) {
        let chances = chances_of(noted);
        let at = ways.iter().position(|way| way.chances == chances);
        if at.is_none() && ways.len() >= MOST_WAYS {
            return;
        }
        let at = at.unwrap_or_else(|| {
            ways.push(Self {
                seen: vec![0; chances.len()],
                chances,
                unseen: 0,
            });
            ways.len() - 1
        });
        let way = &mut ways[at];
        let place = way
            .chances
            .iter()
            .position(|(nat, _)| Some(*nat) == endpoint);
        match place {
            Some(place) => way.seen[place] += 1,
            None => way.unseen += 1,
        }
    }

    fn fit(&self) -> Option<Fit> {
        let cell = |((_, chance), seen): (&(Nat, u64), &u64)| Cell {
            seen: *seen as f64,
            chance: *chance as f64 / u64::MAX as f64,
        };
        let cells: Vec<Cell> = self.chances.iter().zip(&self.seen).map(cell).collect();
        balance::test(&cells, self.unseen)
    }
}

/// How many of the numbers drawn lead a packet to each endpoint.
fn chances_of<A: Width>(noted: &Noted<'_, A>) -> Vec<(Nat, u64)> {
    let context = Context {
        ctstate: CtState::New,
        ..noted.packet.context
    };
    let pieces = noted
        .rules
        .program
        .partition(&noted.packet.header, &context);
    let mut chances: BTreeMap<Nat, u64> = BTreeMap::new();
    let mut from = 0;
    for piece in pieces.unwrap_or_default() {
        if let Some((nat, _)) = piece.decision.dnat {
            let numbers = chances.entry(nat).or_default();
            *numbers = numbers.saturating_add(piece.last - from);
        }
        from = piece.last;
    }
    chances.into_iter().collect()
}
