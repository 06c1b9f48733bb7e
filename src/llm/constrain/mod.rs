//! Which tokens may come next in a class body: the tokens so far in, logits of the others at minus infinity out.
//!
//! The work is `llguidance`'s (an Earley parser over a prefix tree of the vocabulary); the grammar is `grammar`'s, or
//! that of a search space, which says every byte of a body up to its end. What may follow depends on a row's own tokens
//! alone, so sampling stays exact and rows stay independent; so does what a space leaves no choice in, which is written
//! without asking the model. A text that the grammar loses hold of goes on unconstrained. Limit: completions whose
//! prompt ends with the header of a class.

mod grammar;

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, token_bytes_from_tokenizer_json};

/// A grammar, compiled for a vocabulary.
pub(crate) struct Grammar {
    start: Matcher,
    /// Of a search space; else of Python's class bodies.
    space: bool,
    /// Sorted ids at which a text ends.
    ends: Vec<u32>,
    end: u32,
}

/// What may follow in one row.
pub(crate) struct Constraint {
    matcher: Matcher,
    space: bool,
    ends: Vec<u32>,
    end: u32,
    lost: bool,
    /// What may come next, once it was asked for.
    next: Option<Vec<u32>>,
}

impl Grammar {
    /// Compiles the grammar of class bodies, or that of a search space (Lark, as `llguidance` reads it). `json` is the
    /// content of a `tokenizer.json`, `ends` are the sorted ids at which a text ends, of which those without a logit
    /// are left out, and `width` is the number of logits.
    ///
    /// # Errors
    /// A tokenizer without an end token or whose tokens are no bytes; a text that is no grammar.
    pub(crate) fn compile(
        json: &str,
        ends: &[u32],
        width: usize,
        space: Option<&str>,
    ) -> Result<Grammar, String> {
        let mut json: serde_json::Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        spell_added_tokens(&mut json);
        let mut bytes = token_bytes_from_tokenizer_json(&json).map_err(|error| error.to_string())?;
        bytes.resize(width, Vec::new());
        let ends: Vec<u32> = ends.iter().copied().filter(|&end| (end as usize) < width).collect();
        let end = *ends.first().ok_or("the model has no end token")?;
        for &id in &ends {
            // Ends are allowed by the grammar's end, never by their text.
            if let Some(token) = bytes.get_mut(id as usize) {
                token.clear();
            }
        }
        bytes[end as usize] = b"\xff<end>".to_vec();
        let vocabulary = u32::try_from(width).map_err(|error| error.to_string())?;
        let trie = TokTrie::from(&TokRxInfo::new(vocabulary, end), &bytes);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|error| error.to_string())?;
        factory.quiet();
        let lark = space.map_or_else(grammar::class_body, str::to_owned);
        let parser = factory.create_parser(TopLevelGrammar::from_lark(lark));
        let start = Matcher::new(parser);
        match start.get_error() {
            Some(reason) => Err(reason),
            None => Ok(Grammar { start, space: space.is_some(), ends, end }),
        }
    }

    /// What may follow the header of a class.
    pub(crate) fn start(&self) -> Constraint {
        let (matcher, ends) = (self.start.deep_clone(), self.ends.clone());
        Constraint { matcher, space: self.space, ends, end: self.end, lost: false, next: None }
    }
}

/// Writes added tokens as the decoder does: Gemma's runs of spaces are some, and `llguidance` takes them as they are.
fn spell_added_tokens(json: &mut serde_json::Value) {
    let decoders = json["decoder"]["decoders"].as_array().cloned().unwrap_or_default();
    let replaced = decoders.iter().filter(|part| part["type"] == "Replace" && part["content"] == " ");
    let spaces: Vec<String> =
        replaced.filter_map(|part| Some(part["pattern"]["String"].as_str()?.to_owned())).collect();
    for token in json["added_tokens"].as_array_mut().into_iter().flatten() {
        if token["special"] == false
            && let Some(content) = token["content"].as_str()
        {
            let spelt = spaces.iter().fold(content.to_owned(), |text, space| text.replace(space, " "));
            token["content"] = spelt.into();
        }
    }
}

impl Constraint {
    /// Takes what may not come next out of `logits`.
    pub(crate) fn apply(&mut self, logits: &mut [f32]) {
        let Some(mask) = self.mask() else { return };
        let ends = mask.is_allowed(self.end);
        let kept: Vec<f32> =
            self.ends.iter().map(|&id| logits.get(id as usize).copied().unwrap_or_default()).collect();
        mask.iter_unset_entries(|id| {
            if let Some(logit) = logits.get_mut(id) {
                *logit = f32::NEG_INFINITY;
            }
        });
        for (&id, kept) in self.ends.iter().zip(kept) {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = if ends { kept } else { f32::NEG_INFINITY };
            }
        }
    }

    /// What may come next in a search space: sorted ids. `None` where anything may, as in a text that the grammar lost
    /// hold of, and outside of a space, where it is most of the vocabulary.
    pub(crate) fn choices(&mut self) -> Option<&[u32]> {
        if self.space && self.next.is_none() {
            let mask = self.mask()?;
            let mut next = mask.to_list();
            next.retain(|id| self.ends.binary_search(id).is_err());
            if mask.is_allowed(self.end) {
                next.extend(&self.ends);
                next.sort_unstable();
            }
            self.next = Some(next);
        }
        self.next.as_deref()
    }

    /// Tokens that may come next, the first of the ends for all of them; `None` where anything may.
    fn mask(&mut self) -> Option<SimpleVob> {
        if self.lost || self.matcher.is_stopped() {
            return None;
        }
        let mask = self.matcher.compute_mask().ok().filter(|mask| !mask.is_zero());
        self.lost = mask.is_none();
        mask
    }

    /// Whether it is the grammar of a search space.
    pub(crate) fn is_space(&self) -> bool {
        self.space
    }

    /// The text that must come next in a search space; empty where there is a choice.
    pub(crate) fn forced(&mut self) -> String {
        if !self.space || self.lost || self.matcher.is_stopped() {
            return String::new();
        }
        String::from_utf8(self.matcher.compute_ff_bytes()).unwrap_or_default()
    }

    /// Whether the text would be one of the search space, and nothing could follow, after `tokens` and `last`.
    pub(crate) fn ends_after(&self, tokens: &[u32], last: Option<u32>) -> bool {
        let all: Vec<u32> = tokens.iter().copied().chain(last).collect();
        if !self.space || self.lost || all.is_empty() {
            return false;
        }
        let mut matcher = self.matcher.deep_clone();
        matcher.consume_tokens(&all).is_ok() && matcher.is_stopped()
    }

    /// Whether the text is one of the search space and nothing may follow.
    pub(crate) fn complete(&self) -> bool {
        self.space && !self.lost && self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Goes on with a token.
    pub(crate) fn accept(&mut self, token: u32) {
        self.next = None;
        if !self.lost && self.ends.binary_search(&token).is_err() {
            self.lost = self.matcher.consume_token(token).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Grammar;
    use crate::llm::sampling::Settings;

    fn grammar() -> Grammar {
        compiled(None)
    }

    /// Every byte is a token; the last id ends a text, as would one that has no logit.
    fn compiled(space: Option<&str>) -> Grammar {
        let vocabulary: serde_json::Map<String, serde_json::Value> = byte_characters()
            .into_iter()
            .enumerate()
            .map(|(id, c)| (c.to_string(), id.into()))
            .chain([("<end>".to_owned(), 256.into())])
            .collect();
        let json = serde_json::json!({
            "decoder": { "type": "ByteLevel" }, "model": { "vocab": vocabulary }, "added_tokens": [],
        });
        Grammar::compile(&json.to_string(), &[256, 300], 257, space).unwrap()
    }

    /// GPT-2's stand-ins for bytes.
    fn byte_characters() -> Vec<char> {
        let plain = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let mut next = 256;
        (0..256)
            .map(|byte| {
                let code = if plain(byte) { byte } else { next };
                next += u32::from(!plain(byte));
                char::from_u32(code).unwrap_or('?')
            })
            .collect()
    }

    /// Bytes of `text` that the grammar takes, and whether the text may end there.
    fn taken(grammar: &Grammar, text: &str) -> (usize, bool) {
        let mut constraint = grammar.start();
        for (at, byte) in text.bytes().enumerate() {
            let mut logits = vec![0.0f32; 257];
            constraint.apply(&mut logits);
            assert!(!constraint.lost, "lost at {:?}", &text[..at]);
            if logits[byte as usize] != 0.0 {
                return (at, logits[256] == 0.0);
            }
            constraint.accept(u32::from(byte));
        }
        let mut logits = vec![0.0f32; 257];
        constraint.apply(&mut logits);
        (text.len(), logits[256] == 0.0)
    }

    #[test]
    fn what_a_space_leaves_no_choice_in_is_known_up_to_its_end() {
        let grammar = compiled(Some(
            "start: \"a = \" op \"\\nb = \" op \"\\nend\\n\"\nop: \"Conv(1)\" | \"Conv(3)\" | \"Zero()\"",
        ));
        let mut constraint = grammar.start();
        let mut text = String::new();
        for (forced, chosen) in [("a = ", "Z"), ("ero()\nb = ", "C"), ("onv(", "3")] {
            assert_eq!(constraint.forced(), forced, "{text:?}");
            assert_eq!(constraint.choices(), Some(&[u32::from(forced.as_bytes()[0])][..]));
            assert!(!constraint.complete());
            for byte in forced.bytes() {
                constraint.accept(u32::from(byte));
            }
            let choices: &[u8] = if chosen == "3" { b"13" } else { b"CZ" };
            let choices: Vec<u32> = choices.iter().map(|&byte| byte.into()).collect();
            assert_eq!(constraint.choices(), Some(choices.as_slice()));
            for byte in chosen.bytes() {
                constraint.accept(u32::from(byte));
            }
            text.push_str(forced);
            text.push_str(chosen);
        }
        for byte in constraint.forced().bytes().collect::<Vec<_>>() {
            assert!(!constraint.complete());
            text.push(char::from(byte));
            constraint.accept(u32::from(byte));
        }
        assert_eq!(text, "a = Zero()\nb = Conv(3)\nend\n");
        assert!(constraint.complete() && !constraint.lost);
        assert_eq!((constraint.forced().as_str(), constraint.choices()), ("", None));
    }

    #[test]
    fn python_and_a_lost_text_force_nothing() {
        assert_eq!((grammar().start().forced().as_str(), grammar().start().choices()), ("", None));
        let mut constraint = compiled(Some("start: \"ab\"")).start();
        constraint.accept(u32::from(b'x'));
        assert_eq!((constraint.forced().as_str(), constraint.complete()), ("", false));
        assert_eq!(constraint.choices(), None);
        let mut ending = compiled(Some("start: \"ab\"?")).start();
        assert_eq!(ending.choices(), Some(&[u32::from(b'a'), 256][..]));
    }

    const NET: &str = include_str!("net.txt");

    #[test]
    fn a_class_body_is_taken_whole_and_may_end_there_and_nowhere_before_its_forward() {
        let grammar = grammar();
        assert_eq!(taken(&grammar, NET), (NET.len(), true));
        for part in ["def forward", "return"] {
            let until = NET.find(part).unwrap();
            assert_eq!(taken(&grammar, &NET[..until]), (until, false), "{part}");
        }
    }

    #[test]
    fn what_follows_the_class_is_not_constrained() {
        let text = format!("{NET}\n\nnet = Net((\n");
        assert_eq!(taken(&grammar(), &text), (text.len(), true));
    }

    #[test]
    fn what_cannot_become_a_class_body_is_stopped_at_its_first_wrong_character() {
        let grammar = grammar();
        let method = "    def forward(self, x):\n        ";
        for (before, wrong) in [
            ("    def forward(self, x):\n    ", "    "),
            ("    def forward(self, x)", "\n"),
            (method, " x = 1"),
            (method, ")"),
            ("        return x\n   ", "y"),
            ("        x = f(1)", ")"),
            ("        x = (1]", "]"),
            ("        x = 1 ", "2"),
            ("        x = + ", "*"),
            ("        import ", "1"),
        ] {
            let text = if before.starts_with("    def") {
                before.to_owned()
            } else {
                format!("{method}{}", &before[8..])
            };
            let all = format!("{text}{wrong}\n");
            let stopped = taken(&grammar, &all).0;
            let legal = before.ends_with("    ") && wrong == "    ";
            assert!(legal || stopped < all.len(), "{all}");
        }
    }

    #[test]
    fn masked_tokens_are_never_drawn() {
        use crate::llm::kernels::Isa;
        use crate::rng::RootSeed;
        let grammar = grammar();
        let mut stream = RootSeed(0).stream("constrain test", &[]);
        for temperature in [0.0, 1.0, 5.0] {
            let mut constraint = grammar.start();
            let mut text = Vec::new();
            for step in 0..60u32 {
                // Any preference will do; at temperature 0 the largest allowed logit wins.
                let mut logits: Vec<f32> =
                    (0..257u32).map(|id| ((id * 37 + step * 11) % 101) as f32 / 50.0).collect();
                constraint.apply(&mut logits);
                let settings = Settings { temperature, top_p: 1.0, top_k: 50 };
                let token =
                    crate::llm::sampling::sample(Isa::detect(), &logits, settings, &mut stream).unwrap();
                if token == 256 {
                    break;
                }
                constraint.accept(token);
                text.push(token as u8);
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let ascii = text.is_ascii();
            assert!(!ascii || taken(&grammar, &text).0 == text.len(), "{text:?}");
        }
    }
}
