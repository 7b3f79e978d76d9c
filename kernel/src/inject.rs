//! Puts packets in front of the hook where they start: on a device as a frame that arrives, or through a raw socket as the node's own.

use crate::error::KernelError;
use crate::world::UNKNOWN_IN;
use kpclass_ruleset::Hook;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::value::{Family, Interface};
use kpclass_workload::frame::{Framer, Link, Origin, Piece, Tag};
use pnet_datalink::{Channel, DataLinkSender};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// The priority (`SO_PRIORITY`) of the judge's own packets; the chain `answer` lets them pass.
const PRIORITY: u32 = 0x6b70;

/// `IPPROTO_RAW`: the socket is given the IP header too.
const RAW: i32 = 255;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Offset of a later fragment, in units of 8 bytes.
const LATER: u16 = 185;

/// What the probe and the sentinel are: protocols that no other packet of the judge's has.
const SENTINEL: u8 = 253;
const PROBE: u8 = 254;

/// Everything that packets go in by.
pub(crate) struct Injector {
    devices: HashMap<Interface, SyncDevice>,
    lo: Option<Box<dyn DataLinkSender>>,
    /// A raw socket for each family and mark.
    raw: HashMap<(Family, u32), Socket>,
    framer: Framer,
    /// A frame of the judge's own.
    frame: Vec<u8>,
}

impl Injector {
    pub(crate) fn new() -> Self {
        Self {
            devices: HashMap::new(),
            lo: None,
            raw: HashMap::new(),
            framer: Framer::whole(Link::Ethernet),
            frame: Vec::new(),
        }
    }

    /// Makes a device, whose other end is held here.
    pub(crate) fn add_device(&mut self, device: Interface) -> Result<(), KernelError> {
        let name = device.name();
        let made = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L2)
            .enable(false)
            .build_sync()
            .map_err(|source| KernelError::io(format!("device {name}"), source))?;
        self.devices.insert(device, made);
        Ok(())
    }

    /// Sends one packet, which is known by `number` from now on.
    pub(crate) fn send(&mut self, packet: &Packet, number: u16) -> Result<(), KernelError> {
        let [a, b, c, d] = packet.mark.to_ne_bytes();
        let tag = Tag {
            identification: number,
            flow_label: number.into(),
            sequence: u32::from(number) << 16,
            destination_mac: Some([2, 0, a, b, c, d]),
            fragment_offset: LATER,
            ..Tag::default()
        };
        self.send_tagged(packet, &tag)
    }

    /// How many bytes a packet is, without its link header.
    pub(crate) fn length(&mut self, packet: &Packet, tag: &Tag) -> u16 {
        let frame = self.framer.tagged(packet, Origin::Outside, tag);
        u16::try_from(frame.len() - ETHERNET).unwrap_or(u16::MAX)
    }

    /// Sends one packet with the fields that no rule asks for. The mark that it arrives with is in the tag.
    pub(crate) fn send_tagged(&mut self, packet: &Packet, tag: &Tag) -> Result<(), KernelError> {
        let Self {
            framer,
            devices,
            raw,
            ..
        } = self;
        let frame = framer.tagged(packet, Origin::Outside, tag);
        send(devices, raw, packet, frame)
    }

    /// Whether [`Self::send_pieces`] makes several of it.
    pub(crate) fn cuts(&mut self, packet: &Packet, tag: &Tag) -> bool {
        let (header, size) = cut(packet);
        usize::from(self.length(packet, tag)) > header + size
    }

    /// Sends a packet in fragments, the last one first by turns. IPv6's first one holds the upper layer's header, as it has to.
    pub(crate) fn send_pieces(
        &mut self,
        packet: &Packet,
        tag: &Tag,
        id: u16,
    ) -> Result<(), KernelError> {
        let (header, size) = cut(packet);
        let frame = self.framer.tagged(packet, Origin::Outside, tag);
        let len = frame.len().saturating_sub(ETHERNET + header);
        let mut pieces = Piece::all(id, len, size);
        if id.is_multiple_of(2) {
            pieces.reverse();
        }
        let frames = pieces.iter().map(|piece| piece.cut(Link::Ethernet, frame));
        let frames: Vec<Vec<u8>> = frames.collect();
        frames
            .iter()
            .try_for_each(|frame| self.send_frame(packet, frame))
    }

    /// Sends a frame that was built elsewhere; where it starts, the packet tells.
    pub(crate) fn send_frame(&mut self, packet: &Packet, frame: &[u8]) -> Result<(), KernelError> {
        send(&self.devices, &mut self.raw, packet, frame)
    }

    fn arrive_by_lo(&mut self) -> Result<(), KernelError> {
        let lo = match &mut self.lo {
            Some(lo) => lo,
            none => none.insert(open_lo()?),
        };
        match lo.send_to(&self.frame, None) {
            Some(sent) => sent.map_err(|source| KernelError::io("the sentinel", source)),
            None => Err(KernelError::log("lo takes no frame")),
        }
    }

    /// A lone first fragment, by which `world` learns whether fragments are joined.
    pub(crate) fn send_probe(&mut self, family: Family) -> Result<(), KernelError> {
        let datagram = match family {
            Family::V4 => {
                let mut ip = header_v4(PROBE, [192, 0, 2, 1], [192, 0, 2, 2], 28);
                ip[6] = 0x20;
                set_checksum(&mut ip);
                ip
            }
            Family::V6 => fragment_v6(),
        };
        write_frame(&mut self.frame, &datagram);
        let device = Interface::new(UNKNOWN_IN).unwrap_or_else(Interface::lo);
        arrive(&self.devices, device, &self.frame)
    }

    /// The packet behind which all earlier ones have been dealt with: they go through `lo`'s queue one after the other.
    pub(crate) fn send_sentinel(&mut self) -> Result<(), KernelError> {
        let mut ip = header_v4(SENTINEL, [127, 0, 0, 1], [127, 0, 0, 1], 20);
        set_checksum(&mut ip);
        write_frame(&mut self.frame, &ip);
        self.arrive_by_lo()
    }
}

/// The length of a packet's header, and of the fragments behind it.
fn cut(packet: &Packet) -> (usize, usize) {
    match packet.source.is_ipv4() {
        true => (20, 16),
        false => (40, 24),
    }
}

/// Has a frame start where its packet says.
fn send(
    devices: &HashMap<Interface, SyncDevice>,
    raw: &mut HashMap<(Family, u32), Socket>,
    packet: &Packet,
    frame: &[u8],
) -> Result<(), KernelError> {
    if packet.hook == Hook::Output {
        return send_raw(raw, packet, frame.get(ETHERNET..).unwrap_or_default());
    }
    let device = packet
        .in_interface
        .or_else(|| Interface::new(UNKNOWN_IN))
        .unwrap_or_else(Interface::lo);
    arrive(devices, device, frame)
}

/// Lets a frame arrive on a device.
fn arrive(
    devices: &HashMap<Interface, SyncDevice>,
    device: Interface,
    frame: &[u8],
) -> Result<(), KernelError> {
    let io = |source| KernelError::io(format!("a packet for {}", device.name()), source);
    let Some(to) = devices.get(&device) else {
        return Err(KernelError::log(format!("no device {}", device.name())));
    };
    to.send(frame).map(drop).map_err(io)
}

fn open_lo() -> Result<Box<dyn DataLinkSender>, KernelError> {
    let lo = pnet_datalink::interfaces()
        .into_iter()
        .find(|device| device.is_loopback())
        .ok_or_else(|| KernelError::log("the namespace has no lo"))?;
    match pnet_datalink::channel(&lo, pnet_datalink::Config::default()) {
        Ok(Channel::Ethernet(sender, _)) => Ok(sender),
        Ok(_) => Err(KernelError::log("lo takes no frame")),
        Err(source) => Err(KernelError::io("a packet socket on lo", source)),
    }
}

fn send_raw(
    raw: &mut HashMap<(Family, u32), Socket>,
    packet: &Packet,
    datagram: &[u8],
) -> Result<(), KernelError> {
    let family = Family::of(packet.source);
    let socket = match raw.entry((family, packet.mark)) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => entry.insert(
            open_raw(family, packet.mark)
                .map_err(|source| KernelError::io("a raw socket", source))?,
        ),
    };
    let to = SockAddr::from(SocketAddr::new(packet.destination, 0));
    // The kernel tells the sender of a drop or a reject (EPERM), and of a destination without a route. What became of the packet is seen
    // by the log alone.
    socket.send_to(datagram, &to).ok();
    Ok(())
}

fn open_raw(family: Family, mark: u32) -> std::io::Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(RAW)))?;
    match family {
        Family::V4 => {
            socket.set_header_included_v4(true)?;
            socket.set_broadcast(true)?;
        }
        Family::V6 => socket.set_header_included_v6(true)?,
    }
    socket.set_priority(PRIORITY)?;
    socket.set_mark(mark)?;
    Ok(socket)
}

/// A frame of the judge's own: its addresses are nobody's.
fn write_frame(frame: &mut Vec<u8>, datagram: &[u8]) {
    frame.clear();
    frame.extend([0; 12]);
    let v6 = datagram.first().is_some_and(|first| first >> 4 == 6);
    frame.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    frame.extend(datagram);
}

fn header_v4(protocol: u8, source: [u8; 4], destination: [u8; 4], length: u8) -> Vec<u8> {
    let mut ip = vec![0; usize::from(length)];
    ip[0] = 0x45;
    ip[3] = length;
    ip[8] = 64;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&source);
    ip[16..20].copy_from_slice(&destination);
    ip
}

fn set_checksum(ip: &mut [u8]) {
    let mut sum: u32 = ip[..20]
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn fragment_v6() -> Vec<u8> {
    let mut ip = vec![0; 56];
    ip[0] = 0x60;
    ip[5] = 16;
    ip[6] = 44;
    ip[7] = 64;
    let ends: [IpAddr; 2] = [
        IpAddr::V6(std::net::Ipv6Addr::new(
            0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1,
        )),
        IpAddr::V6(std::net::Ipv6Addr::new(
            0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 2,
        )),
    ];
    for (at, end) in [8, 24].into_iter().zip(ends) {
        if let IpAddr::V6(address) = end {
            ip[at..at + 16].copy_from_slice(&address.octets());
        }
    }
    // The fragment header: next header, reserved, offset 0 with more to come.
    ip[40] = PROBE;
    ip[43] = 1;
    ip
}
