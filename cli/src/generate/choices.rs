//! What can be chosen by a word on the command line.

use clap::ValueEnum;
use kpclass_ruleset::value::Family;
use kpclass_workload::cluster::plan;
use kpclass_workload::frame;

/// A family, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FamilyChoice {
    /// IPv4
    #[value(name = "4")]
    V4,
    /// IPv6
    #[value(name = "6")]
    V6,
}

impl From<FamilyChoice> for Family {
    fn from(choice: FamilyChoice) -> Self {
        match choice {
            FamilyChoice::V4 => Self::V4,
            FamilyChoice::V6 => Self::V6,
        }
    }
}

/// What a Service may have beside a cluster IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Feature {
    /// All of them
    All,
    /// Nothing else
    ClusterIp,
    /// A node port
    NodePort,
    /// An external IP
    ExternalIp,
    /// A load balancer
    LoadBalancer,
    /// A load balancer for some sources only
    SourceRanges,
    /// externalTrafficPolicy: Local, with a health check port
    ExternalLocal,
    /// internalTrafficPolicy: Local
    InternalLocal,
    /// Session affinity
    Affinity,
    /// No endpoints at all
    NoEndpoints,
    /// A UDP port beside the TCP one
    Udp,
    /// SCTP
    Sctp,
    /// Endpoints in the host's network, the node's own among them
    HostNetwork,
}

impl From<Feature> for plan::Feature {
    fn from(choice: Feature) -> Self {
        match choice {
            Feature::All => Self::All,
            Feature::ClusterIp => Self::ClusterIp,
            Feature::NodePort => Self::NodePort,
            Feature::ExternalIp => Self::ExternalIp,
            Feature::LoadBalancer => Self::LoadBalancer,
            Feature::SourceRanges => Self::SourceRanges,
            Feature::ExternalLocal => Self::ExternalLocal,
            Feature::InternalLocal => Self::InternalLocal,
            Feature::Affinity => Self::Affinity,
            Feature::NoEndpoints => Self::NoEndpoints,
            Feature::Udp => Self::Udp,
            Feature::Sctp => Self::Sctp,
            Feature::HostNetwork => Self::HostNetwork,
        }
    }
}

/// What stands in front of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// Ethernet
    Ethernet,
    /// Linux cooked v2, as `tcpdump -i any` writes it
    Sll2,
    /// Nothing
    Raw,
}

impl From<Link> for frame::Link {
    fn from(choice: Link) -> Self {
        match choice {
            Link::Ethernet => Self::Ethernet,
            Link::Sll2 => Self::Sll2,
            Link::Raw => Self::Raw,
        }
    }
}
