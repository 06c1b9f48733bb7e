//! A SentencePiece tokenizer from GGUF metadata: pieces with scores in, the Hugging Face tokenizer that gives
//! the same ids out.
//!
//! ggml calls the kind `llama` (Llama 2, CodeLlama, Gemma): byte-pair merges over text in which `▁` stands for
//! a space, with one token per byte for characters that have none. The file has no merges; they follow from
//! the pieces: every cut of a piece into two pieces is one, the best-scored piece first. Reference:
//! `generate_merges` of transformers' `convert_slow_tokenizer.py`. Limit: unigram models are not of this kind.

use std::cmp::Reverse;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::{AddedToken, Tokenizer};

use super::gguf::Gguf;
use super::vocabulary::{BYTE, CONTROL, UNKNOWN, USER_DEFINED};

/// What stands for a space.
const SPACE: &str = "▁";
/// Characters of the longest piece that merges make; Gemma's have 31.
const LONGEST: usize = 64;

/// Builds the tokenizer, without its start and end tokens, from ggml's keys.
pub(super) fn tokenizer(gguf: &Gguf, tokens: &[String], kinds: &[i64]) -> Result<Tokenizer, String> {
    let key = "tokenizer.ggml.scores";
    let scores = gguf.floats(key).filter(|scores| scores.len() == tokens.len());
    let scores = scores
        .ok_or_else(|| format!("metadata `{key}` is missing or not one number for each of the tokens"))?;
    let pieces: Vec<Piece> = tokens
        .iter()
        .zip(scores)
        .enumerate()
        .map(|(id, (text, score))| match kinds.get(id) {
            // They go before all others, whatever score the file's maker gave them, and hold plain spaces.
            Some(&USER_DEFINED) => Piece { text: text.replace(' ', SPACE), score: 0.0, merged: true },
            Some(&(CONTROL | UNKNOWN | BYTE)) => Piece { text: text.clone(), score, merged: false },
            _ => Piece { text: text.clone(), score, merged: true },
        })
        .collect();
    let vocabulary: Vocab = pieces.iter().zip(0u32..).map(|(piece, id)| (piece.text.clone(), id)).collect();
    let merges = merges(&pieces, &vocabulary);
    let mut builder = BPE::builder().vocab_and_merges(vocabulary, merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = kinds.iter().position(|kind| *kind == UNKNOWN) {
        builder = builder.unk_token(pieces[unknown].text.clone());
    }
    let mut tokenizer = Tokenizer::new(builder.build().map_err(|error| format!("{key}: {error}"))?);
    let text = |error: tokenizers::Error| error.to_string();
    let spaces = Replace::new(" ", SPACE).map_err(text)?;
    let prefix = gguf.boolean("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE, " ").map_err(text)?.into(),
        ByteFallback::default().into(),
        Fuse::default().into(),
    ];
    let normalizer: NormalizerWrapper = if prefix {
        decoders.push(Strip::new(' ', 1, 0).into());
        Normalizers::new(vec![Prepend::new(SPACE.into()).into(), spaces.into()]).into()
    } else {
        spaces.into()
    };
    tokenizer.with_normalizer(Some(normalizer)).map_err(text)?;
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    let added = |(piece, kind): (&Piece, &i64)| match *kind {
        CONTROL | UNKNOWN => Some(AddedToken::from(piece.text.clone(), true)),
        USER_DEFINED => Some(AddedToken::from(piece.text.clone(), false).normalized(false)),
        _ => None,
    };
    let added: Vec<AddedToken> = pieces.iter().zip(kinds).filter_map(added).collect();
    let (special, plain): (Vec<AddedToken>, Vec<AddedToken>) =
        added.into_iter().partition(|token| token.special);
    tokenizer.add_special_tokens(special).map_err(text)?;
    tokenizer.add_tokens(plain).map_err(text)?;
    Ok(tokenizer)
}

struct Piece {
    text: String,
    score: f32,
    /// Whether merges make it.
    merged: bool,
}

/// Every way to make a piece of two, the best-scored piece first, then the longest parts.
fn merges(pieces: &[Piece], vocabulary: &Vocab) -> Vec<(String, String)> {
    struct Merge<'a> {
        left: &'a str,
        right: &'a str,
        score: f32,
    }
    let mut all = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.merged && piece.text.chars().count() <= LONGEST) {
        let mut own = Vec::new();
        for (at, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if let (Some(first), Some(second)) = (vocabulary.get(left), vocabulary.get(right)) {
                own.push(((*first, *second), Merge { left, right, score: piece.score }));
            }
        }
        own.sort_by_key(|(ids, _)| *ids);
        all.extend(own.into_iter().map(|(_, merge)| merge));
    }
    // Stable, as the reference's: what is left equal stays in the order of the pieces.
    let chars = |text: &str| Reverse(text.chars().count());
    all.sort_by(|a, b| {
        let lengths = |merge: &Merge<'_>| (chars(merge.left), chars(merge.right));
        b.score.total_cmp(&a.score).then_with(|| lengths(a).cmp(&lengths(b)))
    });
    all.into_iter().map(|merge| (merge.left.to_owned(), merge.right.to_owned())).collect()
}
