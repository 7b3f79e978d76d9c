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
        return Truth::Unknown(Fact::LocalAddresses);
    };
    let address = masked(address, recent.mask);
    let at = state
        .recent
        .iter()
        .position(|e| e.list == recent.name && e.address == address);
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

fn remember_again(entry: &mut Remembered) {
    entry.count = entry.count.saturating_add(1);
}

fn masked(address: IpAddr, mask: IpAddr) -> IpAddr {
    number_address(
        Family::of(address),
        address_number(address) & address_number(mask),
    )
}
