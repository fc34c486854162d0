//! A ZIP archive of a few small files, stored as they are: the one format every NAS and every Windows unpacks by itself.
//!
//! Times are fixed, so that the same content makes the same bytes.

/// 1 January 2026 in the format of MS-DOS.
const DATE: u16 = ((2026 - 1980) << 9) | (1 << 5) | 1;
/// "Version needed": 2.0, folders.
const VERSION: u16 = 20;
/// Made on Unix, so that the modes are looked at.
const MADE_BY: u16 = (3 << 8) | VERSION;

/// One file, or a folder when the name ends in a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

/// The archive as bytes.
pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = bytes.len() as u32;
        let common = header(entry);
        bytes.extend(0x0403_4b50_u32.to_le_bytes());
        bytes.extend(&common);
        bytes.extend(entry.name.as_bytes());
        bytes.extend(&entry.bytes);

        let is_dir = entry.name.ends_with('/');
        let kind: u32 = if is_dir { 0o040_000 } else { 0o100_000 };
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend(MADE_BY.to_le_bytes());
        directory.extend(&common);
        directory.extend([0; 6]); // no comment, first disk, no internal attributes
        directory.extend((((kind | entry.mode) << 16) | (u32::from(is_dir) << 4)).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(entry.name.as_bytes());
    }
    let count = entries.len() as u16;
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(0x0605_4b50_u32.to_le_bytes());
    bytes.extend([0; 4]); // one disk
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]); // no comment
    bytes
}

/// The part that the local header and the directory share.
fn header(entry: &Entry) -> Vec<u8> {
    let size = entry.bytes.len() as u32;
    let mut common = Vec::new();
    common.extend(VERSION.to_le_bytes());
    common.extend([0; 4]); // no flags, stored
    common.extend([0; 2]); // midnight
    common.extend(DATE.to_le_bytes());
    common.extend(crc32(&entry.bytes).to_le_bytes());
    common.extend(size.to_le_bytes());
    common.extend(size.to_le_bytes());
    common.extend((entry.name.len() as u16).to_le_bytes());
    common.extend([0; 2]); // no extra field
    common
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn the_end_record_points_at_a_directory_that_points_at_each_entry() {
        let entry = |name: &str, bytes: &[u8]| Entry {
            name: name.to_owned(),
            bytes: bytes.to_vec(),
            mode: 0o644,
        };
        let entries = [entry("d/", b""), entry("d/a.txt", b"hello")];
        let bytes = archive(&entries);
        let end = &bytes[bytes.len() - 22..];
        let word =
            |at: usize, from: &[u8]| u32::from_le_bytes(from[at..at + 4].try_into().unwrap());
        assert_eq!(word(0, end), 0x0605_4b50);
        let directory = &bytes[word(16, end) as usize..];
        assert_eq!(word(0, directory), 0x0201_4b50);
        let second = &directory[46 + "d/".len()..];
        assert_eq!(word(0, second), 0x0201_4b50);
        let local = &bytes[word(42, second) as usize..];
        assert_eq!(word(0, local), 0x0403_4b50);
        assert_eq!(&local[30..42], b"d/a.txthello");
    }
}
