//! recent: the lists that packets have filled.

use crate::assumption::Assumption;
use crate::state::{Address, State};
use crate::truth::Truth;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{Recent, RecentOperation};
use kpclass_ruleset::value::{Family, address_number, number_address};
use std::net::IpAddr;

/// Asks and changes a list, its inversion included (`recent_mt`), corpus `memory.toml`.
pub(crate) fn recent(state: &mut State<'_>, recent: &Recent, inverted: bool) -> Truth {
    use RecentOperation::{Check, Remove, Set, Update};
    let address = if recent.by_destination {
        state.destination
    } else {
        state.source
    };
    let Address::Known(address) = address else {
        return by_unknown(state, recent).inverted(inverted);
    };
    let (list, address) = (recent.name, masked(address, recent.mask));
    let ttl = state.packet.ttl;
    state.memory.make_room(list, recent.hitcount);
    if recent.operation == Set {
        state.memory.enter(list, address, ttl);
        return Truth::True.inverted(inverted);
    }
    let mask = |other| masked(other, recent.mask);
    if let Some(fact) = state.memory.doubt(list, address, mask) {
        return Truth::Unknown(fact);
    }
    let Some(entry) = state.memory.find(list, address) else {
        state.assume(Assumption::RecentEmpty);
        return Truth::False.inverted(inverted);
    };
    if recent.rttl {
        match has_ttl(entry.ttl(), ttl) {
            Truth::True => {}
            Truth::False => return Truth::False.inverted(inverted),
            other => return other,
        }
    }
    let hits = entry.hits(state.memory.now, recent.seconds);
    if recent.operation == Remove {
        state.memory.remove(list, address);
        return Truth::True.inverted(inverted);
    }
    let met = hits >= recent.hitcount.max(1) as usize;
    let truth = Truth::of(met).inverted(inverted);
    let enters = recent.operation == Update && truth == Truth::True;
    debug_assert!(matches!(recent.operation, Check | Update));
    if recent.reap {
        let kept = enters.then_some(address);
        state.memory.reap(list, recent.seconds, kept);
    }
    if enters {
        state.memory.enter(list, address, ttl);
    }
    truth
}

/// `--rttl`: a TTL of 0 is any.
fn has_ttl(remembered: Option<u8>, present: Option<u8>) -> Truth {
    match (remembered, present) {
        (Some(0), _) | (_, Some(0)) => Truth::True,
        (Some(a), Some(b)) => Truth::of(a == b),
        // Within one packet's way both are the same, known or not.
        (None, None) => Truth::True,
        _ => Truth::Unknown(Fact::Ttl),
    }
}

/// By an address of this node that is not known: what it enters or changes may be met by any address from then on.
fn by_unknown(state: &mut State<'_>, recent: &Recent) -> Truth {
    let list = recent.name;
    let may_be_met = !state.memory.is_empty(list);
    match recent.operation {
        RecentOperation::Set => {
            state.memory.forget_what(list);
            Truth::True
        }
        _ if !may_be_met => {
            state.assume(Assumption::RecentEmpty);
            Truth::False
        }
        RecentOperation::Check => Truth::Unknown(Fact::LocalAddresses),
        RecentOperation::Update | RecentOperation::Remove => {
            state.memory.forget_what(list);
            Truth::Unknown(Fact::LocalAddresses)
        }
    }
}

fn masked(address: IpAddr, mask: IpAddr) -> IpAddr {
    number_address(
        Family::of(address),
        address_number(address) & address_number(mask),
    )
}
