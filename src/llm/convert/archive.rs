//! The members of a zip archive: bytes of the archive in, places of members out.
//!
//! `torch.save` stores its tensors uncompressed, so that they can be mapped. Format: PKWARE's APPNOTE.TXT, with
//! the 64-bit extension. Limit: encrypted and split archives are refused, as are methods other than deflate;
//! checksums are not computed.

use std::collections::BTreeMap;
use std::ops::Range;

/// `PK\5\6`, the end of the central directory.
const END: [u8; 4] = [0x50, 0x4b, 5, 6];
/// `PK\6\7`, which says where the 64-bit end is.
const LOCATOR: [u8; 4] = [0x50, 0x4b, 6, 7];
/// `PK\6\6`, the 64-bit end.
const END_64: [u8; 4] = [0x50, 0x4b, 6, 6];
/// `PK\1\2`, an entry of the central directory.
const ENTRY: [u8; 4] = [0x50, 0x4b, 1, 2];
/// `PK\3\4`, the header before a member.
const LOCAL: [u8; 4] = [0x50, 0x4b, 3, 4];
/// The end's size without, and the longest, comment.
const END_SIZE: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;

/// How a member is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) enum Method {
    Stored,
    Deflated,
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::llm) struct Member {
    /// Where its bytes are, as packed.
    pub(in crate::llm) place: Range<usize>,
    pub(in crate::llm) method: Method,
    /// Bytes when unpacked.
    pub(in crate::llm) size: u64,
}

/// Where each member lies in `bytes`, by name.
pub(in crate::llm) fn members(bytes: &[u8]) -> Result<BTreeMap<String, Member>, String> {
    let (count, start) = directory(bytes).ok_or("not a zip archive, or truncated: it has no directory")?;
    let mut members = BTreeMap::new();
    let mut at = start;
    for index in 0..count {
        let entry = entry(bytes, &mut at).ok_or_else(|| format!("directory entry {index} is damaged"))?;
        let name = String::from_utf8(entry.name.to_vec())
            .map_err(|_| format!("the name of directory entry {index} is not UTF-8"))?;
        let method = match entry.method {
            0 if entry.size == entry.packed => Some(Method::Stored),
            8 => Some(Method::Deflated),
            _ => None,
        };
        let method = method.filter(|_| !entry.encrypted).ok_or_else(|| {
            format!(
                "member `{name}` is encrypted or packed in an unknown way, expected it stored or deflated"
            )
        })?;
        let place = place(bytes, &entry)
            .ok_or_else(|| format!("member `{name}` lies beyond the end of the archive: truncated"))?;
        members.insert(name, Member { place, method, size: entry.size });
    }
    Ok(members)
}

struct Entry<'a> {
    name: &'a [u8],
    method: u16,
    encrypted: bool,
    size: u64,
    packed: u64,
    header: u64,
}

/// Number of entries and where the first one is.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = bytes.len().saturating_sub(END_SIZE + LONGEST_COMMENT);
    let end = (first..=bytes.len().checked_sub(END_SIZE)?).rev().find(|at| bytes[*at..*at + 4] == END)?;
    let (mut count, mut start) = (u64::from(u16_at(bytes, end + 10)?), u64::from(u32_at(bytes, end + 16)?));
    if let Some(locator) = end.checked_sub(20).filter(|at| bytes[*at..*at + 4] == LOCATOR) {
        let end = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
        if bytes.get(end..end.checked_add(4)?)? != END_64 {
            return None;
        }
        (count, start) = (u64_at(bytes, end.checked_add(32)?)?, u64_at(bytes, end.checked_add(48)?)?);
    }
    Some((count, usize::try_from(start).ok()?))
}

/// Reads the entry at `at` and moves on to the next.
fn entry<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Entry<'a>> {
    let fixed = bytes.get(*at..at.checked_add(46)?)?;
    if fixed[..4] != ENTRY {
        return None;
    }
    let len = |offset| u16_at(fixed, offset).map(usize::from);
    let (name_len, extra_len, comment_len) = (len(28)?, len(30)?, len(32)?);
    let rest = bytes.get(*at + 46..*at + 46 + name_len + extra_len + comment_len)?;
    *at += 46 + rest.len();
    let (mut size, mut header) = (u64::from(u32_at(fixed, 24)?), u64::from(u32_at(fixed, 42)?));
    let mut packed = u64::from(u32_at(fixed, 20)?);
    // Numbers that do not fit 32 bits are in the extra field, in this order.
    let mut extra = &rest[name_len..name_len + extra_len];
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
        let mut body = extra.get(4..4 + len)?;
        if id == 1 {
            for value in [&mut size, &mut packed, &mut header] {
                if *value == u64::from(u32::MAX) {
                    *value = u64_at(body, 0)?;
                    body = &body[8..];
                }
            }
        }
        extra = &extra[4 + len..];
    }
    let encrypted = u16_at(fixed, 8)? & 1 != 0;
    Some(Entry { name: &rest[..name_len], method: u16_at(fixed, 10)?, encrypted, size, packed, header })
}

/// Where a member's bytes are: after its own header.
fn place(bytes: &[u8], entry: &Entry<'_>) -> Option<Range<usize>> {
    let header = usize::try_from(entry.header).ok()?;
    let fixed = bytes.get(header..header.checked_add(30)?)?;
    if fixed[..4] != LOCAL {
        return None;
    }
    let start = header + 30 + usize::from(u16_at(fixed, 26)?) + usize::from(u16_at(fixed, 28)?);
    let end = start.checked_add(usize::try_from(entry.packed).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
