//! `kpclass generate`: synthetic clusters of any size, and captures that hit them.
//!
//! ```text
//! cluster: plan ─► proxy ─► iptables-save text
//! capture: rules ─► traffic (packets) ─► frame (bytes) ─► capture (file)
//! ```
//!
//! The same seed gives the same bytes on every machine.

mod capture;
mod choices;
mod conversations;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use crate::Ending;
use crate::args::RulesArgs;
use crate::inputs::rules;
use crate::output;
use crate::trouble::Trouble;
use capture::{Capture, Format};
use choices::{FamilyChoice, Feature, Link};
use clap::{Args, Subcommand, ValueHint};
use conversations::{Conversations, Vantage};
use kpclass_compiler::Config;
use kpclass_engine::rules::Rules;
use kpclass_ruleset::node::{LocalAddresses, NodeFacts, parse_addresses};
use kpclass_ruleset::readers;
use kpclass_ruleset::value::Family;
use kpclass_workload::cluster::plan::{self, Plan};
use kpclass_workload::cluster::traffic::Traffic;
use kpclass_workload::cluster::{self, Written};
use kpclass_workload::frame::{self, Framer, Tag};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// `kpclass generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// What to write.
    #[command(subcommand)]
    pub what: What,
}

/// What `generate` writes.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Write a cluster's rules as kube-proxy's iptables-save
    Cluster(ClusterArgs),
    /// Write a capture that hits the Services of a dump
    Capture(CaptureArgs),
}

/// `kpclass generate cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// How many Services
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub services: u32,
    /// How many endpoints each Service has
    #[arg(long, value_name = "N")]
    pub endpoints: u32,
    /// The seed: the same one gives the same rules
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The family of all addresses
    #[arg(long, default_value = "4")]
    pub family: FamilyChoice,
    /// What the Services have, in turn
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub features: Vec<Feature>,
    /// Where to write; - is stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
}

/// `kpclass generate capture`.
#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    pub rules: RulesArgs,
    /// How many frames
    #[arg(long, value_name = "N")]
    pub frames: u64,
    /// The seed: the same one gives the same frames
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Whole connections, so many of them at a time, instead of first packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: Option<u32>,
    /// Packets of a connection, at most, but for those that open and close it
    #[arg(long, value_name = "N", default_value_t = 24, requires = "connections", value_parser = clap::value_parser!(u32).range(1..))]
    pub data: u32,
    /// Where connections are seen
    #[arg(long, default_value = "arriving", requires = "connections")]
    pub vantage: Vantage,
    /// Bytes of a frame, or as many as its headers need
    #[arg(long, value_name = "BYTES", default_value_t = 60)]
    pub size: u16,
    /// The share of frames that go to a Service, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub hit: f64,
    /// What stands in front of the IP header
    #[arg(long, default_value = "ethernet")]
    pub link: Link,
    /// The file's format [default: by its ending]
    #[arg(long)]
    pub format: Option<Format>,
    /// The node's addresses, to which packets to node ports go [default: those of generated clusters]
    #[arg(long, value_name = "ADDRESSES")]
    pub local_addrs: Option<String>,
    /// Where to write; - is stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
}

/// Writes what is asked for.
pub(crate) fn run(typed: &Generate) -> Result<Ending, Trouble> {
    match &typed.what {
        What::Cluster(typed) => cluster(typed),
        What::Capture(typed) => capture(typed),
    }?;
    Ok(Ending::Fine)
}

fn cluster(typed: &ClusterArgs) -> Result<(), Trouble> {
    let plan = Plan {
        services: typed.services,
        endpoints: typed.endpoints,
        family: typed.family.into(),
        features: typed.features.iter().copied().map(Into::into).collect(),
        seed: typed.seed,
    };
    let cluster = plan.cluster().map_err(|e| Trouble::new(e.to_string()))?;
    let mut written = Written::default();
    write_to(&typed.output, |out| {
        written = cluster::write(&cluster, out)?;
        Ok(())
    })?;
    let (chains, rules) = (written.chains, written.rules);
    let node = plan::node_address(plan.family);
    output::complain(
        "",
        &format!(
            "{} services, {chains} chains, {rules} rules; the node is {node}",
            plan.services
        ),
    );
    Ok(())
}

fn capture(typed: &CaptureArgs) -> Result<(), Trouble> {
    if !(0.0..=1.0).contains(&typed.hit) {
        return Err(Trouble::option(
            "--hit",
            &typed.hit.to_string(),
            "a share from 0 to 1",
        ));
    }
    let rules = rules::load(&typed.rules)?;
    let nodes = node_addresses(typed.local_addrs.as_deref())?;
    let mut traffic = Traffic::new(
        rules::rulesets(&rules),
        nodes.clone(),
        typed.hit,
        typed.seed,
    );
    if traffic.targets() == 0 && typed.hit > 0.0 {
        return Err(
            Trouble::new("the rules hold no Services that a capture could hit")
                .note("--hit 0 writes frames that miss them all"),
        );
    }
    let link = typed.link.into();
    let format = typed.format.unwrap_or_else(|| by_ending(&typed.output));
    if let Some(live) = typed.connections {
        return conversations(
            typed,
            (live as usize, link, format),
            &rules,
            (traffic, nodes),
        );
    }
    write_to(&typed.output, |out| {
        let mut framer = Framer::new(link, usize::from(typed.size));
        let mut capture = Capture::new(out, format, link)?;
        for _ in 0..typed.frames {
            let (packet, origin) = traffic.packet();
            capture.write(framer.frame(&packet, origin), origin)?;
        }
        capture.finish()
    })
}

fn conversations(
    typed: &CaptureArgs,
    (live, link, format): (usize, frame::Link, Format),
    read: &readers::Rules,
    (traffic, nodes): (Traffic, Vec<IpAddr>),
) -> Result<(), Trouble> {
    let facts = NodeFacts {
        local: Some(LocalAddresses::new(nodes.iter().copied())),
        ..NodeFacts::default()
    };
    let config = Config::default();
    let compiled = Rules::new(read.v4.as_ref(), read.v6.as_ref(), &facts, &config);
    let compiled = compiled.map_err(|e| Trouble::new(e.to_string()))?;
    let how = (live, typed.data, typed.vantage, typed.seed);
    let mut conversations = Conversations::new(&compiled, traffic, nodes, how);
    write_to(&typed.output, |out| {
        let mut framer = Framer::new(link, usize::from(typed.size));
        let mut capture = Capture::new(out, format, link)?;
        let mut frames = 0;
        while frames < typed.frames {
            frames += conversations.next(|packet, origin, (sequence, acknowledgment)| {
                let tag = Tag {
                    sequence,
                    acknowledgment: Some(acknowledgment),
                    ..Tag::default()
                };
                capture.write(framer.tagged(packet, origin, &tag), origin)
            })?;
        }
        capture.finish()
    })
}

fn node_addresses(typed: Option<&str>) -> Result<Vec<IpAddr>, Trouble> {
    let Some(text) = typed else {
        return Ok([Family::V4, Family::V6].map(plan::node_address).to_vec());
    };
    let local = parse_addresses(text).map_err(|e| Trouble::new(format!("--local-addrs: {e}")))?;
    let mut addresses: Vec<IpAddr> = local.addresses.into_iter().collect();
    addresses.sort_unstable();
    Ok(addresses)
}

fn by_ending(path: &Path) -> Format {
    match path.extension() {
        Some(ending) if ending == "pcapng" => Format::Pcapng,
        _ => Format::Pcap,
    }
}

/// Opens a file, or standard output for `-`, and fills it through a buffer.
fn write_to(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<Box<dyn Write>>) -> io::Result<()>,
) -> Result<(), Trouble> {
    let stdout = path == Path::new("-");
    let trouble = |error| match stdout {
        true => Trouble::output(error),
        false => Trouble::system(path.display(), &error),
    };
    let to: Box<dyn Write> = match stdout {
        true => Box::new(io::stdout().lock()),
        false => Box::new(File::create(path).map_err(trouble)?),
    };
    let mut out = BufWriter::with_capacity(1 << 18, to);
    fill(&mut out).and_then(|()| out.flush()).map_err(trouble)
}
