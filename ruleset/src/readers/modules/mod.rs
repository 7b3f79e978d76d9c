//! The match modules (`-m NAME`) and their options, read into [`MatchKind`]s.

mod connection;
mod kept;
mod packet;
mod ports;
mod sets;

pub(crate) use ports::FLAGS;

use super::options::Options;
use super::words::Word;
use super::{ReadError, values};
use crate::ids::StrId;
use crate::matches::{
    AddressTypes, Addrtype, IcmpType, Iprange, MarkTest, Match, MatchKind, Multiport, PortSide,
    Ports, SetMatch, Statistic, TcpMatch, TtlTest, Undecided,
};
use crate::value::{CtStates, protocol};

/// A module of a rule while its options are read.
#[derive(Debug)]
pub(crate) struct Slot<'t> {
    name: &'t str,
    /// Where it was named: for errors.
    pub(crate) word: Word,
    inverted: bool,
    kind: Kind,
    /// What the module needs before it says something; empty once it was given.
    needs: &'static str,
}

#[derive(Debug)]
enum Kind {
    /// A modelled match, filled in option by option.
    Typed(MatchKind),
    /// A module kept by name: its options.
    Kept(String),
}

impl<'t> Slot<'t> {
    /// The module of that name, without options yet.
    pub(crate) fn new(name: &'t str, word: Word, options: &Options<'_, '_>) -> Self {
        let (kind, needs) = match blank(name, options) {
            Some((kind, needs)) => (Kind::Typed(kind), needs),
            None => (Kind::Kept(String::new()), ""),
        };
        Self {
            name,
            word,
            inverted: false,
            kind,
            needs,
        }
    }

    /// Whether this is the module that `-p` brings along.
    pub(crate) fn is_for(&self, number: u8) -> bool {
        protocol_module(number).is_some_and(|module| canonical(self.name) == module)
    }

    /// Whether the module has what it needs.
    pub(crate) fn is_complete(&self) -> bool {
        self.needs.is_empty()
    }

    /// Whether its options are not known, so that each may be one.
    pub(crate) fn takes_all(&self) -> bool {
        matches!(self.kind, Kind::Kept(_)) && !kept::is_known(self.name)
    }

    /// Reads the option if it is one of the module's; `false` if it is not.
    pub(crate) fn take(
        &mut self,
        name: &str,
        options: &mut Options<'_, '_>,
    ) -> Result<bool, ReadError> {
        if name == crate::save::LISTED {
            let said = options.text("what a listing says")?;
            (self.needs, self.kind) = ("", Kind::Kept(crate::save::listed(&said)));
            return Ok(true);
        }
        let known = match &mut self.kind {
            Kind::Kept(kept) => {
                let known = kept::knows(self.name, name);
                if known {
                    options.keep(kept);
                }
                return Ok(known);
            }
            Kind::Typed(kind) => typed(kind, name, options, &mut self.inverted)?,
        };
        if !known {
            return self.demote(name, options);
        }
        // Options of a set that is not named yet do not name it.
        if !matches!(&self.kind, Kind::Typed(MatchKind::Set(set)) if set.dimensions == 0) {
            self.needs = "";
        }
        Ok(true)
    }

    /// Options that only the kernel's module knows turn a typed match into a kept one.
    fn demote(&mut self, name: &str, options: &mut Options<'_, '_>) -> Result<bool, ReadError> {
        let Kind::Typed(kind) = &self.kind else {
            return Ok(false);
        };
        let hidden = matches!(kind, MatchKind::Mac(_)) && name == "--mac-source";
        if hidden {
            (self.needs, self.kind) = ("", Kind::Kept(String::new()));
        }
        let demotes =
            hidden || matches!(&self.kind, Kind::Typed(kind) if kept::demotes(kind, name));
        Ok(demotes && self.adopt(options))
    }

    /// Keeps an option that is not known, and so the whole match by name; false where the module has not been given
    /// what it needs.
    pub(crate) fn adopt(&mut self, options: &mut Options<'_, '_>) -> bool {
        if !self.needs.is_empty() {
            return false;
        }
        let mut text = match &mut self.kind {
            Kind::Kept(text) => std::mem::take(text),
            Kind::Typed(kind) => {
                if let MatchKind::Recent(recent) = kind {
                    sets::name_default(recent, options);
                }
                let so_far = Match {
                    inverted: self.inverted,
                    kind: kind.clone(),
                };
                let mut text = String::new();
                crate::save::write_match(options.strings, options.family, &so_far, &mut text);
                // Behind ` -m NAME `.
                text.trim_start()
                    .splitn(3, ' ')
                    .nth(2)
                    .unwrap_or("")
                    .to_owned()
            }
        };
        options.keep(&mut text);
        self.kind = Kind::Kept(text);
        self.inverted = false;
        true
    }

    /// The match, once the rule is read.
    pub(crate) fn finish(self, options: &mut Options<'_, '_>) -> Result<Match, ReadError> {
        if !self.needs.is_empty() {
            let message = format!("`-m {}` needs {}", self.name, self.needs);
            return Err(options.cursor.fail(self.word, message));
        }
        let kind = match self.kind {
            Kind::Typed(MatchKind::Recent(mut recent)) => {
                sets::name_default(&mut recent, options);
                MatchKind::Recent(recent)
            }
            Kind::Typed(kind) => kind,
            Kind::Kept(text) => {
                let text = kept::canonical(self.name, text);
                let (module, text) = (
                    options.strings.intern(self.name),
                    options.strings.intern(&text),
                );
                MatchKind::Undecided(Undecided {
                    module,
                    options: text,
                })
            }
        };
        Ok(Match {
            inverted: self.inverted,
            kind,
        })
    }
}

/// The module that knows a protocol's options.
pub(crate) fn protocol_module(number: u8) -> Option<&'static str> {
    match number {
        protocol::TCP => Some("tcp"),
        protocol::UDP => Some("udp"),
        protocol::SCTP => Some("sctp"),
        protocol::DCCP => Some("dccp"),
        protocol::UDPLITE => Some("udplite"),
        protocol::ICMP => Some("icmp"),
        protocol::ICMPV6 => Some("icmp6"),
        protocol::ESP => Some("esp"),
        protocol::AH => Some("ah"),
        135 => Some("mh"),
        _ => None,
    }
}

/// One name for the modules that have several.
fn canonical(name: &str) -> &str {
    match name {
        "icmpv6" => "icmp6",
        other => other,
    }
}

/// A typed match without options, and what it then still needs.
fn blank(name: &str, options: &Options<'_, '_>) -> Option<(MatchKind, &'static str)> {
    let any_icmp = IcmpType {
        kind: 255,
        code_first: 0,
        code_last: 255,
    };
    let no_mark = MarkTest { value: 0, mask: 0 };
    Some(match canonical(name) {
        "comment" => (MatchKind::Comment(StrId(0)), "`--comment` and a text"),
        "tcp" => (MatchKind::Tcp(TcpMatch::ANY), ""),
        "udp" => (MatchKind::Udp(Ports::ANY), ""),
        "sctp" => (MatchKind::Sctp(Ports::ANY), ""),
        "dccp" => (MatchKind::Dccp(Ports::ANY), ""),
        "icmp" => (MatchKind::Icmp(any_icmp), ""),
        "icmp6" => (MatchKind::Icmpv6(any_icmp), "`--icmpv6-type` and a type"),
        "multiport" => {
            let multiport = Multiport {
                side: PortSide::Either,
                ports: Vec::new(),
            };
            (
                MatchKind::Multiport(Box::new(multiport)),
                "`--dports`, `--sports` or `--ports`",
            )
        }
        "iprange" => {
            let iprange = Iprange {
                source: None,
                destination: None,
            };
            (
                MatchKind::Iprange(Box::new(iprange)),
                "`--src-range` or `--dst-range`",
            )
        }
        "mark" => (MatchKind::Mark(no_mark), "`--mark` and a mark"),
        "connmark" => (MatchKind::Connmark(no_mark), "`--mark` and a mark"),
        "conntrack" => (
            MatchKind::Conntrack(Box::default()),
            "an option such as `--ctstate`",
        ),
        "state" => (
            MatchKind::State(CtStates::default()),
            "`--state` and states",
        ),
        "addrtype" => (
            MatchKind::Addrtype(Addrtype {
                source: None,
                destination: None,
                limit_in: false,
                limit_out: false,
            }),
            "`--src-type` or `--dst-type`",
        ),
        "statistic" => (
            MatchKind::Statistic(Statistic::Random { threshold: 0 }),
            "`--mode` and a mode",
        ),
        "recent" => (
            MatchKind::Recent(Box::new(sets::blank_recent(options.family))),
            "`--set`, `--rcheck`, `--update` or `--remove`",
        ),
        "set" => (
            MatchKind::Set(sets::blank_set()),
            "`--match-set` with a set and directions",
        ),
        "mac" => (MatchKind::Mac([0; 6]), "`--mac-source` and an address"),
        "length" => (
            MatchKind::Length(crate::value::PortRange::ANY),
            "`--length` and a length",
        ),
        "ttl" | "hl" => (
            MatchKind::Ttl(TtlTest::Equal(0)),
            "a test such as `--ttl-eq`",
        ),
        "dscp" => (MatchKind::Dscp(0), "`--dscp` or `--dscp-class`"),
        "nfacct" => (MatchKind::Nfacct(StrId(0)), "`--nfacct-name` and a name"),
        _ => return None,
    })
}

/// Reads an option of a typed match; `false` if it has no such option.
fn typed(
    kind: &mut MatchKind,
    name: &str,
    options: &mut Options<'_, '_>,
    inverted: &mut bool,
) -> Result<bool, ReadError> {
    match kind {
        MatchKind::Comment(id) if name == "--comment" => *id = packet::comment(options)?,
        MatchKind::Tcp(tcp) => return ports::tcp(tcp, name, options),
        MatchKind::Udp(p) | MatchKind::Sctp(p) | MatchKind::Dccp(p) => {
            return ports::ports(p, name, options);
        }
        MatchKind::Multiport(multiport) => {
            return ports::multiport(multiport, name, options, inverted);
        }
        MatchKind::Icmp(icmp) if name == "--icmp-type" => {
            *icmp = packet::icmp_type(options, false)?;
            *inverted = options.inversion();
        }
        MatchKind::Icmpv6(icmp) if name == "--icmpv6-type" => {
            *icmp = packet::icmp_type(options, true)?;
            *inverted = options.inversion();
        }
        MatchKind::Iprange(iprange) => return packet::iprange(iprange, name, options),
        MatchKind::Mark(test) | MatchKind::Connmark(test) if name == "--mark" => {
            *test = options.value("a mark", values::mark)?;
            *inverted = options.inversion();
        }
        MatchKind::Conntrack(conntrack) => return connection::conntrack(conntrack, name, options),
        MatchKind::State(states) if name == "--state" => {
            *states = connection::states(options, false)?;
            *inverted = options.inversion();
        }
        MatchKind::Addrtype(addrtype) => return packet::addrtype(addrtype, name, options),
        MatchKind::Statistic(statistic) => {
            return packet::statistic(statistic, name, options, inverted);
        }
        MatchKind::Recent(recent) => return sets::recent(recent, name, options, inverted),
        MatchKind::Set(set) => return sets::set(set, name, options, inverted),
        MatchKind::Mac(mac) if name == "--mac-source" && !packet::hides_mac(options) => {
            *mac = options.value("an address such as 00:16:3e:00:00:01", packet::mac)?;
            *inverted = options.inversion();
        }
        MatchKind::Length(range) if name == "--length" => {
            *range = options.value("a length or a range", packet::length)?;
            *inverted = options.inversion();
        }
        MatchKind::Ttl(test) => return packet::ttl(test, name, options, inverted),
        MatchKind::Dscp(dscp) => return packet::dscp(dscp, name, options, inverted),
        MatchKind::Nfacct(id) if name == "--nfacct-name" => *id = options.interned("a name")?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A set of address types, as [`Addrtype`] holds it.
fn address_types(text: &str) -> Result<AddressTypes, values::Reason> {
    let mut types = AddressTypes::default();
    for name in text.split(',') {
        let known = AddressTypes::NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let Some((_, bit)) = known else {
            return Err(format!(
                "`{name}` is not an address type such as LOCAL or UNICAST"
            ));
        };
        types.0 |= bit;
    }
    Ok(types)
}
