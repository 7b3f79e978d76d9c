//! recent: the lists that the packet's own way has filled.

use crate::assumption::Assumption;
use crate::state::{Address, Remembered, State};
use crate::truth::Truth;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{Recent, RecentOperation};
use kpclass_ruleset::value::{Family, address_number, number_address};
use std::net::IpAddr;

/// Asks and changes a list, its inversion included (`recent_mt`), corpus `memory.toml`.
pub(crate) fn recent(state: &mut State<'_>, recent: &Recent, inverted: bool) -> Truth {
    let address = if recent.by_destination {
        state.destination
    } else {
        state.source
    };
    let Address::Known(address) = address else {
        return by_unknown(state, recent).inverted(inverted);
    };
    let address = masked(address, recent.mask);
    let at = state
        .recent
        .iter()
        .position(|e| e.list == recent.name && e.address == address);
    if recent.operation != RecentOperation::Set && state.recent_unknown.contains(&recent.name) {
        return Truth::Unknown(Fact::LocalAddresses);
    }
    if at.is_none() && recent.operation != RecentOperation::Set {
        state.assume(Assumption::RecentEmpty);
    }
    let met = match (recent.operation, at) {
        (RecentOperation::Set, None) => {
            state.recent.push(Remembered {
                list: recent.name,
                address,
                count: 1,
            });
            true
        }
        (RecentOperation::Set, Some(at)) => {
            remember_again(&mut state.recent[at]);
            true
        }
        (_, None) => false,
        (RecentOperation::Remove, Some(at)) => {
            state.recent.remove(at);
            true
        }
        (RecentOperation::Check | RecentOperation::Update, Some(at)) => {
            recent.hitcount == 0 || state.recent[at].count >= recent.hitcount
        }
    };
    let truth = Truth::of(met).inverted(inverted);
    if let (RecentOperation::Update, Truth::True, Some(at)) = (recent.operation, truth, at) {
        remember_again(&mut state.recent[at]);
    }
    truth
}

/// By an address of this node that is not known: what it enters or changes may be met by any address from then on.
fn by_unknown(state: &mut State<'_>, recent: &Recent) -> Truth {
    let list = recent.name;
    let may_be_met =
        state.recent_unknown.contains(&list) || state.recent.iter().any(|e| e.list == list);
    match recent.operation {
        RecentOperation::Set => {
            state.recent_unknown.push(list);
            Truth::True
        }
        _ if !may_be_met => {
            state.assume(Assumption::RecentEmpty);
            Truth::False
        }
        RecentOperation::Check => Truth::Unknown(Fact::LocalAddresses),
        RecentOperation::Update | RecentOperation::Remove => {
            state.recent_unknown.push(list);
            Truth::Unknown(Fact::LocalAddresses)
        }
    }
}

fn remember_again(entry: &mut Remembered) {
    entry.count = entry.count.saturating_add(1);
}

fn masked(address: IpAddr, mask: IpAddr) -> IpAddr {
    number_address(
        Family::of(address),
        address_number(address) & address_number(mask),
    )
}
