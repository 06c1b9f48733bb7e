//! IDX files, the format of MNIST and Fashion-MNIST, plain or gzip: bytes in, images and labels out.
//!
//! Format: two zero bytes, 0x08 (unsigned bytes), the number of dimensions, each dimension as a big-endian
//! u32, then the values. One limit: only the four standard files of 28 x 28 images are read.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{DataError, Images, check_labels, hex_digest, read_file};

const SIDE: u32 = 28;
/// More than any file of the four can hold (60,000 images take 47 MB): a bound for a bad archive.
const BYTES_MAX: u64 = 1 << 30;
const FILES: [(&str, &str); 2] = [
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
];

/// Training and test data of a folder with the four standard files, and the digest of their contents.
pub(super) fn read(folder: &Path, classes: usize) -> Result<(Images, Images, String), DataError> {
    let mut contents: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for name in FILES.iter().flat_map(|(images, labels)| [images, labels]) {
        contents.push(plain_or_gzip(folder, name)?);
    }
    let digest = hex_digest(contents.iter().map(|(_, bytes)| bytes.as_slice()));
    let mut parts = contents.chunks(2).map(|pair| images_and_labels(&pair[0], &pair[1], classes));
    let (training, test) = (parts.next(), parts.next());
    match (training, test) {
        (Some(training), Some(test)) => Ok((training?, test?, digest)),
        _ => Err(DataError::UnknownName { name: folder.display().to_string() }),
    }
}

fn images_and_labels(
    (image_file, image_bytes): &(PathBuf, Vec<u8>),
    (label_file, label_bytes): &(PathBuf, Vec<u8>),
    classes: usize,
) -> Result<Images, DataError> {
    let (sizes, pixels) = parse(image_file, image_bytes, 3)?;
    let (counts, labels) = parse(label_file, label_bytes, 1)?;
    if sizes[1..] != [SIDE, SIDE] {
        return Err(malformed(
            image_file,
            format!("images of {SIDE} x {SIDE}"),
            format!("{} x {}", sizes[1], sizes[2]),
        ));
    }
    if sizes[0] != counts[0] {
        return Err(malformed(
            label_file,
            format!("{} labels, one for each image", sizes[0]),
            format!("{}", counts[0]),
        ));
    }
    check_labels(label_file, labels, classes)?;
    Ok(Images { pixels: pixels.to_vec(), labels: labels.to_vec() })
}

/// Dimensions and values of an IDX file of `rank` dimensions.
fn parse<'a>(file: &Path, bytes: &'a [u8], rank: usize) -> Result<(Vec<u32>, &'a [u8]), DataError> {
    let header = 4 + 4 * rank;
    if bytes.len() < header {
        return Err(malformed(file, format!("an IDX header of {header} bytes"), format!("{}", bytes.len())));
    }
    let magic = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let expected = 0x0800 | rank as u32;
    if magic != expected {
        return Err(malformed(file, format!("magic number {expected:#010x}"), format!("{magic:#010x}")));
    }
    let sizes: Vec<u32> = bytes[4..header]
        .chunks_exact(4)
        .map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]))
        .collect();
    let numel = sizes.iter().fold(1u64, |product, &size| product.saturating_mul(u64::from(size)));
    let values = &bytes[header..];
    if values.len() as u64 != numel {
        return Err(malformed(
            file,
            format!("{numel} bytes after the header, as it says"),
            format!("{}", values.len()),
        ));
    }
    Ok((sizes, values))
}

fn plain_or_gzip(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), DataError> {
    let plain = folder.join(name);
    if plain.exists() {
        let bytes = read_file(&plain, "")?;
        return Ok((plain, bytes));
    }
    let packed = folder.join(format!("{name}.gz"));
    // The only one of this format that the set-up brings.
    let way_out = match folder.ends_with("fashion-mnist") {
        true => {
            "run scripts/setup.sh, or point `path` of the data settings to a folder with the four IDX files"
        }
        false => "put the four IDX files there, or point `path` of the data settings to their folder",
    };
    let bytes = read_file(&packed, way_out)?;
    let mut unpacked = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes.as_slice()).take(BYTES_MAX);
    match reader.read_to_end(&mut unpacked) {
        Ok(_) => Ok((packed, unpacked)),
        Err(error) => Err(malformed(&packed, "a whole gzip file".to_owned(), error.to_string())),
    }
}

fn malformed(file: &Path, expected: String, got: String) -> DataError {
    DataError::Malformed { file: file.to_owned(), expected, got }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// An IDX file: magic, sizes, values.
    fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = (0x0800 | sizes.len() as u32).to_be_bytes().to_vec();
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    /// A folder with `count` training images and 2 test images, whose labels are 0, 1, 2...
    fn folder(count: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for ((images, labels), count) in FILES.iter().zip([count, 2]) {
            let pixels: Vec<u8> = (0..count * SIDE * SIDE).map(|index| (index % 251) as u8).collect();
            std::fs::write(folder.path().join(images), idx(&[count, SIDE, SIDE], &pixels)).unwrap();
            let values: Vec<u8> = (0..count).map(|index| (index % 10) as u8).collect();
            std::fs::write(folder.path().join(labels), idx(&[count], &values)).unwrap();
        }
        folder
    }

    fn message(folder: &Path) -> String {
        let text = read(folder, 10).unwrap_err().to_string();
        text.replace(&format!("{}/", folder.display()), "")
    }

    #[test]
    fn images_and_labels_are_read_in_order() {
        let (training, test, digest) = read(folder(12).path(), 10).unwrap();
        assert_eq!(training.labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        assert_eq!(training.pixels[..3], [0, 1, 2]);
        assert_eq!(training.pixels[784], (784 % 251) as u8);
        assert_eq!((test.labels.len(), test.pixels.len(), digest.len()), (2, 2 * 784, 64));
    }

    #[test]
    fn a_gzip_file_reads_as_the_plain_one_and_has_its_digest() {
        let folder = folder(3);
        let plain = read(folder.path(), 10).unwrap();
        let file = folder.path().join(FILES[0].0);
        let bytes = std::fs::read(&file).unwrap();
        let packed = std::fs::File::create(folder.path().join(format!("{}.gz", FILES[0].0))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!(read(folder.path(), 10).unwrap(), plain);
    }

    #[test]
    fn a_truncated_file_says_how_much_is_missing() {
        let folder = folder(3);
        let file = folder.path().join(FILES[0].0);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(
            message(folder.path()),
            "train-images-idx3-ubyte: expected 2352 bytes after the header, as it says, got 2347; fetch the file again"
        );
    }

    #[test]
    fn a_truncated_gzip_file_is_refused() {
        let folder = folder(3);
        std::fs::remove_file(folder.path().join(FILES[0].0)).unwrap();
        std::fs::write(folder.path().join(format!("{}.gz", FILES[0].0)), [0x1f, 0x8b, 8, 0, 0]).unwrap();
        let text = message(folder.path());
        assert!(text.starts_with("train-images-idx3-ubyte.gz: expected a whole gzip file, got "), "{text}");
    }

    #[test]
    fn another_magic_number_is_named() {
        let folder = folder(3);
        let file = folder.path().join(FILES[1].1);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[3] = 3;
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(
            message(folder.path()),
            "t10k-labels-idx1-ubyte: expected magic number 0x00000801, got 0x00000803; fetch the file again"
        );
    }

    #[test]
    fn a_label_of_eleven_is_refused_with_its_place() {
        let folder = folder(3);
        std::fs::write(folder.path().join(FILES[0].1), idx(&[3], &[1, 11, 2])).unwrap();
        assert_eq!(
            message(folder.path()),
            "train-labels-idx1-ubyte: expected labels from 0 to 9, got label 11 of image 1; fetch the file again"
        );
    }

    #[test]
    fn fewer_labels_than_images_are_refused() {
        let folder = folder(3);
        std::fs::write(folder.path().join(FILES[0].1), idx(&[2], &[1, 2])).unwrap();
        assert_eq!(
            message(folder.path()),
            "train-labels-idx1-ubyte: expected 3 labels, one for each image, got 2; fetch the file again"
        );
    }

    #[test]
    fn a_missing_file_is_named_with_the_way_out() {
        let folder = folder(3);
        std::fs::remove_file(folder.path().join(FILES[1].0)).unwrap();
        assert_eq!(
            message(folder.path()),
            "t10k-images-idx3-ubyte.gz: expected the data set's file here, got nothing; put the four IDX files \
             there, or point `path` of the data settings to their folder"
        );
    }
}
