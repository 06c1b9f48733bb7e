//! `models convert`: a Hugging Face directory in, one quantized GGUF file out.
//!
//! config.json says the architecture (`layout`), the weights are mapped (`source`) and quantized a few rows
//! at a time (`quantize`), and the tokenizer goes into the metadata (`tokens`). Nothing in the directory is
//! executed. The file appears under its name only when it is whole. Limit: matrices and vectors; models that
//! `layout` knows.

pub(super) mod archive;
mod layout;
mod pickle;
mod quantize;
mod random;
mod source;
#[cfg(test)]
mod tests;
mod tokens;
mod write;

pub use random::write_random;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use serde_json::Value as Json;

use self::layout::{Config, Item, Layout, layout};
use self::quantize::{RECIPES, Recipe, encode};
use self::source::Source;
use self::write::{Entry, Value};
use super::gguf::first_line;
use super::store::hash_once;
use crate::llm::LlmError;

/// Values that are quantized at once.
const CHUNK: usize = 1 << 22;
/// Longest JSON or text file that is read (the largest tokenizers take 40 MB).
const LONGEST_TEXT: u64 = 1 << 27;

/// Where a conversion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvertProgress<'a> {
    /// The tensor that is written now.
    pub tensor: &'a str,
    /// Bytes of tensors written.
    pub bytes: u64,
    /// Bytes of tensors in all.
    pub total_bytes: u64,
}

/// What a conversion made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertReport {
    /// `general.architecture` of the file.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Tensors whose rows do not fit the asked type, with the type that they got.
    pub fallbacks: Vec<(String, String)>,
    /// Tensors of the weights that the file has no use for, such as masks.
    pub ignored: Vec<String>,
}

/// Converts the Hugging Face model in `folder` to the GGUF file `out`.
///
/// `quantization` is one of `f32`, `f16`, `q8_0`, `q6_k`, `q5_k_m`, `q5_1`, `q5_0`, `q4_k_m`, `q4_1`, `q4_0`. An
/// existing `out` is replaced, once the new file is complete.
///
/// # Errors
/// An unknown quantization or model type; a missing or damaged file, named with the field; an `out` that
/// cannot be written.
pub fn convert(
    folder: &Path,
    quantization: &str,
    out: &Path,
    progress: &mut dyn FnMut(ConvertProgress<'_>),
) -> Result<ConvertReport, LlmError> {
    let recipe = Recipe::named(quantization).ok_or_else(|| LlmError::Quantization {
        asked: quantization.to_owned(),
        known: RECIPES.join(", "),
    })?;
    let config_path = folder.join("config.json");
    let json = read_json(&config_path)?;
    let source = Source::open(folder)?;
    let mut layout = layout(&Config { json: &json, path: &config_path }, &source)?;
    let rows = layout.tensors.first().and_then(|item| item.shape.first()).copied().unwrap_or(0);
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    layout.metadata.push(("general.name".into(), Value::Text(name)));
    layout.metadata.extend(tokens::metadata(folder, &json, rows)?);
    let types = types(&layout, recipe);
    write_whole(out, |file| write_model(file, &layout, &types, &source, progress))?;
    let used: std::collections::BTreeSet<&str> =
        layout.tensors.iter().flat_map(|item| &item.sources).map(String::as_str).collect();
    let fallbacks = layout.tensors.iter().zip(&types).filter(|(_, (_, fell))| *fell);
    Ok(ConvertReport {
        architecture: layout.architecture.to_owned(),
        parameters: layout.tensors.iter().map(|item| item.shape.iter().product::<usize>() as u64).sum(),
        bytes: std::fs::metadata(out).map_err(|error| io(out, error))?.len(),
        sha256: hash_once(out)?,
        fallbacks: fallbacks.map(|(item, (dtype, _))| (item.name.clone(), format!("{dtype:?}"))).collect(),
        ignored: source.names().filter(|name| !used.contains(name)).map(str::to_owned).collect(),
    })
}

/// The quantization that a file's name ends with: `q4_k_m` of `codegen-350m-mono-q4_k_m.gguf`.
pub(super) fn quantization_of(file: &str) -> Option<&'static str> {
    let stem = file.strip_suffix(".gguf")?.to_ascii_lowercase();
    RECIPES.into_iter().find(|recipe| stem.ends_with(&format!("-{recipe}")))
}

/// An error about a file that is converted.
fn fault(path: &Path, reason: impl Into<String>) -> LlmError {
    LlmError::Convert { path: path.to_owned(), reason: reason.into() }
}

fn io(path: &Path, source: std::io::Error) -> LlmError {
    LlmError::Io { path: path.to_owned(), source }
}

/// A text file of bounded length.
pub(super) fn read_text(path: &Path) -> Result<String, LlmError> {
    let file = File::open(path).map_err(|error| io(path, error))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_TEXT + 1).read_to_end(&mut bytes).map_err(|error| io(path, error))?;
    if bytes.len() as u64 > LONGEST_TEXT {
        return Err(fault(path, format!("longer than {LONGEST_TEXT} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        fault(path, format!("byte {at} does not belong to a UTF-8 text: damaged, bring the file again"))
    })
}

fn read_json(path: &Path) -> Result<Json, LlmError> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| fault(path, format!("not readable JSON: {error}")))
}

/// Each tensor's type, and whether its rows forced it.
fn types(layout: &Layout, recipe: Recipe) -> Vec<(GgmlDType, bool)> {
    let layers = layout.metadata.iter().find_map(|(key, value)| match value {
        Value::U32(count) if key.ends_with(".block_count") => Some(*count as usize),
        _ => None,
    });
    // Where there is no head, the embedding table is it.
    let head = layout.tensors.iter().any(|item| item.name == "output.weight");
    let name = |item: &Item| match item.name.as_str() {
        "token_embd.weight" if !head => "output.weight".to_owned(),
        name => name.to_owned(),
    };
    let tensors = layout.tensors.iter();
    tensors.map(|item| recipe.dtype(&name(item), &item.shape, layers.unwrap_or(0))).collect()
}

/// Lets `body` write a temporary file beside `out`, which takes its place only when it is complete and on
/// the disk.
fn write_whole(
    out: &Path,
    body: impl FnOnce(&mut BufWriter<File>) -> Result<(), LlmError>,
) -> Result<(), LlmError> {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    let part = out.with_file_name(name);
    let written = (|| {
        let mut file = BufWriter::new(File::create(&part).map_err(|error| io(&part, error))?);
        body(&mut file).map_err(|error| name_file(error, &part))?;
        let file = file.into_inner().map_err(|error| io(&part, error.into_error()))?;
        file.sync_all().map_err(|error| io(&part, error))?;
        std::fs::rename(&part, out).map_err(|error| io(out, error))
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Names the file in a writing error.
fn name_file(error: LlmError, part: &Path) -> LlmError {
    match error {
        LlmError::Io { path, source } if path == PathBuf::new() => io(part, source),
        other => other,
    }
}

fn write_model(
    out: &mut BufWriter<File>,
    layout: &Layout,
    types: &[(GgmlDType, bool)],
    source: &Source,
    progress: &mut dyn FnMut(ConvertProgress<'_>),
) -> Result<(), LlmError> {
    let unwritable = |error| io(Path::new(""), error);
    let entries: Vec<Entry<'_>> = layout
        .tensors
        .iter()
        .zip(types)
        .map(|(item, (dtype, _))| Entry { name: &item.name, dtype: *dtype, shape: &item.shape })
        .collect();
    let size = |entry: &Entry<'_>| quantize::size(entry.dtype, entry.shape).unwrap_or(0);
    let total_bytes = entries.iter().map(|entry| size(entry) as u64).sum();
    write::header(out, &layout.metadata, &entries).map_err(unwritable)?;
    let mut bytes = 0;
    for (item, entry) in layout.tensors.iter().zip(&entries) {
        progress(ConvertProgress { tensor: &item.name, bytes, total_bytes });
        let mut written = 0;
        for_each_chunk(item, source, &mut |mut values, cols| {
            if item.plus != 0.0 {
                values.iter_mut().for_each(|value| *value += item.plus);
            }
            let encoded = encode(entry.dtype, values, cols);
            let encoded = encoded
                .map_err(|error| LlmError::Compute { name: item.name.clone(), reason: first_line(&error) })?;
            written += encoded.len();
            out.write_all(&encoded).map_err(unwritable)
        })?;
        write::pad(out, written).map_err(unwritable)?;
        bytes += written as u64;
    }
    Ok(())
}

/// Calls `body` with a few rows of a tensor at a time and their width.
fn for_each_chunk(
    item: &Item,
    source: &Source,
    body: &mut dyn FnMut(Vec<f32>, usize) -> Result<(), LlmError>,
) -> Result<(), LlmError> {
    for name in &item.sources {
        let stored = source.shape(name)?;
        let cols = stored.last().copied().unwrap_or(1);
        // Only the rows of matrices are reordered; a bias goes with them, one value a row.
        if let (Some(rows), [_]) = (&item.rows, stored) {
            let mut whole = Vec::new();
            source.read_row(name, 0, &mut whole)?;
            body(rows.iter().filter_map(|row| whole.get(*row).copied()).collect(), rows.len())?;
            continue;
        }
        let count = match (&item.rows, stored) {
            (Some(rows), _) => rows.len(),
            (None, stored) => stored[..stored.len().saturating_sub(1)].iter().product(),
        };
        let at_once = (CHUNK / cols.max(1)).max(1);
        for first in (0..count).step_by(at_once) {
            let last = count.min(first + at_once);
            let mut values = Vec::with_capacity((last - first) * cols);
            for row in first..last {
                let row = item.rows.as_ref().map_or(row, |rows| rows[row]);
                source.read_row(name, row, &mut values)?;
            }
            body(values, cols)?;
        }
    }
    Ok(())
}
