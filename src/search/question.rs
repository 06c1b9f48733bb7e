//! What an LLM is asked for one child in each style, outside of a run: a parent in, a [`Question`] out.
//!
//! The prompts are those of a search (`draft`), so that what is measured with them holds for it. Limit: one parent.

use crate::llm::{ChatTokens, Generator, InfillTokens, Stop};
use crate::rng::Stream;

use super::draft::{hole_prompt, whole_class};
use super::infill::{self, Hole, Variant};
use super::read::Network;
use super::source;

/// How a child is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionStyle {
    /// The whole class, as the rest of a file.
    Completion,
    /// The whole class, as an answer.
    Chat,
    /// A hole in the parent.
    Infill,
}

/// All styles, in the order of reports.
pub const QUESTION_STYLES: [QuestionStyle; 3] =
    [QuestionStyle::Completion, QuestionStyle::Chat, QuestionStyle::Infill];

/// What a model knows of conversations and holes.
#[derive(Debug, Clone)]
pub struct Questions {
    chat: Option<ChatTokens>,
    infill: Option<InfillTokens>,
}

/// A prompt and what becomes of its completion.
#[derive(Debug, Clone)]
pub struct Question {
    /// What the model continues.
    pub prompt: String,
    /// When the completion is complete.
    pub stop: Stop,
    hole: Option<Hole>,
    parent: String,
}

impl QuestionStyle {
    /// Its name in flags and tables.
    pub fn name(self) -> &'static str {
        match self {
            QuestionStyle::Completion => "completion",
            QuestionStyle::Chat => "chat",
            QuestionStyle::Infill => "infill",
        }
    }
}

impl std::str::FromStr for QuestionStyle {
    type Err = String;

    fn from_str(text: &str) -> Result<QuestionStyle, String> {
        QUESTION_STYLES
            .into_iter()
            .find(|style| style.name() == text)
            .ok_or_else(|| format!("expected completion, chat or infill, got `{text}`"))
    }
}

impl Questions {
    /// What can be asked of this generator.
    pub fn of(generator: &dyn Generator) -> Questions {
        Questions { chat: generator.chat().cloned(), infill: generator.infill().cloned() }
    }

    /// Whether it can be asked in this style.
    pub fn knows(&self, style: QuestionStyle) -> bool {
        match style {
            QuestionStyle::Completion => true,
            QuestionStyle::Chat => self.chat.is_some(),
            QuestionStyle::Infill => self.infill.is_some(),
        }
    }

    /// The question for a child of `parent`: `words` are an instruction's, `goal` is the comment over a source with a
    /// hole, and `stream` chooses the hole. `None` where the style is not known to the model, or the parent has no
    /// place for a hole.
    pub fn ask(
        &self,
        style: QuestionStyle,
        parent: &Network,
        (words, goal): (&str, &str),
        stream: &mut Stream,
    ) -> Option<Question> {
        let parents = [parent.source.as_str()];
        let whole = |chat: Option<&ChatTokens>| Question {
            prompt: whole_class(chat, &parents, words),
            stop: Stop::ClassComplete,
            hole: None,
            parent: parent.source.clone(),
        };
        match style {
            QuestionStyle::Completion => Some(whole(None)),
            QuestionStyle::Chat => self.chat.as_ref().map(|chat| whole(Some(chat))),
            QuestionStyle::Infill => {
                let tokens = self.infill.as_ref()?;
                let mut variants = [Variant::Forced, Variant::RightHandSide, Variant::TwoLines];
                stream.shuffle(&mut variants);
                let hole = variants
                    .into_iter()
                    .find_map(|variant| infill::hole(&parent.source, &parent.graph, variant, stream))?;
                Some(Question {
                    prompt: hole_prompt(tokens, goal, &hole),
                    stop: hole.stop,
                    hole: Some(hole),
                    parent: parent.source.clone(),
                })
            }
        }
    }
}

impl Question {
    /// The whole candidate.
    pub fn candidate(&self, completion: &str) -> String {
        match &self.hole {
            Some(hole) => infill::fill(hole, completion),
            None => source::candidate(&[self.parent.as_str()], completion),
        }
    }

    /// Whether a candidate is its parent again but for white space.
    pub fn copies(&self, candidate: &str) -> bool {
        source::same_text(&self.parent, candidate)
    }
}
