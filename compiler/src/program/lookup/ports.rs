//! Which ports classes are of alone.

/// The ports that classes are of, whatever their protocol: most packets to no Service go to none of these.
#[derive(Clone, Debug)]
pub(super) struct KnownPorts {
    /// 64 ports each, from the lowest one's on.
    words: Vec<u64>,
    first: u16,
}

impl KnownPorts {
    pub(super) fn new(ports: impl Iterator<Item = u16> + Clone) -> Self {
        let numbers = ports.clone().map(|port| port >> 6);
        let (first, last) = numbers.fold((u16::MAX, 0), |(first, last), number| {
            (first.min(number), last.max(number))
        });
        let mut words = vec![0; usize::from((last + 1).saturating_sub(first))];
        for port in ports {
            words[usize::from((port >> 6) - first)] |= 1 << (port & 63);
        }
        Self { words, first }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    #[inline(always)]
    pub(super) fn holds(&self, port: u16) -> bool {
        let word = usize::from((port >> 6).wrapping_sub(self.first));
        let word = self.words.get(word).copied().unwrap_or_default();
        word >> (port & 63) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_classes_are_known_and_no_others() {
        let ports = [30_000u16, 32_767, 80, 65_535];
        for known in [&ports[..2], &ports[..3], &ports[..], &ports[3..], &[]] {
            let all = KnownPorts::new(known.iter().copied());
            for port in 0..=u16::MAX {
                assert_eq!(all.holds(port), known.contains(&port), "{port}");
            }
        }
    }
}
