//! Text to token ids and back: from a `tokenizer.json` beside the model if there is one, else from the
//! GGUF's metadata.
//!
//! In: text. Out: ids, and pieces of text as ids arrive. `tokenizer.huggingface.json` in the metadata is
//! taken as it is; otherwise `vocabulary` builds the tokenizer from ggml's keys. A piece is held back while
//! its last character is incomplete; it goes on with the prompt, so a space at its start stays (`continuing`).
//! Limit: byte-level BPE and SentencePiece vocabularies where only ggml's keys are there.

use std::path::PathBuf;

use tokenizers::Tokenizer;

use super::constrain::Grammar;
use super::continuing;
use super::convert::read_text;
use super::gguf::Gguf;
use super::vocabulary::{self, CONTROL};
use crate::llm::LlmError;

/// A model's tokenizer.
pub(crate) struct Text {
    tokenizer: Tokenizer,
    /// What goes on with a text is encoded by it, where that makes a difference.
    continuing: Option<Tokenizer>,
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
        // What a conversion has put into the file is made for it.
        let inside = gguf.string("tokenizer.huggingface.json").is_some();
        let (path, tokenizer) = if beside.is_file() && !inside {
            let tokenizer = vocabulary::parse_json(&read_text(&beside)?);
            (beside, tokenizer)
        } else {
            (gguf.path().to_owned(), vocabulary::tokenizer(gguf))
        };
        let text = tokenizer.and_then(|tokenizer| Text::new(tokenizer, path.clone(), end_tokens(gguf)));
        text.map_err(|reason| LlmError::Tokenizer { path, reason })
    }

    fn new(tokenizer: Tokenizer, path: PathBuf, ends: Vec<u32>) -> Result<Text, String> {
        let continuing = continuing::encoder(&tokenizer)?;
        Ok(Text { tokenizer: continuing::decoder(tokenizer)?, continuing, path, ends })
    }

    /// Ids of `text`, with the start token where the model wants one.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        self.ids(&self.tokenizer, text, true)
    }

    /// Ids of a text that goes on with another: nothing is put before it.
    pub(crate) fn encode_continuing(&self, text: &str) -> Result<Vec<u32>, LlmError> {
        self.ids(self.continuing.as_ref().unwrap_or(&self.tokenizer), text, false)
    }

    fn ids(&self, tokenizer: &Tokenizer, text: &str, starts: bool) -> Result<Vec<u32>, LlmError> {
        let encoded = tokenizer.encode_fast(text, starts);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::{Pieces, Text};
    use crate::llm::convert;
    use crate::llm::gguf::Gguf;
    use crate::llm::vocabulary::{from_ggml, tokenizer};

    /// The gemma3 fixture with a tokenizer of Llama 2's kind: a space goes before a text and is taken away again.
    fn with_a_space_before_texts() -> (tempfile::TempDir, Gguf) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gemma3-tiny");
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
        }
        let text = std::fs::read_to_string(source.join("tokenizer.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let parts = [json!({ "type": "Prepend", "prepend": "▁" }), json["normalizer"].take()];
        json["normalizer"] = json!({ "type": "Sequence", "normalizers": parts });
        let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
        json["decoder"]["decoders"].as_array_mut().unwrap().push(strip);
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        let path = folder.path().join("tiny.gguf");
        convert(folder.path(), "q8_0", &path, &mut |_| {}).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        (folder, gguf)
    }

    fn streamed(text: &Text, ids: &[u32]) -> String {
        let mut pieces = Pieces::default();
        ids.iter().for_each(|id| text.push(&mut pieces, *id).unwrap());
        text.flush(&mut pieces).unwrap();
        pieces.text
    }

    #[test]
    fn pieces_behind_a_prompt_are_what_the_whole_text_decodes_to() {
        let (_folder, gguf) = with_a_space_before_texts();
        let source = "class Net(nn.Module):\n    def forward(self, x):\n        return  x\n\n # é\n";
        for whole in [tokenizer(&gguf).unwrap(), from_ggml(&gguf).unwrap()] {
            let text = Text::new(whole.clone(), gguf.path().to_owned(), Vec::new()).unwrap();
            let ids = text.encode(source).unwrap();
            let decode = |ids: &[u32]| whole.decode(ids, true).unwrap();
            assert!(decode(&ids).starts_with(&source[..60]));
            // The start token and one of the text come first.
            for place in 2..ids.len() {
                assert_eq!(decode(&ids[..place]) + &streamed(&text, &ids[place..]), decode(&ids), "{place}");
            }
            // Without a token of its own, a character comes in bytes.
            let ids = text.encode("x = 語\n").unwrap();
            assert!(ids.len() > 6, "{ids:?}");
            assert_eq!(decode(&ids[..2]) + &streamed(&text, &ids[2..]), "x = 語\n");
        }
    }

    #[test]
    fn nothing_is_put_before_a_text_that_goes_on_with_another() {
        let (_folder, gguf) = with_a_space_before_texts();
        for whole in [tokenizer(&gguf).unwrap(), from_ggml(&gguf).unwrap()] {
            let text = Text::new(whole, gguf.path().to_owned(), Vec::new()).unwrap();
            for more in ["x", " x", "    a = Conv(1)\n", ""] {
                let ids = text.encode_continuing(more).unwrap();
                assert_eq!(streamed(&text, &ids), more);
                assert_ne!(ids.first(), text.encode(more).unwrap().first(), "{more:?}");
            }
        }
    }
}
