//! From an input's bytes to its text: gzip and zstd are recognised by content, UTF-16 and stray bytes are repaired.

use super::ReadError;
use std::borrow::Cow;
use std::io::Read;

/// Most bytes of text that one input may hold, once unpacked. Line numbers and offsets are 32 bits wide.
const MAX_TEXT: u64 = if cfg!(test) { 1 << 20 } else { 4 << 30 };

/// The text of an input.
///
/// # Errors
/// A damaged archive, or more than 4 GiB of text.
pub(crate) fn open(bytes: &[u8]) -> Result<Cow<'_, str>, ReadError> {
    let unpacked = match bytes {
        [0x1f, 0x8b, ..] => Some(unpack("gzip", flate2::read::MultiGzDecoder::new(bytes))?),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
            Some(unpack(
                "zstd",
                decoder.map_err(|error| damaged("zstd", &error))?,
            )?)
        }
        _ => None,
    };
    let Some(unpacked) = unpacked else {
        return if bytes.len() as u64 > MAX_TEXT {
            Err(too_long())
        } else {
            Ok(text(bytes))
        };
    };
    Ok(match text(&unpacked) {
        Cow::Owned(text) => Cow::Owned(text),
        // It is UTF-8 already: keep the buffer.
        Cow::Borrowed(_) => Cow::Owned(String::from_utf8(unpacked).unwrap_or_default()),
    })
}

fn unpack(what: &str, decoder: impl Read) -> Result<Vec<u8>, ReadError> {
    let mut unpacked = Vec::new();
    let read = decoder.take(MAX_TEXT + 1).read_to_end(&mut unpacked);
    let length = read.map_err(|error| damaged(what, &error))?;
    if length as u64 > MAX_TEXT {
        Err(too_long())
    } else {
        Ok(unpacked)
    }
}

fn damaged(what: &str, error: &std::io::Error) -> ReadError {
    ReadError::new(format!(
        "begins as {what} does, but cannot be unpacked: {error}"
    ))
}

fn too_long() -> ReadError {
    ReadError::new(format!(
        "holds more than {MAX_TEXT} bytes of text, the most that is read"
    ))
}

/// UTF-8 with stray bytes replaced; UTF-16 (what a Windows shell redirects) by its byte order mark.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        [0xff, 0xfe, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)),
        _ => utf8(bytes),
    }
}

/// Text that is sound, as nearly all is, is found to be so many bytes at a time.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("writes to memory");
        encoder.finish().expect("finishes")
    }

    #[test]
    fn archives_open_by_content() {
        let zstd = zstd::encode_all(&b"*nat\n"[..], 1).expect("packs");
        assert_eq!(open(&gzip(b"*nat\n")).expect("gzip"), "*nat\n");
        assert_eq!(open(&zstd).expect("zstd"), "*nat\n");
        assert_eq!(open(b"\xff\xfe*\0n\0").expect("utf-16"), "*n");
        assert_eq!(open(b"\xef\xbb\xbf*nat").expect("mark"), "*nat");
        assert_eq!(open(b"*n\xffat").expect("stray byte"), "*n\u{fffd}at");
    }

    #[test]
    fn a_damaged_or_huge_archive_is_an_error() {
        let good = gzip(b"*nat\n");
        let error = open(&good[..good.len() - 9]).expect_err("cut");
        assert!(
            error.message().starts_with("begins as gzip does"),
            "{error}"
        );
        let bomb = gzip(&vec![b' '; (MAX_TEXT + 1) as usize]);
        assert!(bomb.len() < 10_000);
        assert!(
            open(&bomb)
                .expect_err("huge")
                .message()
                .starts_with("holds more than")
        );
        assert!(open(&vec![b' '; (MAX_TEXT + 1) as usize]).is_err());
    }
}
