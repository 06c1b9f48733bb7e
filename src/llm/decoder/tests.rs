//! The decoders on a tiny random model, written as a GGUF file: against each other, against
//! candle-transformers, and against themselves under other batches and threads. Needs no model on the
//! machine.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_qwen2::ModelWeights;

use super::{AcceleratorDecoder, Config, CpuDecoder, Decoder, Head, Span};
use crate::llm::gguf::Gguf;
use crate::llm::kernels::Isa;
use crate::rng::RootSeed;

const HIDDEN: usize = 64;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KEY_HEADS: usize = 2;
const FEED_FORWARD: usize = 96;
const VOCABULARY: usize = 272;

/// Writes a random qwen2 model; the weights are of type `dtype`.
pub(crate) fn write_tiny_model(path: &Path, dtype: GgmlDType) {
    write_tiny(path, dtype, "qwen2", &[], None);
}

/// The same of another architecture, with more metadata and with factors of rotary frequencies.
pub(crate) fn write_tiny(
    path: &Path,
    dtype: GgmlDType,
    architecture: &str,
    more: &[(&str, Value)],
    factors: Option<[f32; HIDDEN / HEADS / 2]>,
) {
    let mut stream = RootSeed(21).stream("tiny model", &[]);
    let mut normal = |shape: &[usize], scale: f64, shift: f64| {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| (stream.normal() * scale + shift) as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let keys = HIDDEN / HEADS * KEY_HEADS;
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let mut add = |name: String, shape: &[usize]| {
        let (tensor, dtype) = match shape {
            [_] if name.ends_with("norm.weight") => (normal(shape, 0.1, 1.0), GgmlDType::F32),
            [_] => (normal(shape, 0.2, 0.0), GgmlDType::F32),
            _ => (normal(shape, 0.15, 0.0), dtype),
        };
        tensors.push((name, QTensor::quantize(&tensor, dtype).unwrap()));
    };
    add("token_embd.weight".into(), &[VOCABULARY, HIDDEN]);
    add("output_norm.weight".into(), &[HIDDEN]);
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("attn_norm.weight", &[HIDDEN][..]),
            ("attn_q.weight", &[HIDDEN, HIDDEN]),
            ("attn_q.bias", &[HIDDEN]),
            ("attn_k.weight", &[keys, HIDDEN]),
            ("attn_k.bias", &[keys]),
            ("attn_v.weight", &[keys, HIDDEN]),
            ("attn_v.bias", &[keys]),
            ("attn_output.weight", &[HIDDEN, HIDDEN]),
            ("ffn_norm.weight", &[HIDDEN]),
            ("ffn_gate.weight", &[FEED_FORWARD, HIDDEN]),
            ("ffn_up.weight", &[FEED_FORWARD, HIDDEN]),
            ("ffn_down.weight", &[HIDDEN, FEED_FORWARD]),
        ] {
            add(format!("blk.{layer}.{part}"), shape);
        }
    }
    if let Some(factors) = factors {
        let factors = Tensor::new(&factors, &Device::Cpu).unwrap();
        tensors.push(("rope_freqs.weight".into(), QTensor::quantize(&factors, GgmlDType::F32).unwrap()));
    }
    let metadata: Vec<(String, Value)> = metadata()
        .into_iter()
        .map(|(key, value)| (key.replace("qwen2.", &format!("{architecture}.")), value))
        .chain([("general.architecture".to_owned(), Value::String(architecture.into()))])
        .chain(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())))
        .collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = std::fs::File::create(path).unwrap();
    write(&mut file, &metadata, &tensors).unwrap();
}

fn metadata() -> Vec<(&'static str, Value)> {
    let number = |value: usize| Value::U32(value as u32);
    // GPT-2's alphabet: a printable stand-in for each byte, then two control tokens, one merge and unused
    // ids.
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut spare = 0x100..;
    let mut tokens: Vec<String> = (0..256)
        .map(|byte| if printable(byte) { byte } else { spare.next().unwrap() })
        .map(|code| char::from_u32(code).unwrap().to_string())
        .collect();
    tokens.extend(["<|endoftext|>", "<|im_end|>", "ab"].map(str::to_owned));
    tokens.extend((tokens.len()..VOCABULARY).map(|id| format!("[unused{id}]")));
    let kinds = (0..VOCABULARY).map(|id| Value::I32(if (256..258).contains(&id) { 3 } else { 1 })).collect();
    vec![
        ("qwen2.block_count", number(LAYERS)),
        ("qwen2.context_length", number(256)),
        ("qwen2.embedding_length", number(HIDDEN)),
        ("qwen2.feed_forward_length", number(FEED_FORWARD)),
        ("qwen2.attention.head_count", number(HEADS)),
        ("qwen2.attention.head_count_kv", number(KEY_HEADS)),
        ("qwen2.rope.freq_base", Value::F32(10_000.0)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("qwen2".into())),
        ("tokenizer.ggml.tokens", Value::Array(tokens.into_iter().map(Value::String).collect())),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", Value::Array(vec![Value::String("a b".into())])),
        ("tokenizer.ggml.eos_token_id", number(256)),
    ]
}

struct Tiny {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Tiny {
    fn new(dtype: GgmlDType) -> Tiny {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        write_tiny_model(&path, dtype);
        Tiny { _folder: folder, path }
    }

    /// A llama whose positions are stretched in some way.
    fn stretched(more: &[(&str, Value)], factors: Option<[f32; HIDDEN / HEADS / 2]>) -> Tiny {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        write_tiny(&path, GgmlDType::F32, "llama", more, factors);
        Tiny { _folder: folder, path }
    }

    fn cpu(&self, threads: usize) -> CpuDecoder {
        let gguf = Gguf::open(&self.path).unwrap();
        CpuDecoder::load(&gguf, Config::read(&gguf).unwrap(), threads, 256, 3).unwrap()
    }

    fn accelerator(&self) -> AcceleratorDecoder {
        let gguf = Gguf::open(&self.path).unwrap();
        AcceleratorDecoder::load(&gguf, Config::read(&gguf).unwrap(), &Device::Cpu, 256, 3).unwrap()
    }
}

fn forward(decoder: &mut dyn Decoder, spans: &[Span<'_>]) -> Vec<Vec<f32>> {
    let mut logits = Vec::new();
    decoder.forward(spans, &mut logits).unwrap();
    logits.chunks_exact(VOCABULARY).map(<[f32]>::to_vec).collect()
}

fn span(slot: usize, tokens: &[u32]) -> Span<'_> {
    Span { slot, tokens, logits: 1 }
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 37 + 11) % 256).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_narrow_head_gives_the_whole_ones_logits_of_its_tokens() {
    let wanted: Vec<u32> = (0..VOCABULARY as u32).filter(|token| token % 5 == 3).collect();
    let (long, short) = (tokens(20), tokens(3));
    let spans = [span(0, &long), Span { logits: 2, ..span(1, &short) }];
    for dtype in [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::F32] {
        let tiny = Tiny::new(dtype);
        for (exact, decoder) in
            [(true, &mut tiny.cpu(2) as &mut dyn Decoder), (false, &mut tiny.accelerator())]
        {
            let mut whole = Vec::new();
            decoder.forward(&spans, &mut whole).unwrap();
            let whole: Vec<f32> = whole
                .chunks_exact(VOCABULARY)
                .flat_map(|logits| wanted.iter().map(|token| logits[*token as usize]))
                .collect();
            decoder.narrow(&wanted).unwrap();
            for (head, expected) in [(Head::Narrow, wanted.len()), (Head::Whole, VOCABULARY)] {
                decoder.truncate(0, 0);
                decoder.truncate(1, 0);
                let mut logits = Vec::new();
                decoder.step(&spans, head, &mut logits).unwrap();
                assert_eq!(logits.len(), 3 * expected);
                if head == Head::Narrow && exact {
                    assert_eq!(logits, whole, "{dtype:?}");
                } else if head == Head::Narrow {
                    assert!(logits.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-4), "{dtype:?}");
                }
            }
            assert!(decoder.narrow(&[VOCABULARY as u32]).is_err());
        }
    }
}

#[test]
fn rotary_frequencies_are_divided_by_the_factors_of_the_file() {
    let tokens = tokens(40);
    let logits = |tiny: &Tiny| {
        [&mut tiny.cpu(1) as &mut dyn Decoder, &mut tiny.accelerator()]
            .map(|decoder| forward(decoder, &[span(0, &tokens)]).remove(0))
    };
    let four = [("llama.rope.scaling.type", Value::String("linear".into()))];
    let four = [&four[..], &[("llama.rope.scaling.factor", Value::F32(4.0))]].concat();
    let (plain, linear) = (Tiny::stretched(&[], None), Tiny::stretched(&four, None));
    assert_eq!(logits(&Tiny::stretched(&[], Some([4.0; 8]))), logits(&linear));
    assert_eq!(logits(&Tiny::stretched(&[], Some([1.0; 8]))), logits(&plain));
    for (ours, plain) in logits(&linear).iter().zip(&logits(&plain)) {
        assert!(largest_difference(ours, plain) > 0.01);
    }
    let factors = [1.0, 1.0, 1.0, 1.5, 4.0, 8.0, 8.0, 8.0];
    let angles = |tiny: &Tiny| -> Vec<f32> {
        let config = Config::read(&Gguf::open(&tiny.path).unwrap()).unwrap();
        config.rotations(1).map(|(cosine, sine)| sine.atan2(cosine)).collect()
    };
    let (angles, plain) = (angles(&Tiny::stretched(&[], Some(factors))), angles(&plain));
    for ((angle, plain), factor) in angles.iter().zip(&plain).zip(factors) {
        assert!((angle * factor / plain - 1.0).abs() < 1e-6, "{angle} {plain} {factor}");
    }
}

#[test]
fn factors_that_cannot_be_meant_are_refused_by_name() {
    let refusal = |architecture: &str, factors: [f32; 8]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.gguf");
        write_tiny(&path, GgmlDType::Q8_0, architecture, &[], Some(factors));
        Config::read(&Gguf::open(&path).unwrap()).unwrap_err().to_string()
    };
    for (architecture, factors) in [("qwen2", [1.0; 8]), ("llama", [0.0; 8]), ("llama", [f32::NAN; 8])] {
        let message = refusal(architecture, factors);
        assert!(message.contains("odd.gguf") && message.contains("rope_freqs.weight"), "{message}");
    }
}

#[test]
fn a_stretch_without_a_type_is_linear_under_its_old_name_too() {
    let config = |more: &[(&str, Value)]| {
        let tiny = Tiny::stretched(more, None);
        Config::read(&Gguf::open(&tiny.path).unwrap())
    };
    let kind = |name: &str| ("llama.rope.scaling.type", Value::String(name.into()));
    let factor = |value| ("llama.rope.scaling.factor", Value::F32(value));
    let older = |value| ("llama.rope.scale_linear", Value::F32(value));
    let linear = config(&[kind("linear"), factor(4.0)]).unwrap();
    assert_eq!(linear.rope_scale, 4.0);
    for more in [&[factor(4.0)][..], &[older(4.0)], &[factor(4.0), older(2.0)], &[kind("linear"), older(4.0)]]
    {
        assert_eq!(config(more).unwrap(), linear, "{more:?}");
    }
    for more in [&[][..], &[factor(0.0)], &[kind("none"), factor(4.0)], &[factor(1.0)]] {
        assert_eq!(config(more).unwrap().rope_scale, 1.0, "{more:?}");
    }
    for more in [&[factor(0.5)][..], &[kind("linear")], &[kind("yarn"), factor(4.0)]] {
        assert!(config(more).unwrap_err().to_string().contains("llama.rope.scaling"), "{more:?}");
    }
}

#[test]
fn an_accelerator_holds_halves_as_single_numbers_and_the_header_says_so() {
    let weights = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64);
    let table = 272 * 64;
    for (dtype, stored, held) in [(GgmlDType::F16, 2, 4), (GgmlDType::BF16, 2, 4), (GgmlDType::F32, 4, 4)] {
        let tiny = Tiny::new(dtype);
        let bytes = tiny.accelerator().weights_bytes();
        assert_eq!(bytes, stored * table + held * (weights + table), "{dtype:?}");
        assert_eq!(bytes, Gguf::open(&tiny.path).unwrap().weights_bytes(false), "{dtype:?}");
        assert_eq!(tiny.accelerator().work().bytes as usize, held * (weights + table), "{dtype:?}");
    }
}

#[test]
fn both_decoders_agree_with_candle_transformers() {
    for dtype in [GgmlDType::Q8_0, GgmlDType::F32] {
        let tiny = Tiny::new(dtype);
        let tokens = tokens(23);
        let bytes = std::fs::read(&tiny.path).unwrap();
        let mut reader = Cursor::new(&bytes);
        let content = Content::read(&mut reader).unwrap();
        let mut oracle = ModelWeights::from_gguf(content, &mut reader, &Device::Cpu).unwrap();
        let input = Tensor::new(&tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let expected: Vec<f32> = oracle.forward(&input, 0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let spread = expected.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
        let candle = forward(&mut tiny.accelerator(), &[span(0, &tokens)]).remove(0);
        assert!(largest_difference(&candle, &expected) < 1e-3 * spread, "{dtype:?}");
        let ours = forward(&mut tiny.cpu(2), &[span(0, &tokens)]).remove(0);
        // Activations (and, for F32, weights) are rounded to 8 bits.
        let difference = largest_difference(&ours, &expected);
        assert!(difference < 0.06 * spread, "{dtype:?}: {difference} of {spread}");
    }
}

#[test]
fn cpu_logits_do_not_depend_on_spans_neighbours_copies_or_threads() {
    let tiny = Tiny::new(GgmlDType::Q8_0);
    let tokens = tokens(41);
    let whole = forward(&mut tiny.cpu(1), &[span(0, &tokens)]).remove(0);

    let mut pieces = tiny.cpu(2);
    forward(&mut pieces, &[span(2, &tokens[..7])]);
    forward(&mut pieces, &[span(2, &tokens[7..40]), span(1, &[5, 6, 7])]);
    let last = forward(&mut pieces, &[span(0, &[9]), span(2, &tokens[40..]), span(1, &[8])]);
    assert_eq!(last[1], whole);

    // Slot 0 takes over a prefix of slot 2 and goes on by itself; slot 2 is cut back and repeated.
    pieces.copy_prefix(2, 0, 20).unwrap();
    pieces.truncate(2, 33);
    let again = forward(&mut pieces, &[span(0, &tokens[20..]), span(2, &tokens[33..])]);
    assert_eq!((&again[0], &again[1]), (&whole, &whole));
}

#[test]
fn cpu_logits_do_not_depend_on_the_instruction_set() {
    for dtype in [GgmlDType::Q8_0, GgmlDType::Q5_0, GgmlDType::Q4_1] {
        let tiny = Tiny::new(dtype);
        let logits =
            |isa| forward(&mut tiny.cpu(2).with_isa(isa), &[span(0, &tokens(20)), span(1, &tokens(3))]);
        let expected = logits(Isa::Scalar);
        for isa in Isa::all() {
            assert_eq!(logits(isa), expected, "{dtype:?} {isa:?}");
        }
    }
}

#[test]
fn the_accelerator_decoder_keeps_rows_apart() {
    let tiny = Tiny::new(GgmlDType::Q8_0);
    let tokens = tokens(30);
    let mut decoder = tiny.accelerator();
    let whole = forward(&mut decoder, &[span(0, &tokens)]).remove(0);
    decoder.copy_prefix(0, 1, 12).unwrap();
    decoder.truncate(0, 0);
    let both = forward(&mut decoder, &[span(1, &tokens[12..]), span(0, &tokens[..29])]);
    assert!(largest_difference(&both[0], &whole) < 1e-2);
    assert!(largest_difference(&both[1], &whole) > 1e-2);
    let last = forward(&mut decoder, &[span(0, &tokens[29..])]).remove(0);
    assert!(largest_difference(&last, &whole) < 1e-2);
}

#[test]
fn spans_without_logits_give_none() {
    let tiny = Tiny::new(GgmlDType::Q8_0);
    for decoder in [&mut tiny.cpu(1) as &mut dyn Decoder, &mut tiny.accelerator()] {
        let silent = Span { slot: 0, tokens: &[1, 2, 3], logits: 0 };
        assert!(forward(decoder, &[silent]).is_empty());
        assert_eq!(forward(decoder, &[silent_and(1), span(0, &[4])]).len(), 1);
    }
}

fn silent_and(slot: usize) -> Span<'static> {
    Span { slot, tokens: &[7], logits: 0 }
}

#[test]
fn logits_after_several_tokens_are_those_of_one_token_at_a_time() {
    let tiny = Tiny::new(GgmlDType::Q8_0);
    let tokens = tokens(9);
    let mut single = tiny.cpu(1);
    let expected: Vec<_> =
        tokens.iter().map(|token| forward(&mut single, &[span(0, &[*token])]).remove(0)).collect();
    let several = Span { slot: 0, tokens: &tokens, logits: 4 };
    assert_eq!(forward(&mut tiny.cpu(2), &[several]), expected[5..]);
    for (candle, expected) in forward(&mut tiny.accelerator(), &[several]).iter().zip(&expected[5..]) {
        assert!(largest_difference(candle, expected) < 0.5);
    }
}

#[test]
fn a_token_outside_the_vocabulary_and_a_foreign_shape_are_errors() {
    let tiny = Tiny::new(GgmlDType::Q8_0);
    assert!(tiny.cpu(1).forward(&[span(0, &[VOCABULARY as u32])], &mut Vec::new()).is_err());
    assert!(tiny.cpu(1).forward(&[span(9, &[1])], &mut Vec::new()).is_err());
    let gguf = Gguf::open(&tiny.path).unwrap();
    let config = Config { feed_forward: 128, ..Config::read(&gguf).unwrap() };
    let error = CpuDecoder::load(&gguf, config, 1, 256, 1).err().unwrap().to_string();
    assert!(error.contains("tiny.gguf") && error.contains("blk.0.ffn_gate.weight"), "{error}");
}

/// `cargo test --release --lib decoder_rates -- --ignored --nocapture`, with the default model installed.
#[test]
#[ignore = "prints timings; run it by name on an idle machine"]
fn decoder_rates() {
    let selection = crate::llm::select("qwen2.5-coder-0.5b", None).unwrap();
    let gguf = Gguf::open(&selection.path).unwrap();
    let config = Config::read(&gguf).unwrap();
    let tokens: Vec<u32> = (0..300).map(|i| 1_000 + i * 7).collect();
    let mut seen = None;
    for isa in Isa::all().filter(|isa| *isa != Isa::Scalar) {
        let mut decoder = CpuDecoder::load(&gguf, config.clone(), 2, 512, 8).unwrap().with_isa(isa);
        let mut logits = Vec::new();
        let mut timed = |what: &str, count: usize, spans: &[Span<'_>], decoder: &mut CpuDecoder| {
            let start = std::time::Instant::now();
            decoder.forward(spans, &mut logits).unwrap();
            eprintln!("{isa:?} {what}: {:.1} tok/s", count as f64 / start.elapsed().as_secs_f64());
            logits.clone()
        };
        let last = timed("prefill", 300, &[span(0, &tokens)], &mut decoder);
        assert_eq!(seen.get_or_insert_with(|| last.clone()), &last, "{isa:?} gives other bits");
        (1..8).for_each(|slot| decoder.copy_prefix(0, slot, 300).unwrap());
        let spans: Vec<Span<'_>> = (0..8).map(|slot| span(slot, &tokens[slot..slot + 1])).collect();
        for _ in 0..3 {
            timed("8 rows", 8, &spans, &mut decoder);
            timed("1 row", 1, &spans[..1], &mut decoder);
        }
        for width in [2, 3, 4, 6, 8, 12, 16] {
            let spans: Vec<Span<'_>> =
                (0..8).map(|slot| Span { slot, tokens: &tokens[..width], logits: width }).collect();
            for rows in [1, 2, 4, 8] {
                (0..rows).for_each(|slot| decoder.truncate(slot, 300));
                timed(&format!("{rows} rows by {width}"), rows * width, &spans[..rows], &mut decoder);
            }
        }
    }
}
