//! The dumps that real kube-proxies wrote, and packets on the edges of their rules.

use crate::shared::{judge as judge_trace, root};
use kpclass_kernel::{Backend, Kernel, Subject};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::readers::{Input, read};
use kpclass_ruleset::value::{Family, Interface};
use kpclass_ruleset::{Ruleset, save};
use kpclass_workload::trace::Setting;
use libtest_mimic::Failed;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Packets for a dump.
const PACKETS: usize = 2_000;

/// Of a node that the dumps' nodes could be.
const ADDRESSES: [(&str, &str); 6] = [
    ("eth0", "192.168.0.2"),
    ("eth0", "172.18.0.2"),
    ("eth0", "192.168.99.11"),
    ("cni0", "10.1.0.1"),
    ("eth1", "10.10.2.58"),
    ("eth0", "fd00::2"),
];

pub(crate) fn judge(backend: Backend) -> Result<(), Failed> {
    let mut kernel = Kernel::new(backend)?;
    let (mut dumps, mut judged, mut met, mut rules) = (0, 0, 0, 0);
    for path in files()? {
        let input = Input {
            name: path.display().to_string(),
            family: None,
            table: None,
            bytes: std::fs::read(&path)?,
        };
        let read = read(&[input])?;
        for ruleset in read.v4.into_iter().chain(read.v6) {
            let name = path.display().to_string();
            let subject = subject(ruleset);
            let setting = Setting {
                ruleset: &subject.ruleset,
                node: &subject.node,
                devices: &subject.devices,
            };
            let trial = judge_trace(&mut kernel, &name, &subject, &setting.trace(PACKETS, 1))?;
            dumps += 1;
            judged += trial.judged;
            met += trial.rules_met;
            rules += trial.rules;
        }
    }
    println!("{backend}: {dumps} dumps, {judged} packets judged, {met} of {rules} rules met");
    if dumps < 3 {
        return Err(format!("only {dumps} dumps").into());
    }
    Ok(())
}

/// All that are there: beside the checkout, or else those that the project holds.
fn files() -> Result<Vec<PathBuf>, Failed> {
    let beside = std::env::var_os("KPCLASS_SHARED").map_or(root().join("../shared"), PathBuf::from);
    let all = beside.join("dumps/kube-proxy");
    let mut folders = match all.is_dir() {
        true => vec![all],
        false => {
            eprintln!(
                "SKIPPED: shared/ is not beside this checkout; only the project's own dumps are judged"
            );
            vec![
                root().join("testdata/dumps/kube-proxy"),
                root().join("pcaps"),
            ]
        }
    };
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false if is_save(&path) => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

fn is_save(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [
        "iptables-save.txt",
        "ip6tables-save.txt",
        "save.txt.gz",
        ".rules",
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
}

fn subject(ruleset: Ruleset) -> Subject {
    let addresses = ADDRESSES.map(|(device, address)| {
        let device = Interface::new(device).unwrap_or_else(Interface::lo);
        (device, address.parse::<IpAddr>())
    });
    let told: Vec<(Interface, IpAddr)> = addresses
        .into_iter()
        .filter_map(|(device, address)| Some((device, address.ok()?)))
        .filter(|(_, address)| Family::of(*address) == ruleset.family())
        .collect();
    let mut local = LocalAddresses::new(told.iter().map(|(_, address)| *address));
    local.devices = told;
    let devices = ["eth0", "eth1", "cni0", "vethabc"];
    Subject {
        rules: save::save(&ruleset),
        ruleset,
        ipsets: None,
        node: NodeFacts {
            local: Some(local),
            route_localnet: Some(true),
            ..NodeFacts::default()
        },
        devices: devices.into_iter().filter_map(Interface::new).collect(),
    }
}
