//! What was typed. Nothing is opened or looked up here; [`crate::options`] says what it means.

use crate::generate::Generate;
use crate::help;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// Where a Kubernetes Service packet goes, and why.
#[derive(Debug, Parser)]
#[command(name = "kpclass", version, long_about = help::PROGRAM, after_long_help = help::PROGRAM_EXAMPLES)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Typed {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// When to colour text.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Colour,
}

/// When to colour text; `auto`: on a terminal, unless `NO_COLOR` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Send captures through the rules and count the verdicts
    #[command(long_about = help::REPLAY, after_long_help = help::REPLAY_EXAMPLES)]
    Replay(Box<Replay>),
    /// Show one packet's way through the rules, and every possible end
    #[command(long_about = help::EXPLAIN, after_long_help = help::EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// List the Services of a dump, how each is reached, and its endpoints
    #[command(long_about = help::SERVICES, after_long_help = help::SERVICES_EXAMPLES)]
    Services(Services),
    /// Print a stage of the compilation as text
    #[command(long_about = help::DUMP, after_long_help = help::DUMP_EXAMPLES)]
    Dump(Dump),
    /// Write synthetic clusters, and captures that hit them
    #[command(long_about = help::GENERATE, after_long_help = help::GENERATE_EXAMPLES)]
    Generate(Generate),
    /// Hold the rules' verdicts against a real kernel
    #[command(long_about = help::VERIFY, after_long_help = help::VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Time the compiled lookup beside the linear walk and the kernel
    #[command(long_about = help::BENCH, after_long_help = help::BENCH_EXAMPLES)]
    Bench(Bench),
    /// Print completions for a shell
    #[command(after_long_help = help::COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the man page
    #[command(after_long_help = help::MAN_EXAMPLES)]
    Man,
}

/// Where the rules are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RulesArgs {
    /// A dump of the node's rules: FILE, - (stdin) or live; repeats; may begin with ip4:, ip6: or a table's name and a colon
    #[arg(long = "rules", value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub rules: Vec<String>,
}

/// What is known of the node.
#[derive(Debug, Args)]
#[command(next_help_heading = "Facts of the node")]
pub(crate) struct NodeArgs {
    /// The node's addresses: a list (10.0.0.1,fd00::1), a file with the output of `ip addr` or `ip -j addr`, or live; repeats
    #[arg(long, value_name = "ADDRESSES|FILE|live")]
    pub local_addrs: Vec<String>,
    /// A file with the output of `ipset save`; repeats
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ipset: Vec<PathBuf>,
    /// A kernel setting: route_localnet=0 or route_localnet=1; where connections are followed, nf_conntrack_udp_timeout=60 and the like
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
    /// What a jump to a chain does that the dump lacks and that is not kube-proxy's
    #[arg(long, value_name = "WHAT", default_value = "return")]
    pub missing_chains: MissingChains,
}

/// What a jump to an absent chain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MissingChains {
    /// It comes back, and a warning says so
    Return,
    /// It makes the decision unknown
    Unknown,
}

/// How captured packets start.
#[derive(Debug, Args)]
#[command(next_help_heading = "Facts of the packets")]
pub(crate) struct StartArgs {
    /// The hook where a packet starts; auto: output if its source is an address of the node, else prerouting
    #[arg(long, value_name = "HOOK", default_value = "auto")]
    pub hook: HookChoice,
    /// The interface that the packets arrived on
    #[arg(long, value_name = "NAME")]
    pub in_interface: Option<String>,
    /// The mark that the packets arrive with
    #[arg(long, value_name = "MARK")]
    pub mark: Option<String>,
}

/// Where packets start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HookChoice {
    Auto,
    Prerouting,
    Output,
}

/// How packets relate to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Each packet as if it were the first of its connection
    Packet,
    /// Connections as the kernel tracks them
    Conntrack,
}

/// `kpclass replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Captures (pcap or pcapng, also gzip or zstd); - is stdin
    #[arg(required = true, value_name = "CAPTURE", value_hint = ValueHint::FilePath)]
    pub captures: Vec<PathBuf>,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub start: StartArgs,
    #[command(flatten)]
    pub how: ReplayHow,
}

/// How a replay runs and what it writes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Replay")]
pub(crate) struct ReplayHow {
    /// How packets relate to one another
    #[arg(long, default_value = "conntrack")]
    pub mode: Mode,
    /// The number that the choices of endpoints derive from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Worker threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<String>,
    /// How much is checked against the reference walk: full, sample:N (about one distinct packet in N) or off
    #[arg(long, value_name = "HOW", default_value = "full")]
    pub check: String,
    /// Write one verdict a frame; the format follows the ending: .ndjson, .csv or .parquet
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub verdicts: Option<PathBuf>,
    #[command(flatten)]
    pub most: MostArgs,
    /// Where connections are followed: how many rows of who talks to what are listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: u32,
    /// Print the report as one JSON record
    #[arg(long)]
    pub json: bool,
}

/// How many connections are followed at a time.
#[derive(Debug, Args)]
pub(crate) struct MostArgs {
    /// Connections that are followed at a time, as sysctl nf_conntrack_max limits them [default: 262144]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,
}

/// `kpclass explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub rules: RulesArgs,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub start: StartArgs,
    #[command(flatten)]
    pub asked: Asked,
    #[command(flatten)]
    pub taken: Taken,
    /// Print one JSON record a packet
    #[arg(long)]
    pub json: bool,
}

/// Which packets are asked about.
#[derive(Debug, Args)]
#[command(next_help_heading = "Packets")]
#[group(required = true, multiple = false)]
pub(crate) struct Asked {
    /// A packet, such as "tcp 10.1.5.5:40000 > 10.152.183.1:443"; repeats
    #[arg(long, value_name = "SPEC")]
    pub packet: Vec<String>,
    /// A file with one packet a line; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub packets: Option<PathBuf>,
    /// Frame N of a capture, counted from 1
    #[arg(long, value_name = "CAPTURE:N")]
    pub frame: Option<String>,
}

/// How a frame's packet is taken.
#[derive(Debug, Args)]
#[command(next_help_heading = "Packets")]
pub(crate) struct Taken {
    /// How a frame's packet relates to those before it; conntrack: with its connection's story up to it [default: conntrack with --frame, else packet]
    #[arg(long)]
    pub mode: Option<Mode>,
    #[command(flatten)]
    pub most: MostArgs,
}

/// `kpclass services`.
#[derive(Debug, Args)]
pub(crate) struct Services {
    #[command(flatten)]
    pub rules: RulesArgs,
    /// Print one JSON record a Service
    #[arg(long)]
    pub json: bool,
}

/// `kpclass verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Against this machine's kernel, in a network namespace of its own (needs root, or unprivileged user namespaces)
    #[arg(long, required = true)]
    pub kernel: bool,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub how: VerifyHow,
}

/// Which packets are judged, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Verify")]
pub(crate) struct VerifyHow {
    /// A file with one packet a line; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "random")]
    pub packets: Option<PathBuf>,
    /// So many packets on the edges of the rules
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub random: u32,
    /// The seed of those packets
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Which iptables loads the rules
    #[arg(long, default_value = "both")]
    pub backend: BackendChoice,
    /// Print one JSON record a family and back end
    #[arg(long)]
    pub json: bool,
}

/// The kernel's own tables, or their nf_tables twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendChoice {
    Legacy,
    Nft,
    Both,
}

/// `kpclass bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// A capture whose packets are timed, instead of one to each Service
    #[arg(value_name = "CAPTURE", value_hint = ValueHint::FilePath)]
    pub capture: Option<PathBuf>,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[command(flatten)]
    pub node: NodeArgs,
    #[command(flatten)]
    pub how: BenchHow,
}

/// What is timed, and how it is shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bench")]
pub(crate) struct BenchHow {
    /// Leave the kernel out
    #[arg(long)]
    pub without_kernel: bool,
    /// Milliseconds for each figure
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub time: u64,
    /// Draw the plot as SVG, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Print one JSON record a family
    #[arg(long)]
    pub json: bool,
}

/// `kpclass dump`.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Which stage
    pub stage: Stage,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// A stage of the compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// The rules as canonical iptables-save text
    Ruleset,
    /// The chains and who jumps to whom
    Graph,
    /// The classes of destinations
    Classes,
    /// The lookup program
    Program,
}

/// `kpclass completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}
