//! The namespace that the rules are loaded into, and everything in it that is not the rules'.
//!
//! | added | why | why it changes no verdict |
//! |---|---|---|
//! | a TAP device for each arrival device, without ARP, MTU 65,521 | packets arrive on them | the dump's rules see the name that the packet was to come by |
//! | `kpout`, with a default route of each family | forwarded and sent packets leave by it | no rule's `-o` is decided but for `lo`'s; the name is nobody else's |
//! | the node's addresses, as /32 and /128, on their devices (those without a device on `kpout`) | LOCAL, routing | no subnets, so no broadcast addresses |
//! | 192.0.2.254 and 2001:db8:ffff::fe on `kpout`, where it has no other address | MASQUERADE needs one, or it drops | no generated packet has them |
//! | sysctls: forwarding on; `rp_filter`, redirects, router advertisements, DAD, echo replies off; ICMP errors without rate limit; `route_localnet` as the node's facts say | replies that are asked for come, none else | WALK.md's routing is that of such a node |
//! | ingress chains (nf_tables, family netdev): the mark that a packet arrives with, from its destination MAC address, and `pkttype host` | a packet cannot bring a mark otherwise | before any hook of the dump's tables |
//! | chains that log (NFLOG) at PREROUTING, INPUT, POSTROUTING, priority 1000, and at OUTPUT, priority -50 | what has become of the packet | they accept; between them and netfilter's tables' priorities (-300 to 225) nothing stands |
//! | at OUTPUT, priority -1000: what the kernel sends of its own accord (ICMP errors, resets) is logged and dropped | it is the answer, not the question | packets of the judge carry a priority of their own and pass |
//! | at PREROUTING, priority -1000: the sentinel (protocol 253) is logged and dropped; at -350, the probe (protocol 254) | the end of a batch; whether fragments are joined, which tells whether conntrack is on | the judge numbers its other packets from 1: identification (IPv6: flow label) 0 is theirs alone |
//! | if conntrack is on: a conntrack zone for each packet, at priority -250, between raw and conntrack | each packet is the first of its connection | raw has been asked by then, what it left untracked gets none; conntrack looks entries up in the packet's own zone |

use crate::backend::{Backend, run};
use crate::error::KernelError;
use crate::inject::Injector;
use crate::observe::{Event, Log};
use crate::subject::Subject;
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::value::{Family, Interface};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

/// The device that packets leave by.
pub const OUT: &str = "kpout";

/// The device of packets whose arrival device is not known.
pub const UNKNOWN_IN: &str = "kpin";

/// `kpout`'s own addresses, where the node has none to give it.
pub(crate) const SPARE: [&str; 2] = ["192.0.2.254", "2001:db8:ffff::fe"];

const SYSCTLS: [(&str, &str); 22] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/log_martians", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000000"),
    ("ipv4/icmp_msgs_burst", "1000000000"),
    ("ipv4/icmp_echo_ignore_all", "1"),
    ("ipv6/icmp/echo_ignore_all", "1"),
    ("ipv6/icmp/ratelimit", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/mldv1_unsolicited_report_interval", "0"),
];

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Packets, each the first of its connection.
    Packets,
    /// Connections: there are no zones, and chains beside those that log tell what conntrack knows.
    Connections,
}

/// The namespace, ready for rules.
pub(crate) struct World {
    pub(crate) backend: Backend,
    follow: Follow,
    pub(crate) injector: Injector,
    pub(crate) log: Log,
    devices: BTreeSet<Interface>,
    addresses: BTreeSet<IpAddr>,
    conntrack: bool,
}

impl World {
    /// Sets up the namespace that this thread is in, which must be new.
    pub(crate) fn new(backend: Backend, follow: Follow) -> Result<Self, KernelError> {
        for (name, value) in SYSCTLS {
            sysctl(name, value)?;
        }
        ip("link set lo up\n")?;
        let mut world = Self {
            backend,
            follow,
            injector: Injector::new(),
            log: Log::open()?,
            devices: BTreeSet::new(),
            addresses: BTreeSet::new(),
            conntrack: false,
        };
        nft(OBSERVERS)?;
        for name in [OUT, UNKNOWN_IN] {
            world.add_device(name)?;
        }
        Ok(world)
    }

    /// Replaces rules, sets, addresses and arrival devices.
    pub(crate) fn load(&mut self, subject: &Subject) -> Result<(), KernelError> {
        self.clear()?;
        for device in &subject.devices {
            self.add_device(device.name())?;
        }
        self.set_addresses(&subject.node)?;
        let localnet = subject.node.route_localnet == Some(true);
        sysctl(
            "ipv4/conf/all/route_localnet",
            if localnet { "1" } else { "0" },
        )?;
        if let Some(sets) = &subject.ipsets {
            run(Command::new("ipset").arg("restore"), Some(sets))?;
        }
        count_by_name(&subject.rules)?;
        self.backend.restore(subject.family(), &subject.rules)?;
        self.conntrack = self.joins_fragments(subject.family())?;
        if self.conntrack {
            nft(match self.follow {
                Follow::Packets => ZONES,
                Follow::Connections => CONNECTIONS,
            })?;
        }
        Ok(())
    }

    /// Whether conntrack is on: it is where fragments are joined, which happens before any table is asked. So a lone first fragment that is
    /// seen behind that place tells that it is off.
    fn joins_fragments(&mut self, family: Family) -> Result<bool, KernelError> {
        self.injector.send_probe(family)?;
        let mut seen = false;
        self.finish_batch(&mut |event| seen |= matches!(event, Event::Probe))?;
        Ok(!seen)
    }

    /// Sends the sentinel and hands on all events before it.
    pub(crate) fn finish_batch(&mut self, take: &mut dyn FnMut(Event)) -> Result<(), KernelError> {
        self.injector.send_sentinel()?;
        self.log.until_sentinel(take)
    }

    /// Whether conntrack is on with the rules that are loaded.
    pub(crate) fn is_conntrack_on(&self) -> bool {
        self.conntrack
    }

    /// Whether `address` is one of the node's.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains(&address)
    }

    /// Replaces rules alone; a table that the text does not have is emptied.
    pub(crate) fn replace(&self, family: Family, rules: &str) -> Result<(), KernelError> {
        let mut text = rules.to_owned();
        for table in EMPTY.split_inclusive("COMMIT\n") {
            let name = table.lines().next().unwrap_or_default();
            if !rules.lines().any(|line| line == name) {
                text.push_str(table);
            }
        }
        self.backend.restore(family, &text)
    }

    /// Forgets connections, so that zones can be used again.
    pub(crate) fn forget_connections(&self) -> Result<(), KernelError> {
        if self.conntrack {
            run(Command::new("conntrack").arg("-F"), None)?;
        }
        Ok(())
    }

    /// Empties the `recent` lists.
    pub(crate) fn forget_recent(&self) -> Result<(), KernelError> {
        // /proc/net would be the first thread's.
        const LISTS: &str = "/proc/thread-self/net/xt_recent";
        let io = |source| KernelError::io(LISTS, source);
        for list in std::fs::read_dir(LISTS).map_err(io)? {
            std::fs::write(list.map_err(io)?.path(), "/").map_err(io)?;
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), KernelError> {
        self.forget_connections()?;
        if self.conntrack {
            nft(match self.follow {
                Follow::Packets => "delete table ip kpclass_zone\ndelete table ip6 kpclass_zone\n",
                Follow::Connections => "delete table inet kpclass_ct\n",
            })?;
            self.conntrack = false;
        }
        for family in [Family::V4, Family::V6] {
            self.backend.restore(family, EMPTY)?;
        }
        destroy_sets()
    }

    fn set_addresses(&mut self, node: &NodeFacts) -> Result<(), KernelError> {
        let mut batch = String::new();
        for device in &self.devices {
            writeln!(batch, "addr flush dev {}", device.name()).ok();
        }
        let mut given: Vec<(String, IpAddr)> = Vec::new();
        if let Some(local) = &node.local {
            given.extend(
                local
                    .devices
                    .iter()
                    .map(|(device, address)| (device.name().to_string(), *address)),
            );
            let mut bare: Vec<IpAddr> = local
                .addresses
                .iter()
                .filter(|a| local.devices.iter().all(|(_, with)| with != *a))
                .copied()
                .collect();
            bare.sort();
            given.extend(bare.into_iter().map(|address| (OUT.to_string(), address)));
        }
        given.retain(|(_, address)| !address.is_loopback());
        for spare in SPARE {
            let Ok(spare) = spare.parse::<IpAddr>() else {
                continue;
            };
            let has =
                |(device, a): &(String, IpAddr)| device == OUT && a.is_ipv4() == spare.is_ipv4();
            if !given.iter().any(has) {
                given.push((OUT.to_string(), spare));
            }
        }
        for (device, _) in &given {
            if device != "lo" {
                self.add_device(device)?;
            }
        }
        // A device's newest IPv6 address is its first (`ipv6_link_dev_addr`), its oldest IPv4 address.
        let (v4, v6): (Vec<_>, Vec<_>) = given.iter().partition(|(_, a)| a.is_ipv4());
        for (device, address) in v4.into_iter().chain(v6.into_iter().rev()) {
            let (length, nodad) = if address.is_ipv4() {
                (32, "")
            } else {
                (128, " nodad")
            };
            writeln!(batch, "addr add {address}/{length} dev {device}{nodad}").ok();
        }
        // With a device's last address its routes go.
        for all in ["0.0.0.0/0", "::/0"] {
            writeln!(batch, "route replace {all} dev {OUT}").ok();
        }
        self.addresses = given.into_iter().map(|(_, address)| address).collect();
        ip(&batch)?;
        self.wait_for_routes()
    }

    /// The kernel makes an IPv6 address local a little after it was added.
    fn wait_for_routes(&self) -> Result<(), KernelError> {
        let local = ["-6", "route", "list", "table", "local", "type", "local"];
        for _ in 0..500 {
            let routes = run(Command::new("ip").args(local), None)?;
            let has = |address: &IpAddr| {
                // `ip` writes some as `::10.0.0.2`.
                let is = |line: &str| {
                    let of = line.strip_prefix("local ")?.split(' ').next()?;
                    Some(of.parse() == Ok(*address))
                };
                address.is_ipv4() || routes.lines().any(|line| is(line) == Some(true))
            };
            if self.addresses.iter().all(has) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(KernelError::log("an address did not become local"))
    }

    /// Makes a device, unless it is there.
    fn add_device(&mut self, name: &str) -> Result<(), KernelError> {
        let Some(interface) = Interface::new(name).filter(|i| *i != Interface::lo()) else {
            return Ok(());
        };
        if interface == Interface::none() || !self.devices.insert(interface) {
            return Ok(());
        }
        self.injector.add_device(interface)?;
        ip(&format!(
            "link set dev {name} arp off\nlink set dev {name} addrgenmode none\nlink set dev {name} mtu 65521\nlink set dev {name} up\n"
        ))?;
        nft(&ingress(name, self.devices.len()))
    }
}

/// Makes the counters (`nfacct`) that rules name; one that is there already is kept.
fn count_by_name(rules: &str) -> Result<(), KernelError> {
    let mut words = rules.split_whitespace();
    let mut made = BTreeSet::new();
    while let Some(word) = words.next() {
        let Some(name) = (word == "--nfacct-name").then(|| words.next()).flatten() else {
            continue;
        };
        if made.insert(name) {
            let done = run(Command::new("nfacct").args(["add", name]), None);
            done.map(drop).or_else(|error| match error.refusal() {
                Some(_) => Ok(()),
                None => Err(error),
            })?;
        }
    }
    Ok(())
}

/// Destroys all sets. nf_tables lets go of those that its rules named a little after the rules are gone.
fn destroy_sets() -> Result<(), KernelError> {
    // Sets that hold others let go of them first.
    run(Command::new("ipset").arg("flush"), None)?;
    let mut tries = 0;
    loop {
        match run(Command::new("ipset").arg("destroy"), None) {
            Err(error) if error.refusal().is_some() && tries < 200 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done.map(drop),
        }
    }
}

pub(crate) fn sysctl(name: &str, value: &str) -> Result<(), KernelError> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).map_err(|source| KernelError::io(path, source))
}

fn ip(batch: &str) -> Result<(), KernelError> {
    run(Command::new("ip").args(["-batch", "-"]), Some(batch)).map(drop)
}

fn nft(text: &str) -> Result<(), KernelError> {
    run(Command::new("nft").args(["-f", "-"]), Some(text)).map(drop)
}

/// The five tables without rules.
const EMPTY: &str = "*raw
:PREROUTING ACCEPT
:OUTPUT ACCEPT
COMMIT
*mangle
:PREROUTING ACCEPT
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
COMMIT
*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
*security
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
COMMIT
";

/// The chains that log. Prefixes are `observe`'s.
const OBSERVERS: &str = r#"
table ip kpclass {
    chain sentinel { type filter hook prerouting priority -1000; iif lo ip id 0 ip protocol 253 log prefix "end" group 77 snaplen 128 queue-threshold 1 drop; }
    chain probe { type filter hook prerouting priority -350; ip id 0 ip protocol 254 log prefix "probe" group 77 snaplen 128 drop; }
    chain answer { type filter hook output priority -1000; meta priority != 0x6b70 log prefix "answer" group 77 snaplen 128 drop; }
    chain sent { type filter hook output priority -50; log prefix "nat" group 77 snaplen 128; }
    chain arrived { type filter hook prerouting priority 1000; log prefix "nat" group 77 snaplen 128; }
    chain delivered { type filter hook input priority 1000; log prefix "in" group 77 snaplen 128; }
    chain left { type filter hook postrouting priority 1000; oif != lo log prefix "out" group 77 snaplen 128; }
}
table ip6 kpclass {
    chain probe { type filter hook prerouting priority -350; ip6 flowlabel 0 meta l4proto 254 log prefix "probe" group 77 snaplen 128 drop; }
    chain answer { type filter hook output priority -1000; meta priority != 0x6b70 log prefix "answer" group 77 snaplen 128 drop; }
    chain sent { type filter hook output priority -50; log prefix "nat" group 77 snaplen 128; }
    chain arrived { type filter hook prerouting priority 1000; log prefix "nat" group 77 snaplen 128; }
    chain delivered { type filter hook input priority 1000; log prefix "in" group 77 snaplen 128; }
    chain left { type filter hook postrouting priority 1000; oif != lo log prefix "out" group 77 snaplen 128; }
}
"#;

/// Each packet's zone: IPv4's identification, or the lower half of IPv6's flow label, which the judge numbers packets by.
const ZONES: &str = "
table ip kpclass_zone {
    chain arrived { type filter hook prerouting priority -250; ct state != untracked ct zone set @nh,32,16; }
    chain sent { type filter hook output priority -250; ct state != untracked ct zone set @nh,32,16; }
}
table ip6 kpclass_zone {
    chain arrived { type filter hook prerouting priority -250; ct state != untracked ct zone set @nh,16,16; }
    chain sent { type filter hook output priority -250; ct state != untracked ct zone set @nh,16,16; }
}
";

/// What conntrack makes of a packet, in front of each place that logs: `enum ip_conntrack_info`, the bits of `enum ip_conntrack_status` one by one; what comes in by `lo`, before any table; behind the last
/// place the connection's mark, in the packet's, which nobody asks for any more.
const CONNECTIONS: &str = r#"
table inet kpclass_ct {
    chain tell {
        ct state established ct direction original log prefix "info 0" group 77 snaplen 64
        ct state related ct direction original log prefix "info 1" group 77 snaplen 64
        ct state new ct direction original log prefix "info 2" group 77 snaplen 64
        ct state established ct direction reply log prefix "info 3" group 77 snaplen 64
        ct state related ct direction reply log prefix "info 4" group 77 snaplen 64
        ct status seen-reply log prefix "status 2" group 77 snaplen 64
        ct status assured log prefix "status 4" group 77 snaplen 64
        ct status snat log prefix "status 16" group 77 snaplen 64
        ct status dnat log prefix "status 32" group 77 snaplen 64
    }
    chain sent { type filter hook output priority -51; jump tell; }
    chain again { type filter hook prerouting priority -350; iif lo log prefix "lo" group 77 snaplen 64; }
    chain arrived { type filter hook prerouting priority 999; jump tell; }
    chain delivered { type filter hook input priority 999; jump tell; }
    chain left { type filter hook postrouting priority 999; oif != lo jump tell; }
    chain delivered_mark { type filter hook input priority 1001; meta mark set ct mark log prefix "connmark" group 77 snaplen 64; }
    chain left_mark { type filter hook postrouting priority 1001; oif != lo meta mark set ct mark log prefix "connmark" group 77 snaplen 64; }
}
"#;

/// The chain of a device, which is the `at`th.
fn ingress(device: &str, at: usize) -> String {
    format!(
        "table netdev kpclass {{ chain in{at} {{ type filter hook ingress device \"{device}\" priority 0; meta pkttype set host; meta mark set @ll,16,32; }}; }}\n"
    )
}
