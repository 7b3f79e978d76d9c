//! Values that rules are written with: families, prefixes, port ranges, interfaces, connection states.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which of the two rule sets of a node: `iptables` or `ip6tables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, `iptables`.
    V4,
    /// IPv6, `ip6tables`.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    /// Bits in an address of this family.
    pub fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// An address as a number: IPv4 in the low 32 bits, IPv6 in all 128. Only addresses of one family
/// are ever compared with one another.
pub fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

/// The inverse of [`address_number`].
pub fn number_address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// Address and mask of `-s`/`-d`. The mask is any bit pattern (`255.255.0.255` is legal); the address is
/// stored already masked, as the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    mask: IpAddr,
}

impl Prefix {
    /// `None` where address and mask are of different families.
    pub fn new(address: IpAddr, mask: IpAddr) -> Option<Self> {
        match (address, mask) {
            (IpAddr::V4(a), IpAddr::V4(m)) => Some(Self {
                address: IpAddr::V4(Ipv4Addr::from(u32::from(a) & u32::from(m))),
                mask,
            }),
            (IpAddr::V6(a), IpAddr::V6(m)) => Some(Self {
                address: IpAddr::V6(Ipv6Addr::from(u128::from(a) & u128::from(m))),
                mask,
            }),
            _ => None,
        }
    }

    /// `None` where `len` exceeds the family's bits.
    pub fn with_len(address: IpAddr, len: u32) -> Option<Self> {
        let family = Family::of(address);
        if len > family.bits() {
            return None;
        }
        let ones = match family {
            Family::V4 => u128::from(u32::MAX.checked_shl(32 - len).unwrap_or(0)),
            Family::V6 => u128::MAX.checked_shl(128 - len).unwrap_or(0),
        };
        Self::new(address, number_address(family, ones))
    }

    /// The single address `address`.
    pub fn host(address: IpAddr) -> Self {
        let mask = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::BROADCAST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(u128::MAX)),
        };
        Self { address, mask }
    }

    /// The masked address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The mask.
    pub fn mask(&self) -> IpAddr {
        self.mask
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Whether it holds exactly one address.
    pub fn is_host(&self) -> bool {
        match self.mask {
            IpAddr::V4(m) => u32::from(m) == u32::MAX,
            IpAddr::V6(m) => u128::from(m) == u128::MAX,
        }
    }

    /// Whether `address` is inside; an address of the other family is not.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, self.mask, address) {
            (IpAddr::V4(p), IpAddr::V4(m), IpAddr::V4(a)) => {
                u32::from(a) & u32::from(m) == u32::from(p)
            }
            (IpAddr::V6(p), IpAddr::V6(m), IpAddr::V6(a)) => {
                u128::from(a) & u128::from(m) == u128::from(p)
            }
            _ => false,
        }
    }

    /// The prefix length, if the mask is contiguous.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a prefix's length counts bits, not members"
    )]
    pub fn len(&self) -> Option<u32> {
        let (ones, leading) = match self.mask {
            IpAddr::V4(m) => (u32::from(m).count_ones(), u32::from(m).leading_ones()),
            IpAddr::V6(m) => (u128::from(m).count_ones(), u128::from(m).leading_ones()),
        };
        (ones == leading).then_some(ones)
    }

    /// Whether it holds every address (`0.0.0.0/0`).
    pub fn is_any(&self) -> bool {
        self.len() == Some(0)
    }
}

/// As `iptables-save` writes it: `10.0.0.0/8`, `10.1.0.1/255.0.255.255`.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len() {
            Some(len) => write!(f, "{}/{len}", self.address),
            None => write!(f, "{}/{}", self.address, self.mask),
        }
    }
}

/// Ports (or ICMP codes, or lengths) from `first` to `last`, both included. `first > last` matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// Lowest.
    pub first: u16,
    /// Highest, included.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ANY: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// One port.
    pub fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Whether `port` is inside.
    pub fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether it holds every port.
    pub fn is_any(self) -> bool {
        self == Self::ANY
    }
}

/// `80`, or `80:90`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}:{}", self.first, self.last)
        }
    }
}

/// A network device's name; at most 15 bytes (`IFNAMSIZ` less its terminator).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interface {
    bytes: [u8; 15],
    len: u8,
}

impl Interface {
    /// `None` for a name of more than 15 bytes.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; 15];
        bytes
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        Some(Self {
            bytes,
            len: name.len() as u8,
        })
    }

    /// The loopback device.
    pub fn lo() -> Self {
        Self {
            bytes: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0",
            len: 2,
        }
    }

    /// No device: what `-i` sees on the OUTPUT path.
    pub fn none() -> Self {
        Self {
            bytes: [0; 15],
            len: 0,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name())
    }
}

/// The name in `-i`/`-o`: exact, or a beginning (`veth+`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfacePattern {
    /// The name without its `+`.
    pub name: Interface,
    /// Whether any continuation matches.
    pub prefix: bool,
}

impl InterfacePattern {
    /// `eth0`, `veth+`; `None` if too long.
    pub fn new(text: &str) -> Option<Self> {
        match text.strip_suffix('+') {
            Some(name) => Some(Self {
                name: Interface::new(name)?,
                prefix: true,
            }),
            None => Some(Self {
                name: Interface::new(text)?,
                prefix: false,
            }),
        }
    }

    /// Whether the device's name fits. No device (an empty name) fits only `+`.
    pub fn matches(&self, interface: Interface) -> bool {
        if self.prefix {
            interface.name().starts_with(self.name.name())
        } else {
            interface == self.name
        }
    }
}

impl fmt::Display for InterfacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.name.name(),
            if self.prefix { "+" } else { "" }
        )
    }
}

/// A connection's state, as `-m conntrack --ctstate` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CtState {
    /// Conntrack could not make sense of the packet.
    Invalid,
    /// The first packet of a connection.
    New,
    /// A later packet.
    Established,
    /// A packet that belongs to another connection.
    Related,
    /// Conntrack was told not to look (`NOTRACK`).
    Untracked,
}

impl CtState {
    /// Every state, in the order in which `iptables-save` prints them.
    pub const ALL: [Self; 5] = [
        Self::Invalid,
        Self::New,
        Self::Related,
        Self::Established,
        Self::Untracked,
    ];

    /// The name in a rule.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::New => "NEW",
            Self::Established => "ESTABLISHED",
            Self::Related => "RELATED",
            Self::Untracked => "UNTRACKED",
        }
    }

    /// By name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|s| s.name().eq_ignore_ascii_case(name))
    }
}

/// A set of connection states. `SNAT` and `DNAT`, which `--ctstate` takes too, are flags beside the states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CtStates(u8);

impl CtStates {
    /// The flag `SNAT`: the connection's source was rewritten.
    pub const SNAT: Self = Self(1 << 6);
    /// The flag `DNAT`: the connection's destination was rewritten.
    pub const DNAT: Self = Self(1 << 7);

    /// A set of one.
    pub fn of(state: CtState) -> Self {
        Self(1 << state as u8)
    }

    /// The union.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `state` is in the set.
    pub fn contains(self, state: CtState) -> bool {
        self.0 & (1 << state as u8) != 0
    }

    /// Whether the set holds any of `other`'s members.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// As `iptables-save` writes it: `RELATED,ESTABLISHED`.
impl fmt::Display for CtStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = CtState::ALL
            .into_iter()
            .filter(|s| self.contains(*s))
            .map(CtState::name);
        let flags = [(Self::SNAT, "SNAT"), (Self::DNAT, "DNAT")];
        let flags = flags
            .into_iter()
            .filter(|(bit, _)| self.intersects(*bit))
            .map(|(_, n)| n);
        for (i, name) in states.chain(flags).enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Protocol numbers that rules treat specially.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ESP.
    pub const ESP: u8 = 50;
    /// AH.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;

    /// The names that `iptables-save` prints: those of `/etc/protocols`, which it asks.
    pub const NAMES: &[(u8, &str)] = &[
        (ICMP, "icmp"),
        (2, "igmp"),
        (3, "ggp"),
        (4, "ipencap"),
        (5, "st"),
        (TCP, "tcp"),
        (8, "egp"),
        (9, "igp"),
        (12, "pup"),
        (UDP, "udp"),
        (20, "hmp"),
        (22, "xns-idp"),
        (27, "rdp"),
        (29, "iso-tp4"),
        (DCCP, "dccp"),
        (36, "xtp"),
        (37, "ddp"),
        (38, "idpr-cmtp"),
        (41, "ipv6"),
        (43, "ipv6-route"),
        (44, "ipv6-frag"),
        (45, "idrp"),
        (46, "rsvp"),
        (GRE, "gre"),
        (ESP, "esp"),
        (AH, "ah"),
        (57, "skip"),
        (ICMPV6, "ipv6-icmp"),
        (59, "ipv6-nonxt"),
        (60, "ipv6-opts"),
        (73, "rspf"),
        (81, "vmtp"),
        (88, "eigrp"),
        (89, "ospf"),
        (93, "ax.25"),
        (94, "ipip"),
        (97, "etherip"),
        (98, "encap"),
        (103, "pim"),
        (108, "ipcomp"),
        (112, "vrrp"),
        (115, "l2tp"),
        (124, "isis"),
        (SCTP, "sctp"),
        (133, "fc"),
        (135, "mobility-header"),
        (UDPLITE, "udplite"),
        (137, "mpls-in-ip"),
        (138, "manet"),
        (139, "hip"),
        (140, "shim6"),
        (141, "wesp"),
        (142, "rohc"),
        (143, "ethernet"),
    ];

    /// The name of a protocol number, if it has one here.
    pub fn name(number: u8) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, name)| *name)
    }
}
