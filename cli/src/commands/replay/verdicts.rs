//! `--verdicts FILE`: one record a frame, written while the replay runs.

use super::parquet_rows::ParquetRows;
use crate::options::replay::{Format, Verdicts};
use crate::render::verdicts::VerdictRow;
use crate::trouble::Trouble;
use kpclass_compiler::header::{Header, known};
use kpclass_engine::rules::{FamilyRules, Rules};
use kpclass_engine::verdicts::{FrameVerdict, PacketVerdict};
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::value::{number_address, protocol};
use kpclass_ruleset::{Hook, RuleId, Ruleset};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Writes verdicts to a file. The first failure ends it; [`finish`](Self::finish) reports it.
pub(super) struct VerdictFile<'r> {
    path: PathBuf,
    sink: Sink,
    failed: Option<io::Error>,
    rules: &'r Rules<'r>,
    captures: Vec<String>,
}

/// A file in one of the formats.
enum Sink {
    Ndjson(BufWriter<File>),
    Csv(BufWriter<File>),
    Parquet(Box<ParquetRows>),
}

impl Sink {
    fn create(file: File, format: Format) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 18, file.try_clone()?);
        Ok(match format {
            Format::Ndjson => Self::Ndjson(out),
            Format::Csv => {
                writeln!(out, "{}", VerdictRow::COLUMNS.join(","))?;
                Self::Csv(out)
            }
            Format::Parquet => Self::Parquet(Box::new(ParquetRows::new(file)?)),
        })
    }

    fn write(&mut self, row: VerdictRow) -> io::Result<()> {
        match self {
            Self::Ndjson(out) => ndjson(out, &row),
            Self::Csv(out) => writeln!(out, "{}", row.csv()),
            Self::Parquet(rows) => rows.push(row),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Ndjson(mut out) | Self::Csv(mut out) => out.flush(),
            Self::Parquet(rows) => rows.finish(),
        }
    }
}

fn ndjson(out: &mut impl Write, row: &VerdictRow) -> io::Result<()> {
    out.write_all(br#"{"schema":"kpclass.verdict/1","#)?;
    // The row's own text begins with the brace that is written already.
    let text = serde_json::to_string(row)?;
    out.write_all(text.as_bytes().get(1..).unwrap_or_default())?;
    out.write_all(b"\n")
}

impl<'r> VerdictFile<'r> {
    /// Creates the file, which is emptied if it is there.
    pub(super) fn create(
        wanted: &Verdicts,
        rules: &'r Rules<'r>,
        captures: Vec<String>,
    ) -> Result<Self, Trouble> {
        let file = File::create(&wanted.path);
        let sink = file.and_then(|file| Sink::create(file, wanted.format));
        let sink = sink.map_err(|e| Trouble::system(wanted.path.display(), &e))?;
        Ok(Self {
            path: wanted.path.clone(),
            sink,
            failed: None,
            rules,
            captures,
        })
    }

    /// Writes one verdict.
    pub(super) fn write(&mut self, verdict: &FrameVerdict<'_>) {
        if self.failed.is_none() {
            let row = self.row(verdict);
            self.failed = self.sink.write(row).err();
        }
    }

    /// Ends the file.
    pub(super) fn finish(self) -> Result<(), Trouble> {
        let ended = self.failed.map_or_else(|| self.sink.finish(), Err);
        ended.map_err(|e| Trouble::system(self.path.display(), &e))
    }

    fn row(&self, verdict: &FrameVerdict<'_>) -> VerdictRow {
        let mut row = VerdictRow {
            capture: self
                .captures
                .get(verdict.capture as usize)
                .cloned()
                .unwrap_or_default(),
            frame: verdict.frame,
            timestamp_ns: verdict.timestamp_ns,
            ..VerdictRow::default()
        };
        match &verdict.packet {
            Err(reason) => row.skipped = Some(reason.name()),
            Ok(packet) => {
                packet_columns(packet, &mut row);
                if let Some(rules) = self.rules.of(packet.family) {
                    decision_columns(packet.decision, rules, &mut row);
                }
            }
        }
        row
    }
}

fn packet_columns(packet: &PacketVerdict<'_>, row: &mut VerdictRow) {
    let header: &Header = &packet.header;
    let address = |number| number_address(packet.family, number).to_string();
    let name = protocol::name(header.protocol).map(str::to_owned);
    row.hook = Some(if packet.hook == Hook::Output {
        "output"
    } else {
        "prerouting"
    });
    row.protocol = name.or_else(|| Some(header.protocol.to_string()));
    row.source = Some(address(header.source));
    row.destination = Some(address(header.destination));
    if header.known & known::PORTS != 0 {
        row.source_port = Some(header.source_port);
        row.destination_port = Some(header.destination_port);
    }
}

fn decision_columns(decision: &Decision, rules: &FamilyRules<'_>, row: &mut VerdictRow) {
    row.disposition = Some(decision.disposition.name());
    row.dnat = decision.dnat.map(|(nat, _)| destination(nat));
    row.snat = decision.snat.map(|(snat, _)| source(snat));
    row.mark = Some(decision.mark);
    if let Disposition::Reject(with) = decision.disposition {
        row.reject_with = Some(with.name());
    }
    let mut asked_by = None;
    if let Disposition::Unknown(unknown) = decision.disposition {
        row.unknown = Some(unknown.fact.describe(rules.ruleset));
        asked_by = unknown.rule;
    }
    let rewriter = decision.dnat.map(|(_, rule)| rule);
    let rule = decision.decided_by.or(rewriter).or(asked_by);
    row.rule = rule.map(|rule| place(rules.ruleset, rule));
    let named = [rewriter, decision.decided_by, asked_by]
        .into_iter()
        .flatten();
    let name = named
        .filter_map(|rule| rules.services.name_of_rule(rule))
        .next();
    row.service = name.map(str::to_owned);
}

/// `10.10.2.58:16443`; `*` is some address of this node.
pub(super) fn destination(nat: Nat) -> String {
    match (nat.address, nat.port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, Some(port)) => format!("*:{port}"),
        (None, None) => "*".to_owned(),
    }
}

fn source(snat: Snat) -> String {
    match snat {
        Snat::Masquerade => "masquerade".to_owned(),
        Snat::Netmap(address) => address.to_string(),
        Snat::To {
            addresses: Some((first, last)),
            ..
        } if first == last => first.to_string(),
        Snat::To {
            addresses: Some((first, last)),
            ..
        } => format!("{first}-{last}"),
        Snat::To {
            addresses: None, ..
        } => "port".to_owned(),
    }
}

/// `nat KUBE-SEP-X 2`.
pub(super) fn place(ruleset: &Ruleset, id: RuleId) -> String {
    let chain = ruleset.chain(ruleset.rule(id).chain);
    let name = ruleset.text(chain.name);
    format!("{} {name} {}", chain.table.name(), ruleset.rulenum(id))
}

/// `drop by filter FORWARD 12`, `forward to 10.0.0.1:80 by nat KUBE-SEP-X 2, masquerade, mark 0x4000`.
pub(super) fn decision_text(decision: &Decision, rules: &FamilyRules<'_>) -> String {
    let mut text = decision.disposition.name().to_owned();
    let by = |rule| format!(" by {}", place(rules.ruleset, rule));
    if let Disposition::Reject(with) = decision.disposition {
        text += &format!(" with {}", with.name());
    }
    if let Disposition::Unknown(unknown) = decision.disposition {
        text += &format!(": {}", unknown.fact.describe(rules.ruleset));
        text += &unknown.rule.map(by).unwrap_or_default();
    }
    text += &decision.decided_by.map(by).unwrap_or_default();
    if let Some((nat, rule)) = decision.dnat {
        text += &format!(" to {}{}", destination(nat), by(rule));
    }
    if let Some((snat, rule)) = decision.snat {
        text += &format!(", source {}{}", source(snat), by(rule));
    }
    if let Some(rule) = decision.marked_by {
        text += &format!(", marked{}", by(rule));
    }
    if decision.mark != 0 {
        text += &format!(", mark {:#x}", decision.mark);
    }
    text
}
