//! One verdict a frame: the same columns as NDJSON and as CSV.

use serde::Serialize;

/// A frame and what became of it. The order of the fields is the order of the keys and columns.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct VerdictRow {
    /// Its capture.
    pub capture: String,
    /// Its number there, from 1.
    pub frame: u64,
    /// Nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// Why it has no verdict, if so; then nothing follows.
    pub skipped: Option<&'static str>,
    /// `prerouting` or `output`.
    pub hook: Option<&'static str>,
    /// `tcp`, or a number.
    pub protocol: Option<String>,
    /// Source address.
    pub source: Option<String>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination address.
    pub destination: Option<String>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// `forward local out drop reject unknown`.
    pub disposition: Option<&'static str>,
    /// Where its destination was rewritten to: `10.10.2.58:16443`.
    pub dnat: Option<String>,
    /// `masquerade`, or what its source was rewritten to.
    pub snat: Option<String>,
    /// The final mark.
    pub mark: Option<u32>,
    /// What the sender is told.
    pub reject_with: Option<&'static str>,
    /// `namespace/name:port`.
    pub service: Option<String>,
    /// The rule that rewrote its destination, dropped, rejected or asked for what is not known: `nat KUBE-SEP-X 2`.
    pub rule: Option<String>,
    /// What is not known.
    pub unknown: Option<String>,
}

impl VerdictRow {
    /// The columns' names.
    pub(crate) const COLUMNS: [&'static str; 18] = [
        "capture",
        "frame",
        "timestamp_ns",
        "skipped",
        "hook",
        "protocol",
        "source",
        "source_port",
        "destination",
        "destination_port",
        "disposition",
        "dnat",
        "snat",
        "mark",
        "reject_with",
        "service",
        "rule",
        "unknown",
    ];

    /// The row as a line of CSV (RFC 4180), without its end; what does not exist is empty.
    pub(crate) fn csv(&self) -> String {
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        let port = |p: Option<u16>| p.map(|p| p.to_string());
        let word = |w: Option<&'static str>| w.map(str::to_owned);
        let cells: [Option<String>; 18] = [
            Some(self.capture.clone()),
            Some(self.frame.to_string()),
            Some(self.timestamp_ns.to_string()),
            word(self.skipped),
            word(self.hook),
            self.protocol.clone(),
            self.source.clone(),
            port(self.source_port),
            self.destination.clone(),
            port(self.destination_port),
            word(self.disposition),
            self.dnat.clone(),
            self.snat.clone(),
            number(self.mark),
            word(self.reject_with),
            self.service.clone(),
            self.rule.clone(),
            self.unknown.clone(),
        ];
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| quoted(cell.as_deref().unwrap_or_default()))
            .collect();
        cells.join(",")
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ndjson_has_the_columns_of_csv_in_the_same_order() {
        let json = serde_json::to_string(&VerdictRow::default()).unwrap();
        let mut rest = json.as_str();
        for column in VerdictRow::COLUMNS {
            let at = rest.find(&format!("\"{column}\":")).expect(column);
            rest = &rest[at..];
        }
        assert_eq!(json.matches("\":").count(), VerdictRow::COLUMNS.len());
        assert_eq!(
            VerdictRow::default().csv().matches(',').count() + 1,
            VerdictRow::COLUMNS.len()
        );
    }

    #[test]
    fn cells_with_commas_or_quotes_are_quoted() {
        let row = VerdictRow {
            capture: "a,\"b\".pcap".to_owned(),
            frame: 7,
            ..VerdictRow::default()
        };
        assert!(
            row.csv().starts_with("\"a,\"\"b\"\".pcap\",7,0,,"),
            "{}",
            row.csv()
        );
    }
}
