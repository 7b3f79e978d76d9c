//! Writes frames as a capture.

use kpclass_workload::frame::{Link, Origin};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapTsResolution, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness};
use std::borrow::Cow;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

/// A capture's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Classic pcap
    Pcap,
    /// pcapng, with the names of the devices
    Pcapng,
}

/// When the first frame was seen: 2026-01-01T00:00:00Z. Each next one is a microsecond later.
const START: Duration = Duration::from_secs(1_767_225_600);
const SNAPLEN: u32 = 262_144;

/// A capture that is being written; always little-endian, so that a seed gives the same bytes everywhere.
pub(crate) enum Capture<W: Write> {
    /// Classic pcap, with the number of frames so far.
    Pcap(PcapWriter<W>, u64),
    /// pcapng.
    Pcapng(PcapNgWriter<W>, u64),
}

impl<W: Write> Capture<W> {
    /// Writes the file's header.
    pub(crate) fn new(out: W, format: Format, link: Link) -> io::Result<Self> {
        let datalink = match link {
            Link::Ethernet => DataLink::ETHERNET,
            Link::Sll2 => DataLink::LINUX_SLL2,
            Link::Raw => DataLink::RAW,
        };
        match format {
            Format::Pcap => {
                let header = PcapHeader {
                    snaplen: SNAPLEN,
                    datalink,
                    ts_resolution: PcapTsResolution::MicroSecond,
                    endianness: Endianness::Little,
                    ..PcapHeader::default()
                };
                Ok(Self::Pcap(
                    PcapWriter::with_header(out, header).map_err(io_error)?,
                    0,
                ))
            }
            Format::Pcapng => {
                let mut writer =
                    PcapNgWriter::with_endianness(out, Endianness::Little).map_err(io_error)?;
                for name in ["eth0", "cni0"] {
                    let mut interface = InterfaceDescriptionBlock::new(datalink, SNAPLEN);
                    interface
                        .options
                        .push(InterfaceDescriptionOption::IfName(Cow::Borrowed(name)));
                    writer.write_pcapng_block(interface).map_err(io_error)?;
                }
                Ok(Self::Pcapng(writer, 0))
            }
        }
    }

    /// Appends a frame.
    pub(crate) fn write(&mut self, frame: &[u8], origin: Origin) -> io::Result<()> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        match self {
            Self::Pcap(writer, frames) => {
                let packet = PcapPacket::new(time(frames), length, frame).map_err(io_error)?;
                writer.write_packet(&packet).map_err(io_error)?;
            }
            Self::Pcapng(writer, frames) => {
                let block = EnhancedPacketBlock {
                    interface_id: u32::from(origin == Origin::Pod),
                    timestamp: time(frames),
                    original_len: length,
                    data: Cow::Borrowed(frame),
                    options: Vec::new(),
                };
                writer.write_pcapng_block(block).map_err(io_error)?;
            }
        }
        Ok(())
    }

    /// Hands everything on.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::Pcap(mut writer, _) => writer.flush().map_err(io_error),
            Self::Pcapng(mut writer, _) => writer.get_mut().flush(),
        }
    }
}

/// The next frame's time.
fn time(frames: &mut u64) -> Duration {
    let time = START + Duration::from_micros(*frames);
    *frames += 1;
    time
}

/// The writer's error as the system's: of the kind that lies at its bottom, so that a broken pipe is told from a full disk.
fn io_error(error: impl Error + Send + Sync + 'static) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        if let Some(system) = this.downcast_ref::<io::Error>() {
            return match system.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(system.kind(), system.to_string()),
            };
        }
        cause = this.source();
    }
    io::Error::other(error)
}
