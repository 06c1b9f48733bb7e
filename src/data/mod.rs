//! Data sets of labelled images, resident on the device: files in, tensors with a train / validation / test
//! split out.
//!
//! Fashion-MNIST and MNIST (IDX files, Yann LeCun's format) and CIFAR-10 (Krizhevsky's binary version).
//! Images stay bytes and become floats batch by batch. One limit: a data set must fit in the device's memory.

mod augment;
mod cifar;
mod device;
mod idx;
mod split;

use std::path::{Path, PathBuf};

use tch::{Kind, TchError, Tensor};

use crate::config::{DataConfig, Device};
use crate::rng::RootSeed;

pub(crate) use augment::{Augmentation, crop_and_flip};
pub(crate) use device::{place, prepare, uploaded};
pub(crate) use split::{Normalisation, Part, Split};

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];
const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// What is known of a data set without its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetInfo {
    /// Its name, as in [`DataConfig::name`].
    pub name: String,
    /// Sizes of one image: channels, height, width.
    pub input_sizes: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
    /// Their names, in the order of the labels.
    pub class_names: Vec<String>,
    /// Images to train on.
    pub train: usize,
    /// Images held out of the training data, for selection.
    pub validation: usize,
    /// Images of the test data, for the final report only.
    pub test: usize,
    /// SHA-256 of the files' (uncompressed) bytes in their fixed order, in hexadecimal.
    pub sha256: String,
}

/// Why a data set cannot be used. Each names the file or setting and the way out.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No such data set.
    #[error("unknown data set `{name}`: expected one of fashion-mnist, mnist, cifar10")]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// A file is not there.
    #[error("{file}: expected the data set's file here, got nothing; {way_out}", file = file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// Where to get it.
        way_out: String,
    },
    /// A file cannot be read.
    #[error("{file}: cannot read: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{file}: expected {expected}, got {got}; fetch the file again", file = file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        got: String,
    },
    /// The validation part does not fit.
    #[error(
        "validation: expected 1 to {limit} images (the data set has {limit} plus 1 to train on), got {got}"
    )]
    Validation {
        /// What was asked for.
        got: usize,
        /// The most there can be.
        limit: usize,
    },
    /// The device cannot be used.
    #[error(
        "device cuda:{index}: {reason}; install the CUDA libtorch (scripts/setup.sh --cuda) or use --device cpu"
    )]
    Cuda {
        /// The CUDA device.
        index: usize,
        /// Why not.
        reason: String,
    },
    /// libtorch could not hold the data.
    #[error("data set on the device: {0}")]
    Device(#[from] TchError),
}

/// Input sizes and number of classes of a known data set, without reading it.
pub fn dataset_info(name: &str) -> Option<(Vec<usize>, usize)> {
    match name {
        "fashion-mnist" | "mnist" => Some((vec![1, 28, 28], 10)),
        "cifar10" => Some((vec![3, 32, 32], 10)),
        _ => None,
    }
}

/// Images and labels as read, before they are tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Images {
    /// `(count, channels, height, width)`, row-major.
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// A data set on a device, not yet split: images as bytes `(N, C, H, W)`, labels as integers `(N,)`.
#[derive(Debug)]
pub struct Dataset {
    info: DatasetInfo,
    training: Part,
    test: Part,
}

impl Dataset {
    /// Read a data set from [`DataConfig::path`], or from `data/NAME` under `home`.
    ///
    /// # Errors
    /// [`DataError`] where a file is missing, truncated, of another format, or has labels out of range, and
    /// where the validation part leaves nothing to train on.
    pub fn load(config: &DataConfig, home: &Path, device: Device) -> Result<Dataset, DataError> {
        let Some((sizes, classes)) = dataset_info(&config.name) else {
            return Err(DataError::UnknownName { name: config.name.clone() });
        };
        let folder = config.path.clone().unwrap_or_else(|| home.join("data").join(&config.name));
        let (training, test, sha256) = match config.name.as_str() {
            "cifar10" => cifar::read(&folder)?,
            _ => idx::read(&folder, classes)?,
        };
        let names = match config.name.as_str() {
            "fashion-mnist" => FASHION,
            "mnist" => DIGITS,
            _ => CIFAR10,
        };
        let names = names.iter().map(ToString::to_string).collect();
        Dataset::from_images(&config.name, sizes, names, config.validation, training, test, sha256, device)
    }

    /// A small made-up data set for tests and demonstrations, on the CPU: each class has its own random
    /// pattern, and an image is its class's pattern with noise over it. A network learns it in a few dozen
    /// steps.
    ///
    /// # Errors
    /// [`DataError::Validation`] where the parts do not fit, [`DataError::Device`] where libtorch fails.
    pub fn synthetic(
        input_sizes: &[usize],
        classes: usize,
        (train, validation, test): (usize, usize, usize),
        seed: RootSeed,
    ) -> Result<Dataset, DataError> {
        let numel: usize = input_sizes.iter().product();
        let mut stream = seed.stream("synthetic", &[]);
        let patterns: Vec<f32> = (0..classes * numel).map(|_| stream.uniform_f32() * 255.0).collect();
        let mut draw = |count: usize| {
            let labels: Vec<u8> = (0..count).map(|index| (index % classes.clamp(1, 256)) as u8).collect();
            let mut pixels = Vec::with_capacity(count * numel);
            for &label in &labels {
                let pattern = &patterns[usize::from(label) * numel..][..numel];
                pixels.extend(pattern.iter().map(|value| (value * 0.5 + stream.uniform_f32() * 127.0) as u8));
            }
            Images { pixels, labels }
        };
        let (training, test) = (draw(train + validation), draw(test));
        let sha256 = hex_digest([&training, &test].iter().flat_map(|part| [&part.pixels[..], &part.labels]));
        let names = (0..classes).map(|class| format!("class {class}")).collect();
        let sizes = input_sizes.to_vec();
        Dataset::from_images("synthetic", sizes, names, validation, training, test, sha256, Device::Cpu)
    }

    /// What is known of it. `train` and `validation` are those of the configured split.
    pub fn info(&self) -> &DatasetInfo {
        &self.info
    }

    /// Hold the validation images out: a permutation of the training data by `seed` (stream `split`) gives
    /// the first `validation` to selection and the rest to training. The test data stay as they are.
    pub(crate) fn split(self, seed: RootSeed) -> Result<Split, TchError> {
        Split::new(self.info, &self.training, self.test, seed)
    }

    #[expect(clippy::too_many_arguments, reason = "private; the two callers name every one")]
    fn from_images(
        name: &str,
        input_sizes: Vec<usize>,
        class_names: Vec<String>,
        validation: usize,
        training: Images,
        test: Images,
        sha256: String,
        device: Device,
    ) -> Result<Dataset, DataError> {
        if let Device::Cuda(index) = device {
            prepare(device).map_err(|reason| DataError::Cuda { index, reason })?;
        }
        let count = training.labels.len();
        if validation == 0 || validation >= count {
            return Err(DataError::Validation { got: validation, limit: count.saturating_sub(1) });
        }
        let info = DatasetInfo {
            name: name.to_owned(),
            classes: class_names.len(),
            class_names,
            train: count - validation,
            validation,
            test: test.labels.len(),
            sha256,
            input_sizes,
        };
        let part = |images: Images| -> Result<Part, TchError> {
            let count = images.labels.len() as i64;
            let sizes: Vec<i64> =
                std::iter::once(count).chain(info.input_sizes.iter().map(|&size| size as i64)).collect();
            let labels: Vec<i64> = images.labels.iter().map(|&label| i64::from(label)).collect();
            Ok(Part {
                images: Tensor::f_from_data_size(&images.pixels, &sizes, Kind::Uint8)?.f_to(place(device))?,
                labels: Tensor::f_from_slice(&labels)?.f_to(place(device))?,
            })
        };
        Ok(Dataset { training: part(training)?, test: part(test)?, info })
    }
}

/// SHA-256 over several byte strings, one after another, in hexadecimal.
fn hex_digest<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update(piece);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file's bytes, with errors that name it.
fn read_file(file: &Path, way_out: &str) -> Result<Vec<u8>, DataError> {
    std::fs::read(file).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            DataError::Missing { file: file.to_owned(), way_out: way_out.to_owned() }
        }
        _ => DataError::Io { file: file.to_owned(), source },
    })
}

/// Every label below `classes`, or which is not.
fn check_labels(file: &Path, labels: &[u8], classes: usize) -> Result<(), DataError> {
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(()),
        Some(index) => Err(DataError::Malformed {
            file: file.to_owned(),
            expected: format!("labels from 0 to {}", classes.saturating_sub(1)),
            got: format!("label {} of image {index}", labels[index]),
        }),
    }
}
