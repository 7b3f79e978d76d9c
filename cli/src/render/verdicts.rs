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

    /// The row as cells, one a column.
    pub(crate) fn cells(self) -> [Cell; Self::COLUMNS.len()] {
        let word = |w: Option<&'static str>| Cell::Text(w.map(str::to_owned));
        let port = |p: Option<u16>| Cell::Number(p.map(u64::from));
        [
            Cell::Text(Some(self.capture)),
            Cell::Number(Some(self.frame)),
            Cell::Number(Some(self.timestamp_ns)),
            word(self.skipped),
            word(self.hook),
            Cell::Text(self.protocol),
            Cell::Text(self.source),
            port(self.source_port),
            Cell::Text(self.destination),
            port(self.destination_port),
            word(self.disposition),
            Cell::Text(self.dnat),
            Cell::Text(self.snat),
            Cell::Number(self.mark.map(u64::from)),
            word(self.reject_with),
            Cell::Text(self.service),
            Cell::Text(self.rule),
            Cell::Text(self.unknown),
        ]
    }

    /// The row as a line of CSV (RFC 4180), without its end; what does not exist is empty.
    pub(crate) fn csv(self) -> String {
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => quoted(text.as_deref().unwrap_or_default()),
            Cell::Number(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        };
        self.cells().iter().map(text).collect::<Vec<_>>().join(",")
    }
}

/// A value of a column; every row has the same kind in the same column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Text, or nothing.
    Text(Option<String>),
    /// A number, or nothing.
    Number(Option<u64>),
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
            row.clone().csv().starts_with("\"a,\"\"b\"\".pcap\",7,0,,"),
            "{}",
            row.csv()
        );
    }
}
