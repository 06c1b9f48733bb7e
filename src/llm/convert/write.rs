//! Writes a GGUF file: metadata and typed tensors in, a file of version 3 out.
//!
//! The header is written first, from the sizes that types and shapes imply; then each tensor's bytes, as
//! they are made. Limit: the value types that models need.

use std::io::{Error, Write};

use candle_core::quantized::GgmlDType;

use super::quantize::size;
use crate::llm::gguf::{ALIGNMENT, MAGIC, TENSOR_TYPES, kind};

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Floats(Vec<f32>),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i32>),
}

/// A tensor that will follow the header.
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) dtype: GgmlDType,
    /// Outermost first.
    pub(super) shape: &'a [usize],
}

/// Writes everything before the first tensor.
pub(super) fn header(
    out: &mut dyn Write,
    metadata: &[(String, Value)],
    tensors: &[Entry<'_>],
) -> Result<(), Error> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut bytes, key);
        put(&mut bytes, value);
    }
    let mut offset = 0usize;
    for entry in tensors {
        text(&mut bytes, entry.name);
        bytes.extend((entry.shape.len() as u32).to_le_bytes());
        for size in entry.shape.iter().rev() {
            bytes.extend((*size as u64).to_le_bytes());
        }
        let number = TENSOR_TYPES.iter().find(|(_, known)| *known == entry.dtype).map(|(number, _)| *number);
        let impossible = || Error::other(format!("tensor `{}` cannot be written", entry.name));
        bytes.extend(number.ok_or_else(impossible)?.to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        let end = size(entry.dtype, entry.shape).and_then(|size| offset.checked_add(size));
        offset = end.and_then(|end| end.checked_next_multiple_of(ALIGNMENT)).ok_or_else(impossible)?;
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&bytes)
}

/// Fills up a tensor of `len` bytes to the next one's start.
pub(super) fn pad(out: &mut dyn Write, len: usize) -> Result<(), Error> {
    out.write_all(&[0; ALIGNMENT][..len.next_multiple_of(ALIGNMENT) - len])
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put(bytes: &mut Vec<u8>, value: &Value) {
    let array = |bytes: &mut Vec<u8>, of: u32, len: usize| {
        bytes.extend(kind::ARRAY.to_le_bytes());
        bytes.extend(of.to_le_bytes());
        bytes.extend((len as u64).to_le_bytes());
    };
    match value {
        Value::U32(value) => {
            bytes.extend(kind::U32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        Value::F32(value) => {
            bytes.extend(kind::F32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        Value::Bool(value) => {
            bytes.extend(kind::BOOL.to_le_bytes());
            bytes.push((*value).into());
        }
        Value::Floats(values) => {
            array(bytes, kind::F32, values.len());
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        Value::Text(value) => {
            bytes.extend(kind::TEXT.to_le_bytes());
            text(bytes, value);
        }
        Value::Texts(values) => {
            array(bytes, kind::TEXT, values.len());
            values.iter().for_each(|value| text(bytes, value));
        }
        Value::Integers(values) => {
            array(bytes, kind::I32, values.len());
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
}
