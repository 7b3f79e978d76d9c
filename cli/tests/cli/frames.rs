//! Captures made for a test.

use etherparse::PacketBuilder;

/// Builds a classic pcap, Ethernet, microseconds.
#[derive(Clone)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    count: u32,
    /// Microseconds from one frame to the next, instead of seconds.
    is_at_once: bool,
}

impl Frames {
    pub(crate) fn new() -> Self {
        let mut bytes = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        Self {
            bytes,
            count: 0,
            is_at_once: false,
        }
    }

    pub(crate) fn frame(mut self, captured: &[u8]) -> Self {
        let len = u32::try_from(captured.len())
            .expect("a short frame")
            .to_le_bytes();
        let time = match self.is_at_once {
            false => [self.count, 0],
            true => [0, self.count],
        };
        self.bytes.extend(
            time.into_iter()
                .flat_map(u32::to_le_bytes)
                .chain(len)
                .chain(len),
        );
        self.bytes.extend(captured);
        self.count += 1;
        self
    }

    /// A SYN.
    pub(crate) fn tcp(self, source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Self {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(source.0, destination.0, 64)
            .tcp(source.1, destination.1, 7, 1024)
            .syn();
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).expect("a frame");
        self.frame(&frame)
    }

    /// Frames that follow one another by a microsecond, not by a second.
    pub(crate) fn all_at_once(mut self) -> Self {
        self.is_at_once = true;
        self
    }

    /// A datagram of UDP.
    pub(crate) fn udp(self, source: ([u8; 4], u16), destination: ([u8; 4], u16), ttl: u8) -> Self {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(source.0, destination.0, ttl)
            .udp(source.1, destination.1);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[0; 12]).expect("a frame");
        self.frame(&frame)
    }

    /// An ARP request, which has no verdict.
    pub(crate) fn arp(self) -> Self {
        let mut frame = [0; 60];
        frame[12..14].copy_from_slice(&[8, 6]);
        self.frame(&frame)
    }

    pub(crate) fn pcap(self) -> Vec<u8> {
        self.bytes
    }
}
