//! A tokenizer from GGUF metadata: ggml's keys in, the Hugging Face tokenizer that gives the same ids out.
//!
//! Keys: `tokenizer.ggml.model` (`gpt2`: byte-level BPE; `llama`: `sentencepiece`), `.pre` (how text is cut before
//! merging), `.tokens`, `.merges`, `.token_type` (control tokens are special; user-defined ones, such as CodeGen's
//! runs of spaces, are matched whole), `.add_bos_token`, `.add_eos_token`. The cuts are those of the models' own
//! `tokenizer.json`. Limit: the cuts in [`cut`]; a model of another kind needs its `tokenizer.json`.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::gguf::Gguf;
use super::sentencepiece;

/// ggml's type of ordinary tokens.
pub(crate) const NORMAL: i64 = 1;
/// ggml's type of the token for what has none.
pub(crate) const UNKNOWN: i64 = 2;
/// ggml's type of tokens such as `<|endoftext|>`.
pub(crate) const CONTROL: i64 = 3;
/// ggml's type of tokens that are matched before anything else.
pub(crate) const USER_DEFINED: i64 = 4;
/// ggml's type of ids that no text gives.
pub(crate) const UNUSED: i64 = 5;
/// ggml's type of tokens that stand for one byte, such as `<0x0A>`.
pub(crate) const BYTE: i64 = 6;

/// Names of `tokenizer.ggml.pre` that are known.
const CUTS: &str = "gpt-2, default, qwen2, llama-bpe, llama3, smaug-bpe, lfm2, starcoder, smollm, refact, \
                    deepseek-coder";

/// Those among them whose pieces are taken as they are where they are tokens, and whose texts begin with the start
/// token where the file does not say (llama.cpp's `llama-vocab.cpp`).
const LIKE_LLAMA_3: [&str; 3] = ["llama-bpe", "llama3", "lfm2"];

/// The cuts of Qwen2 and Llama 3, which differ in how many digits stay together: `DIGITS` stands for them.
const WORDS: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// Builds the tokenizer of an open model.
pub(crate) fn tokenizer(gguf: &Gguf) -> Result<Tokenizer, String> {
    if let Some(json) = gguf.string("tokenizer.huggingface.json") {
        return parse_json(json).map_err(|reason| format!("metadata `tokenizer.huggingface.json`: {reason}"));
    }
    from_ggml(gguf)
}

/// Builds the tokenizer from ggml's own keys alone.
pub(crate) fn from_ggml(gguf: &Gguf) -> Result<Tokenizer, String> {
    let kind = gguf.string("tokenizer.ggml.model").ok_or("metadata `tokenizer.ggml.model` is missing")?;
    if !matches!(kind, "gpt2" | "llama") {
        return Err(format!(
            "metadata `tokenizer.ggml.model` is `{kind}`, expected `gpt2` or `llama`; or put the model's \
             tokenizer.json beside the file"
        ));
    }
    let list = |key: &str| {
        let key = format!("tokenizer.ggml.{key}");
        gguf.strings(&key).ok_or_else(|| format!("metadata `{key}` is missing or not a list of texts"))
    };
    let tokens = list("tokens")?;
    let kinds = gguf.integers("tokenizer.ggml.token_type").unwrap_or_default();
    let mut tokenizer = match kind {
        "llama" => sentencepiece::tokenizer(gguf, &tokens, &kinds)?,
        _ => byte_level(gguf, &tokens, &kinds, &list("merges")?)?,
    };
    let like_llama_3 = LIKE_LLAMA_3.contains(&gguf.string("tokenizer.ggml.pre").unwrap_or_default())
        && gguf.integer("tokenizer.ggml.bos_token_id").is_some();
    if let Some(template) = template(gguf, &tokens, kind == "llama" || like_llama_3)? {
        tokenizer.with_post_processor(Some(template));
    }
    Ok(tokenizer)
}

/// Byte-level BPE, without its start and end tokens.
fn byte_level(gguf: &Gguf, tokens: &[String], kinds: &[i64], merges: &[String]) -> Result<Tokenizer, String> {
    let split = |merge: &String| match merge.split_once(' ') {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => Err(format!("metadata `tokenizer.ggml.merges`: `{merge}` is not two parts")),
    };
    let merges = merges.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    // An id that only pads the embedding table has no text.
    let used = |id: usize| kinds.get(id) != Some(&UNUSED);
    let named = tokens.iter().zip(0u32..).filter(|(_, id)| used(*id as usize));
    let vocabulary: Vocab = named.map(|(token, id)| (token.clone(), id)).collect();
    check_merges(&merges, |token| vocabulary.contains_key(token))
        .map_err(|reason| format!("metadata `tokenizer.ggml.merges`: {reason}"))?;
    let pre = gguf.string("tokenizer.ggml.pre").unwrap_or("default");
    let whole = LIKE_LLAMA_3.contains(&pre);
    let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(whole).build();
    let mut tokenizer = Tokenizer::new(bpe.map_err(|error| format!("tokenizer.ggml.merges: {error}"))?);
    if pre == "qwen2" {
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| error.to_string())?;
    }
    tokenizer.with_pre_tokenizer(Some(cut(pre)?));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    add_tokens(kinds, tokens.iter(), &[CONTROL], &mut tokenizer)?;
    Ok(tokenizer)
}

/// Reads the content of a `tokenizer.json`. Cutting texts off and filling them up, as training does, is left out.
pub(crate) fn parse_json(json: &str) -> Result<Tokenizer, String> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let model = &value["model"];
    if let (Some(vocabulary), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array()) {
        let merges = merges.iter().map(merge_of).collect::<Result<Vec<_>, _>>()?;
        let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
        if !prefix.is_empty() {
            return Err(
                "`model.continuing_subword_prefix` is not empty: not a kind that code models use".into()
            );
        }
        check_merges(&merges, |token| vocabulary.contains_key(token))
            .map_err(|reason| format!("`model.merges`: {reason}"))?;
    }
    let mut tokenizer = json.parse::<Tokenizer>().map_err(|error| error.to_string())?;
    tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// A merge of a `tokenizer.json`: `"a b"` or `["a", "b"]`.
pub(crate) fn merge_of(merge: &serde_json::Value) -> Result<(String, String), String> {
    let parts = match merge {
        serde_json::Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        serde_json::Value::Array(parts) => match &parts[..] {
            [a, b] => a.as_str().zip(b.as_str()).map(|(a, b)| (a.to_owned(), b.to_owned())),
            _ => None,
        },
        _ => None,
    };
    parts.ok_or_else(|| format!("`model.merges`: {merge} is not two parts"))
}

/// The tokenizers crate takes for granted that both parts and their union are tokens.
fn check_merges(merges: &[(String, String)], known: impl Fn(&str) -> bool) -> Result<(), String> {
    for (left, right) in merges {
        let merged = format!("{left}{right}");
        if let Some(missing) = [left, right, &merged].into_iter().find(|token| !known(token)) {
            return Err(format!(
                "`{left} {right}` needs the token `{missing}`, which is not in the vocabulary"
            ));
        }
    }
    Ok(())
}

/// How text is cut into the pieces that merges stay within.
fn cut(pre: &str) -> Result<PreTokenizerWrapper, String> {
    let bytes = |regex| PreTokenizerWrapper::from(ByteLevel::new(false, true, regex));
    let sequence = |parts| PreTokenizerWrapper::from(Sequence::new(parts));
    let digits = || PreTokenizerWrapper::from(Digits::new(true));
    Ok(match pre {
        "gpt-2" | "default" => bytes(true),
        "qwen2" => sequence(vec![pattern(&WORDS.replace("DIGITS", r"\p{N}"))?, bytes(false)]),
        "llama-bpe" | "llama3" | "smaug-bpe" | "lfm2" => {
            sequence(vec![pattern(&WORDS.replace("DIGITS", r"\p{N}{1,3}"))?, bytes(false)])
        }
        "starcoder" | "smollm" | "refact" => sequence(vec![digits(), bytes(true)]),
        "deepseek-coder" => sequence(vec![
            pattern(r"[\r\n]")?,
            pattern(r"\s?\p{L}+")?,
            pattern(r"\s?\p{P}+")?,
            pattern("[一-龥ࠀ-一가-퟿]+")?,
            digits(),
            bytes(false),
        ]),
        other => {
            return Err(format!(
                "metadata `tokenizer.ggml.pre` is `{other}`, expected one of: {CUTS}; or put the model's \
                 tokenizer.json beside the file"
            ));
        }
    })
}

fn pattern(regex: &str) -> Result<PreTokenizerWrapper, String> {
    let split = Split::new(SplitPattern::Regex(regex.into()), SplitDelimiterBehavior::Isolated, false);
    split.map(Into::into).map_err(|error| error.to_string())
}

/// Tokens of the kinds `special` and user-defined ones are matched whole; the former are left out of decoded text.
pub(super) fn add_tokens<'a>(
    kinds: &[i64],
    tokens: impl Iterator<Item = &'a String> + Clone,
    special: &[i64],
    tokenizer: &mut Tokenizer,
) -> Result<(), String> {
    let of = |wanted: &[i64]| -> Vec<&'a String> {
        tokens.clone().zip(kinds).filter(|(_, kind)| wanted.contains(kind)).map(|(text, _)| text).collect()
    };
    let special: Vec<AddedToken> =
        of(special).into_iter().map(|text| AddedToken::from(text.clone(), true)).collect();
    let plain: Vec<AddedToken> = of(&[USER_DEFINED])
        .into_iter()
        .map(|text| AddedToken::from(text.clone(), false).normalized(false))
        .collect();
    tokenizer.add_special_tokens(special).map_err(|error| error.to_string())?;
    tokenizer.add_tokens(plain).map_err(|error| error.to_string())?;
    Ok(())
}

/// Puts the start and end tokens around a text, where the model wants them; `start`: without a word about it.
fn template(gguf: &Gguf, tokens: &[String], start: bool) -> Result<Option<TemplateProcessing>, String> {
    let wanted = |end: &str, default: bool| -> Result<Option<(String, u32)>, String> {
        if !gguf.boolean(&format!("tokenizer.ggml.add_{end}_token")).unwrap_or(default) {
            return Ok(None);
        }
        let key = format!("tokenizer.ggml.{end}_token_id");
        let found =
            gguf.integer(&key).and_then(|id| Some((tokens.get(id)?.clone(), u32::try_from(id).ok()?)));
        found.map(Some).ok_or_else(|| format!("metadata `{key}` is missing or not a token"))
    };
    let (start, end) = (wanted("bos", start)?, wanted("eos", false)?);
    if start.is_none() && end.is_none() {
        return Ok(None);
    }
    let text = |token: &Option<(String, u32)>| token.as_ref().map(|(text, _)| text.clone());
    let pieces: Vec<String> = text(&start).into_iter().chain(["$A".to_owned()]).chain(text(&end)).collect();
    let mut builder = TemplateProcessing::builder();
    let template = builder.try_single(pieces).map_err(|error| format!("start and end tokens: {error}"))?;
    let specials: Vec<(String, u32)> = start.into_iter().chain(end).collect();
    let template = template.special_tokens(specials).build();
    template.map(Some).map_err(|error| format!("start and end tokens: {error}"))
}
