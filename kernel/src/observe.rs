//! The kernel's log of packets (NFLOG): what the judge's chains saw.

use crate::error::KernelError;
use crate::seen::{Answer, Sighting};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nflog::{
    ConfigCmd, ConfigMode, PacketNla, ULogMessage, config_request,
};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use netlink_sys::Socket;
use netlink_sys::constants::NETLINK_NETFILTER;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

/// The group that the judge's chains log to.
const GROUP: u16 = 77;

/// So many bytes of each packet are logged: as the chains say.
const SNAPLEN: u32 = 128;

/// How long a batch may take to come through.
const PATIENCE: u16 = 5_000;

/// What one of the judge's chains saw.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A packet behind nat PREROUTING or nat OUTPUT (or again, on the lo leg).
    BehindNat(u16, Sighting),
    /// Behind INPUT.
    Delivered(u16, Sighting),
    /// Behind POSTROUTING, but not out by `lo`.
    Left(u16, Sighting),
    /// The kernel answered the packet.
    Answered(u16, Answer),
    /// The probe came through unjoined.
    Probe,
    /// It comes in by `lo`.
    ByLo(Sighting),
    /// What conntrack made of the packet that is told next (`enum ip_conntrack_info`).
    Info(u32),
    /// A bit of its connection's status.
    Status(u32),
    /// The connection's mark, of the packet that was told last.
    Connmark(u32),
}

/// The socket that the log comes by.
pub(crate) struct Log {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Log {
    pub(crate) fn open() -> Result<Self, KernelError> {
        let io = |source| KernelError::io("the socket of the kernel's log", source);
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(io)?;
        socket.bind_auto().map_err(io)?;
        // Root's to force; without it the batches are what the usual buffer holds.
        setsockopt(&socket, RcvBufForce, &(64 << 20)).ok();
        let mut log = Self {
            socket,
            buffer: vec![0; 1 << 17],
        };
        for setting in [
            vec![ConfigCmd::Bind.into()],
            vec![ConfigMode::new_packet(SNAPLEN).into()],
        ] {
            log.configure(&config_request(
                NetfilterProtoFamily::Unspec,
                GROUP,
                setting,
            ))?;
        }
        log.socket.set_non_blocking(true).map_err(io)?;
        Ok(log)
    }

    fn configure(&mut self, request: &NetlinkMessage<NetfilterMessage>) -> Result<(), KernelError> {
        let io = |source| KernelError::io("the socket of the kernel's log", source);
        let mut bytes = vec![0; request.header.length as usize];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(io)?;
        let size = self.socket.recv(&mut &mut self.buffer[..], 0).map_err(io)?;
        let reply = parse(&self.buffer[..size])?;
        match reply.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => {
                Err(KernelError::log(format!("{error}")))
            }
            _ => Ok(()),
        }
    }

    /// Hands on every event up to the sentinel.
    pub(crate) fn until_sentinel(
        &mut self,
        take: &mut dyn FnMut(Event),
    ) -> Result<(), KernelError> {
        loop {
            let size = self.receive()?;
            let mut rest = &self.buffer[..size];
            let mut ended = false;
            while !rest.is_empty() {
                let message = parse(rest)?;
                let length = (message.header.length as usize).next_multiple_of(4);
                ended |= hand_on(&message, take);
                rest = rest.get(length.max(4)..).unwrap_or_default();
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> Result<usize, KernelError> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(PATIENCE))
            .map_err(|source| KernelError::io("the kernel's log", source))?;
        if ready == 0 {
            return Err(KernelError::log("the sentinel did not come through"));
        }
        self.socket
            .recv(&mut &mut self.buffer[..], 0)
            .map_err(|source| KernelError::io("the kernel's log lost packets", source))
    }
}

fn parse(bytes: &[u8]) -> Result<NetlinkMessage<NetfilterMessage>, KernelError> {
    NetlinkMessage::deserialize(bytes).map_err(|error| KernelError::log(error.to_string()))
}

/// Hands on what a message tells; whether it was the sentinel's.
fn hand_on(message: &NetlinkMessage<NetfilterMessage>, take: &mut dyn FnMut(Event)) -> bool {
    let NetlinkPayload::InnerMessage(NetfilterMessage {
        inner: NetfilterMessageInner::ULog(ULogMessage::Packet(attributes)),
        ..
    }) = &message.payload
    else {
        return false;
    };
    let (mut prefix, mut mark, mut payload) = (&b""[..], 0, &[][..]);
    for attribute in attributes {
        match attribute {
            PacketNla::Prefix(text) => prefix = text.to_bytes(),
            PacketNla::Mark(of) => mark = *of,
            PacketNla::Payload(bytes) => payload = bytes,
            _ => {}
        }
    }
    match prefix {
        b"end" => return true,
        b"probe" => take(Event::Probe),
        b"answer" => {
            if let Some((number, answer)) = answer(payload) {
                take(Event::Answered(number, answer));
            }
        }
        _ => {
            let told = std::str::from_utf8(prefix).ok();
            if let Some(event) = told.and_then(|prefix| connection(prefix, mark)) {
                take(event);
            } else if let Some(ip) = Ip::read(payload) {
                let sighting = ip.sighting(mark);
                match prefix {
                    b"nat" => take(Event::BehindNat(ip.number, sighting)),
                    b"in" => take(Event::Delivered(ip.number, sighting)),
                    b"lo" => take(Event::ByLo(sighting)),
                    _ => take(Event::Left(ip.number, sighting)),
                }
            }
        }
    }
    false
}

/// What the chains tell of connections: `info 2`, `status 4`, `connmark`.
fn connection(prefix: &str, mark: u32) -> Option<Event> {
    let (word, number) = prefix.split_once(' ').unwrap_or((prefix, "0"));
    let number = number.parse().ok()?;
    match word {
        "info" => Some(Event::Info(number)),
        "status" => Some(Event::Status(number)),
        "connmark" => Some(Event::Connmark(mark)),
        _ => None,
    }
}

/// An IP header, as far as the judge asks.
struct Ip<'b> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// The judge's number of the packet.
    number: u16,
    later_fragment: bool,
    body: &'b [u8],
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

impl<'b> Ip<'b> {
    fn read(bytes: &'b [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::v4(bytes),
            6 => Self::v6(bytes),
            _ => None,
        }
    }

    fn v4(bytes: &'b [u8]) -> Option<Self> {
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        };
        Some(Self {
            source: address(12)?,
            destination: address(16)?,
            protocol: *bytes.get(9)?,
            number: be16(bytes, 4)?,
            later_fragment: be16(bytes, 6)? & 0x1fff != 0,
            body: bytes.get(usize::from(bytes[0] & 15) * 4..)?,
        })
    }

    fn v6(bytes: &'b [u8]) -> Option<Self> {
        let address = |at: usize| -> Option<IpAddr> {
            let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        };
        let (mut protocol, mut body) = (*bytes.get(6)?, bytes.get(40..)?);
        let mut later_fragment = false;
        // The judge writes no other extension header.
        if protocol == 44 {
            later_fragment = be16(body, 2)? & 0xfff8 != 0;
            (protocol, body) = (*body.first()?, body.get(8..)?);
        }
        Some(Self {
            source: address(8)?,
            destination: address(24)?,
            protocol,
            number: be16(bytes, 2)?,
            later_fragment,
            body,
        })
    }

    fn sighting(&self, mark: u32) -> Sighting {
        let has_ports = matches!(self.protocol, 6 | 17 | 33 | 132 | 136) && !self.later_fragment;
        let ports = has_ports.then(|| Some((be16(self.body, 0)?, be16(self.body, 2)?)));
        Sighting {
            source: self.source,
            destination: self.destination,
            ports: ports.flatten(),
            mark,
        }
    }
}

/// Which packet was answered, and how; `None` for whatever else the kernel says.
fn answer(bytes: &[u8]) -> Option<(u16, Answer)> {
    let ip = Ip::read(bytes)?;
    let (kind, code) = (*ip.body.first()?, *ip.body.get(1)?);
    match ip.protocol {
        1 if kind == 3 => Some((
            Ip::read(ip.body.get(8..)?)?.number,
            Answer::Unreachable(code),
        )),
        58 if kind == 1 => Some((
            Ip::read(ip.body.get(8..)?)?.number,
            Answer::Unreachable(code),
        )),
        // The judge's sequence and acknowledgment numbers begin with the packet's number; a reset carries on either.
        6 if ip.body.get(13)? & 4 != 0 => {
            let acknowledges = ip.body.get(13)? & 16 != 0;
            Some((
                be16(ip.body, if acknowledges { 8 } else { 4 })?,
                Answer::Reset,
            ))
        }
        _ => None,
    }
}
