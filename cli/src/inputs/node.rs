//! `--local-addrs`, `--ipset`, `--sysctl`: what is known of the node.

use crate::args::{MissingChains, NodeArgs};
use crate::trouble::Quoted;
use crate::trouble::Trouble;
use crate::{inputs, options, output};
use kpclass_ruleset::node::ipset::{IpSets, parse_ipsets};
use kpclass_ruleset::node::{self, LocalAddresses, NodeFacts};
use std::path::{Path, PathBuf};

/// The facts that the options give.
pub(crate) fn facts(typed: &NodeArgs) -> Result<NodeFacts, Trouble> {
    facts_and(typed, &typed.sysctl)
}

/// The same where connections are followed, whose settings are no facts of the node.
pub(crate) fn facts_beside_conntrack(typed: &NodeArgs) -> Result<NodeFacts, Trouble> {
    let sysctl = typed.sysctl.iter();
    let rest = sysctl.filter(|setting| !options::is_of_conntrack(setting));
    facts_and(typed, &rest.cloned().collect::<Vec<_>>())
}

fn facts_and(typed: &NodeArgs, sysctl: &[String]) -> Result<NodeFacts, Trouble> {
    Ok(NodeFacts {
        local: local_addresses(&typed.local_addrs)?,
        ipsets: ipsets(&typed.ipset)?,
        route_localnet: options::route_localnet(sysctl)?,
        missing_chains: match typed.missing_chains {
            MissingChains::Return => node::MissingChains::Return,
            MissingChains::Unknown => node::MissingChains::Unknown,
        },
    })
}

fn local_addresses(typed: &[String]) -> Result<Option<LocalAddresses>, Trouble> {
    let mut all: Option<LocalAddresses> = None;
    for text in typed {
        let found = addresses_of(text)?;
        let all = all.get_or_insert_default();
        all.addresses.extend(found.addresses);
        all.devices.extend(found.devices);
    }
    Ok(all)
}

/// A list, `live`, or a file. What reads as a list is one, even if a file has that name.
fn addresses_of(text: &str) -> Result<LocalAddresses, Trouble> {
    if text == "live" {
        let printed = inputs::ask("ip", &["-j", "addr"])?;
        return node::parse_addresses(&String::from_utf8_lossy(&printed))
            .map_err(|e| Trouble::new(format!("ip -j addr: {e}")));
    }
    let as_list = match node::parse_addresses(text) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let path = Path::new(text);
    if !path.exists() {
        return Err(
            Trouble::new(format!("--local-addrs: {as_list}")).note("and no file has that name")
        );
    }
    node::parse_addresses(&inputs::read_text(path)?)
        .map_err(|e| Trouble::new(format!("{}: {e}", path.display())))
}

fn ipsets(paths: &[PathBuf]) -> Result<Option<IpSets>, Trouble> {
    let mut all: Option<IpSets> = None;
    for path in paths {
        let saved = parse_ipsets(&inputs::read_text(path)?)
            .map_err(|e| Trouble::new(format!("{}: {e}", path.display())))?;
        let left_out = saved.left_out.iter().map(|(name, line, what)| {
            format!(
                "{}:{line}: ipset {name} is left out: {what}",
                path.display()
            )
        });
        output::warn(&left_out.collect::<Vec<_>>());
        let all = all.get_or_insert_default();
        for (name, set) in saved.sets {
            if all.contains_key(&name) {
                let message = format!("{}: ipset {} is given twice", path.display(), Quoted(&name));
                return Err(Trouble::new(message).note("give each set in one file only"));
            }
            all.insert(name, set);
        }
    }
    Ok(all)
}
