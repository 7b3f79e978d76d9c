//! From the engine's report of connections to the record.

use super::record::{Names, located};
use super::verdicts::destination;
use crate::render::connections::{
    Balance, Connections, EndpointConnections, Finding, FrameOf, ServiceConnections, TableFull,
    Talk, Unasked, p_text, rate,
};
use crate::render::quantity::{counted, percent};
use crate::render::replay::Refusal;
use kpclass_engine::connections::Cause;
use kpclass_engine::following::balance::Fit;
use kpclass_engine::following::{self as engine, ConnectionsReport, Met, What};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::value::{CtState, Family};
use std::collections::BTreeSet;

impl Names<'_> {
    /// The record of connections.
    pub(super) fn connections(
        &self,
        from: &ConnectionsReport,
        refusals: &[Refusal],
    ) -> Connections {
        let states = CtState::ALL.iter().zip(from.states);
        let states = states.filter(|(_, packets)| *packets > 0);
        let skewed = from
            .findings
            .iter()
            .filter_map(|finding| match finding.what {
                What::Skewed(_) => Some((
                    finding.family,
                    finding.service.as_str(),
                    finding.key.as_deref()?,
                )),
                _ => None,
            });
        let skewed: BTreeSet<(Family, &str, &str)> = skewed.collect();
        Connections {
            begun: from.begun,
            replied: from.replied,
            shown: from.shown,
            elsewhere: from.elsewhere,
            packets: states
                .map(|(state, n)| (state.name().to_lowercase(), n))
                .collect(),
            invalid: from.causes.iter().map(|(of, n)| (cause(of), *n)).collect(),
            services: from
                .services
                .iter()
                .map(|row| {
                    let is_skewed = skewed.contains(&(row.family, &row.service, &row.key));
                    service(row, is_skewed)
                })
                .collect(),
            unasked: from.unasked.iter().map(|row| self.unasked(row)).collect(),
            talks: from.talks.iter().map(talk).collect(),
            more_talks: from.more_talks,
            table_full: (from.full.packets > 0).then_some(TableFull {
                packets: from.full.packets,
                may_be_evicted: from.full.evictable,
                not_kept: from.full.not_kept,
            }),
            refusals: refusals.to_vec(),
            findings: from
                .findings
                .iter()
                .map(|found| self.finding(found))
                .collect(),
        }
    }

    fn unasked(&self, row: &engine::Unasked) -> Unasked {
        Unasked {
            service: row.service.clone(),
            from: row.from.clone(),
            packets: row.packets,
            first: self.frame(row.first, None),
        }
    }

    fn frame(&self, met: Met, shown_by: Option<Met>) -> FrameOf {
        let capture = self.typed.captures.get(met.capture as usize);
        FrameOf {
            capture: capture
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            frame: met.frame,
            shown_by: shown_by.map(|met| met.frame),
        }
    }

    fn rule(&self, family: Family, rule: RuleId) -> String {
        let of = self.rules.of(family);
        of.map(|of| located(of, rule)).unwrap_or_default()
    }

    fn finding(&self, found: &engine::Finding) -> Finding {
        let mut finding = Finding {
            kind: "",
            service: found.service.clone(),
            key: found.key.clone(),
            text: String::new(),
            connections: None,
            endpoint: None,
            packets: None,
            seconds: None,
            rule: None,
            endpoints: Vec::new(),
            frames: Vec::new(),
        };
        match &found.what {
            What::Stale(stale) => self.stale(stale, &mut finding),
            What::Masquerade(of) => self.masquerade(found.family, of, &mut finding),
            What::Skewed(skewed) => self.skewed(skewed, &mut finding),
            What::Unequal(unequal) => self.unequal(found.family, unequal, &mut finding),
        }
        finding
    }

    fn stale(&self, stale: &engine::Stale, finding: &mut Finding) {
        let passed = stale
            .last
            .timestamp_ns
            .saturating_sub(stale.first.timestamp_ns);
        let seconds = passed as f64 / 1e9;
        finding.kind = "stale";
        finding.text = format!(
            "{} went to {}, to which no rule leads: {}",
            counted(stale.connections, "connection"),
            stale.endpoint,
            rate(stale.packets, seconds),
        );
        finding.connections = Some(stale.connections);
        finding.endpoint = Some(stale.endpoint.to_string());
        finding.packets = Some(stale.packets);
        finding.seconds = Some(seconds);
        let frames = stale.frames.iter();
        finding.frames = frames
            .map(|(met, shown_by)| self.frame(*met, Some(*shown_by)))
            .collect();
    }

    fn masquerade(&self, family: Family, of: &engine::Masquerade, finding: &mut Finding) {
        let connections = counted(of.connections, "connection");
        let rule = of.marked_by.or(of.rule).map(|rule| self.rule(family, rule));
        let by = rule.as_deref().unwrap_or("the rules");
        let engine::Masquerade {
            client,
            source,
            endpoint,
            ..
        } = of;
        (finding.kind, finding.text) = match of.is_lost {
            true => (
                "not-masqueraded",
                format!(
                    "{connections} kept the source, as {client} > {endpoint}, though {by} has them masqueraded"
                ),
            ),
            false => (
                "masqueraded",
                format!(
                    "{connections} got another source, as {client} became {source} > {endpoint}, though no rule says so"
                ),
            ),
        };
        finding.connections = Some(of.connections);
        finding.endpoint = Some(endpoint.to_string());
        finding.rule = rule;
        let frames = of.frames.iter();
        finding.frames = frames
            .map(|(met, shown_by)| self.frame(*met, *shown_by))
            .collect();
    }

    fn skewed(&self, skewed: &engine::Skewed, finding: &mut Finding) {
        let endpoints = endpoints(&skewed.endpoints);
        let got = endpoints.iter().filter_map(|row| {
            let (share, by_rules) = (percent(row.share?), row.probability.map(percent));
            let by_rules = by_rules.map_or(String::new(), |p| format!(" ({p} by the rules)"));
            Some(format!("{} {share}{by_rules}", row.endpoint))
        });
        let Fit {
            chi_square,
            degrees,
            p,
        } = skewed.fit;
        let got = got.collect::<Vec<_>>().join(", ");
        finding.kind = "skewed";
        finding.text = format!(
            "connections went to {got}: chi-square {chi_square:.1}, {}, {}",
            counted(degrees.into(), "degree"),
            p_text(p)
        );
        finding.connections = Some(skewed.endpoints.iter().map(|row| row.shown).sum());
        let firsts = skewed.endpoints.iter().filter_map(|row| row.first);
        finding.frames = firsts
            .take(FRAMES)
            .map(|met| self.frame(met, None))
            .collect();
        finding.endpoints = endpoints;
    }

    fn unequal(&self, family: Family, unequal: &engine::Unequal, finding: &mut Finding) {
        let rule = self.rule(family, unequal.rule);
        let (given, even) = unequal.probability;
        let endpoint = |(endpoint, chance): &(Option<kpclass_ruleset::services::Endpoint>, f64)| {
            EndpointConnections {
                endpoint: endpoint.map_or("?".to_owned(), |e| e.to_string()),
                shown: 0,
                share: None,
                probability: Some(*chance),
            }
        };
        finding.endpoints = unequal.endpoints.iter().map(endpoint).collect();
        let rows = finding
            .endpoints
            .iter()
            .filter(|_| unequal.endpoints.len() <= FRAMES);
        let each = rows.map(|row| {
            format!(
                "{} {}",
                row.endpoint,
                percent(row.probability.unwrap_or(0.0))
            )
        });
        let each: Vec<String> = each.collect();
        finding.kind = "unequal";
        finding.text = format!(
            "{rule} takes {} of what reaches it, where {} would be even{}{}",
            percent(given),
            percent(even),
            if each.is_empty() {
                ""
            } else {
                "; the rules give "
            },
            each.join(", "),
        );
        finding.rule = Some(rule);
    }
}

/// Endpoints and frames that a finding names, at most.
const FRAMES: usize = 10;

fn cause(of: &Cause) -> &'static str {
    match of {
        Cause::Malformed => "malformed",
        Cause::NoConnection => "of no connection",
        Cause::OutOfState => "not in its connection's state",
        Cause::UnrelatedError => "error about no connection",
    }
}

fn service(row: &engine::ServiceConnections, is_skewed: bool) -> ServiceConnections {
    let fit = match row.balance {
        engine::Balance::Tested(fit) => Some(fit),
        _ => None,
    };
    ServiceConnections {
        service: row.service.clone(),
        key: row.key.clone(),
        begun: row.begun,
        replied: row.replied,
        one_way: row.begun.saturating_sub(row.replied),
        endpoints: endpoints(&row.endpoints),
        balance: Balance {
            result: match row.balance {
                engine::Balance::OneEndpoint => "one-endpoint",
                engine::Balance::Affinity => "affinity",
                engine::Balance::TooFew => "too-few",
                engine::Balance::Tested(_) if is_skewed => "skewed",
                engine::Balance::Tested(_) => "fits",
            },
            chi_square: fit.map(|fit| fit.chi_square),
            degrees: fit.map(|fit| fit.degrees),
            p: fit.map(|fit| fit.p),
        },
    }
}

fn endpoints(rows: &[engine::EndpointConnections]) -> Vec<EndpointConnections> {
    let all: u64 = rows.iter().map(|row| row.shown).sum();
    let row = |row: &engine::EndpointConnections| EndpointConnections {
        endpoint: destination(row.endpoint),
        shown: row.shown,
        share: (all > 0).then(|| row.shown as f64 / all as f64),
        probability: row.chance,
    };
    rows.iter().map(row).collect()
}

fn talk(from: &engine::Talk) -> Talk {
    Talk {
        client: from.client.to_string(),
        service: from.service.clone(),
        key: from.key.clone(),
        endpoint: destination(from.endpoint),
        connections: from.connections,
        shown: from.shown,
    }
}
