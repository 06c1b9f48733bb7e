//! A GGUF file: memory-mapped bytes in; metadata, hyper-parameters and raw tensors out, all bounds checked.
//!
//! Nothing is allocated for what the header only promises: arrays are walked in place and decoded when they
//! are asked for, and a tensor's extent is checked against the file. Format: ggml's `docs/gguf.md`. Limit:
//! little-endian, versions 2 and 3, one file (no splits), no arrays of arrays.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;

use super::kernels::Matrix;
use super::kernels::blocks::row_bytes;
use crate::llm::LlmError;

/// `GGUF`, little-endian.
pub(crate) const MAGIC: u32 = 0x4655_4747;
/// Where tensors start, unless `general.alignment` says otherwise.
pub(crate) const ALIGNMENT: usize = 32;
/// What an alignment is a multiple of: numbers and blocks are read in place, and none of them needs more.
const LEAST_ALIGNMENT: usize = 8;
/// Most dimensions of a tensor (ggml's own limit).
const MOST_DIMS: u32 = 4;

/// Types of metadata values, by their number in the file.
pub(crate) mod kind {
    pub(crate) const U8: u32 = 0;
    pub(crate) const I8: u32 = 1;
    pub(crate) const U16: u32 = 2;
    pub(crate) const I16: u32 = 3;
    pub(crate) const U32: u32 = 4;
    pub(crate) const I32: u32 = 5;
    pub(crate) const F32: u32 = 6;
    pub(crate) const BOOL: u32 = 7;
    pub(crate) const TEXT: u32 = 8;
    pub(crate) const ARRAY: u32 = 9;
    pub(crate) const U64: u32 = 10;
    pub(crate) const I64: u32 = 11;
    pub(crate) const F64: u32 = 12;
}

/// An open GGUF file.
pub(crate) struct Gguf {
    path: PathBuf,
    bytes: Arc<Mmap>,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors' offsets count from.
    data: usize,
}

/// A metadata value; an array's elements stay in the file.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Array { kind: u32, count: usize, at: usize },
}

/// What the header says about a tensor.
#[derive(Debug, Clone)]
struct TensorInfo {
    dtype: GgmlDType,
    /// Outermost first.
    shape: Vec<usize>,
    offset: u64,
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

    /// Says that its bytes will hardly be read again: the system takes their memory back, not their content.
    pub(crate) fn release(&self) {
        #[cfg(unix)]
        // SAFETY: the map is of a file and never written, so pages that were dropped are read again as they were.
        // Where the system refuses, the memory stays; nothing else changes.
        let _ = unsafe {
            self.bytes.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, self.start, self.len)
        };
    }

    /// The part at `index` of the outermost dimension, which it must have.
    pub(crate) fn part(&self, index: usize) -> RawTensor {
        let parts = self.shape.first().copied().unwrap_or(1).max(1);
        let len = self.len / parts;
        let shape = self.shape.get(1..).unwrap_or_default().to_vec();
        RawTensor { shape, start: self.start + index * len, len, ..self.clone() }
    }
}

/// The number of a tensor type in the file.
pub(crate) const TENSOR_TYPES: [(u32, GgmlDType); 15] = [
    (0, GgmlDType::F32),
    (1, GgmlDType::F16),
    (2, GgmlDType::Q4_0),
    (3, GgmlDType::Q4_1),
    (6, GgmlDType::Q5_0),
    (7, GgmlDType::Q5_1),
    (8, GgmlDType::Q8_0),
    (9, GgmlDType::Q8_1),
    (10, GgmlDType::Q2K),
    (11, GgmlDType::Q3K),
    (12, GgmlDType::Q4K),
    (13, GgmlDType::Q5K),
    (14, GgmlDType::Q6K),
    (15, GgmlDType::Q8K),
    (30, GgmlDType::BF16),
];

/// A place in the header.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            format!("{len} bytes are missing at the end of the file ({} bytes): truncated", self.bytes.len())
        })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that each take at least `least` bytes of what is left.
    fn count(&mut self, least: usize) -> Result<usize, String> {
        let (count, left) = (self.u64()?, self.bytes.len() - self.at);
        let fits = usize::try_from(count).ok().filter(|count| *count <= left / least);
        fits.ok_or_else(|| format!("a count of {count} does not fit the {left} bytes left: truncated"))
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        let len = self.count(1)?;
        self.take(len)
    }

    fn name(&mut self) -> Result<String, String> {
        let bytes = self.text()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "a name is not UTF-8".to_owned())
    }

    fn value(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            kind::U8 => Value::Integer(self.array().map(u8::from_le_bytes)?.into()),
            kind::I8 => Value::Integer(self.array().map(i8::from_le_bytes)?.into()),
            kind::U16 => Value::Integer(self.array().map(u16::from_le_bytes)?.into()),
            kind::I16 => Value::Integer(self.array().map(i16::from_le_bytes)?.into()),
            kind::U32 => Value::Integer(self.u32()?.into()),
            kind::I32 => Value::Integer(self.array().map(i32::from_le_bytes)?.into()),
            kind::U64 => Value::Integer(self.u64()?.into()),
            kind::I64 => Value::Integer(self.array().map(i64::from_le_bytes)?.into()),
            kind::F32 => Value::Float(self.array().map(f32::from_le_bytes)?.into()),
            kind::F64 => Value::Float(self.array().map(f64::from_le_bytes)?),
            kind::BOOL => Value::Bool(self.array::<1>()?[0] != 0),
            kind::TEXT => Value::Text(String::from_utf8_lossy(self.text()?).into_owned()),
            kind::ARRAY => {
                let kind = self.u32()?;
                let least = width(kind).ok_or_else(|| format!("an array of elements of type {kind}"))?;
                let count = self.count(least)?;
                let at = self.at;
                if kind == kind::TEXT {
                    for _ in 0..count {
                        self.text()?;
                    }
                } else {
                    self.take(count * least)?;
                }
                Value::Array { kind, count, at }
            }
            other => return Err(format!("a value of unknown type {other}")),
        })
    }
}

/// Fewest bytes that an array element takes; `None` for types that cannot be elements here.
fn width(kind: u32) -> Option<usize> {
    match kind {
        kind::U8 | kind::I8 | kind::BOOL => Some(1),
        kind::U16 | kind::I16 => Some(2),
        kind::U32 | kind::I32 | kind::F32 => Some(4),
        kind::U64 | kind::I64 | kind::F64 | kind::TEXT => Some(8),
        _ => None,
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
        let mut gguf = Gguf {
            path: path.to_owned(),
            bytes: Arc::new(bytes),
            metadata: BTreeMap::new(),
            tensors: BTreeMap::new(),
            data: 0,
        };
        let bytes = Arc::clone(&gguf.bytes);
        gguf.read_header(&bytes).map_err(|reason| gguf.error(format!("GGUF header: {reason}")))?;
        Ok(gguf)
    }

    fn read_header(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut cursor = Cursor { bytes, at: 0 };
        let (magic, version) = (cursor.u32()?, cursor.u32()?);
        if magic != MAGIC {
            return Err("the file does not start with `GGUF`: truncated, or not a GGUF file".into());
        }
        if !(2..=3).contains(&version) {
            return Err(format!("version {version}, expected 2 or 3"));
        }
        let (tensors, values) = (cursor.count(24)?, cursor.count(13)?);
        for index in 0..values {
            let key = cursor.name().map_err(|reason| format!("metadata {index}: {reason}"))?;
            let value = cursor.u32().and_then(|kind| cursor.value(kind));
            let value = value.map_err(|reason| format!("metadata `{key}`: {reason}"))?;
            self.metadata.insert(key, value);
        }
        for index in 0..tensors {
            let name = cursor.name().map_err(|reason| format!("tensor {index}: {reason}"))?;
            let info = tensor_info(&mut cursor).map_err(|reason| format!("tensor `{name}`: {reason}"))?;
            self.tensors.insert(name, info);
        }
        let alignment = match self.metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Integer(alignment @ 1..=65_536)) if *alignment % LEAST_ALIGNMENT as i128 == 0 => {
                *alignment as usize
            }
            Some(_) => {
                return Err(format!(
                    "metadata `general.alignment` is not a multiple of {LEAST_ALIGNMENT} up to 65536"
                ));
            }
        };
        let fits = |info: &TensorInfo| info.offset.is_multiple_of(alignment as u64);
        if let Some((name, info)) = self.tensors.iter().find(|(_, info)| !fits(info)) {
            let offset = info.offset;
            return Err(format!("tensor `{name}`: offset {offset} is not a multiple of {alignment}"));
        }
        self.data = cursor.at.next_multiple_of(alignment);
        Ok(())
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub(crate) fn error(&self, reason: impl Into<String>) -> LlmError {
        LlmError::Gguf { path: self.path.clone(), reason: reason.into() }
    }

    /// `general.architecture`.
    pub(crate) fn architecture(&self) -> Result<&str, LlmError> {
        self.string("general.architecture")
            .ok_or_else(|| self.error("metadata `general.architecture` is missing"))
    }

    /// A whole number of the metadata.
    pub(crate) fn integer(&self, key: &str) -> Option<usize> {
        match self.metadata.get(key)? {
            Value::Integer(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A number of the metadata.
    pub(crate) fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Float(value) => Some(*value),
            Value::Integer(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// A text of the metadata.
    pub(crate) fn string(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A yes or no of the metadata.
    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A list of texts of the metadata.
    pub(crate) fn strings(&self, key: &str) -> Option<Vec<String>> {
        let Value::Array { kind: kind::TEXT, count, at } = *self.metadata.get(key)? else { return None };
        let mut cursor = Cursor { bytes: &self.bytes, at };
        (0..count).map(|_| Some(String::from_utf8_lossy(cursor.text().ok()?).into_owned())).collect()
    }

    /// A list of whole numbers of the metadata, or of yes and no.
    pub(crate) fn integers(&self, key: &str) -> Option<Vec<i64>> {
        let Value::Array { kind, count, at } = *self.metadata.get(key)? else { return None };
        let mut cursor = Cursor { bytes: &self.bytes, at };
        let element = |_| match cursor.value(kind).ok()? {
            Value::Integer(value) => i64::try_from(value).ok(),
            Value::Bool(value) => Some(value.into()),
            _ => None,
        };
        (0..count).map(element).collect()
    }

    /// A list of numbers of the metadata.
    pub(crate) fn floats(&self, key: &str) -> Option<Vec<f32>> {
        let Value::Array { kind: kind @ kind::F32, count, at } = *self.metadata.get(key)? else {
            return None;
        };
        let mut cursor = Cursor { bytes: &self.bytes, at };
        let element = |_| match cursor.value(kind).ok()? {
            Value::Float(value) => Some(value as f32),
            _ => None,
        };
        (0..count).map(element).collect()
    }

    /// Whether a tensor exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The type of a tensor's numbers.
    pub(crate) fn dtype(&self, name: &str) -> Option<GgmlDType> {
        self.tensors.get(name).map(|info| info.dtype)
    }

    /// The shape of a tensor, outermost dimension first.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize], LlmError> {
        let info = self.tensors.get(name);
        Ok(&info.ok_or_else(|| self.error(format!("tensor `{name}` is missing")))?.shape)
    }

    /// Whether every tensor lies within the file.
    pub(crate) fn check_extents(&self) -> Result<(), LlmError> {
        for (name, info) in &self.tensors {
            self.tensor(name, &info.shape)?;
        }
        Ok(())
    }

    /// A tensor of exactly this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<RawTensor, LlmError> {
        let info = self.tensors.get(name);
        let info = info.ok_or_else(|| self.error(format!("tensor `{name}` is missing")))?;
        if info.shape != shape {
            let found = &info.shape;
            return Err(self.error(format!("tensor `{name}`: expected shape {shape:?}, got {found:?}")));
        }
        let cols = shape.last().copied().unwrap_or(1);
        let outer = &shape[..shape.len().saturating_sub(1)];
        let rows = outer.iter().try_fold(1usize, |rows, size| rows.checked_mul(*size));
        let per_row = row_bytes(info.dtype, cols)
            .map_err(|error| self.error(format!("tensor `{name}`: {}", first_line(&error))))?;
        let place = || {
            let start = usize::try_from(info.offset).ok()?.checked_add(self.data)?;
            let len = per_row.checked_mul(rows?)?;
            (start.checked_add(len)? <= self.bytes.len()).then_some((start, len))
        };
        let (start, len) = place().ok_or_else(|| {
            self.error(format!(
                "tensor `{name}` lies beyond the end of the file ({} bytes): truncated",
                self.bytes.len()
            ))
        })?;
        Ok(RawTensor { dtype: info.dtype, shape: shape.to_vec(), bytes: Arc::clone(&self.bytes), start, len })
    }

    /// Memory of all matrices, as an accelerator holds them or packed for the CPU kernels; the embedding table
    /// is never packed.
    pub(crate) fn weights_bytes(&self, packed: bool) -> usize {
        let tensors = self.tensors.iter().filter_map(|(name, info)| match info.shape[..] {
            [rows, cols] => Some((name.as_str(), info.dtype, rows, cols)),
            // Experts, one after the other.
            [parts, rows, cols] => Some((name.as_str(), info.dtype, parts.saturating_mul(rows), cols)),
            _ => None,
        });
        let embedding_is_head = !self.has("output.weight");
        let bytes = tensors.map(|(name, dtype, rows, cols)| {
            let stored = row_bytes(dtype, cols).unwrap_or(0).saturating_mul(rows);
            let multiplied =
                if packed { Matrix::bytes_for(dtype, rows, cols) } else { multiplied_bytes(dtype, stored) };
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

/// Memory of a matrix of `stored` bytes in candle's products, which keep quantized blocks and widen halves to f32.
pub(crate) fn multiplied_bytes(dtype: GgmlDType, stored: usize) -> usize {
    match dtype {
        GgmlDType::F16 | GgmlDType::BF16 => stored.saturating_mul(2),
        _ => stored,
    }
}

/// candle's message without a backtrace.
pub(crate) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn tensor_info(cursor: &mut Cursor<'_>) -> Result<TensorInfo, String> {
    let dims = cursor.u32()?;
    if dims > MOST_DIMS {
        return Err(format!("{dims} dimensions, expected at most {MOST_DIMS}"));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let size = cursor.u64()?;
        shape.push(usize::try_from(size).map_err(|_| format!("a dimension of {size}"))?);
    }
    // The file has the innermost dimension first.
    shape.reverse();
    let number = cursor.u32()?;
    let known = TENSOR_TYPES.iter().find(|(known, _)| *known == number);
    let (_, dtype) = known.ok_or_else(|| format!("unknown tensor type {number}"))?;
    Ok(TensorInfo { dtype: *dtype, shape, offset: cursor.u64()? })
}

#[cfg(test)]
mod tests {
    use super::{Gguf, MAGIC, kind};
    use crate::llm::decoder::tests::write_tiny_model;

    fn refusal(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.gguf");
        std::fs::write(&path, bytes).unwrap();
        let message = Gguf::open(&path).err().map_or_else(String::new, |error| error.to_string());
        assert!(message.is_empty() || message.contains("odd.gguf"), "{message}");
        message
    }

    #[test]
    fn tensors_that_do_not_lie_where_their_numbers_can_be_read_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        write_tiny_model(&path, candle_core::quantized::GgmlDType::Q8_0);
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(refusal(&bytes), "");
        let name = b"output_norm.weight";
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
        // Its number of dimensions, the one dimension and its type come first.
        bytes[at + 16] += 1;
        let message = refusal(&bytes);
        assert!(message.contains("`output_norm.weight`") && message.contains("multiple of 32"), "{message}");
    }

    #[test]
    fn an_alignment_is_a_multiple_of_eight() {
        for (alignment, good) in [(8u32, true), (64, true), (0, false), (1, false), (4, false), (12, false)] {
            let key = b"general.alignment";
            let mut bytes = MAGIC.to_le_bytes().to_vec();
            bytes.extend(3u32.to_le_bytes());
            bytes.extend([0u64, 1, key.len() as u64].iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend(key);
            bytes.extend([kind::U32, alignment].iter().flat_map(|number| number.to_le_bytes()));
            bytes.resize(256, 0);
            let message = refusal(&bytes);
            assert_eq!(message.is_empty(), good, "{alignment}: {message}");
            assert!(good || message.contains("general.alignment"), "{message}");
        }
    }
}
