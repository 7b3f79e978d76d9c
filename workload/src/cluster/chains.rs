//! The names that kube-proxy gives to chains.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first 16 letters of the base32 of the SHA-256 of the parts: 10 bytes, five bits a letter.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part.as_bytes()));
    let digest = hasher.finalize();
    let bits = digest
        .iter()
        .take(10)
        .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    let letter = |i: u32| char::from(ALPHABET[(bits >> (75 - 5 * i)) as usize & 31]);
    (0..16).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn the_names_are_kube_proxys() {
        assert_eq!(hash(&["ns1/svc1:p80", "tcp"]), "XPGD46QRK7WJZT7O");
        assert_eq!(
            hash(&["ns1/svc1:p80", "tcp", "10.180.0.1:80"]),
            "SXIVWICOYRO3J4NJ"
        );
        assert_eq!(
            hash(&["default/kubernetes:https", "tcp"]),
            "NPX46M4PTMTKRN6Y"
        );
    }
}
