//! Whether one way that the tracker thinks possible accounts for what was seen.

use super::playing::{Ct, Seen};
use crate::judge::{fits_answer, is_told_by_routing};
use crate::seen::{End, Sighting};
use kpclass_reference::connections::{Header, Tracked};
use kpclass_ruleset::Hook;
use kpclass_ruleset::conntrack::{CtStatus, Datagram, Direction};
use kpclass_ruleset::decision::Disposition;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::CtState;
use std::net::IpAddr;

/// `Err`: what it does not account for.
pub(super) fn fits(
    datagram: &Datagram,
    way: &Tracked,
    seen: &Seen,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> Result<(), String> {
    let packet = &datagram.packet;
    let decision = &way.traced.decision;
    let passed = |end: End| match &seen.last {
        _ if seen.end != end => Err("where it ended".to_owned()),
        Some((last, ct)) => {
            header(&way.header, last, is_local)?;
            if last.mark != decision.mark {
                return Err("the mark".into());
            }
            ctstate(way, *ct)?;
            connection(way, *ct)
        }
        None => Err("where it ended".into()),
    };
    let gone = || {
        if seen.end != End::Gone {
            return Err("where it ended".to_owned());
        }
        if let Some((sighting, _)) = &seen.nat {
            destination(&way.header, sighting, is_local)?;
        }
        Ok(())
    };
    if let (Some((_, ct)), false) = (&seen.nat, decision.is_unknown()) {
        ctstate(way, *ct)?;
    }
    match decision.disposition {
        Disposition::Unknown(_) => Ok(()),
        Disposition::Forward | Disposition::Out => passed(End::Left),
        Disposition::Local => passed(End::Delivered),
        // The kernel drops it behind the last place where it is seen; what is on its way to this node, before it comes in by lo.
        Disposition::Drop if way.clashes => match seen.end {
            End::Gone if is_sent_here(packet, &way.header, is_local) && seen.by_lo.is_none() => {
                gone()
            }
            End::Gone => Err("where it ended".into()),
            end => passed(end),
        },
        Disposition::Drop => {
            gone()?;
            match seen.answer {
                Some(_) if !is_told_by_routing(packet, decision) => Err("an answer".into()),
                _ => Ok(()),
            }
        }
        Disposition::Reject(with) => {
            gone()?;
            let answered = fits_answer(packet, with, seen.answer);
            let silent = seen.answer.is_none() && has_no_way_back(datagram, &way.header, is_local);
            match answered || silent {
                true => Ok(()),
                false => Err("the answer".into()),
            }
        }
    }
}

/// Whether the answer would have to go from 127.0.0.0/8 to another host.
fn has_no_way_back(
    datagram: &Datagram,
    header: &Header,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> bool {
    let packet = &datagram.packet;
    let to = header.destination.unwrap_or(packet.destination);
    let from = header.source.unwrap_or(packet.source);
    packet.source.is_ipv4() && to.is_loopback() && !is_local(from)
}

/// Whether this node sends it to itself.
fn is_sent_here(packet: &Packet, header: &Header, is_local: &dyn Fn(IpAddr) -> bool) -> bool {
    packet.hook == Hook::Output && header.destination.is_none_or(is_local)
}

fn header(
    header: &Header,
    sighting: &Sighting,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> Result<(), String> {
    destination(header, sighting, is_local)?;
    if header
        .source
        .is_some_and(|source| source != sighting.source)
    {
        return Err("the source".into());
    }
    let from = header.ports.and_then(|(from, _)| from);
    match (from, sighting.ports) {
        (Some(from), Some((port, _))) if from != port => Err("the source port".into()),
        _ => Ok(()),
    }
}

fn destination(
    header: &Header,
    sighting: &Sighting,
    is_local: &dyn Fn(IpAddr) -> bool,
) -> Result<(), String> {
    let address = match header.destination {
        Some(address) => address == sighting.destination,
        None => is_local(sighting.destination),
    };
    if !address {
        return Err("the destination".into());
    }
    let to = header.ports.and_then(|(_, to)| to);
    match (to, sighting.ports) {
        (Some(to), Some((_, port))) if to != port => Err("the destination port".into()),
        _ => Ok(()),
    }
}

/// `enum ip_conntrack_info` as a state and a direction.
fn info(ct: Option<Ct>) -> Option<(CtState, Direction)> {
    Some(match ct?.info {
        0 => (CtState::Established, Direction::Original),
        1 => (CtState::Related, Direction::Original),
        2 => (CtState::New, Direction::Original),
        3 => (CtState::Established, Direction::Reply),
        4 => (CtState::Related, Direction::Reply),
        _ => return None,
    })
}

fn ctstate(way: &Tracked, ct: Option<Ct>) -> Result<(), String> {
    let expected = way.direction.map(|direction| (way.ctstate, direction));
    match info(ct) == expected {
        true => Ok(()),
        false => Err("what conntrack made of it".into()),
    }
}

/// Status and mark; whether it is CONFIRMED shows only in the packets behind it.
fn connection(way: &Tracked, ct: Option<Ct>) -> Result<(), String> {
    let Some(ct) = ct.filter(|_| way.direction.is_some()) else {
        return Ok(());
    };
    let open =
        way.header.source.is_none() || way.header.ports.is_some_and(|(from, _)| from.is_none());
    let mut left_out = CtStatus::CONFIRMED;
    if open {
        left_out = left_out.with(CtStatus::SNAT);
    }
    let status = CtStatus::from_kernel(ct.status).without(left_out);
    if status != way.status.without(left_out) {
        return Err("the status".into());
    }
    match ct.mark == way.connmark {
        true => Ok(()),
        false => Err("the connection's mark".into()),
    }
}

/// What was seen, in a line.
pub(super) fn told(seen: &Seen) -> String {
    let place = |place: &Option<(Sighting, Option<Ct>)>| match place {
        None => "-".to_owned(),
        Some((sighting, ct)) => {
            let state = info(*ct).map_or("no connection".to_owned(), |(state, direction)| {
                format!("{} {direction:?}", state.name())
            });
            let ct = ct.unwrap_or_default();
            let status = CtStatus::from_kernel(ct.status);
            format!("{sighting} {state} {status} connmark={:#x}", ct.mark)
        }
    };
    format!(
        "{:?} {}; behind nat {}; answer {:?}",
        seen.end,
        place(&seen.last),
        place(&seen.nat),
        seen.answer
    )
}

/// What a way says beside its decision.
pub(super) fn expected(way: &Tracked) -> String {
    let header = &way.header;
    format!(
        "{:?} > {:?} {:?} {} {:?} {} connmark={:#x}",
        header.source,
        header.destination,
        header.ports,
        way.ctstate.name(),
        way.direction,
        way.status,
        way.connmark
    )
}
