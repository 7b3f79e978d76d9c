//! Options about the connection: conntrack, state.

use super::super::names;
use super::super::options::Options;
use super::super::values;
use super::ReadError;
use crate::matches::Conntrack;
use crate::value::{CtState, CtStates};

/// States; `SNAT` and `DNAT` only where `--ctstate` is asked.
pub(super) fn states(options: &mut Options<'_, '_>, flags: bool) -> Result<CtStates, ReadError> {
    options.value("states such as RELATED,ESTABLISHED", |text| {
        let mut states = CtStates::default();
        for name in text.split(',') {
            let state = CtState::from_name(name).map(CtStates::of);
            let flag = match name.to_ascii_uppercase().as_str() {
                "SNAT" if flags => Some(CtStates::SNAT),
                "DNAT" if flags => Some(CtStates::DNAT),
                _ => None,
            };
            let Some(state) = state.or(flag) else {
                return Err(format!(
                    "`{name}` is not a connection state such as NEW or ESTABLISHED"
                ));
            };
            states = states.with(state);
        }
        Ok(states)
    })
}

/// The options of `-m conntrack`.
pub(super) fn conntrack(
    conntrack: &mut Conntrack,
    name: &str,
    options: &mut Options<'_, '_>,
) -> Result<bool, ReadError> {
    let family = options.family;
    match name {
        "--ctstate" => {
            let states = states(options, true)?;
            conntrack.state = Some((states, options.inversion()));
        }
        "--ctproto" => {
            let number = options.value("a protocol", |text| {
                names::protocol_number(text).ok_or_else(|| format!("`{text}` is not a protocol"))
            })?;
            conntrack.protocol = Some((number, options.inversion()));
        }
        "--ctorigsrc" => {
            let prefix = options.value("an address", |text| values::prefix(text, family))?;
            conntrack.original_source = Some((prefix, options.inversion()));
        }
        "--ctorigdst" => {
            let prefix = options.value("an address", |text| values::prefix(text, family))?;
            conntrack.original_destination = Some((prefix, options.inversion()));
        }
        "--ctorigsrcport" => {
            let range = options.value("a port", values::port_range)?;
            conntrack.original_source_port = Some((range, options.inversion()));
        }
        "--ctorigdstport" => {
            let range = options.value("a port", values::port_range)?;
            conntrack.original_destination_port = Some((range, options.inversion()));
        }
        "--ctdir" => {
            conntrack.original_direction = Some(options.value("ORIGINAL or REPLY", direction)?)
        }
        "--ctreplsrc" | "--ctrepldst" | "--ctreplsrcport" | "--ctrepldstport" | "--ctstatus"
        | "--ctexpire" => keep(conntrack, options)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn direction(text: &str) -> Result<bool, values::Reason> {
    match text.to_ascii_uppercase().as_str() {
        "ORIGINAL" => Ok(true),
        "REPLY" => Ok(false),
        _ => Err(format!("`{text}` is neither ORIGINAL nor REPLY")),
    }
}

fn keep(conntrack: &mut Conntrack, options: &mut Options<'_, '_>) -> Result<(), ReadError> {
    let mut rest = conntrack
        .rest
        .map_or(String::new(), |id| options.strings[id].to_owned());
    options.keep(&mut rest);
    conntrack.rest = Some(options.strings.intern(&rest));
    Ok(())
}
