//! A stand-in for the LLM: recorded completions, or a closure.
//!
//! Input: a file with one JSON object `{"completion": "..."}` per line. Output: for each request the
//! completion that its own random stream draws, so that answers do not depend on the order of calls or on a
//! resume. One limit: the prompt is not looked at.

use std::path::Path;

use crate::archive::digest::sha256_hex;
use crate::llm::{
    Completion, Control, Finish, Generator, GeneratorIdentity, InfillTokens, LlmError, Progress, Request,
    Score,
};

use super::error::SearchError;

type Answer = Box<dyn FnMut(&Request) -> String>;
type Scores = Box<dyn FnMut(&str, &str) -> f64>;

/// A stand-in for the LLM.
pub struct ScriptedGenerator {
    identity: GeneratorIdentity,
    infill: Option<InfillTokens>,
    answer: Answer,
    scores: Option<Scores>,
}

impl std::fmt::Debug for ScriptedGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedGenerator").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl ScriptedGenerator {
    /// The prefix of a model's name that asks for a file of recorded completions.
    pub const PREFIX: &'static str = "scripted:";

    /// The model's name that asks for no model.
    pub const NONE: &'static str = "none";

    /// No model: for runs whose operators need none.
    pub fn none() -> ScriptedGenerator {
        ScriptedGenerator::from_closure(ScriptedGenerator::NONE, |_| String::new())
    }

    /// Answers by a closure.
    pub fn from_closure(name: &str, answer: impl FnMut(&Request) -> String + 'static) -> ScriptedGenerator {
        let identity = GeneratorIdentity { name: name.to_owned(), sha256: "none".into() };
        ScriptedGenerator { identity, infill: None, answer: Box::new(answer), scores: None }
    }

    /// The same, as an LLM that was taught to fill holes.
    #[must_use]
    pub fn with_infill(self, tokens: InfillTokens) -> ScriptedGenerator {
        ScriptedGenerator { infill: Some(tokens), ..self }
    }

    /// The same, as an LLM that tells how likely a continuation of a prompt is.
    #[must_use]
    pub fn with_scores(self, scores: impl FnMut(&str, &str) -> f64 + 'static) -> ScriptedGenerator {
        ScriptedGenerator { scores: Some(Box::new(scores)), ..self }
    }

    /// Answers drawn from a list by each request's stream; empty answers if the list is empty.
    pub fn from_list(name: &str, completions: Vec<String>) -> ScriptedGenerator {
        let draw = move |request: &Request| {
            let index = request.stream.clone().below(completions.len());
            completions.get(index).cloned().unwrap_or_default()
        };
        ScriptedGenerator::from_closure(name, draw)
    }

    /// Answers drawn from a file of recorded completions.
    ///
    /// # Errors
    /// [`SearchError::Script`] if the file cannot be read, has no line, or a line is not such an object.
    pub fn from_file(path: &Path) -> Result<ScriptedGenerator, SearchError> {
        let fail = |reason: String| SearchError::Script { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let mut completions = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let value: serde_json::Value =
                serde_json::from_str(line).map_err(|error| fail(format!("line {}: {error}", index + 1)))?;
            let completion = value.get("completion").and_then(serde_json::Value::as_str);
            let missing = || fail(format!("line {}: expected a text \"completion\", got none", index + 1));
            completions.push(completion.ok_or_else(missing)?.to_owned());
        }
        if completions.is_empty() {
            return Err(fail("expected at least one completion, got none".into()));
        }
        let mut generator = ScriptedGenerator::from_list("", completions);
        generator.identity = GeneratorIdentity {
            name: format!(
                "{}{}",
                ScriptedGenerator::PREFIX,
                path.file_name().unwrap_or_default().to_string_lossy()
            ),
            sha256: sha256_hex(text.as_bytes()),
        };
        Ok(generator)
    }
}

impl Generator for ScriptedGenerator {
    fn generate(
        &mut self,
        requests: &[Request],
        on_progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Vec<Completion>, LlmError> {
        let (mut completions, mut finish) = (Vec::new(), Finish::Stopped);
        for request in requests {
            let running = requests.len() - completions.len();
            if on_progress(Progress { tokens: completions.len(), rows_running: running }) == Control::Cancel {
                finish = Finish::Cancelled;
            }
            let text = if finish == Finish::Cancelled { String::new() } else { (self.answer)(request) };
            completions.push(Completion {
                text,
                finish,
                prompt_tokens: 0,
                completion_tokens: 0,
                cached_prompt_tokens: 0,
            });
        }
        Ok(completions)
    }

    fn describe(&self) -> GeneratorIdentity {
        self.identity.clone()
    }

    fn score(&mut self, prompt: &str, continuations: &[&str]) -> Result<Vec<Score>, LlmError> {
        let name = &self.identity.name;
        let scores = self.scores.as_mut().ok_or_else(|| LlmError::NoScores { name: name.clone() })?;
        let score = |text: &&str| Score { log_probability: scores(prompt, text), tokens: 1 };
        Ok(continuations.iter().map(score).collect())
    }

    fn can_score(&self) -> bool {
        self.scores.is_some()
    }

    fn infill(&self) -> Option<&InfillTokens> {
        self.infill.as_ref()
    }
}
