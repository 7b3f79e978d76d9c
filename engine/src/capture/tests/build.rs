//! Small captures, built by hand.

/// Numbers in either byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Little,
    Big,
}

impl Bytes {
    pub(super) const BOTH: [Self; 2] = [Self::Little, Self::Big];

    pub(super) fn u32(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    pub(super) fn u16(self, number: u16) -> [u8; 2] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

pub(super) const MICROSECONDS: u32 = 0xa1b2_c3d4;
pub(super) const NANOSECONDS: u32 = 0xa1b2_3c4d;
pub(super) const MODIFIED: u32 = 0xa1b2_cd34;

/// What frame `number` holds: as many bytes as its number, all of its number.
pub(super) fn content(number: u64) -> Vec<u8> {
    vec![number as u8; number as usize]
}

/// A capture under construction, and where its frames end.
#[derive(Clone)]
pub(super) struct Built {
    order: Bytes,
    /// The second before the first record's.
    pub(super) epoch: u32,
    pub(super) bytes: Vec<u8>,
    /// Ends of the file header and of all records (blocks) so far: a cut there leaves no rest.
    pub(super) edges: Vec<usize>,
    /// Ends of the frames' records.
    pub(super) frame_ends: Vec<usize>,
}

impl Built {
    pub(super) fn pcap(order: Bytes, magic: u32, version: (u16, u16), link: u32) -> Self {
        let (major, minor) = (order.u16(version.0), order.u16(version.1));
        let start: [&[u8]; 6] = [
            &order.u32(magic),
            &major,
            &minor,
            &[0; 8],
            &order.u32(65535),
            &order.u32(link),
        ];
        let bytes = start.concat();
        Self {
            order,
            epoch: 0,
            edges: vec![bytes.len()],
            bytes,
            frame_ends: Vec::new(),
        }
    }

    /// A record, of so many lengths and `between` them and the frame.
    pub(super) fn record(mut self, lens: (u32, u32), between: &[u8], frame: &[u8]) -> Self {
        let number = self.frame_ends.len() as u32 + 1;
        for word in [self.epoch + number, number * 10, lens.0, lens.1] {
            self.bytes.extend(self.order.u32(word));
        }
        self.bytes.extend(between);
        self.bytes.extend(frame);
        self.edges.push(self.bytes.len());
        self.frame_ends.push(self.bytes.len());
        self
    }

    /// `count` records, each with its [`content`]; on the wire there were 100 bytes more.
    pub(super) fn records(self, count: u64) -> Self {
        (1..=count).fold(self, |built, number| {
            let frame = content(number);
            built.record((number as u32, number as u32 + 100), &[], &frame)
        })
    }

    pub(super) fn pcapng(order: Bytes) -> Self {
        Self {
            order,
            epoch: 0,
            bytes: Vec::new(),
            edges: Vec::new(),
            frame_ends: Vec::new(),
        }
        .section(order)
    }

    pub(super) fn block(mut self, kind: u32, parts: &[&[u8]]) -> Self {
        let mut body = parts.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = self.order.u32(body.len() as u32 + 12);
        let block: [&[u8]; 4] = [&self.order.u32(kind), &len, &body, &len];
        self.bytes.extend(block.concat());
        self.edges.push(self.bytes.len());
        self
    }

    pub(super) fn section(mut self, order: Bytes) -> Self {
        self.order = order;
        let parts: [&[u8]; 4] = [
            &order.u32(0x1a2b_3c4d),
            &order.u16(1),
            &order.u16(0),
            &[0xff; 8],
        ];
        self.block(0x0a0d_0d0a, &parts)
    }

    pub(super) fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Self {
        let order = self.order;
        let mut listed = Vec::new();
        for (code, value) in options {
            listed.extend(order.u16(*code));
            listed.extend(order.u16(value.len() as u16));
            listed.extend(*value);
            listed.resize(listed.len().next_multiple_of(4), 0);
        }
        self.block(
            1,
            &[
                &order.u16(link),
                &[0; 2],
                &order.u32(snaplen),
                &listed,
                &[0; 4],
            ],
        )
    }

    fn frame_block(self, kind: u32, parts: &[&[u8]]) -> Self {
        let mut built = self.block(kind, parts);
        built.frame_ends.push(built.bytes.len());
        built
    }

    /// An enhanced packet block.
    pub(super) fn enhanced(self, interface: u32, ticks: u64, frame: &[u8]) -> Self {
        let order = self.order;
        let words = [
            interface,
            (ticks >> 32) as u32,
            ticks as u32,
            frame.len() as u32,
            1500,
        ];
        let words = words.map(|word| order.u32(word)).concat();
        self.frame_block(6, &[&words, frame])
    }

    /// An obsolete packet block.
    pub(super) fn obsolete(self, interface: u16, ticks: u32, frame: &[u8]) -> Self {
        let order = self.order;
        let words = [0, ticks, frame.len() as u32, 1500]
            .map(|word| order.u32(word))
            .concat();
        self.frame_block(2, &[&order.u16(interface), &[0; 2], &words, frame])
    }

    /// A simple packet block.
    pub(super) fn simple(self, original_len: u32, frame: &[u8]) -> Self {
        let original_len = self.order.u32(original_len);
        self.frame_block(3, &[&original_len, frame])
    }
}

/// Two sections of different byte order; every kind of block.
pub(super) fn sections() -> Built {
    Built::pcapng(Bytes::Little)
        .block(0x0bad, &[b"\0\0\0\0custom"])
        .interface(1, 0, &[(2, b"eth0"), (9, &[9])])
        .enhanced(0, 7_000_000_000_000_000_001, &content(1))
        .interface(276, 0, &[(2, b"any\0"), (14, &10_i64.to_le_bytes())])
        .enhanced(1, 5, &content(2))
        .block(5, &[&[0; 20]])
        .obsolete(0, 9, &content(3))
        .section(Bytes::Big)
        .interface(101, 4, &[(9, &[0x8a])])
        .simple(5, &content(4))
        .enhanced(0, 1 << 40, &content(5))
}
