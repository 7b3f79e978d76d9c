//! What is wrong with connections: what the frames show and the rules do not say, and rules that say something odd.

use super::balance::{self, Fit};
use super::by_service::{Balance, EndpointConnections};
use super::story::{ConnectionsReport, Met};
use crate::rules::{FamilyRules, Rules};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::services::{Balancing, Endpoint};
use kpclass_ruleset::value::Family;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Whose rules.
    pub family: Family,
    /// The Service.
    pub service: String,
    /// How it is reached; `None`: however it is.
    pub key: Option<String>,
    /// What is wrong.
    pub what: What,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Connections go to an endpoint that no rule of the Service names.
    Stale(Stale),
    /// Sources are masqueraded, or not, though rules say otherwise.
    Masquerade(Masquerade),
    /// Connections do not go to endpoints as often as the rules say.
    Skewed(Skewed),
    /// The rules do not choose all endpoints alike.
    Unequal(Unequal),
}

/// Connections to an endpoint that no rule of the Service names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// How many.
    pub connections: u64,
    /// Their packets.
    pub packets: u64,
    /// The first of them, before nat.
    pub first: Met,
    /// The last.
    pub last: Met,
    /// Some connections' first packets, and the frames that show where they went.
    pub frames: Vec<(Met, Met)>,
}

/// Connections whose source was masqueraded, or not, though rules say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// Rules say that it is, and it was not.
    pub is_lost: bool,
    /// The rule that would have.
    pub rule: Option<RuleId>,
    /// The rule that marked the packet last.
    pub marked_by: Option<RuleId>,
    /// How many.
    pub connections: u64,
    /// The first one's source as it came.
    pub client: SocketAddr,
    /// As it left.
    pub source: SocketAddr,
    /// To where.
    pub endpoint: SocketAddr,
    /// Some first packets: before nat, and behind it.
    pub frames: Vec<(Met, Option<Met>)>,
}

/// Connections that do not go to endpoints as often as the rules say.
#[derive(Clone, Debug, PartialEq)]
pub struct Skewed {
    /// The test.
    pub fit: Fit,
    /// Where they went.
    pub endpoints: Vec<EndpointConnections>,
}

/// Rules that do not choose all endpoints alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Unequal {
    /// The first rule that makes it so.
    pub rule: RuleId,
    /// Its probability, and the one that would have been even.
    pub probability: (f64, f64),
    /// What each endpoint gets.
    pub endpoints: Vec<(Option<Endpoint>, f64)>,
}

impl Finding {
    /// By kind, then by Service and key.
    pub(super) fn order(&self) -> (u8, &str, Option<&str>) {
        let kind = match self.what {
            What::Stale(_) => 0,
            What::Masquerade(_) => 1,
            What::Skewed(_) => 2,
            What::Unequal(_) => 3,
        };
        (kind, &self.service, self.key.as_deref())
    }
}

/// Finds what is wrong with the choice of endpoints.
pub(super) fn of_balance(report: &mut ConnectionsReport, rules: &Rules<'_>) {
    let fit = |balance: &Balance| match balance {
        Balance::Tested(fit) => Some(*fit),
        _ => None,
    };
    let services = report.services.iter();
    let tested: Vec<_> = services
        .filter_map(|row| Some((row, fit(&row.balance)?)))
        .collect();
    let p: Vec<f64> = tested.iter().map(|(_, fit)| fit.p).collect();
    let alarms = tested
        .iter()
        .zip(balance::alarms(&p))
        .filter(|(_, is_alarm)| *is_alarm);
    let skewed = alarms.map(|((row, fit), _)| Finding {
        family: row.family,
        service: row.service.clone(),
        key: Some(row.key.clone()),
        what: What::Skewed(Skewed {
            fit: *fit,
            endpoints: row.endpoints.clone(),
        }),
    });
    let mut findings: Vec<Finding> = skewed.collect();
    for (family, of) in rules.families() {
        let met = report.services.iter().filter(|row| row.family == family);
        let met: BTreeSet<&str> = met.map(|row| row.service.as_str()).collect();
        findings.extend(unequal_of(of, family, &met));
    }
    report.findings.extend(findings);
}

fn unequal_of(of: &FamilyRules<'_>, family: Family, met: &BTreeSet<&str>) -> Vec<Finding> {
    let services = of
        .services
        .all()
        .iter()
        .filter(|s| met.contains(s.name.as_str()));
    let found = services.flat_map(|service| {
        let unequal = service.balancings.iter().filter_map(unequal);
        unequal.map(|unequal| Finding {
            family,
            service: service.name.clone(),
            key: None,
            what: What::Unequal(unequal),
        })
    });
    found.collect()
}

/// Probabilities that are off by less are how they were written: with ten digits, or as a multiple of 2^-31.
const ROUNDED: f64 = 0.01;

/// A chain that does not choose its endpoints alike.
fn unequal(balancing: &Balancing) -> Option<Unequal> {
    let count = balancing.endpoints.len();
    let of =
        |threshold: Option<u32>| threshold.map_or(1.0, |t| f64::from(t) / f64::from(1u32 << 31));
    let rules = balancing.endpoints.iter().enumerate();
    let mut odd = rules.map(|(at, choice)| {
        let even = 1.0 / (count - at) as f64;
        (choice.rule, (of(choice.threshold), even))
    });
    let (rule, probability) = odd.find(|(_, (p, even))| (p / even - 1.0).abs() > ROUNDED)?;
    let endpoints = balancing.endpoints.iter().map(|choice| choice.endpoint);
    Some(Unequal {
        rule,
        probability,
        endpoints: endpoints.zip(balancing.probabilities()).collect(),
    })
}
