//! Models of a known shape with random weights, as GGUF files: how fast an architecture is, without its weights.
//!
//! In: a shape's name and a quantization. Out: a file that loads like any other and writes nonsense. Its tokenizer
//! knows single bytes only, so a prompt has as many tokens as bytes. Shapes: CodeGen's published configs (Nijkamp et
//! al. 2022). Limit: the codegen architecture.

use std::io::Write;
use std::path::Path;

use super::quantize::{RECIPES, Recipe, encode};
use super::write::{Entry, Value, header, pad};
use super::{CHUNK, io, write_whole};
use crate::llm::LlmError;
use crate::llm::gguf::first_line;
use crate::llm::vocabulary::{NORMAL, UNUSED};
use crate::rng::RootSeed;

/// A model's sizes.
struct Shape {
    name: &'static str,
    layers: usize,
    hidden: usize,
    heads: usize,
    rotated: usize,
}

const CONTEXT: usize = 2048;
const VOCABULARY: usize = 51_200;

const SHAPES: [Shape; 3] = [
    Shape { name: "codegen-350m", layers: 20, hidden: 1024, heads: 16, rotated: 32 },
    Shape { name: "codegen-2b", layers: 32, hidden: 2560, heads: 32, rotated: 64 },
    Shape { name: "codegen-6b", layers: 33, hidden: 4096, heads: 16, rotated: 64 },
];

/// Writes a model of the shape `name` with random weights to `out`.
///
/// # Errors
/// An unknown shape or quantization; a file that cannot be written.
pub fn write_random(name: &str, quantization: &str, out: &Path) -> Result<(), LlmError> {
    let shape = SHAPES.iter().find(|shape| shape.name == name).ok_or_else(|| LlmError::Shape {
        asked: name.to_owned(),
        known: SHAPES.map(|shape| shape.name).join(", "),
    })?;
    let recipe = Recipe::named(quantization).ok_or_else(|| LlmError::Quantization {
        asked: quantization.to_owned(),
        known: RECIPES.join(", "),
    })?;
    let tensors = tensors(shape);
    let types: Vec<_> =
        tensors.iter().map(|(name, sizes)| recipe.dtype(name, sizes, shape.layers).0).collect();
    let entries: Vec<Entry<'_>> = tensors
        .iter()
        .zip(&types)
        .map(|((name, shape), dtype)| Entry { name, dtype: *dtype, shape })
        .collect();
    write_whole(out, |file| {
        header(file, &metadata(shape), &entries).map_err(|error| io(out, error))?;
        for (index, entry) in entries.iter().enumerate() {
            let cols = entry.shape.last().copied().unwrap_or(1);
            let rows = entry.shape.iter().product::<usize>() / cols;
            let mut stream = RootSeed(0).stream("random weights", &[index as u64]);
            let (mut written, at_once) = (0, (CHUNK / cols).max(1));
            for first in (0..rows).step_by(at_once) {
                let count = (rows.min(first + at_once) - first) * cols;
                let values = (0..count).map(|_| entry_value(entry.name, stream.uniform())).collect();
                let encoded = encode(entry.dtype, values, cols).map_err(|error| LlmError::Compute {
                    name: entry.name.to_owned(),
                    reason: first_line(&error),
                })?;
                written += encoded.len();
                file.write_all(&encoded).map_err(|error| io(out, error))?;
            }
            pad(file, written).map_err(|error| io(out, error))?;
        }
        Ok(())
    })
}

/// A norm's weight is near one; everything else has the deviation 0.02 of a fresh model.
fn entry_value(name: &str, uniform: f64) -> f32 {
    let centred = (uniform as f32 - 0.5) * 0.07;
    if name.ends_with("norm.weight") { 1.0 + centred } else { centred }
}

fn tensors(shape: &Shape) -> Vec<(String, Vec<usize>)> {
    let (hidden, wide) = (shape.hidden, 4 * shape.hidden);
    let mut tensors = vec![("token_embd.weight".to_owned(), vec![VOCABULARY, hidden])];
    let mut add = |name: String, sizes: &[usize]| tensors.push((name, sizes.to_vec()));
    for layer in 0..shape.layers {
        for (name, sizes) in [
            ("attn_norm.weight", &[hidden][..]),
            ("attn_norm.bias", &[hidden]),
            ("attn_q.weight", &[hidden, hidden]),
            ("attn_k.weight", &[hidden, hidden]),
            ("attn_v.weight", &[hidden, hidden]),
            ("attn_output.weight", &[hidden, hidden]),
            ("ffn_up.weight", &[wide, hidden]),
            ("ffn_up.bias", &[wide]),
            ("ffn_down.weight", &[hidden, wide]),
            ("ffn_down.bias", &[hidden]),
        ] {
            add(format!("blk.{layer}.{name}"), sizes);
        }
    }
    add("output_norm.weight".into(), &[hidden]);
    add("output_norm.bias".into(), &[hidden]);
    add("output.weight".into(), &[VOCABULARY, hidden]);
    add("output.bias".into(), &[VOCABULARY]);
    tensors
}

fn metadata(shape: &Shape) -> Vec<(String, Value)> {
    let number = |value: usize| Value::U32(value as u32);
    // GPT-2's alphabet: a printable stand-in for each byte; the other ids have no text.
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut spare = (0x100u32..).filter_map(char::from_u32);
    let alphabet = (0..256u32).map(|byte| match char::from_u32(byte).filter(|_| printable(byte)) {
        Some(known) => known.to_string(),
        None => spare.next().unwrap_or_default().to_string(),
    });
    let unused = (256..VOCABULARY).map(|id| format!("[PAD{id}]"));
    let tokens: Vec<String> = alphabet.chain(unused).collect();
    let kinds = (0..VOCABULARY).map(|id| if id < 256 { NORMAL as i32 } else { UNUSED as i32 }).collect();
    [
        ("general.architecture", Value::Text("codegen".into())),
        ("general.name", Value::Text(format!("{} with random weights", shape.name))),
        ("codegen.block_count", number(shape.layers)),
        ("codegen.context_length", number(CONTEXT)),
        ("codegen.embedding_length", number(shape.hidden)),
        ("codegen.feed_forward_length", number(4 * shape.hidden)),
        ("codegen.attention.head_count", number(shape.heads)),
        ("codegen.attention.layer_norm_epsilon", Value::F32(1e-5)),
        ("codegen.rope.dimension_count", number(shape.rotated)),
        ("tokenizer.ggml.model", Value::Text("gpt2".into())),
        ("tokenizer.ggml.pre", Value::Text("gpt-2".into())),
        ("tokenizer.ggml.tokens", Value::Texts(tokens)),
        ("tokenizer.ggml.token_type", Value::Integers(kinds)),
        ("tokenizer.ggml.merges", Value::Texts(Vec::new())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
