//! The tensors of a Hugging Face directory: its files in, names with shapes and mapped bytes out.
//!
//! Reads `model.safetensors` or `pytorch_model.bin`, or the shards that their `.index.json` names; the former
//! is preferred. Files are mapped, not read; every extent is checked here. Limit: float tensors whose rows
//! lie one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::{archive, fault, io, pickle, read_json};
use crate::llm::LlmError;
use crate::llm::kernels::blocks::half;

/// Element types of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    BF16,
}

/// Where a tensor lies.
#[derive(Debug, Clone)]
struct Stored {
    file: usize,
    start: usize,
    element: Element,
    shape: Vec<usize>,
}

/// All tensors of a directory.
pub(super) struct Source {
    folder: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Stored>,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::BF16 => 2,
        }
    }
}

impl Source {
    /// Maps the weight files of `folder` and reads where their tensors are.
    pub(super) fn open(folder: &Path) -> Result<Source, LlmError> {
        let mut source = Source { folder: folder.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        for name in weight_files(folder)? {
            let path = folder.join(&name);
            let file = File::open(&path).map_err(|error| io(&path, error))?;
            // SAFETY: as for a GGUF file: mapped read-only, every access is checked against its length.
            let bytes = unsafe { Mmap::map(&file) }.map_err(|error| io(&path, error))?;
            let index = source.files.len();
            let found = if name.ends_with(".safetensors") {
                safetensors(&bytes, index)
            } else {
                checkpoint(&bytes, index)
            };
            source.tensors.extend(found.map_err(|reason| fault(&path, reason))?);
            source.files.push((path, bytes));
        }
        Ok(source)
    }

    /// An error about the weights.
    pub(super) fn fault(&self, reason: impl Into<String>) -> LlmError {
        fault(&self.folder, reason)
    }

    /// Whether a tensor exists.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's shape.
    pub(super) fn shape(&self, name: &str) -> Result<&[usize], LlmError> {
        self.stored(name).map(|stored| &stored.shape[..])
    }

    /// Row `row` of a tensor (its last dimension; a vector is one row) as f32, appended to `out`.
    pub(super) fn read_row(&self, name: &str, row: usize, out: &mut Vec<f32>) -> Result<(), LlmError> {
        let stored = self.stored(name)?;
        let (path, bytes) = &self.files[stored.file];
        let width = stored.shape.last().copied().unwrap_or(1);
        let size = width * stored.element.bytes();
        let start = row.checked_mul(size).and_then(|offset| offset.checked_add(stored.start));
        let row_bytes = start.and_then(|start| bytes.get(start..start.checked_add(size)?));
        let row_bytes = row_bytes.ok_or_else(|| fault(path, format!("tensor `{name}` has no row {row}")))?;
        let pairs = row_bytes.as_chunks::<2>().0.iter();
        match stored.element {
            Element::F32 => {
                out.extend(row_bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)));
            }
            Element::F16 => out.extend(pairs.map(|two| half(two))),
            Element::BF16 => {
                out.extend(pairs.map(|two| f32::from_bits(u32::from(u16::from_le_bytes(*two)) << 16)))
            }
        }
        Ok(())
    }

    fn stored(&self, name: &str) -> Result<&Stored, LlmError> {
        let stored = self.tensors.get(name);
        stored.ok_or_else(|| fault(&self.folder, format!("tensor `{name}` is missing from the weights")))
    }
}

/// Names of the files that hold the weights.
fn weight_files(folder: &Path) -> Result<Vec<String>, LlmError> {
    for single in ["model.safetensors", "pytorch_model.bin"] {
        if folder.join(single).is_file() {
            return Ok(vec![single.to_owned()]);
        }
        let index = folder.join(format!("{single}.index.json"));
        if !index.is_file() {
            continue;
        }
        let json = read_json(&index)?;
        let map = json["weight_map"].as_object();
        let map = map.ok_or_else(|| fault(&index, "`weight_map` is missing or not an object"))?;
        let mut files = BTreeSet::new();
        for (tensor, file) in map {
            let name = file.as_str().filter(|name| !name.contains(['/', '\\']) && *name != "..");
            let name = name.ok_or_else(|| {
                fault(&index, format!("`weight_map.{tensor}` is {file}, expected a plain file name"))
            })?;
            files.insert(name.to_owned());
        }
        return Ok(files.into_iter().collect());
    }
    Err(fault(
        folder,
        "neither model.safetensors nor pytorch_model.bin (nor an .index.json of either) is there",
    ))
}

/// Checks that `shape` elements from `start` on lie within `end`.
fn checked(
    file: usize,
    name: &str,
    element: Element,
    shape: Vec<usize>,
    start: Option<usize>,
    end: usize,
) -> Result<Stored, String> {
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    let stop = count.and_then(|count| start?.checked_add(count.checked_mul(element.bytes())?));
    match (start, stop) {
        (Some(start), Some(stop)) if stop <= end => Ok(Stored { file, start, element, shape }),
        _ => Err(format!("tensor `{name}` of shape {shape:?} lies beyond its data: truncated")),
    }
}

fn safetensors(bytes: &[u8], file: usize) -> Result<Vec<(String, Stored)>, String> {
    let header = safetensors::SafeTensors::read_metadata(bytes);
    let (len, metadata) =
        header.map_err(|error| format!("safetensors header: {error}; it may be truncated"))?;
    let data = 8 + len;
    let mut found = Vec::new();
    let tensors: BTreeMap<_, _> = metadata.tensors().into_iter().collect();
    for (name, info) in tensors {
        let element = match info.dtype {
            safetensors::Dtype::F32 => Element::F32,
            safetensors::Dtype::F16 => Element::F16,
            safetensors::Dtype::BF16 => Element::BF16,
            _ => continue,
        };
        let (start, end) = info.data_offsets;
        let end = data.saturating_add(end).min(bytes.len());
        let stored = checked(file, &name, element, info.shape.clone(), data.checked_add(start), end)?;
        found.push((name, stored));
    }
    Ok(found)
}

fn checkpoint(bytes: &[u8], file: usize) -> Result<Vec<(String, Stored)>, String> {
    let members: BTreeMap<_, _> = archive::members(bytes)
        .map_err(|reason| {
            format!("{reason}; files of torch before 1.6 must be loaded and saved once with a newer one")
        })?
        .into_iter()
        .map(|(name, member)| match member.method {
            archive::Method::Stored => Ok((name, member.place)),
            archive::Method::Deflated => {
                Err(format!("member `{name}` is compressed, expected it stored as it is"))
            }
        })
        .collect::<Result<_, _>>()?;
    let pickled = members.iter().find(|(name, _)| name.ends_with("/data.pkl"));
    let (name, place) = pickled.ok_or("no member `data.pkl`: not a file of torch.save")?;
    let root = name.trim_end_matches("data.pkl");
    if let Some(order) = members.get(&format!("{root}byteorder"))
        && bytes[order.clone()] != *b"little"
    {
        return Err("its numbers are big-endian, expected little-endian".into());
    }
    let mut found = Vec::new();
    for tensor in pickle::tensors(&bytes[place.clone()])? {
        let Some(element) = tensor.element else { continue };
        let name = tensor.name;
        let member = format!("{root}data/{}", tensor.storage);
        let place = members.get(&member);
        let place = place.ok_or_else(|| format!("tensor `{name}`: member `{member}` is missing"))?;
        let mut expected = 1usize;
        for (size, stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
            if *size != 1 && *stride != expected {
                return Err(format!("tensor `{name}` is not contiguous (strides {:?})", tensor.strides));
            }
            expected = expected.saturating_mul(*size);
        }
        let offset =
            usize::try_from(tensor.offset).ok().and_then(|offset| offset.checked_mul(element.bytes()));
        let start = offset.and_then(|offset| place.start.checked_add(offset));
        let stored = checked(file, &name, element, tensor.shape, start, place.end)?;
        found.push((name, stored));
    }
    Ok(found)
}
