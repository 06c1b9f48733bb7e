//! The texts of the prompts: a TOML file of instructions, checked.
//!
//! Input: the form of `configs/prompts.toml`. Output: a [`PromptBook`]. One limit: placeholders are the data
//! set's four numbers and nothing else.

use serde::Deserialize;

use super::ConfigError;

/// The instructions that are used when a run names no file.
pub const PROMPTS: &str = include_str!("../../configs/prompts.toml");

/// What an instruction works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptKind {
    /// One parent.
    Mutation,
    /// Two parents.
    Crossover,
    /// A hole in one parent: the text is a variant, such as `forced`.
    Infill,
    /// One parent: the LLM ranks its typed edits.
    Rank,
    /// One parent, without an LLM: the text is a kind of edit, such as `insert convolution`.
    Typed,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instruction {
    /// Its name in the records.
    pub id: String,
    /// What it works on.
    pub kind: PromptKind,
    /// Its words, with placeholders; of infill and typed edits, the name of what is done.
    pub text: String,
    /// The same words asking for the opposite, for the control `prior = "opposite"`.
    #[serde(default)]
    pub opposite: String,
    /// Kinds of typed edits that do the same without an LLM, for the control `prior = "none"`; empty: any kind.
    #[serde(default)]
    pub typed: Vec<String>,
}

/// All instructions, and the sentence about the data set that goes with each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptBook {
    #[serde(rename = "instruction")]
    instructions: Vec<Instruction>,
    context: Context,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    text: String,
    #[serde(default)]
    infill: String,
    #[serde(default)]
    infill_opposite: String,
}

impl PromptBook {
    /// Read the TOML text of the file called `name`.
    ///
    /// # Errors
    /// Broken TOML, unknown keys, an id given twice, a text that would end its docstring, no instruction of a
    /// kind.
    pub fn parse(text: &str, name: &str) -> Result<PromptBook, ConfigError> {
        let fail = |message: String, line: Option<usize>| ConfigError {
            place: line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}")),
            message,
            hint: Some("configs/prompts.toml shows the form".into()),
        };
        let book: PromptBook = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            fail(error.message().trim().replace('\n', "; "), line)
        })?;
        for (index, instruction) in book.instructions.iter().enumerate() {
            if book.instructions[..index].iter().any(|other| other.id == instruction.id) {
                return Err(fail(format!("instruction id {} is given twice", instruction.id), None));
            }
            let texts = [&instruction.text, &instruction.opposite];
            if texts.iter().any(|text| text.contains("\"\"\"") || text.contains('\\')) {
                let message = "expected a text without \"\"\" and \\";
                return Err(fail(format!("instruction {}: {message}", instruction.id), None));
            }
        }
        if book.context.text.contains("\"\"\"") || book.context.text.contains('\\') {
            return Err(fail("context.text: expected a text without \"\"\" and \\".into(), None));
        }
        let goals = [("infill", &book.context.infill), ("infill_opposite", &book.context.infill_opposite)];
        for (key, goal) in goals {
            if !(goal.is_empty() || goal.starts_with('#') && !goal.contains('\n')) {
                return Err(fail(
                    format!("context.{key}: expected one line that starts with #, got \"{goal}\""),
                    None,
                ));
            }
        }
        for (kind, word) in [(PromptKind::Mutation, "mutation"), (PromptKind::Crossover, "crossover")] {
            if !book.instructions.iter().any(|instruction| instruction.kind == kind) {
                return Err(fail(format!("expected at least one instruction of kind \"{word}\""), None));
            }
        }
        Ok(book)
    }

    /// The instructions; their order numbers the prompt niches.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The comment that heads the source in which the LLM fills a hole, or its opposite; empty for none.
    pub fn infill_goal(&self, opposite: bool) -> &str {
        if opposite { &self.context.infill_opposite } else { &self.context.infill }
    }

    /// The words of instruction `index`, or its opposite, for a data set, and the sentence about the data.
    pub fn words(&self, index: usize, opposite: bool, input_sizes: &[usize], classes: usize) -> String {
        let of = |instruction: &Instruction| match opposite {
            true => instruction.opposite.clone(),
            false => instruction.text.clone(),
        };
        let text = self.instructions.get(index).map(of).unwrap_or_default();
        let size = |at: usize| input_sizes.get(at).copied().unwrap_or(1).to_string();
        format!("{text}\n{}", self.context.text)
            .replace("{channels}", &size(0))
            .replace("{height}", &size(1))
            .replace("{width}", &size(2))
            .replace("{classes}", &classes.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_book_has_the_thirteen_intents_and_crossover_and_names_the_data() {
        let book = PromptBook::parse(PROMPTS, "configs/prompts.toml").unwrap();
        let count = |kind| book.instructions().iter().filter(|instruction| instruction.kind == kind).count();
        assert_eq!((count(PromptKind::Mutation), count(PromptKind::Crossover)), (13, 1));
        let words = book.words(0, false, &[3, 32, 32], 10);
        assert!(words.contains("(3, 32, 32)") && words.contains("10 class scores"), "{words}");
    }

    #[test]
    fn a_wrong_book_is_refused_by_name_and_line() {
        let error = |text: &str| PromptBook::parse(text, "p.toml").unwrap_err().to_string();
        assert_eq!(
            error("[context]\ntext = ''\n[[instruction]]\nid = 'a'\nkind = 'mutation'\ntext = ''\nhot = 1\n"),
            "p.toml:7: unknown field `hot`, expected one of `id`, `kind`, `text`, `opposite`, `typed`"
        );
        let one = "[context]\ntext = ''\n[[instruction]]\nid = 'a'\nkind = 'mutation'\ntext = ''\n";
        assert_eq!(error(one), "p.toml: expected at least one instruction of kind \"crossover\"");
        let twice = format!("{one}[[instruction]]\nid = 'a'\nkind = 'crossover'\ntext = ''\n");
        assert_eq!(error(&twice), "p.toml: instruction id a is given twice");
    }
}
