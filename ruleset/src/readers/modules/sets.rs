//! Options about lists that the kernel keeps: recent, set.

use super::super::options::Options;
use super::super::values;
use super::{ReadError, SetMatch};
use crate::ids::StrId;
use crate::matches::{Recent, RecentOperation};
use crate::value::{Family, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A name that stands for "not given" until the rule is read: `-m recent` then uses `DEFAULT`.
const NO_NAME: StrId = StrId(u32::MAX);

/// `-m recent` without options.
pub(super) fn blank_recent(family: Family) -> Recent {
    let any = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Recent {
        name: NO_NAME,
        operation: RecentOperation::Check,
        by_destination: false,
        mask: Prefix::host(any).mask(),
        seconds: 0,
        reap: false,
        hitcount: 0,
        rttl: false,
    }
}

/// The options of `-m recent`.
pub(super) fn recent(
    recent: &mut Recent,
    name: &str,
    options: &mut Options<'_, '_>,
    inverted: &mut bool,
) -> Result<bool, ReadError> {
    let operation = match name {
        "--set" => Some(RecentOperation::Set),
        "--rcheck" => Some(RecentOperation::Check),
        "--update" => Some(RecentOperation::Update),
        "--remove" => Some(RecentOperation::Remove),
        _ => None,
    };
    if let Some(operation) = operation {
        recent.operation = operation;
        *inverted = options.inversion();
    }
    let family = options.family;
    match name {
        "--name" => recent.name = options.interned("the name of a list")?,
        "--seconds" => recent.seconds = options.value("seconds", values::number32)?,
        "--hitcount" => recent.hitcount = options.value("a count", values::number32)?,
        "--mask" => recent.mask = options.value("a mask", |text| values::address(text, family))?,
        "--reap" => recent.reap = true,
        "--rttl" => recent.rttl = true,
        "--rsource" => recent.by_destination = false,
        "--rdest" => recent.by_destination = true,
        _ => return Ok(operation.is_some()),
    }
    Ok(true)
}

/// The list of a `-m recent` that names none.
pub(super) fn name_default(recent: &mut Recent, options: &mut Options<'_, '_>) {
    if recent.name == NO_NAME {
        recent.name = options.strings.intern("DEFAULT");
    }
}

/// `-m set` without options.
pub(super) fn blank_set() -> SetMatch {
    SetMatch {
        name: NO_NAME,
        dimensions: 0,
        destination: [false; 6],
        rest: None,
    }
}

/// The options of `-m set`.
pub(super) fn set(
    set: &mut SetMatch,
    name: &str,
    options: &mut Options<'_, '_>,
    inverted: &mut bool,
) -> Result<bool, ReadError> {
    match name {
        "--match-set" | "--set" => {
            set.name = options.interned("a set and directions")?;
            *inverted = options.inversion();
            (set.dimensions, set.destination) =
                options.value("directions such as `src,dst` after the set", directions)?;
        }
        "--return-nomatch"
        | "--update-counters"
        | "--update-subcounters"
        | "--packets-eq"
        | "--packets-lt"
        | "--packets-gt"
        | "--bytes-eq"
        | "--bytes-lt"
        | "--bytes-gt" => {
            let mut rest = set
                .rest
                .map_or(String::new(), |id| options.strings[id].to_owned());
            options.keep(&mut rest);
            set.rest = Some(options.strings.intern(&rest));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `src,dst,dst`.
pub(crate) fn directions(text: &str) -> Result<(u8, [bool; 6]), values::Reason> {
    let mut destination = [false; 6];
    let mut dimensions = 0;
    for direction in text.split(',') {
        let Some(slot) = destination.get_mut(usize::from(dimensions)) else {
            return Err(format!("`{text}` has more than 6 directions"));
        };
        *slot = match direction {
            "dst" => true,
            "src" => false,
            _ => return Err(format!("`{direction}` is neither `src` nor `dst`")),
        };
        dimensions += 1;
    }
    Ok((dimensions, destination))
}
