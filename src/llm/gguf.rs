//! A GGUF file: memory-mapped bytes in; metadata, hyper-parameters and raw tensors out, all bounds checked.
//!
//! The header is read by candle's reader, which refuses lengths beyond the file; tensors are checked
//! against the file here before anything is allocated. Limit: little-endian, one file (no splits).

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use memmap2::Mmap;

use super::kernels::PackedMatrix;
use super::kernels::blocks::row_bytes;
use crate::llm::LlmError;

/// An open GGUF file.
pub(crate) struct Gguf {
    path: PathBuf,
    bytes: Arc<Mmap>,
    content: Content,
}

/// A tensor's place in the file.
#[derive(Clone)]
pub(crate) struct RawTensor {
    pub(crate) dtype: GgmlDType,
    /// Outermost first: (rows, columns) for a matrix.
    pub(crate) shape: Vec<usize>,
    bytes: Arc<Mmap>,
    start: usize,
    len: usize,
}

impl RawTensor {
    /// Its bytes, in ggml blocks.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl Gguf {
    /// Maps the file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Gguf, LlmError> {
        let io = |source| LlmError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the file is mapped read-only; someone who truncates it under us gets a SIGBUS, as with
        // any mapped library. Its content is never trusted beyond the bounds checked here.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
        let content = Content::read(&mut Cursor::new(&bytes[..])).map_err(|error| LlmError::Gguf {
            path: path.to_owned(),
            reason: format!("not a readable GGUF file, it may be truncated ({})", first_line(&error)),
        })?;
        Ok(Gguf { path: path.to_owned(), bytes: Arc::new(bytes), content })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The header, for candle's own readers.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// An error about this file.
    pub(crate) fn error(&self, reason: impl Into<String>) -> LlmError {
        LlmError::Gguf { path: self.path.clone(), reason: reason.into() }
    }

    /// `general.architecture`.
    pub(crate) fn architecture(&self) -> Result<&str, LlmError> {
        match self.content.metadata.get("general.architecture") {
            Some(Value::String(name)) => Ok(name),
            _ => Err(self.error("metadata `general.architecture` is missing")),
        }
    }

    /// A whole number of the metadata.
    pub(crate) fn integer(&self, key: &str) -> Option<usize> {
        let value = self.content.metadata.get(key)?;
        let value = value.to_u64().ok().or_else(|| u64::try_from(value.to_i32().ok()?).ok())?;
        usize::try_from(value).ok()
    }

    /// A number of the metadata.
    pub(crate) fn float(&self, key: &str) -> Option<f64> {
        let value = self.content.metadata.get(key)?;
        value.to_f32().map(f64::from).or_else(|_| value.to_f64()).ok()
    }

    /// Whether a tensor exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// A tensor of exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<RawTensor, LlmError> {
        let info = self.content.tensor_infos.get(name);
        let info = info.ok_or_else(|| self.error(format!("tensor `{name}` is missing")))?;
        if info.shape.dims() != shape {
            return Err(
                self.error(format!("tensor `{name}`: expected shape {shape:?}, got {:?}", info.shape.dims()))
            );
        }
        let cols = shape.last().copied().unwrap_or(1);
        let rows: usize = shape[..shape.len().saturating_sub(1)].iter().product();
        let per_row = row_bytes(info.ggml_dtype, cols)
            .map_err(|error| self.error(format!("tensor `{name}`: {}", first_line(&error))))?;
        let place = || {
            let start = usize::try_from(self.content.tensor_data_offset.checked_add(info.offset)?).ok()?;
            let len = per_row.checked_mul(rows)?;
            (start.checked_add(len)? <= self.bytes.len()).then_some((start, len))
        };
        let (start, len) = place().ok_or_else(|| {
            self.error(format!(
                "tensor `{name}` lies beyond the end of the file ({} bytes): truncated",
                self.bytes.len()
            ))
        })?;
        Ok(RawTensor {
            dtype: info.ggml_dtype,
            shape: shape.to_vec(),
            bytes: Arc::clone(&self.bytes),
            start,
            len,
        })
    }

    /// Memory of all matrices, in the file's own blocks or packed for the CPU kernels; the embedding table
    /// is never packed.
    pub(crate) fn weights_bytes(&self, packed: bool) -> usize {
        let tensors = self.content.tensor_infos.iter().filter_map(|(name, info)| match info.shape.dims() {
            [rows, cols] => Some((name.as_str(), info.ggml_dtype, *rows, *cols)),
            _ => None,
        });
        let embedding_is_head = !self.has("output.weight");
        let bytes = tensors.map(|(name, dtype, rows, cols)| {
            let stored = row_bytes(dtype, cols).unwrap_or(0).saturating_mul(rows);
            let multiplied = if packed { PackedMatrix::bytes_for(dtype, rows, cols) } else { stored };
            match name {
                "token_embd.weight" if embedding_is_head => stored.saturating_add(multiplied),
                "token_embd.weight" => stored,
                _ => multiplied,
            }
        });
        bytes.fold(0, usize::saturating_add)
    }

    /// A vector of `len` numbers, decoded.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LlmError> {
        let tensor = self.tensor(name, &[len])?;
        let mut values = vec![0.0; len];
        super::kernels::blocks::decode_row(tensor.dtype, tensor.bytes(), &mut values)
            .map_err(|error| self.error(format!("tensor `{name}`: {}", first_line(&error))))?;
        Ok(values)
    }
}

/// candle's message without a backtrace.
pub(crate) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
