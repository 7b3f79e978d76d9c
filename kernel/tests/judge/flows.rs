//! kube-proxy's own flow cases: the rules in three spellings, and packets on their edges beside the flows themselves.

use crate::shared::{judge as judge_trace, root};
use kpclass_kernel::{Backend, Kernel, Subject};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::spec;
use kpclass_ruleset::value::{Family, Interface};
use kpclass_workload::trace::Setting;
use libtest_mimic::Failed;
use serde_json::Value;
use std::net::IpAddr;

const SPELLINGS: [&str; 3] = ["rules", "nft.save", "legacy.save"];

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let mut kernel = Kernel::new(backend)?;
    let (mut flows, mut judged) = (0, 0);
    let mut entries: Vec<_> = std::fs::read_dir(root().join("reference/testdata/flows"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    entries.sort();
    for path in entries {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let eth0 = Interface::new("eth0").ok_or("a name")?;
        for spelling in SPELLINGS {
            let rules = std::fs::read_to_string(path.with_extension(spelling))?;
            let read = read(&[Input::new("flow", rules.clone())])?;
            let Some(ruleset) = read.v4.or(read.v6) else {
                continue;
            };
            let node = node(&case, ruleset.family(), eth0);
            let mut trace = asked(&case, &node, eth0)?;
            flows += trace.len();
            let setting = Setting {
                ruleset: &ruleset,
                node: &node,
                devices: &[eth0],
            };
            trace.extend(setting.trace(100, flows as u64));
            let name = format!("{} ({spelling})", path.display());
            // The kernel is told what iptables-save prints: what kube-proxy writes is for a restore that names no policy.
            let subject = Subject {
                rules: kpclass_ruleset::save::save(&ruleset),
                ruleset,
                ipsets: None,
                node,
                devices: vec![eth0],
            };
            judged += judge_trace(&mut kernel, &name, &subject, &trace)?.judged;
        }
    }
    println!("{backend}: {flows} flows, {judged} packets judged");
    if flows != 3 * 229 {
        return Err(format!("{flows} flows").into());
    }
    Ok(())
}

fn node(case: &Value, family: Family, device: Interface) -> NodeFacts {
    let addresses: Vec<IpAddr> = strings(&case["local_addrs"])
        .filter_map(|text| text.parse().ok())
        .collect();
    let mut local = LocalAddresses::new(addresses.iter().copied());
    let of_family = addresses.into_iter().filter(|a| Family::of(*a) == family);
    local.devices = of_family.map(|address| (device, address)).collect();
    NodeFacts {
        local: Some(local),
        route_localnet: Some(true),
        ..NodeFacts::default()
    }
}

fn asked(case: &Value, node: &NodeFacts, device: Interface) -> Result<Vec<Packet>, Failed> {
    let flows = case["flows"].as_array().ok_or("flows")?;
    let packets = flows.iter().map(|flow| {
        let text = |key: &str| flow[key].as_str().unwrap_or_default().to_string();
        let protocol = match text("protocol") {
            none if none.is_empty() => "tcp".to_string(),
            protocol => protocol,
        };
        let bracket = |address: String| match address.contains(':') {
            true => format!("[{address}]"),
            false => address,
        };
        let port = flow["destPort"].to_string();
        let line = format!(
            "{protocol} {}:40000 > {}:{port}",
            bracket(text("sourceIP")),
            bracket(text("destIP"))
        );
        let mut packet = spec::parse(&line)
            .map_err(|e| format!("{line}: {e}"))?
            .packet(node);
        if packet.hook == kpclass_ruleset::Hook::Prerouting {
            packet.in_interface = Some(device);
        }
        Ok(packet)
    });
    packets.collect()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}
