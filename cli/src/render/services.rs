//! The list of `services`.

use crate::output::Palette;
use crate::render::columns::{Align, Columns};
use crate::render::quantity::percent;
use serde::Serialize;

/// One record of `services --json`. The order of the fields is the order of the keys, here and below.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServiceRecord {
    /// `kpclass.services/1`.
    pub schema: &'static str,
    /// `namespace/name:port`.
    pub service: String,
    /// `ipv4` or `ipv6`: whose rules it is in.
    pub family: &'static str,
    /// How it is reached.
    pub keys: Vec<KeyRecord>,
    /// Session affinity by client address.
    pub affinity_seconds: Option<u32>,
    /// Who may use its load balancer; empty: everyone.
    pub source_ranges: Vec<String>,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: &'static str,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: &'static str,
    /// The chains that choose an endpoint.
    pub balancings: Vec<BalancingRecord>,
}

impl ServiceRecord {
    /// The name and version of the record.
    pub(crate) const SCHEMA: &'static str = "kpclass.services/1";
}

/// One way to reach a Service.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyRecord {
    /// `tcp 10.152.183.1:443`; `*` is any of the node's addresses.
    pub key: String,
    /// `cluster IP`, `node port` and so on.
    pub kind: &'static str,
    /// `no endpoints` or `no local endpoints`, where packets meet none.
    pub refusal: Option<&'static str>,
}

/// A chain that chooses an endpoint.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BalancingRecord {
    /// Its name.
    pub chain: String,
    /// Whether it holds this node's endpoints only.
    pub local: bool,
    /// The endpoints, in the order in which they are asked.
    pub endpoints: Vec<ChoiceRecord>,
}

/// An endpoint among others.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ChoiceRecord {
    /// `10.10.2.58:16443`; `None`: the dump does not say.
    pub endpoint: Option<String>,
    /// Of a packet that affinity does not bind.
    pub probability: f64,
    /// The exact chance among the packets that come to this rule, over 2^31; `None`: all of them.
    pub threshold: Option<u32>,
}

/// The Services of one family as a table.
pub(crate) fn text(services: &[ServiceRecord], palette: Palette) -> String {
    let mut table = Columns::new(&[
        ("SERVICE", Align::Left),
        ("REACHED AS", Align::Left),
        ("", Align::Left),
        ("ENDPOINT", Align::Left),
        ("PROBABILITY", Align::Right),
        ("", Align::Left),
    ]);
    for service in services {
        service_rows(service, &mut table);
    }
    table.render(palette)
}

/// Ways, endpoints and notes side by side, as many rows as the longest of them.
fn service_rows(service: &ServiceRecord, table: &mut Columns) {
    let endpoints = endpoints(service);
    let notes = notes(service);
    let rows = service
        .keys
        .len()
        .max(endpoints.len())
        .max(notes.len())
        .max(1);
    for row in 0..rows {
        let name = if row == 0 {
            service.service.clone()
        } else {
            String::new()
        };
        let (key, kind) = service.keys.get(row).map(key_cells).unwrap_or_default();
        let (endpoint, probability) = endpoints.get(row).cloned().unwrap_or_default();
        let note = notes.get(row).cloned().unwrap_or_default();
        table.row([name, key, kind, endpoint, probability, note]);
    }
}

fn key_cells(key: &KeyRecord) -> (String, String) {
    let refusal = key
        .refusal
        .map(|refusal| format!(": {refusal}"))
        .unwrap_or_default();
    (key.key.clone(), format!("{}{refusal}", key.kind))
}

fn endpoints(service: &ServiceRecord) -> Vec<(String, String)> {
    let several = service.balancings.len() > 1;
    let mut rows = Vec::new();
    for balancing in &service.balancings {
        let mark = if several && balancing.local {
            " (kept on this node)"
        } else {
            ""
        };
        for choice in &balancing.endpoints {
            let endpoint = choice.endpoint.as_deref().unwrap_or("not in the dump");
            rows.push((format!("{endpoint}{mark}"), percent(choice.probability)));
        }
        if balancing.endpoints.is_empty() {
            rows.push((
                if balancing.local {
                    "none on this node"
                } else {
                    "none"
                }
                .to_owned(),
                String::new(),
            ));
        }
    }
    rows
}

fn notes(service: &ServiceRecord) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(seconds) = service.affinity_seconds {
        notes.push(format!("session affinity for {seconds} s"));
    }
    if service.internal_traffic_policy == "Local" {
        notes.push("internalTrafficPolicy: Local".to_owned());
    }
    if service.external_traffic_policy == "Local" {
        notes.push("externalTrafficPolicy: Local".to_owned());
    }
    if !service.source_ranges.is_empty() {
        notes.push(format!(
            "load balancer only from {}",
            service.source_ranges.join(", ")
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceRecord {
        let key = |key: &str, kind, refusal| KeyRecord {
            key: key.to_owned(),
            kind,
            refusal,
        };
        let choice = |endpoint: &str, probability, threshold| ChoiceRecord {
            endpoint: Some(endpoint.to_owned()),
            probability,
            threshold,
        };
        ServiceRecord {
            schema: ServiceRecord::SCHEMA,
            service: "ns/web:http".to_owned(),
            family: "ipv4",
            keys: vec![
                key("tcp 10.2.0.1:80", "cluster IP", None),
                key("tcp *:30080", "node port", Some("no local endpoints")),
            ],
            affinity_seconds: Some(10800),
            source_ranges: vec!["203.0.113.0/25".to_owned()],
            internal_traffic_policy: "Cluster",
            external_traffic_policy: "Local",
            balancings: vec![
                BalancingRecord {
                    chain: "KUBE-SVC-A".to_owned(),
                    local: false,
                    endpoints: vec![
                        choice("10.0.0.1:80", 0.5, Some(1 << 30)),
                        choice("10.0.0.2:80", 0.5, None),
                    ],
                },
                BalancingRecord {
                    chain: "KUBE-SVL-A".to_owned(),
                    local: true,
                    endpoints: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn ways_endpoints_and_notes_stand_side_by_side() {
        assert_eq!(
            text(&[service()], Palette::PLAIN),
            "  SERVICE      REACHED AS                                      ENDPOINT           PROBABILITY
  ns/web:http  tcp 10.2.0.1:80  cluster IP                     10.0.0.1:80               50 %  session affinity for 10800 s
               tcp *:30080      node port: no local endpoints  10.0.0.2:80               50 %  externalTrafficPolicy: Local
                                                               none on this node               load balancer only from 203.0.113.0/25
"
        );
    }

    #[test]
    fn the_record_has_its_keys_in_order() {
        let text = serde_json::to_string(&service()).unwrap();
        assert!(
            text.starts_with(
                r#"{"schema":"kpclass.services/1","service":"ns/web:http","family":"ipv4","keys":["#
            ),
            "{text}"
        );
        assert!(
            text.contains(r#"{"endpoint":"10.0.0.2:80","probability":0.5,"threshold":null}"#),
            "{text}"
        );
    }
}
