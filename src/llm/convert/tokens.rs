//! The tokenizer of a Hugging Face directory as GGUF metadata: `tokenizer.json`, or `vocab.json`,
//! `merges.txt` and `added_tokens.json`, in; `tokenizer.*` keys out.
//!
//! A `tokenizer.json` is kept as `tokenizer.huggingface.json`, so that what reads it back tokenizes as its
//! maker does; ggml's own keys are written beside it for other programs. Two things are changed in it: special
//! tokens that the model has no embedding of are left out, and the start token is put before a text where
//! `tokenizer_config.json` says so. Ids beyond the tokenizer, which pad the embedding table, are marked unused.
//! A tokenizer that falls back to bytes is a SentencePiece model: its merges become scores. Limit: byte-level
//! BPE where there is no `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::write::Value;
use super::{fault, read_json, read_text};
use crate::llm::LlmError;
use crate::llm::vocabulary::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, merge_of, parse_json};

/// Tokens with their types, and merges.
struct Tokens {
    /// Token and type by id.
    by_id: BTreeMap<usize, (String, i64)>,
    merges: Vec<String>,
    /// ggml's name for how text is cut; `None` where it has none that is known here.
    cut: Option<&'static str>,
    json: Option<String>,
    /// What a SentencePiece model needs beyond its tokens.
    pieces: Option<Pieces>,
    /// The token that the tokenizer puts before a text; `None` where it is not known whether it does.
    start: Option<Option<u32>>,
}

/// A SentencePiece model.
struct Pieces {
    /// By token.
    scores: BTreeMap<String, f32>,
    /// Whether a space is put before a text.
    prefix: bool,
}

/// The metadata of the tokenizer in `folder`, for a table of `rows` embeddings.
pub(super) fn metadata(folder: &Path, config: &Json, rows: usize) -> Result<Vec<(String, Value)>, LlmError> {
    let (path, tokens) = if folder.join("tokenizer.json").is_file() {
        (folder.join("tokenizer.json"), from_json(folder, rows)?)
    } else {
        (folder.join("vocab.json"), from_lists(folder)?)
    };
    if let Some((id, (token, _))) = tokens.by_id.range(rows..).next() {
        return Err(fault(&path, format!("token `{token}` has id {id}, the model has {rows} embeddings")));
    }
    let unused = |id: usize| (format!("[PAD{id}]"), UNUSED);
    let all = (0..rows).map(|id| tokens.by_id.get(&id).cloned().unwrap_or_else(|| unused(id)));
    let (texts, kinds): (Vec<String>, Vec<i64>) = all.unzip();
    let model = if tokens.pieces.is_some() { "llama" } else { "gpt2" };
    let mut metadata = vec![
        ("tokenizer.ggml.model".to_owned(), Value::Text(model.into())),
        (
            "tokenizer.ggml.token_type".to_owned(),
            Value::Integers(kinds.iter().map(|kind| *kind as i32).collect()),
        ),
    ];
    if let Some(Pieces { scores, prefix }) = &tokens.pieces {
        let lowest = scores.values().copied().fold(0.0, f32::min) - 1.0;
        let score = |text: &String| scores.get(text).copied().unwrap_or(lowest);
        let scores = texts.iter().map(score).collect();
        metadata.push(("tokenizer.ggml.scores".to_owned(), Value::Floats(scores)));
        metadata.push(("tokenizer.ggml.add_space_prefix".to_owned(), Value::Bool(*prefix)));
    } else {
        metadata.push(("tokenizer.ggml.merges".to_owned(), Value::Texts(tokens.merges)));
    }
    metadata.push(("tokenizer.ggml.tokens".to_owned(), Value::Texts(texts)));
    if let Some(start) = tokens.start {
        metadata.push(("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(start.is_some())));
    }
    if let Some(cut) = tokens.cut {
        metadata.push(("tokenizer.ggml.pre".to_owned(), Value::Text(cut.into())));
    }
    if let Some(json) = tokens.json {
        metadata.push(("tokenizer.huggingface.json".to_owned(), Value::Text(json)));
    }
    let generation = folder.join("generation_config.json");
    let generation = if generation.is_file() { read_json(&generation)? } else { Json::Null };
    metadata.extend(ends(config, &generation, rows, tokens.start.flatten()));
    Ok(metadata)
}

/// Start and end tokens, from the model's configs; ids outside the vocabulary are left out.
fn ends(config: &Json, generation: &Json, rows: usize, start: Option<u32>) -> Vec<(String, Value)> {
    let ids = |key: &str| {
        let list = |value: &Json| match value {
            Json::Array(values) => values.clone(),
            value => vec![value.clone()],
        };
        let all = [config, generation].into_iter().flat_map(|json| list(&json[key]));
        let mut ids: Vec<u32> = Vec::new();
        for id in all.filter_map(|id| id.as_u64()).filter(|id| *id < rows as u64) {
            if !ids.contains(&(id as u32)) {
                ids.push(id as u32);
            }
        }
        ids
    };
    let mut metadata = Vec::new();
    let mut name = |key: &str, id: Option<&u32>| {
        metadata.extend(id.map(|id| (format!("tokenizer.ggml.{key}_token_id"), Value::U32(*id))));
    };
    let ends = ids("eos_token_id");
    name("bos", start.as_ref().or(ids("bos_token_id").first()));
    name("eos", ends.first());
    name("eot", ends.get(1));
    metadata
}

fn from_json(folder: &Path, rows: usize) -> Result<Tokens, LlmError> {
    let path = &folder.join("tokenizer.json");
    let mut text = read_text(path)?;
    parse_json(&text).map_err(|reason| fault(path, reason))?;
    let mut json: Json = serde_json::from_str(&text).map_err(|error| fault(path, error.to_string()))?;
    let mut changed = leave_out_beyond(&mut json, rows);
    let model = &json["model"];
    let mut by_id = BTreeMap::new();
    let vocabulary = model["vocab"].as_object();
    let vocabulary =
        vocabulary.ok_or_else(|| fault(path, "`model.vocab` is missing or not an object of ids"))?;
    for (token, id) in vocabulary {
        by_id.insert(number(id).map_err(|reason| fault(path, reason))?, (token.clone(), NORMAL));
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let id = number(&added["id"]).map_err(|reason| fault(path, reason))?;
        let text =
            added["content"].as_str().ok_or_else(|| fault(path, "an added token without `content`"))?;
        let special = added["special"].as_bool().unwrap_or(false);
        by_id.insert(id, (text.to_owned(), if special { CONTROL } else { USER_DEFINED }));
    }
    let merges = model["merges"].as_array().into_iter().flatten().map(|merge| {
        let (left, right) = merge_of(merge).map_err(|reason| fault(path, reason))?;
        Ok(format!("{left} {right}"))
    });
    let merges = merges.collect::<Result<Vec<_>, LlmError>>()?;
    let pieces = match model["byte_fallback"].as_bool() {
        Some(true) => Some(pieces(&json, &mut by_id, &merges)),
        _ => None,
    };
    let id = |text: &str| by_id.iter().find(|(_, (token, _))| token == text).map(|(id, _)| *id as u32);
    let mut start = start_of(&json["post_processor"], &id);
    if let (None | Some(None), Some(token)) = (start, start_of_config(folder)?) {
        let no_token =
            || fault(path, format!("`{token}`, tokenizer_config.json's `bos_token`, is not a token"));
        let id = id(&token).ok_or_else(no_token)?;
        json["post_processor"] = starting_with(&token, id);
        (start, changed) = (Some(Some(id)), true);
    }
    if changed {
        text = json.to_string();
        parse_json(&text).map_err(|reason| fault(path, reason))?;
    }
    let cut = if pieces.is_some() { None } else { cut_of(&json["pre_tokenizer"]) };
    Ok(Tokens { by_id, merges, cut, json: Some(text), pieces, start })
}

/// Takes special tokens out that the model has no embedding of, such as Gemma 3's for images; says whether there
/// are any.
fn leave_out_beyond(json: &mut Json, rows: usize) -> bool {
    let beyond = |id: &Json| id.as_u64().is_some_and(|id| id >= rows as u64);
    let mut left_out = Vec::new();
    if let Some(added) = json.get_mut("added_tokens").and_then(Json::as_array_mut) {
        added.retain(|token| {
            let stays = token["special"] != true || !beyond(&token["id"]);
            if !stays {
                left_out.extend(token["content"].as_str().map(str::to_owned));
            }
            stays
        });
    }
    if let Some(vocabulary) = json["model"]["vocab"].as_object_mut() {
        vocabulary.retain(|text, id| !(beyond(id) && left_out.contains(text)));
    }
    !left_out.is_empty()
}

/// The token that a post-processor puts before a text; `None` where it is not known whether it does.
fn start_of(processor: &Json, id: &dyn Fn(&str) -> Option<u32>) -> Option<Option<u32>> {
    match processor["type"].as_str() {
        None if processor.is_null() => Some(None),
        Some("ByteLevel") => Some(None),
        Some("TemplateProcessing") => {
            Some(processor["single"][0]["SpecialToken"]["id"].as_str().and_then(id))
        }
        // Llama 3's: of the parts that are known, one puts it there.
        Some("Sequence") => {
            let parts = processor["processors"].as_array()?.iter().map(|part| start_of(part, id));
            let parts = parts.collect::<Option<Vec<_>>>()?;
            Some(parts.into_iter().flatten().next())
        }
        _ => None,
    }
}

/// The token that transformers puts before a text because tokenizer_config.json says so: of Llama's class, which
/// then replaces what tokenizer.json does behind the merges (`LlamaTokenizerFast.update_post_processor`).
fn start_of_config(folder: &Path) -> Result<Option<String>, LlmError> {
    let path = folder.join("tokenizer_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let json = read_json(&path)?;
    let llama = matches!(json["tokenizer_class"].as_str(), Some("LlamaTokenizer" | "LlamaTokenizerFast"));
    let token = &json["bos_token"];
    let token = token.as_str().or(token["content"].as_str());
    Ok(token.filter(|_| llama && json["add_bos_token"] == true).map(str::to_owned))
}

/// What puts a token before a text, as a `post_processor`.
fn starting_with(token: &str, id: u32) -> Json {
    let start = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
    json!({
        "type": "TemplateProcessing",
        "single": [start, text("A", 0)],
        "pair": [start, text("A", 0), text("B", 1)],
        "special_tokens": { token: { "id": token, "ids": [id], "tokens": [token] } },
    })
}

/// Marks the tokens of a SentencePiece model that stand for bytes and for what is unknown, and gives the
/// others scores: the earlier a token is made by a merge, the higher.
fn pieces(json: &Json, by_id: &mut BTreeMap<usize, (String, i64)>, merges: &[String]) -> Pieces {
    let unknown = json["model"]["unk_token"].as_str();
    for (text, kind) in by_id.values_mut() {
        let byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        if Some(text.as_str()) == unknown {
            *kind = UNKNOWN;
        } else if byte {
            *kind = BYTE;
        }
    }
    let mut scores = BTreeMap::new();
    for merge in merges {
        let next = -(scores.len() as f32);
        scores.entry(merge.replacen(' ', "", 1)).or_insert(next);
    }
    let normalizer = &json["normalizer"];
    let parts = normalizer["normalizers"].as_array();
    let mut parts = parts.into_iter().flatten().chain([normalizer]);
    Pieces { scores, prefix: parts.any(|part| part["type"] == "Prepend") }
}

/// A tokenizer of the days before `tokenizer.json`: GPT-2's kind.
fn from_lists(folder: &Path) -> Result<Tokens, LlmError> {
    let (vocabulary, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    if !vocabulary.is_file() || !merges.is_file() {
        return Err(fault(folder, "neither tokenizer.json nor vocab.json with merges.txt is there"));
    }
    let mut by_id = BTreeMap::new();
    let mut add = |path: &Path, kind: i64| -> Result<(), LlmError> {
        let json = read_json(path)?;
        let map = json.as_object().ok_or_else(|| fault(path, "expected an object of tokens and ids"))?;
        for (token, id) in map {
            // `<|endoftext|>` and its like are control tokens wherever they are listed.
            let control = token.starts_with("<|") && token.ends_with("|>");
            let kind = if control { CONTROL } else { kind };
            by_id.insert(number(id).map_err(|reason| fault(path, reason))?, (token.clone(), kind));
        }
        Ok(())
    };
    add(&vocabulary, NORMAL)?;
    let added = folder.join("added_tokens.json");
    if added.is_file() {
        add(&added, USER_DEFINED)?;
    }
    let text = read_text(&merges)?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        if line.split(' ').filter(|part| !part.is_empty()).count() != 2 || line.matches(' ').count() != 1 {
            let reason = format!("line {} is `{line}`, expected two tokens", number + 1);
            return Err(fault(&merges, reason));
        }
        lines.push(line.to_owned());
    }
    Ok(Tokens { by_id, merges: lines, cut: Some("gpt-2"), json: None, pieces: None, start: None })
}

fn number(id: &Json) -> Result<usize, String> {
    let number = id.as_u64().filter(|number| *number < 1 << 24);
    number.map(|number| number as usize).ok_or_else(|| format!("{id} is not a token id"))
}

/// ggml's name for a pre-tokenizer.
fn cut_of(json: &Json) -> Option<&'static str> {
    let parts = match json["type"].as_str()? {
        "Sequence" => json["pretokenizers"].as_array()?.iter().collect(),
        _ => vec![json],
    };
    let regex = |part: &Json| part["pattern"]["Regex"].as_str().map(str::to_owned);
    let kinds: Vec<&str> = parts.iter().filter_map(|part| part["type"].as_str()).collect();
    match &kinds[..] {
        ["ByteLevel"] => Some("gpt-2"),
        ["Digits", "ByteLevel"] => Some("starcoder"),
        ["Split", "ByteLevel"] if regex(parts[0])?.contains(r"\p{N}{1,3}") => Some("llama-bpe"),
        ["Split", "ByteLevel"] => Some("qwen2"),
        ["Split", "Split", "Split", "Split", "Digits", "ByteLevel"] => Some("deepseek-coder"),
        _ => None,
    }
}
