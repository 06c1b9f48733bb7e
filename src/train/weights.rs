//! Trained weights as plain values: names, sizes and bytes, in the order of PyTorch's `state_dict`.
//!
//! Input: tensors after training, or a safetensors file. Output: a safetensors file that
//! `load_state_dict(safetensors.torch.load_file(path))` takes. One limit: F32, F64, I64 and BOOL tensors only.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};
use tch::{Kind, TchError, Tensor};

use super::exec::kind;
use crate::graph::{DType, Graph, ParamKind};

/// Why weights cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read or written.
    #[error("{file}: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not safetensors of supported types.
    #[error("{file}: expected a safetensors file of F32, F64, I64 and BOOL tensors, got {got}", file = file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        got: String,
    },
}

/// The `state_dict` of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Weights {
    entries: Vec<Entry>,
}

/// One tensor: its key, sizes, type and little-endian values.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    sizes: Vec<usize>,
    dtype: DType,
    data: Vec<u8>,
}

impl View for &Entry {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::I64 => Dtype::I64,
            DType::Bool => Dtype::BOOL,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.sizes
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

impl Weights {
    /// Names and sizes, in order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|entry| (entry.name.as_str(), entry.sizes.as_slice()))
    }

    /// The values of a floating-point tensor, row-major; `None` where there is none of this name.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let entry = self.entries.iter().find(|entry| entry.name == name && entry.dtype == DType::F32)?;
        Some(entry.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// SHA-256 over names, types, sizes and values, by name, in hexadecimal: the same for the same weights,
    /// whatever order a file keeps them in.
    pub fn digest(&self) -> String {
        let by_name: BTreeMap<&str, &Entry> =
            self.entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut hash = Sha256::new();
        for entry in by_name.values() {
            hash.update(format!("{}\0{:?}\0{:?}\0", entry.name, entry.dtype, entry.sizes));
            hash.update(&entry.data);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of a safetensors file with the metadata that PyTorch's loader expects.
    ///
    /// # Errors
    /// [`WeightsError::Malformed`] where the tensors cannot be written in this format.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let tensors = self.entries.iter().map(|entry| (entry.name.as_str(), entry));
        safetensors::tensor::serialize(tensors, Some(metadata)).map_err(|error| WeightsError::Malformed {
            file: PathBuf::from("weights in memory"),
            got: error.to_string(),
        })
    }

    /// Read the bytes of a safetensors file; `file` is for the messages.
    ///
    /// # Errors
    /// [`WeightsError::Malformed`] where the format or an element type is another.
    pub fn from_safetensors(bytes: &[u8], file: &Path) -> Result<Weights, WeightsError> {
        let malformed = |got: String| WeightsError::Malformed { file: file.to_owned(), got };
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| malformed(error.to_string()))?;
        let mut entries = Vec::new();
        for (name, view) in tensors.iter() {
            let dtype = match view.dtype() {
                Dtype::F32 => DType::F32,
                Dtype::F64 => DType::F64,
                Dtype::I64 => DType::I64,
                Dtype::BOOL => DType::Bool,
                other => return Err(malformed(format!("`{name}` of {other:?}"))),
            };
            entries.push(Entry {
                name: name.to_owned(),
                sizes: view.shape().to_vec(),
                dtype,
                data: view.data().to_vec(),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Weights { entries })
    }

    /// Read a safetensors file.
    ///
    /// # Errors
    /// [`WeightsError`] where it cannot be read or is of another format.
    pub fn load(path: &Path) -> Result<Weights, WeightsError> {
        let bytes =
            std::fs::read(path).map_err(|source| WeightsError::Io { file: path.to_owned(), source })?;
        Weights::from_safetensors(&bytes, path)
    }

    /// Write a safetensors file: whole, or not at all (a temporary file beside it, renamed when it is on the
    /// disk).
    ///
    /// # Errors
    /// [`WeightsError::Io`] where the system refuses.
    pub fn save_atomically(&self, path: &Path) -> Result<(), WeightsError> {
        let bytes = self.to_safetensors()?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let write = || {
            let mut file = std::fs::File::create(&part)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&part, path)
        };
        write().map_err(|source| {
            // What is left of a failed attempt is of no use; that it cannot be removed either changes
            // nothing.
            let _removed = std::fs::remove_file(&part);
            WeightsError::Io { file: path.to_owned(), source }
        })
    }

    /// The saved parameters and buffers of a graph, from their tensors; a second name of a tensor is an entry
    /// too.
    pub(crate) fn of(graph: &Graph, tensors: &[Tensor]) -> Result<Weights, TchError> {
        let mut entries = Vec::new();
        for (param, tensor) in graph.params.iter().zip(tensors) {
            if param.kind == ParamKind::Unsaved {
                continue;
            }
            let tensor = tensor.f_detach()?.f_to(tch::Device::Cpu)?.f_contiguous()?;
            let width = tensor.f_kind()?.elt_size_in_bytes();
            let mut data = vec![0; param.numel() * width];
            tensor.f_copy_data_u8(&mut data, param.numel())?;
            for name in std::iter::once(&param.name).chain(&param.aliases) {
                entries.push(Entry {
                    name: name.clone(),
                    sizes: param.sizes.clone(),
                    dtype: param.dtype,
                    data: data.clone(),
                });
            }
        }
        Ok(Weights { entries })
    }

    /// Sizes and type of the tensor of a name.
    pub(crate) fn described(&self, name: &str) -> Option<(&[usize], DType)> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some((&entry.sizes, entry.dtype))
    }

    /// The tensor of a name, where sizes and type agree.
    pub(crate) fn tensor(
        &self,
        name: &str,
        sizes: &[usize],
        dtype: DType,
    ) -> Result<Option<Tensor>, TchError> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        let Some(entry) = found.filter(|entry| entry.sizes == sizes && entry.dtype == dtype) else {
            return Ok(None);
        };
        let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let kind: Kind = kind(dtype);
        Tensor::f_from_data_size(&entry.data, &sizes, kind).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        let entry = |name: &str, sizes: &[usize], dtype, data: Vec<u8>| Entry {
            name: name.to_owned(),
            sizes: sizes.to_vec(),
            dtype,
            data,
        };
        let floats = [1.0f32, -2.5].iter().flat_map(|value| value.to_le_bytes()).collect();
        Weights {
            entries: vec![
                entry("bn.num_batches_tracked", &[], DType::I64, 7i64.to_le_bytes().to_vec()),
                entry("fc.weight", &[1, 2], DType::F32, floats),
            ],
        }
    }

    #[test]
    fn a_file_read_back_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.safetensors");
        weights().save_atomically(&path).unwrap();
        let read = Weights::load(&path).unwrap();
        assert_eq!(read, weights());
        assert_eq!(read.values("fc.weight"), Some(vec![1.0, -2.5]));
        assert_eq!(read.digest(), weights().digest());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let bytes = std::fs::read(&path).unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains(r#""__metadata__":{"format":"pt"}"#));
    }

    #[test]
    fn a_changed_value_changes_the_digest() {
        let mut other = weights();
        other.entries[1].data[0] ^= 1;
        assert_ne!(other.digest(), weights().digest());
    }

    #[test]
    fn a_file_of_another_format_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, b"PK\x03\x04 not safetensors").unwrap();
        let text = Weights::load(&path).unwrap_err().to_string();
        assert!(text.contains("x.safetensors: expected a safetensors file of F32"), "{text}");
        let text = weights().save_atomically(&folder.path().join("no/x")).unwrap_err().to_string();
        assert!(text.ends_with("no/x: No such file or directory (os error 2)"), "{text}");
    }
}
