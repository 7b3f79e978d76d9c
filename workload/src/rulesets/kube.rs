//! Rulesets as a kube-proxy writes them, with what stands around them on a node.
//!
//! ```text
//! Plan ─► Cluster ─► text of either layout ─► Sheet ─ detector, node ports, order, neighbours ─► text
//! ```

mod neighbours;
mod sheet;

use super::author::Author;
use super::sets::Sets;
use super::values::Values;
use super::{Ingredients, Recipe};
use crate::cluster::plan::{Feature, Plan};
use crate::cluster::{Cluster, ServicePort, write, write_old};
use crate::numbers::Numbers;
use kpclass_ruleset::value::Prefix;
use sheet::Sheet;
use std::net::IpAddr;

/// A cluster with the values that are its own.
pub(super) struct Kube {
    cluster: Cluster,
    pub(super) values: Values,
}

/// How local traffic is told from other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detector {
    /// `-s CIDR`.
    Addresses,
    /// `-i cni0`.
    Bridge,
    /// `-i cni+`.
    Prefix,
    /// It is not told.
    None,
}

impl Kube {
    /// The cluster of a recipe.
    ///
    /// # Panics
    /// Never: the plan is far smaller than the space of addresses.
    pub(super) fn drawn(recipe: &Recipe, numbers: &mut Numbers) -> Self {
        let endpoints = if recipe.with.statistic {
            1 + numbers.index(4) as u32
        } else {
            1
        };
        // A Service has about six rules, and four an endpoint.
        let services = (recipe.rules / (6 + 4 * endpoints as usize)).max(2) as u32;
        let plan = Plan {
            services,
            endpoints,
            family: recipe.family,
            features: features(recipe.with, services, numbers),
            seed: numbers.bits(),
        };
        let mut cluster = plan.cluster().expect("a small plan");
        // An endpoint that serves two Services.
        let shared = cluster
            .ports
            .iter()
            .find_map(|p| p.endpoints.first().copied());
        if let (Some(shared), Some(port)) = (shared, cluster.ports.last_mut())
            && !port.endpoints.is_empty()
            && numbers.chance(0.3)
        {
            port.endpoints[0] = shared;
        }
        let mut values = Values::drawn(recipe.family, numbers);
        adopt(&cluster, &mut values, numbers);
        Self { cluster, values }
    }

    /// The whole text.
    pub(super) fn text(mut self, recipe: &Recipe, sets: &Sets, numbers: &mut Numbers) -> String {
        use Detector::{Addresses, Bridge};
        let detector = numbers.choose([
            Addresses,
            Addresses,
            Bridge,
            Detector::Prefix,
            Detector::None,
        ]);
        if detector == Detector::None {
            self.cluster.pod_cidr = None;
        }
        let mut bytes = Vec::new();
        let written = match numbers.chance(0.35) {
            true => write_old(&self.cluster, &mut bytes),
            false => write(&self.cluster, &mut bytes),
        };
        written.expect("a Vec takes everything");
        let mut sheet = Sheet::read(&String::from_utf8_lossy(&bytes));
        self.detect(detector, &mut sheet);
        if numbers.chance(0.3) {
            self.node_port_addresses(&mut sheet, numbers);
        }
        if numbers.chance(0.5) {
            sheet.shuffle(numbers);
        }
        let mut author = Author {
            numbers,
            values: &self.values,
            sets,
            with: recipe.with,
        };
        let pods = self.cluster.pod_cidr.unwrap_or(self.values.prefixes[0]);
        neighbours::add(&mut sheet, &mut author, pods);
        sheet.text(&format!("kpclass, kube-proxy, seed {}", recipe.seed))
    }

    fn detect(&self, detector: Detector, sheet: &mut Sheet) {
        let device = match detector {
            Detector::Addresses | Detector::None => return,
            Detector::Bridge => "cni0",
            Detector::Prefix => "cni+",
        };
        if let Some(pods) = self.cluster.pod_cidr {
            sheet.rewrite(&format!("-s {pods} "), &format!("-i {device} "));
        }
    }

    /// `--nodeport-addresses`: a rule for each, in place of the one for every local address.
    fn node_port_addresses(&self, sheet: &mut Sheet, numbers: &mut Numbers) {
        let count = 1 + numbers.index(2);
        let chosen: Vec<IpAddr> = self.values.locals.iter().copied().take(count).collect();
        sheet.split("KUBE-NODEPORTS", "-m addrtype --dst-type LOCAL ", |rest| {
            // IPv6's rule leaves loopback out, which no given address is.
            let rest = rest.replace("! -d ::1/128 ", "");
            let of = |address: &IpAddr| format!("-d {} {rest}", Prefix::host(*address));
            chosen.iter().map(of).collect()
        });
    }
}

/// No more features than Services, so that each has its own; affinity only where lists may be used.
fn features(with: Ingredients, services: u32, numbers: &mut Numbers) -> Vec<Feature> {
    use Feature::*;
    let mut all = vec![
        NodePort,
        ExternalIp,
        LoadBalancer,
        SourceRanges,
        ExternalLocal,
        InternalLocal,
        NoEndpoints,
        Udp,
        Sctp,
        HostNetwork,
    ];
    if with.recent {
        all.extend([Affinity, Affinity, Affinity]);
    }
    numbers.shuffle(&mut all);
    all.truncate(services as usize);
    all
}

/// The cluster's own addresses and ports, for the neighbours' rules.
fn adopt(cluster: &Cluster, values: &mut Values, numbers: &mut Numbers) {
    let mut ports: Vec<&ServicePort> = cluster.ports.iter().collect();
    numbers.shuffle(&mut ports);
    let services = ports.iter().flat_map(|port| {
        let others = port.external_ips.iter().chain(&port.load_balancer_ips);
        std::iter::once(port.cluster_ip).chain(others.copied())
    });
    let (far, near) = values.addresses.split_at_mut(4);
    for (to, address) in far.iter_mut().zip(services) {
        *to = address;
    }
    let endpoints = ports.iter().flat_map(|port| &port.endpoints);
    for (to, endpoint) in near.iter_mut().zip(endpoints) {
        *to = endpoint.address;
    }
    let numbers_of = ports.iter().flat_map(|port| {
        let own = std::iter::once(port.port).chain(port.node_port);
        own.chain(port.endpoints.first().map(|e| e.port))
    });
    for (to, port) in values.ports.iter_mut().zip(numbers_of) {
        *to = port;
    }
}
