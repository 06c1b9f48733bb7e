//! Text to token ids and back: from a `tokenizer.json` beside the model if there is one, else from the
//! GGUF's metadata.
//!
//! In: text. Out: ids, and pieces of text as ids arrive. `tokenizer.huggingface.json` in the metadata is
//! taken as it is; otherwise `vocabulary` builds the tokenizer from ggml's keys. A piece is held back while
//! its last character is incomplete. Limit: byte-level BPE and SentencePiece
//! vocabularies where only ggml's keys are there.

use std::path::PathBuf;

use super::constrain::Grammar;
use super::convert::read_text;
use super::gguf::Gguf;
use super::vocabulary::{self, CONTROL};
use crate::llm::LlmError;

/// A model's tokenizer.
pub(crate) struct Text {
    tokenizer: tokenizers::Tokenizer,
    path: PathBuf,
    /// Sorted ids at which a text ends.
    ends: Vec<u32>,
}

/// Text of ids that arrive one by one.
#[derive(Default)]
pub(crate) struct Pieces {
    pub(crate) text: String,
    waiting: Vec<u32>,
}

impl Text {
    /// Builds it for an open model.
    pub(crate) fn load(gguf: &Gguf) -> Result<Text, LlmError> {
        let beside = gguf.path().with_file_name("tokenizer.json");
        let (path, tokenizer) = if beside.is_file() {
            let tokenizer = vocabulary::parse_json(&read_text(&beside)?);
            (beside, tokenizer)
        } else {
            (gguf.path().to_owned(), vocabulary::tokenizer(gguf))
        };
        let tokenizer = tokenizer.map_err(|reason| LlmError::Tokenizer { path: path.clone(), reason })?;
        Ok(Text { tokenizer, path, ends: end_tokens(gguf) })
    }

    /// Ids of `text`, with the start token where the model wants one.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        let encoded = self.tokenizer.encode_fast(text, true);
        let encoded = encoded
            .map_err(|error| LlmError::Tokenizer { path: self.path.clone(), reason: error.to_string() })?;
        Ok(encoded.get_ids().to_vec())
    }

    /// Whether a text ends with this token.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// Appends a token's text.
    pub(crate) fn push(&self, pieces: &mut Pieces, token: u32) -> Result<(), LlmError> {
        pieces.waiting.push(token);
        let piece = self.decode(&pieces.waiting)?;
        if !piece.ends_with('\u{fffd}') {
            pieces.text.push_str(&piece);
            pieces.waiting.clear();
        }
        Ok(())
    }

    /// Appends what was held back.
    pub(crate) fn flush(&self, pieces: &mut Pieces) -> Result<(), LlmError> {
        if !pieces.waiting.is_empty() {
            pieces.text.push_str(&self.decode(&pieces.waiting)?);
            pieces.waiting.clear();
        }
        Ok(())
    }

    /// The grammar of class bodies, or of a search space, over these tokens, of which the model knows `vocabulary`.
    pub(crate) fn grammar(&self, vocabulary: usize, space: Option<&str>) -> Result<Grammar, LlmError> {
        let way_out =
            if space.is_none() { "; set model.grammar = false to go without a grammar" } else { "" };
        let fault = |reason: String| LlmError::Tokenizer {
            path: self.path.clone(),
            reason: format!("{reason}{way_out}"),
        };
        let json = self.tokenizer.to_string(false).map_err(|error| fault(error.to_string()))?;
        Grammar::compile(&json, &self.ends, vocabulary, space).map_err(fault)
    }

    /// What a token alone says; with U+FFFD where it is part of a character.
    pub(crate) fn piece(&self, token: u32) -> Result<String, LlmError> {
        self.decode(&[token])
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, LlmError> {
        let decoded = self.tokenizer.decode(tokens, true);
        decoded.map_err(|error| LlmError::Tokenizer { path: self.path.clone(), reason: error.to_string() })
    }
}

/// The end-of-text token and every control token: none of them can be part of a source text.
fn end_tokens(gguf: &Gguf) -> Vec<u32> {
    let mut ends = Vec::new();
    for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
        ends.extend(gguf.integer(key).and_then(|id| u32::try_from(id).ok()));
    }
    let kinds = gguf.integers("tokenizer.ggml.token_type").unwrap_or_default();
    ends.extend((0u32..).zip(kinds).filter(|(_, kind)| *kind == CONTROL).map(|(id, _)| id));
    ends.sort_unstable();
    ends.dedup();
    ends
}
