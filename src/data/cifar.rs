//! CIFAR-10 in its binary version (Krizhevsky 2009): bytes in, images and labels out.
//!
//! Each record is one label byte and 3 x 32 x 32 bytes, red plane first. One limit: exactly the six standard
//! files.

use std::path::{Path, PathBuf};

use super::{DataError, Images, check_labels, hex_digest, read_file};

const FOLDER: &str = "cifar-10-batches-bin";
const TRAINING: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: [&str; 1] = ["test_batch.bin"];
const IMAGE_BYTES: usize = 3 * 32 * 32;
const RECORD_BYTES: usize = 1 + IMAGE_BYTES;
const RECORDS: usize = 10_000;
const CLASSES: usize = 10;

/// Training and test data of a folder that is, or holds, `cifar-10-batches-bin`, and the digest of the files.
pub(super) fn read(folder: &Path) -> Result<(Images, Images, String), DataError> {
    read_records(folder, RECORDS)
}

fn read_records(folder: &Path, records: usize) -> Result<(Images, Images, String), DataError> {
    let inside = folder.join(FOLDER);
    let folder = if inside.is_dir() { inside } else { folder.to_owned() };
    let way_out = "run scripts/setup.sh --cifar10 DIR with your copy, or point `path` of the data settings to a folder \
                   that holds cifar-10-batches-bin (the binary version of CIFAR-10)";
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for name in TRAINING.iter().chain(&TEST) {
        let file = folder.join(name);
        let bytes = read_file(&file, way_out)?;
        files.push((file, bytes));
    }
    let digest = hex_digest(files.iter().map(|(_, bytes)| bytes.as_slice()));
    let (training, test) = files.split_at(TRAINING.len());
    Ok((images(training, records)?, images(test, records)?, digest))
}

fn images(files: &[(PathBuf, Vec<u8>)], records: usize) -> Result<Images, DataError> {
    let mut images = Images { pixels: Vec::new(), labels: Vec::new() };
    for (file, bytes) in files {
        if bytes.len() != records * RECORD_BYTES {
            return Err(DataError::Malformed {
                file: file.clone(),
                expected: format!("{} bytes ({records} images)", records * RECORD_BYTES),
                got: format!("{}", bytes.len()),
            });
        }
        let labels: Vec<u8> = bytes.chunks_exact(RECORD_BYTES).map(|record| record[0]).collect();
        check_labels(file, &labels, CLASSES)?;
        images.labels.extend(labels);
        images.pixels.extend(bytes.chunks_exact(RECORD_BYTES).flat_map(|record| &record[1..]));
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six files of two records each; the label and every pixel of a record are its number modulo 10.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join(FOLDER);
        std::fs::create_dir(&inside).unwrap();
        for (index, name) in TRAINING.iter().chain(&TEST).enumerate() {
            let record = |number: usize| [(number % 10) as u8; RECORD_BYTES];
            std::fs::write(inside.join(name), [record(2 * index), record(2 * index + 1)].concat()).unwrap();
        }
        folder
    }

    #[test]
    fn records_are_read_from_the_folder_or_from_the_one_inside() {
        let folder = folder();
        let (training, test, digest) = read_records(folder.path(), 2).unwrap();
        assert_eq!(training.labels, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(training.pixels.len(), 10 * IMAGE_BYTES);
        assert_eq!((training.pixels[3 * IMAGE_BYTES], test.labels[1]), (3, 1));
        let direct = read_records(&folder.path().join(FOLDER), 2).unwrap();
        assert_eq!(direct, (training, test, digest));
    }

    #[test]
    fn sizes_and_labels_are_checked() {
        let folder = folder();
        let file = folder.path().join(FOLDER).join(TRAINING[2]);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..100]).unwrap();
        let message = |folder: &tempfile::TempDir| {
            let text = read_records(folder.path(), 2).unwrap_err().to_string();
            text.replace(&format!("{}/", folder.path().join(FOLDER).display()), "")
        };
        assert_eq!(
            message(&folder),
            "data_batch_3.bin: expected 6146 bytes (2 images), got 100; fetch the file again"
        );
        let mut wrong = whole;
        wrong[RECORD_BYTES] = 11;
        std::fs::write(&file, &wrong).unwrap();
        assert_eq!(
            message(&folder),
            "data_batch_3.bin: expected labels from 0 to 9, got label 11 of image 1; fetch the file again"
        );
        std::fs::remove_file(&file).unwrap();
        assert!(
            message(&folder).starts_with("data_batch_3.bin: expected the data set's file here, got nothing")
        );
    }
}
