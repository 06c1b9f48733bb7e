//! What a GGUF file of a Hugging Face model holds: its config and tensor names in, metadata and a list of
//! output tensors out.
//!
//! Llama's descendants share one table of names. Llama itself is stored with its rotary pairs side by side
//! (ggml's convention), so the rows of its queries and keys are reordered. CodeGen, which llama.cpp does not
//! know, is stored as `codegen` with the same tensor names: its joint projection, four groups of query,
//! value and key rows in that order, is taken apart into `attn_q`, `attn_k` and `attn_v`; `attn_norm` is its
//! only norm. Keys of `codegen`: `.block_count`, `.context_length`, `.embedding_length`,
//! `.feed_forward_length`, `.attention.head_count`, `.attention.layer_norm_epsilon`, `.rope.dimension_count`.
//! Limit: the model types in [`KNOWN`].

use serde_json::Value as Json;

use super::source::Source;
use super::write::Value;
use crate::llm::LlmError;

/// Values of `model_type` that can be converted.
const KNOWN: &str = "codegen, gemma3, gemma3_text, llama, qwen2, qwen3, qwen3_moe, starcoder2";

/// A file to write.
pub(super) struct Layout {
    pub(super) architecture: &'static str,
    pub(super) metadata: Vec<(String, Value)>,
    pub(super) tensors: Vec<Item>,
}

/// One tensor to write: rows of a stored tensor, in a given order.
pub(super) struct Item {
    pub(super) name: String,
    /// Name in the weights; of an expert tensor's parts, in order.
    pub(super) sources: Vec<String>,
    /// (rows, columns), or (length), or (experts, rows, columns).
    pub(super) shape: Vec<usize>,
    /// The stored row of each written one; `None`: as they are.
    pub(super) rows: Option<Vec<usize>>,
    /// Added to each value.
    pub(super) plus: f32,
}

/// Names within a block: GGUF's, Hugging Face's.
type Names = &'static [(&'static str, &'static str)];

const LLAMA_ATTENTION: Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
];
const LLAMA_FEED_FORWARD: Names = &[
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const HEAD_NORMS: Names = &[("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")];
const ROUTER: Names = &[("ffn_norm", "post_attention_layernorm"), ("ffn_gate_inp", "mlp.gate")];
const EXPERT: Names =
    &[("ffn_gate_exps", "gate_proj"), ("ffn_up_exps", "up_proj"), ("ffn_down_exps", "down_proj")];
const GEMMA3_BLOCK: Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
const STARCODER2_BLOCK: Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];
const CODEGEN_BLOCK: Names = &[
    ("attn_norm", "ln_1"),
    ("attn_output", "attn.out_proj"),
    ("ffn_up", "mlp.fc_in"),
    ("ffn_down", "mlp.fc_out"),
];

/// Decides what to write for a model with this config.
pub(super) fn layout(config: &Config<'_>, source: &Source) -> Result<Layout, LlmError> {
    match config.text(&["model_type"])? {
        "codegen" => codegen(config, source),
        "gemma3_text" => gemma3(config, source),
        "gemma3" => {
            let text = Config { json: &config.json["text_config"], path: config.path };
            if !text.json.is_object() {
                return Err(config.fault("`text_config` is missing or not an object"));
            }
            gemma3(&text, source)
        }
        "llama" => llama(config, source, "llama", &[LLAMA_ATTENTION, LLAMA_FEED_FORWARD]),
        "qwen2" => llama(config, source, "qwen2", &[LLAMA_ATTENTION, LLAMA_FEED_FORWARD]),
        "qwen3" => llama(config, source, "qwen3", &[LLAMA_ATTENTION, LLAMA_FEED_FORWARD, HEAD_NORMS]),
        "qwen3_moe" => llama(config, source, "qwen3moe", &[LLAMA_ATTENTION, HEAD_NORMS, ROUTER]),
        "starcoder2" => llama(config, source, "starcoder2", &[STARCODER2_BLOCK]),
        other => Err(config.fault(format!("`model_type` is `{other}`, expected one of: {KNOWN}"))),
    }
}

/// An open config.json.
pub(super) struct Config<'a> {
    pub(super) json: &'a Json,
    pub(super) path: &'a std::path::Path,
}

impl Config<'_> {
    pub(super) fn fault(&self, reason: impl Into<String>) -> LlmError {
        super::fault(self.path, reason)
    }

    /// The first of `keys` that is there and not null.
    fn value(&self, keys: &[&str]) -> Option<&Json> {
        keys.iter().map(|key| &self.json[*key]).find(|value| !value.is_null())
    }

    fn text(&self, keys: &[&str]) -> Result<&str, LlmError> {
        let value = self.value(keys).and_then(Json::as_str);
        value.ok_or_else(|| self.fault(format!("`{}` is missing or not a text", keys.join("` or `"))))
    }

    /// A whole number from 1 to 2^24.
    fn integer(&self, keys: &[&str]) -> Result<usize, LlmError> {
        let number = self.value(keys).and_then(Json::as_u64).filter(|number| (1..=1 << 24).contains(number));
        number.map(|number| number as usize).ok_or_else(|| {
            self.fault(format!("`{}` is missing or not a sensible whole number", keys.join("` or `")))
        })
    }

    fn integer_or(&self, keys: &[&str], default: usize) -> Result<usize, LlmError> {
        if self.value(keys).is_none() { Ok(default) } else { self.integer(keys) }
    }

    fn number(&self, keys: &[&str]) -> Result<f64, LlmError> {
        let number = self.value(keys).and_then(Json::as_f64).filter(|number| number.is_finite());
        number.ok_or_else(|| self.fault(format!("`{}` is missing or not a number", keys.join("` or `"))))
    }

    /// `key` must be one of `expected`: nothing else is computed here.
    fn expect(&self, key: &str, expected: &[&str]) -> Result<(), LlmError> {
        match self.json[key].as_str() {
            None => Ok(()),
            Some(value) if expected.contains(&value) => Ok(()),
            Some(value) => {
                let expected = expected.join("` or `");
                Err(self.fault(format!("`{key}` is `{value}`, expected `{expected}`")))
            }
        }
    }

    fn boolean_or(&self, key: &str, default: bool) -> bool {
        self.json[key].as_bool().unwrap_or(default)
    }

    /// Whether the output head is the embedding table, where the file says so.
    fn tied(&self) -> Option<bool> {
        self.json["tie_word_embeddings"].as_bool()
    }
}

/// Collects what to write.
struct Builder<'a> {
    source: &'a Source,
    layout: Layout,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Source, architecture: &'static str) -> Builder<'a> {
        let mut builder =
            Builder { source, layout: Layout { architecture, metadata: Vec::new(), tensors: Vec::new() } };
        builder.layout.metadata.push(("general.architecture".into(), Value::Text(architecture.into())));
        builder.layout.metadata.push(("general.quantization_version".into(), Value::U32(2)));
        builder
    }

    fn integer(&mut self, key: &str, value: usize) {
        let key = format!("{}.{key}", self.layout.architecture);
        self.layout.metadata.push((key, Value::U32(u32::try_from(value).unwrap_or(u32::MAX))));
    }

    fn number(&mut self, key: &str, value: f64) {
        let key = format!("{}.{key}", self.layout.architecture);
        self.layout.metadata.push((key, Value::F32(value as f32)));
    }

    fn text(&mut self, key: &str, value: &str) {
        let key = format!("{}.{key}", self.layout.architecture);
        self.layout.metadata.push((key, Value::Text(value.into())));
    }

    fn flag(&mut self, key: &str, value: bool) {
        let key = format!("{}.{key}", self.layout.architecture);
        self.layout.metadata.push((key, Value::Bool(value)));
    }

    /// One tensor of all experts' matrices, which are stored one by one.
    fn experts(&mut self, name: &str, sources: Vec<String>) -> Result<(), LlmError> {
        let mut shape = Vec::new();
        for source in &sources {
            let stored = self.source.shape(source)?;
            if stored.len() != 2 || stored.contains(&0) || !(shape.is_empty() || shape == stored) {
                return Err(self.source.fault(format!(
                    "tensor `{source}` of shape {stored:?} is not what config.json describes"
                )));
            }
            shape = stored.to_vec();
        }
        shape.insert(0, sources.len());
        self.layout.tensors.push(Item { name: name.into(), sources, shape, rows: None, plus: 0.0 });
        Ok(())
    }

    /// A weight and, where the model has one, its bias.
    fn tensor(&mut self, name: &str, source: &str, rows: Option<Vec<usize>>) -> Result<(), LlmError> {
        for part in ["weight", "bias"] {
            let source = format!("{source}.{part}");
            if part == "bias" && !self.source.has(&source) {
                continue;
            }
            let mut shape = self.source.shape(&source)?.to_vec();
            let stored = shape.first().copied().unwrap_or(0);
            let fits = |rows: &Vec<usize>| rows.iter().all(|row| *row < stored);
            if shape.contains(&0) || shape.len() > 2 || stored == 0 || !rows.as_ref().is_none_or(fits) {
                return Err(self.source.fault(format!(
                    "tensor `{source}` of shape {shape:?} is not what config.json describes"
                )));
            }
            if let (Some(rows), Some(first)) = (&rows, shape.first_mut()) {
                *first = rows.len();
            }
            self.layout.tensors.push(Item {
                name: format!("{name}.{part}"),
                sources: vec![source],
                shape,
                rows: rows.clone(),
                plus: 0.0,
            });
        }
        Ok(())
    }

    /// The output head, unless it is the embedding table: a file may leave out what is its class's default.
    fn head(&mut self, tied: Option<bool>) -> Result<(), LlmError> {
        if tied == Some(true) || (tied.is_none() && !self.source.has("lm_head.weight")) {
            Ok(())
        } else {
            self.tensor("output", "lm_head", None)
        }
    }
}

fn codegen(config: &Config<'_>, source: &Source) -> Result<Layout, LlmError> {
    /// Groups in which the joint projection is stored, one per core of the machine it was trained on.
    const GROUPS: usize = 4;
    let mut builder = Builder::new(source, "codegen");
    let hidden = config.integer(&["n_embd", "hidden_size"])?;
    let heads = config.integer(&["n_head", "num_attention_heads"])?;
    let layers = config.integer(&["n_layer", "num_hidden_layers"])?;
    if hidden % heads != 0 || heads % GROUPS != 0 {
        return Err(config.fault(format!(
            "`n_head` is {heads}, expected a multiple of {GROUPS} that divides `n_embd` {hidden}"
        )));
    }
    config.expect("activation_function", &["gelu_new", "gelu_pytorch_tanh"])?;
    if config.tied() == Some(true) {
        return Err(config.fault("`tie_word_embeddings` is true, expected false for codegen"));
    }
    builder.integer("block_count", layers);
    builder.integer("context_length", config.integer(&["n_positions", "max_position_embeddings"])?);
    builder.integer("embedding_length", hidden);
    builder.integer("feed_forward_length", config.integer_or(&["n_inner"], 4 * hidden)?);
    builder.integer("attention.head_count", heads);
    builder.number("attention.layer_norm_epsilon", config.number(&["layer_norm_epsilon"])?);
    builder.integer("rope.dimension_count", config.integer(&["rotary_dim"])?);
    builder.tensor("token_embd", "transformer.wte", None)?;
    let part = hidden / GROUPS;
    // Which third of each group: queries, values, keys.
    let third = |index: usize| {
        (0..GROUPS).flat_map(|group| (0..part).map(move |row| (3 * group + index) * part + row)).collect()
    };
    for layer in 0..layers {
        let (block, from) = (format!("blk.{layer}"), format!("transformer.h.{layer}"));
        let joint = format!("{from}.attn.qkv_proj");
        let shape = source.shape(&format!("{joint}.weight"))?;
        if shape != [3 * hidden, hidden] {
            let expected = [3 * hidden, hidden];
            return Err(
                config.fault(format!("tensor `{joint}.weight`: expected shape {expected:?}, got {shape:?}"))
            );
        }
        for (name, index) in [("attn_q", 0), ("attn_v", 1), ("attn_k", 2)] {
            builder.tensor(&format!("{block}.{name}"), &joint, Some(third(index)))?;
        }
        for (name, theirs) in CODEGEN_BLOCK {
            builder.tensor(&format!("{block}.{name}"), &format!("{from}.{theirs}"), None)?;
        }
    }
    builder.tensor("output_norm", "transformer.ln_f", None)?;
    builder.tensor("output", "lm_head", None)?;
    Ok(builder.layout)
}

/// Llama and what descends from it.
fn llama(
    config: &Config<'_>,
    source: &Source,
    architecture: &'static str,
    blocks: &[Names],
) -> Result<Layout, LlmError> {
    let mut builder = Builder::new(source, architecture);
    let hidden = config.integer(&["hidden_size"])?;
    let heads = config.integer(&["num_attention_heads"])?;
    let key_heads = config.integer_or(&["num_key_value_heads"], heads)?;
    let head_dim = config.integer_or(&["head_dim"], hidden / heads)?;
    let layers = config.integer(&["num_hidden_layers"])?;
    let context = config.integer(&["max_position_embeddings"])?;
    // Beyond its window a layer would see less than all positions, which is not computed here.
    let window = match config.json["use_sliding_window"].as_bool() {
        Some(false) => context,
        _ => config.integer_or(&["sliding_window"], context)?,
    };
    builder.integer("block_count", layers);
    builder.integer("context_length", context.min(window));
    builder.integer("embedding_length", hidden);
    builder.integer("feed_forward_length", config.integer(&["intermediate_size"])?);
    let experts = if architecture == "qwen3moe" { mixture(config, &mut builder)? } else { 0 };
    builder.integer("attention.head_count", heads);
    builder.integer("attention.head_count_kv", key_heads);
    builder.integer("attention.key_length", head_dim);
    builder.integer("attention.value_length", head_dim);
    builder.integer("rope.dimension_count", head_dim);
    if architecture == "starcoder2" {
        config.expect("hidden_act", &["gelu_pytorch_tanh", "gelu_new"])?;
        builder.number("attention.layer_norm_epsilon", config.number(&["norm_epsilon"])?);
    } else {
        config.expect("hidden_act", &["silu"])?;
        builder.number("attention.layer_norm_rms_epsilon", config.number(&["rms_norm_eps"])?);
    }
    rope(config, &mut builder)?;
    builder.tensor("token_embd", "model.embed_tokens", None)?;
    for (part, heads) in [("q_proj", heads), ("k_proj", key_heads)] {
        let name = format!("model.layers.0.self_attn.{part}.weight");
        let found = source.shape(&name)?.first().copied().unwrap_or(0);
        if found != heads * head_dim || head_dim % 2 != 0 {
            return Err(config.fault(format!(
                "{heads} heads of width {head_dim} do not make the {found} rows of tensor `{name}`"
            )));
        }
    }
    for layer in 0..layers {
        for (name, theirs) in blocks.iter().flat_map(|names| names.iter()) {
            let rows = match (architecture, *name) {
                ("llama", "attn_q") => Some(neighbours(heads, head_dim)),
                ("llama", "attn_k") => Some(neighbours(key_heads, head_dim)),
                _ => None,
            };
            builder.tensor(
                &format!("blk.{layer}.{name}"),
                &format!("model.layers.{layer}.{theirs}"),
                rows,
            )?;
        }
        for (name, theirs) in EXPERT.iter().filter(|_| experts > 0) {
            let of = |expert| format!("model.layers.{layer}.mlp.experts.{expert}.{theirs}.weight");
            builder.experts(&format!("blk.{layer}.{name}.weight"), (0..experts).map(of).collect())?;
        }
    }
    builder.tensor("output_norm", "model.norm", None)?;
    builder.head(config.tied())?;
    Ok(builder.layout)
}

/// Describes the experts and gives their number.
fn mixture(config: &Config<'_>, builder: &mut Builder<'_>) -> Result<usize, LlmError> {
    let experts = config.integer(&["num_experts", "num_local_experts"])?;
    let dense = config.json["mlp_only_layers"].as_array().is_some_and(|layers| !layers.is_empty());
    if dense || config.integer_or(&["decoder_sparse_step"], 1)? != 1 {
        return Err(config.fault(
            "`mlp_only_layers` or `decoder_sparse_step` asks for blocks without experts, expected experts in all",
        ));
    }
    builder.integer("expert_count", experts);
    builder.integer("expert_used_count", config.integer(&["num_experts_per_tok"])?);
    builder.integer("expert_feed_forward_length", config.integer(&["moe_intermediate_size"])?);
    builder.flag("expert_weights_norm", config.boolean_or("norm_topk_prob", false));
    Ok(experts)
}

/// Gemma 3, alone or as the text half of a model that also sees.
fn gemma3(config: &Config<'_>, source: &Source) -> Result<Layout, LlmError> {
    let mut builder = Builder::new(source, "gemma3");
    // What older files leave out is what `Gemma3TextConfig` has by default.
    let hidden = config.integer_or(&["hidden_size"], 2304)?;
    let layers = config.integer_or(&["num_hidden_layers"], 26)?;
    let head_dim = config.integer_or(&["head_dim"], 256)?;
    config.expect("hidden_activation", &["gelu_pytorch_tanh"])?;
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if !config.json[key].is_null() {
            return Err(config.fault(format!("`{key}` is set, expected null")));
        }
    }
    builder.integer("block_count", layers);
    builder.integer("context_length", config.integer_or(&["max_position_embeddings"], 131_072)?);
    builder.integer("embedding_length", hidden);
    builder.integer("feed_forward_length", config.integer_or(&["intermediate_size"], 9216)?);
    builder.integer("attention.head_count", config.integer_or(&["num_attention_heads"], 8)?);
    builder.integer("attention.head_count_kv", config.integer_or(&["num_key_value_heads"], 4)?);
    builder.integer("attention.key_length", head_dim);
    builder.integer("attention.value_length", head_dim);
    builder.integer("rope.dimension_count", head_dim);
    let epsilon =
        if config.json["rms_norm_eps"].is_null() { 1e-6 } else { config.number(&["rms_norm_eps"])? };
    builder.number("attention.layer_norm_rms_epsilon", epsilon);
    let width = config.integer_or(&["query_pre_attn_scalar"], 256)?;
    builder.number("attention.scale", 1.0 / (width as f64).sqrt());
    builder.integer("attention.sliding_window", config.integer_or(&["sliding_window"], 4096)?);
    builder.integer("attention.sliding_window_pattern", period(config, layers)?);
    gemma3_rope(config, &mut builder)?;
    let prefixes = ["model", "language_model.model", "model.language_model"];
    let has = |prefix: &&str| source.has(&format!("{prefix}.embed_tokens.weight"));
    let prefix = prefixes.into_iter().find(has).unwrap_or("model");
    builder.tensor("token_embd", &format!("{prefix}.embed_tokens"), None)?;
    for layer in 0..layers {
        for (name, theirs) in GEMMA3_BLOCK {
            builder.tensor(
                &format!("blk.{layer}.{name}"),
                &format!("{prefix}.layers.{layer}.{theirs}"),
                None,
            )?;
        }
    }
    builder.tensor("output_norm", &format!("{prefix}.norm"), None)?;
    builder.head(Some(config.tied().unwrap_or(true)))?;
    // Norms are stored as what they differ from 1 by.
    for item in &mut builder.layout.tensors {
        if item.name.ends_with("norm.weight") {
            item.plus = 1.0;
        }
    }
    Ok(builder.layout)
}

/// Which layers see all positions: every layer of this number.
fn period(config: &Config<'_>, layers: usize) -> Result<usize, LlmError> {
    let period = config.integer_or(&["sliding_window_pattern", "_sliding_window_pattern"], 6)?;
    let Some(kinds) = config.json["layer_types"].as_array() else { return Ok(period) };
    let full = |kind: &Json| kind.as_str() == Some("full_attention");
    let period = kinds.iter().position(full).map_or(layers + 1, |first| first + 1);
    let regular = kinds.iter().enumerate().all(|(index, kind)| full(kind) == ((index + 1) % period == 0));
    if kinds.len() != layers || !regular {
        return Err(config.fault("`layer_types` does not repeat: every so many layers `full_attention`"));
    }
    Ok(period)
}

/// The rotary bases of layers that see all positions and of those that do not.
fn gemma3_rope(config: &Config<'_>, builder: &mut Builder<'_>) -> Result<(), LlmError> {
    let (all, local) = match &config.json["rope_parameters"] {
        Json::Object(both) if both.contains_key("full_attention") => {
            let local = both.get("sliding_attention").unwrap_or(&Json::Null);
            if !matches!(local["rope_type"].as_str(), None | Some("default")) {
                return Err(
                    config.fault("`rope_parameters.sliding_attention` is stretched, expected `default`")
                );
            }
            (&both["full_attention"], local["rope_theta"].as_f64())
        }
        _ => (&config.json["rope_scaling"], config.json["rope_local_base_freq"].as_f64()),
    };
    let base = all["rope_theta"].as_f64().or(config.json["rope_theta"].as_f64());
    builder.number("rope.freq_base", base.unwrap_or(1_000_000.0));
    builder.number("rope.freq_base_swa", local.unwrap_or(10_000.0));
    scaling(config, all, builder)
}

/// The stored row of each row once pairs `i` and `i + dim / 2` of every head lie side by side.
fn neighbours(heads: usize, dim: usize) -> Vec<usize> {
    let half = dim / 2;
    (0..heads).flat_map(|head| (0..dim).map(move |i| head * dim + i % 2 * half + i / 2)).collect()
}

/// The rotary base, and how positions are stretched.
fn rope(config: &Config<'_>, builder: &mut Builder<'_>) -> Result<(), LlmError> {
    // Newer configs keep all of it in `rope_parameters`.
    let (top, nested) = (config.json, &config.json["rope_parameters"]);
    let scaling = if nested.is_object() { nested } else { &top["rope_scaling"] };
    let base = [&nested["rope_theta"], &top["rope_theta"]].into_iter().find_map(Json::as_f64);
    builder.number("rope.freq_base", base.unwrap_or(10_000.0));
    self::scaling(config, scaling, builder)
}

/// How positions are stretched.
fn scaling(config: &Config<'_>, scaling: &Json, builder: &mut Builder<'_>) -> Result<(), LlmError> {
    match scaling["rope_type"].as_str().or_else(|| scaling["type"].as_str()) {
        None | Some("default") => Ok(()),
        Some("linear") => {
            let factor = scaling["factor"].as_f64().filter(|factor| *factor >= 1.0);
            let factor =
                factor.ok_or_else(|| config.fault("`factor` of the rotary scaling is not at least 1"))?;
            builder.text("rope.scaling.type", "linear");
            builder.number("rope.scaling.factor", factor);
            Ok(())
        }
        Some(other) => {
            Err(config.fault(format!("rotary scaling of type `{other}`, expected `default` or `linear`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::neighbours;

    #[test]
    fn halves_become_neighbours_within_each_head() {
        assert_eq!(neighbours(2, 4), [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
