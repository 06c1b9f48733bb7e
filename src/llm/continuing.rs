//! Tokenizers inside of a text: one that treats the start of a text in its own way in, one that does not out.
//!
//! SentencePiece puts a space before a text, and takes it away from what is decoded. A completion goes on with a
//! prompt, and its pieces are decoded one by one: there each such space is the text's own. The parts that make the
//! difference are `Prepend` and `Metaspace` before the merges, `Strip` and `Metaspace` behind them. Limit: parts of
//! these kinds, as a `tokenizer.json` names them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

/// The tokenizer of what goes on with a text; `None` where it is the tokenizer itself.
pub(super) fn encoder(whole: &Tokenizer) -> Result<Option<Tokenizer>, String> {
    let (normalizer, other_normalizer) = inside(whole.get_normalizer())?;
    let (cut, other_cut) = inside(whole.get_pre_tokenizer())?;
    if !other_normalizer && !other_cut {
        return Ok(None);
    }
    let mut tokenizer = whole.clone();
    tokenizer.with_normalizer(normalizer).map_err(|error| error.to_string())?;
    tokenizer.with_pre_tokenizer(cut);
    Ok(Some(tokenizer))
}

/// The same tokenizer, decoding what goes on with a text.
pub(super) fn decoder(mut whole: Tokenizer) -> Result<Tokenizer, String> {
    if let (Some(decoder), true) = inside(whole.get_decoder())? {
        whole.with_decoder(Some(decoder));
    }
    Ok(whole)
}

/// A part of a tokenizer without what it does at the start of a text, and whether that is another part.
fn inside<P: Serialize + DeserializeOwned>(part: Option<&P>) -> Result<(Option<P>, bool), String> {
    let Some(part) = part else { return Ok((None, false)) };
    let whole = serde_json::to_value(part).map_err(|error| error.to_string())?;
    let kept = without_start(whole.clone());
    let other = kept.as_ref() != Some(&whole);
    let kept = kept.map(serde_json::from_value).transpose().map_err(|error| error.to_string())?;
    Ok((kept, other))
}

fn without_start(mut part: Json) -> Option<Json> {
    match part["type"].as_str() {
        Some("Prepend" | "Strip") => return None,
        Some("Metaspace") => part["prepend_scheme"] = "never".into(),
        Some("ByteLevel") => part["add_prefix_space"] = false.into(),
        _ => {}
    }
    for list in ["normalizers", "pretokenizers", "decoders"] {
        if let Some(parts) = part.get_mut(list).and_then(Json::as_array_mut) {
            *parts = std::mem::take(parts).into_iter().filter_map(without_start).collect();
        }
    }
    Some(part)
}
