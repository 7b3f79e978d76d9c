//! conntrack's sysctls, with the kernel's defaults (CONNTRACK.md 8).

use crate::value::{Family, protocol};
use std::fmt;
use std::time::Duration;

/// `net.netfilter.nf_conntrack_*`, and how long fragments wait. Each field is the sysctl of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `tcp_timeout_syn_sent`; SYN_SENT2's is 120 s, whatever is set.
    pub tcp_syn_sent: Duration,
    /// `tcp_timeout_syn_recv`.
    pub tcp_syn_recv: Duration,
    /// `tcp_timeout_established`.
    pub tcp_established: Duration,
    /// `tcp_timeout_fin_wait`.
    pub tcp_fin_wait: Duration,
    /// `tcp_timeout_close_wait`.
    pub tcp_close_wait: Duration,
    /// `tcp_timeout_last_ack`.
    pub tcp_last_ack: Duration,
    /// `tcp_timeout_time_wait`.
    pub tcp_time_wait: Duration,
    /// `tcp_timeout_close`.
    pub tcp_close: Duration,
    /// `tcp_timeout_unacknowledged`.
    pub tcp_unacknowledged: Duration,
    /// `tcp_timeout_max_retrans`.
    pub tcp_max_retrans: Duration,
    /// `udp_timeout`.
    pub udp: Duration,
    /// `udp_timeout_stream`.
    pub udp_stream: Duration,
    /// `sctp_timeout_closed`.
    pub sctp_closed: Duration,
    /// `sctp_timeout_cookie_wait`.
    pub sctp_cookie_wait: Duration,
    /// `sctp_timeout_cookie_echoed`.
    pub sctp_cookie_echoed: Duration,
    /// `sctp_timeout_established`.
    pub sctp_established: Duration,
    /// `sctp_timeout_shutdown_sent`.
    pub sctp_shutdown_sent: Duration,
    /// `sctp_timeout_shutdown_recd`.
    pub sctp_shutdown_recd: Duration,
    /// `sctp_timeout_shutdown_ack_sent`.
    pub sctp_shutdown_ack_sent: Duration,
    /// `sctp_timeout_heartbeat_sent`.
    pub sctp_heartbeat_sent: Duration,
    /// `icmp_timeout`.
    pub icmp: Duration,
    /// `icmpv6_timeout`.
    pub icmpv6: Duration,
    /// `gre_timeout`.
    pub gre: Duration,
    /// `gre_timeout_stream`.
    pub gre_stream: Duration,
    /// `generic_timeout`.
    pub generic: Duration,
    /// `net.ipv4.ipfrag_time`: so long fragments wait for the rest of their datagram.
    pub ipfrag: Duration,
    /// `frag6_timeout`: the same of IPv6.
    pub frag6: Duration,
    /// `tcp_loose`: connections are picked up in the middle.
    pub tcp_loose: bool,
    /// `max`: so many entries at most.
    pub max: u32,
}

const PREFIX: &str = "nf_conntrack_";

/// The one sysctl that is not conntrack's own: `nf_defrag_ipv4` has fragments wait as all of IPv4 does.
const IPFRAG_TIME: &str = "ipfrag_time";

/// A timeout: what follows [`PREFIX`] in its sysctl's name, and its field.
type Timeout = (&'static str, fn(&mut Settings) -> &mut Duration);

impl Settings {
    /// The timeouts, by what follows `nf_conntrack_`.
    pub(super) const TIMEOUTS: [Timeout; 26] = [
        ("tcp_timeout_syn_sent", |s| &mut s.tcp_syn_sent),
        ("tcp_timeout_syn_recv", |s| &mut s.tcp_syn_recv),
        ("tcp_timeout_established", |s| &mut s.tcp_established),
        ("tcp_timeout_fin_wait", |s| &mut s.tcp_fin_wait),
        ("tcp_timeout_close_wait", |s| &mut s.tcp_close_wait),
        ("tcp_timeout_last_ack", |s| &mut s.tcp_last_ack),
        ("tcp_timeout_time_wait", |s| &mut s.tcp_time_wait),
        ("tcp_timeout_close", |s| &mut s.tcp_close),
        ("tcp_timeout_unacknowledged", |s| &mut s.tcp_unacknowledged),
        ("tcp_timeout_max_retrans", |s| &mut s.tcp_max_retrans),
        ("udp_timeout", |s| &mut s.udp),
        ("udp_timeout_stream", |s| &mut s.udp_stream),
        ("sctp_timeout_closed", |s| &mut s.sctp_closed),
        ("sctp_timeout_cookie_wait", |s| &mut s.sctp_cookie_wait),
        ("sctp_timeout_cookie_echoed", |s| &mut s.sctp_cookie_echoed),
        ("sctp_timeout_established", |s| &mut s.sctp_established),
        ("sctp_timeout_shutdown_sent", |s| &mut s.sctp_shutdown_sent),
        ("sctp_timeout_shutdown_recd", |s| &mut s.sctp_shutdown_recd),
        ("sctp_timeout_shutdown_ack_sent", |s| {
            &mut s.sctp_shutdown_ack_sent
        }),
        ("sctp_timeout_heartbeat_sent", |s| {
            &mut s.sctp_heartbeat_sent
        }),
        ("icmp_timeout", |s| &mut s.icmp),
        ("icmpv6_timeout", |s| &mut s.icmpv6),
        ("gre_timeout", |s| &mut s.gre),
        ("gre_timeout_stream", |s| &mut s.gre_stream),
        ("generic_timeout", |s| &mut s.generic),
        ("frag6_timeout", |s| &mut s.frag6),
    ];

    /// The timeouts in seconds, by their sysctls' names from `nf_conntrack_` on.
    pub fn timeouts(&self) -> Vec<(String, u64)> {
        let mut all = self.clone();
        let timeouts = Self::TIMEOUTS.iter();
        timeouts
            .map(|(name, field)| (format!("{PREFIX}{name}"), field(&mut all).as_secs()))
            .collect()
    }

    /// How long the fragments of a family wait for the rest of their datagram.
    pub fn fragments_wait(&self, family: Family) -> Duration {
        match family {
            Family::V4 => self.ipfrag,
            Family::V6 => self.frag6,
        }
    }

    /// Behind a table that was full the kernel's collector may evict for so long: it comes by within a minute, and may take as long (`gc_worker`).
    pub const EVICTION: Duration = Duration::from_secs(120);

    /// SYN_SENT2's timeout, which no sysctl sets (`nf_conntrack_tcp_init_net`).
    pub const TCP_SYN_SENT2: Duration = Duration::from_secs(120);

    /// The longest that an entry of a protocol may live without a packet.
    pub fn longest(&self, number: u8) -> Duration {
        let (kind, least) = match number {
            protocol::TCP => ("tcp_", Self::TCP_SYN_SENT2),
            protocol::UDP | protocol::UDPLITE => ("udp_", Duration::ZERO),
            protocol::SCTP => ("sctp_", Duration::ZERO),
            protocol::GRE => ("gre_", Duration::ZERO),
            protocol::ICMP => ("icmp_", Duration::ZERO),
            protocol::ICMPV6 => ("icmpv6_", Duration::ZERO),
            _ => ("generic_", Duration::ZERO),
        };
        let mut all = self.clone();
        let timeouts = Self::TIMEOUTS.iter();
        let own = timeouts.filter(|(name, _)| name.starts_with(kind));
        own.map(|(_, field)| *field(&mut all))
            .fold(least, Duration::max)
    }

    /// Takes one setting, as `sysctl` prints it or takes it: `net.netfilter.nf_conntrack_udp_timeout = 30`, with the path's slashes for
    /// dots or without `net.netfilter.`.
    ///
    /// # Errors
    /// Where it is no setting of conntrack's that changes an answer, or its value is none.
    pub fn set(&mut self, text: &str) -> Result<(), SettingsError> {
        let wrong = |what| SettingsError {
            text: text.to_owned(),
            what,
        };
        let (name, value) = text.split_once('=').ok_or(wrong("needs NAME=VALUE"))?;
        let (name, value) = (name.trim().replace('/', "."), value.trim());
        let number: u32 = value
            .parse()
            .map_err(|_| wrong("needs a whole number, of seconds for a timeout"))?;
        if name.strip_prefix("net.ipv4.").unwrap_or(&name) == IPFRAG_TIME {
            self.ipfrag = Duration::from_secs(number.into());
            return Ok(());
        }
        let name = name.strip_prefix("net.netfilter.").unwrap_or(&name);
        let name = name
            .strip_prefix("net.")
            .unwrap_or(name)
            .strip_prefix(PREFIX)
            .ok_or(wrong("is not a setting of nf_conntrack"))?;
        match name {
            "tcp_loose" => self.tcp_loose = number != 0,
            // `nf_conntrack_alloc`: with 0 nothing is counted.
            "max" => self.max = if number == 0 { u32::MAX } else { number },
            _ => {
                let (_, field) = Self::TIMEOUTS
                    .iter()
                    .find(|(of, _)| *of == name)
                    .ok_or(wrong("is not a setting that changes an answer"))?;
                *field(self) = Duration::from_secs(number.into());
            }
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tcp_syn_sent: seconds(120),
            tcp_syn_recv: seconds(60),
            tcp_established: seconds(432_000),
            tcp_fin_wait: seconds(120),
            tcp_close_wait: seconds(60),
            tcp_last_ack: seconds(30),
            tcp_time_wait: seconds(120),
            tcp_close: seconds(10),
            tcp_unacknowledged: seconds(300),
            tcp_max_retrans: seconds(300),
            udp: seconds(30),
            udp_stream: seconds(120),
            sctp_closed: seconds(10),
            sctp_cookie_wait: seconds(3),
            sctp_cookie_echoed: seconds(3),
            sctp_established: seconds(210),
            sctp_shutdown_sent: seconds(3),
            sctp_shutdown_recd: seconds(3),
            sctp_shutdown_ack_sent: seconds(3),
            sctp_heartbeat_sent: seconds(30),
            icmp: seconds(30),
            icmpv6: seconds(30),
            gre: seconds(30),
            gre_stream: seconds(180),
            generic: seconds(600),
            ipfrag: seconds(30),
            frag6: seconds(60),
            tcp_loose: true,
            max: 262_144,
        }
    }
}

/// Why a setting cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    text: String,
    what: &'static str,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.text, self.what)
    }
}

impl std::error::Error for SettingsError {}
