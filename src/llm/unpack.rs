//! An archive that was carried over: a `.tar`, `.tar.gz`, `.tgz` or `.zip` in, its files in a folder out.
//!
//! Nothing is written outside the folder, and no more than a multiple of the archive's own size: weights hardly
//! compress. Links are followed only within the folder (a Hugging Face cache in a tar archive has them). Limit:
//! zip members that are stored or deflated; links in zip archives are left out.

use std::fs::File;
use std::io::{Error, Read, Seek, SeekFrom};
use std::path::{Component, Path};

use flate2::read::{DeflateDecoder, GzDecoder};
use memmap2::Mmap;

use super::convert::archive::{Method, members};

/// Most bytes that are written for each byte of the archive, and for the archive as such.
const MOST_TIMES: u64 = 20;
const MOST: u64 = 1 << 26;

/// Whether a path looks like an archive that can be read here.
pub(super) fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz", ".zip"].iter().any(|end| name.ends_with(end))
}

/// Unpacks `archive` into the existing folder `target`.
pub(super) fn unpack(archive: &Path, target: &Path) -> Result<(), Error> {
    let mut file = File::open(archive)?;
    let limit = file.metadata()?.len().saturating_mul(MOST_TIMES).saturating_add(MOST);
    let mut start = [0; 4];
    let read = file.read(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    match &start[..read] {
        [0x1f, 0x8b, ..] => untar(GzDecoder::new(file), limit, target),
        b"PK\x03\x04" => unzip(&file, limit, target),
        _ => untar(file, limit, target),
    }
}

fn untar(reader: impl Read, limit: u64, target: &Path) -> Result<(), Error> {
    let mut archive = tar::Archive::new(reader.take(limit));
    archive.set_preserve_permissions(false);
    archive.set_preserve_mtime(false);
    archive.set_overwrite(false);
    archive.unpack(target)?;
    links_stay_within(target, &target.canonicalize()?)
}

/// Whether no link below `folder` leads out of `root`.
fn links_stay_within(folder: &Path, root: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder)? {
        let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
        let path = entry.path();
        if kind.is_dir() {
            links_stay_within(&path, root)?;
        } else if kind.is_symlink() && path.canonicalize().is_ok_and(|place| !place.starts_with(root)) {
            return Err(Error::other(format!("the link {} leads out of the archive", path.display())));
        }
    }
    Ok(())
}

fn unzip(file: &File, limit: u64, target: &Path) -> Result<(), Error> {
    // SAFETY: mapped read-only; every access is checked against its length.
    let bytes = unsafe { Mmap::map(file) }?;
    let mut left = limit;
    for (name, member) in members(&bytes).map_err(Error::other)? {
        let plain = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.ends_with('/') || !plain || name.contains('\\') {
            continue;
        }
        let path = target.join(&name);
        std::fs::create_dir_all(path.parent().unwrap_or(target))?;
        let mut out = File::create_new(&path)?;
        let packed = &bytes[member.place];
        let written = match member.method {
            Method::Stored => std::io::copy(&mut packed.take(left), &mut out)?,
            Method::Deflated => std::io::copy(&mut DeflateDecoder::new(packed).take(left), &mut out)?,
        };
        if written != member.size {
            return Err(Error::other(format!(
                "member `{name}`: expected {} bytes, got {written}: damaged, or packed too tightly",
                member.size
            )));
        }
        left -= written;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{is_archive, unpack};

    #[test]
    fn a_compressed_tar_is_unpacked_and_one_that_climbs_out_writes_nothing_outside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let packer = flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), Default::default());
        let mut tar = tar::Builder::new(packer);
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        tar.append_data(&mut header, "deep/x.gguf", &b"abc"[..]).unwrap();
        header.as_old_mut().name[..8].copy_from_slice(b"../up.gg");
        header.set_cksum();
        tar.append(&header, &b"abc"[..]).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let target = folder.path().join("out");
        std::fs::create_dir(&target).unwrap();
        let _ = unpack(&path, &target);
        assert_eq!(std::fs::read(target.join("deep/x.gguf")).unwrap(), b"abc");
        let outside: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(outside.len(), 2, "{outside:?}");
    }

    #[test]
    fn a_link_out_of_the_archive_is_refused_and_one_within_is_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("other.gguf"), "not yours").unwrap();
        for (to, fits) in [("deep/x.gguf", true), ("../other.gguf", false)] {
            let path = folder.path().join("a.tar");
            let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            header.set_mode(0o644);
            tar.append_data(&mut header, "deep/x.gguf", &b"abc"[..]).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, "link.gguf", to).unwrap();
            tar.into_inner().unwrap();
            let target = folder.path().join(format!("out-{fits}"));
            std::fs::create_dir(&target).unwrap();
            assert_eq!(unpack(&path, &target).is_ok(), fits, "{to}");
        }
    }

    #[test]
    fn archives_are_known_by_name_and_a_damaged_one_is_an_error() {
        assert!(is_archive("a/B.TAR.GZ".as_ref()) && !is_archive("x.gguf".as_ref()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"PK\x03\x04 and no more").unwrap();
        assert!(unpack(&path, folder.path()).unwrap_err().to_string().contains("truncated"));
    }
}
