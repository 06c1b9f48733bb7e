//! Source texts around a completion: parents to a prompt, prompt and completion to a whole candidate.
//!
//! A prompt of completion style: imports, the helper classes and the network of each parent, the instruction as a
//! docstring, then the header of the new class; of chat style: the same in a question, and an answer that begins with a
//! code block and the header. The candidate keeps everything that the
//! completion says, helper classes and early returns too, and those helpers of its parents that it names. One
//! limit: a module is taken apart by lines in column 0, not by its syntax tree, so that a completion which is
//! not Python keeps its text.

use std::collections::BTreeSet;

/// The class that every network of a run has.
pub const CLASS: &str = "Net";

/// The line that a completion continues.
const HEADER: &str = "class Net(nn.Module):\n";

/// What every candidate may use.
pub(crate) const IMPORTS: &str = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n";

/// The network that a search starts from: one 1x1 convolution and one fully connected layer.
///
/// `input_sizes` is (channels, height, width). The activation lets negative values through: with one channel,
/// a plain ReLU is dead from the start for one seed in about four.
pub fn seed_network(input_sizes: &[usize], classes: usize) -> String {
    let size = |at: usize| input_sizes.get(at).copied().unwrap_or(1);
    let (channels, height, width) = (size(0), size(1), size(2));
    format!(
        "{IMPORTS}\n\n{HEADER}    def __init__(self):\n        super().__init__()\n        \
         self.conv1 = nn.Conv2d({channels}, 1, kernel_size=1)\n        \
         self.fc1 = nn.Linear({height} * {width}, {classes})\n\n    def forward(self, x):\n        \
         x = F.leaky_relu(self.conv1(x), 0.1)\n        x = torch.flatten(x, 1)\n        \
         x = self.fc1(x)\n        return x\n"
    )
}

/// The prompt for a child of `parents` (one or two whole sources).
pub(super) fn prompt(parents: &[&str], words: &str) -> String {
    let mut text = shown(parents);
    text.push_str(&format!("\n\n\"\"\"\n{}\n\"\"\"\n\n\n{HEADER}", words.trim()));
    text
}

/// The same for a conversation: what is asked, and how the answer begins, so that it is a class and nothing else.
pub(super) fn chat(parents: &[&str], words: &str) -> (String, String) {
    let question = format!(
        "```python\n{}```\n\n{}\nAnswer with one code block that holds the whole changed class {CLASS}.",
        shown(parents),
        words.trim()
    );
    (question, format!("```python\n{IMPORTS}\n\n{HEADER}"))
}

/// Imports, helpers and networks of the parents.
fn shown(parents: &[&str]) -> String {
    let parts: Vec<Vec<Chunk>> = parents.iter().map(|source| split(source)).collect();
    let mut text = imports(&parts);
    let mut seen = BTreeSet::new();
    for helper in parts.iter().flatten().filter(|chunk| chunk.kind == Kind::Other && !chunk.is_network()) {
        if helper.name.is_none_or(|name| seen.insert(name)) {
            text.push_str("\n\n");
            text.push_str(helper.text.trim_end());
            text.push('\n');
        }
    }
    for (part, name) in parts.iter().zip(network_names(&parts)) {
        for network in part.iter().filter(|chunk| chunk.is_network()) {
            text.push_str("\n\n");
            text.push_str(replace_word(network.text, CLASS, &name).trim_end());
            text.push('\n');
        }
    }
    text
}

/// The prompt that an edit in words continues: the parent, what is asked, and the kinds of edits.
pub(super) fn rank_prompt(parent: &str, words: &str, legend: &[&str]) -> String {
    let kinds = legend.join(", ");
    format!(
        "{}\n\n\n\"\"\"\n{}\nKinds of change: {kinds}.\n\"\"\"\n# The change:",
        parent.trim_end(),
        words.trim()
    )
}

/// What each parent's network is called in the prompt: `Net` where there is one parent, else a name that none of the
/// helpers has (a child of an earlier crossover may bring a `FirstNet` of its own).
fn network_names(parts: &[Vec<Chunk<'_>>]) -> Vec<String> {
    if parts.len() == 1 {
        return vec![CLASS.to_owned()];
    }
    let taken: BTreeSet<&str> = parts.iter().flatten().filter_map(|chunk| chunk.name).collect();
    let free = |stem: &str| {
        let numbered = (2..).map(|number| format!("{stem}{number}"));
        std::iter::once(stem.to_owned()).chain(numbered).find(|name| !taken.contains(name.as_str()))
    };
    ["FirstNet", "SecondNet"].into_iter().filter_map(free).collect()
}

/// The whole candidate: the completion under its header, with the parents' imports and those of their helpers that the
/// completion names, directly or through another helper; a crossover may name its parents' networks too. Nothing of
/// the completion is left out.
pub(super) fn candidate(parents: &[&str], completion: &str) -> String {
    let parts: Vec<Vec<Chunk>> = parents.iter().map(|source| split(source)).collect();
    let own: BTreeSet<&str> = split(completion).into_iter().filter_map(|chunk| chunk.name).collect();
    let mut names = own.clone();
    let mut helpers: Vec<(String, String)> = Vec::new();
    for chunk in parts.iter().flatten().filter(|chunk| chunk.kind == Kind::Other && !chunk.is_network()) {
        if let Some(name) = chunk.name.filter(|name| names.insert(name)) {
            helpers.push((name.to_owned(), chunk.text.to_owned()));
        }
    }
    let renamed = network_names(&parts);
    for (part, name) in parts.iter().zip(&renamed).filter(|(_, name)| *name != CLASS) {
        if let Some(network) = part.iter().find(|chunk| chunk.is_network()).filter(|_| names.insert(name)) {
            helpers.push((name.clone(), replace_word(network.text, CLASS, name)));
        }
    }
    let mut needed = vec![false; helpers.len()];
    let mut texts = vec![completion];
    while let Some(text) = texts.pop() {
        let words: BTreeSet<&str> = words(text).collect();
        for (index, (name, helper)) in helpers.iter().enumerate() {
            if !needed[index] && words.contains(name.as_str()) {
                needed[index] = true;
                texts.push(helper);
            }
        }
    }
    let mut text = imports(&parts);
    for ((_, helper), _) in helpers.iter().zip(needed).filter(|(_, needed)| *needed) {
        text.push_str("\n\n");
        text.push_str(helper.trim_end());
        text.push('\n');
    }
    text.push_str("\n\n");
    text.push_str(HEADER);
    text.push_str(completion.trim_end());
    text.push('\n');
    text
}

/// Whether two texts are the same but for white space.
pub(super) fn same_text(a: &str, b: &str) -> bool {
    let letters = |text: &str| -> Vec<char> { text.chars().filter(|c| !c.is_whitespace()).collect() };
    letters(a) == letters(b)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Import,
    Other,
}

/// A statement in column 0 with everything that belongs to it.
#[derive(Debug, Clone, Copy)]
struct Chunk<'a> {
    text: &'a str,
    kind: Kind,
    /// What it defines: a class, a function, or the target of an assignment.
    name: Option<&'a str>,
}

impl Chunk<'_> {
    fn is_network(&self) -> bool {
        self.name == Some(CLASS)
    }
}

fn split(source: &str) -> Vec<Chunk<'_>> {
    let mut starts: Vec<usize> = Vec::new();
    let (mut offset, mut quote, mut decorated) = (0, None, false);
    for line in source.split_inclusive('\n') {
        let first = line.chars().next().unwrap_or('\n');
        let opens = quote.is_none() && !first.is_whitespace() && !"#)]}".contains(first);
        if opens && !decorated {
            starts.push(offset);
        }
        if opens {
            decorated = first == '@';
        }
        quote = quote_after(line, quote);
        offset += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([source.len()]);
    starts.iter().zip(ends).filter_map(|(&start, end)| chunk(&source[start..end])).collect()
}

/// Which triple quote is open after `line`.
fn quote_after(line: &str, mut open: Option<&'static str>) -> Option<&'static str> {
    let mut rest = line;
    loop {
        let found = match open {
            Some(quote) => rest.find(quote).map(|at| (at, quote)),
            None => ["\"\"\"", "'''"].into_iter().filter_map(|quote| Some((rest.find(quote)?, quote))).min(),
        };
        let Some((at, quote)) = found else { return open };
        open = if open.is_some() { None } else { Some(quote) };
        rest = &rest[at + 3..];
    }
}

fn chunk(text: &str) -> Option<Chunk<'_>> {
    let line = text.lines().find(|line| !line.starts_with('@'))?;
    let mut words = words(line);
    let first = words.next();
    let (kind, name) = match first {
        Some("import" | "from") => (Kind::Import, None),
        Some("class" | "def") => (Kind::Other, words.next()),
        // A bare docstring or expression (an instruction of an earlier prompt, a call) defines nothing.
        Some(name) if assigns(line, name) => (Kind::Other, Some(name)),
        _ => return None,
    };
    Some(Chunk { text, kind, name })
}

/// Whether the line gives `name`, with which it begins, a value.
fn assigns(line: &str, name: &str) -> bool {
    let rest = line.strip_prefix(name).map(str::trim_start);
    rest.is_some_and(|rest| rest.starts_with('=') && !rest.starts_with("=="))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn imports(parts: &[Vec<Chunk>]) -> String {
    let mut text = IMPORTS.to_owned();
    for chunk in parts.iter().flatten().filter(|chunk| chunk.kind == Kind::Import) {
        let line = chunk.text.trim_end();
        if !text.contains(&format!("{line}\n")) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn replace_word(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let alone =
            !joins(rest[..at].chars().next_back().or_else(|| out.chars().next_back().filter(|_| at == 0)))
                && !joins(rest[at + from.len()..].chars().next());
        out.push_str(&rest[..at]);
        out.push_str(if alone { to } else { from });
        rest = &rest[at + from.len()..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\nimport math\n\n\
        WIDTH = 8\n\n@torch.no_grad\ndef helper(x):\n    return x\n\n\nclass Block(nn.Module):\n    \
        def forward(self, x):\n        return helper(x)\n\n\nclass Unused(nn.Module):\n    pass\n\n\n\
        class Net(nn.Module):\n    \"\"\"\nText in column 0\n    \"\"\"\n    def __init__(self):\n        \
        super(Net, self).__init__()\n        self.b = NetBlock(\n    WIDTH,\n)\n";

    #[test]
    fn a_prompt_holds_imports_helpers_parent_instruction_and_header_in_this_order() {
        let text = prompt(&[PARENT], "Improve it.");
        let places: Vec<usize> = [
            "import math",
            "WIDTH = 8",
            "@torch.no_grad\ndef helper",
            "class Block",
            "class Net",
            "\"\"\"\nImprove it.\n\"\"\"",
        ]
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}")))
        .collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.ends_with("\n\n\nclass Net(nn.Module):\n"), "{text}");
    }

    #[test]
    fn crossover_shows_both_parents_under_names_of_their_own() {
        let text = prompt(&[PARENT, &seed_network(&[1, 28, 28], 10)], "Combine.");
        assert!(
            text.contains("class FirstNet(nn.Module)") && text.contains("super(FirstNet, self)"),
            "{text}"
        );
        assert!(text.contains("class SecondNet(nn.Module)") && text.contains("NetBlock("), "{text}");
        assert_eq!(text.matches("class Net(").count(), 1);
    }

    #[test]
    fn a_crossover_child_may_be_made_of_its_parents() {
        let second = seed_network(&[1, 28, 28], 10);
        let completion = "    def __init__(self):\n        super().__init__()\n        self.a = FirstNet()\n        \
                          self.b = SecondNet()\n\n    def forward(self, x):\n        return self.a(x) + self.b(x)\n";
        let child = candidate(&[PARENT, &second], completion);
        assert!(child.contains("class FirstNet(nn.Module)") && child.contains("class SecondNet("), "{child}");
        assert!(child.contains("WIDTH = 8"), "what a parent needs comes along: {child}");
        // As a parent it keeps its parts, and the new parents get names of their own.
        let text = prompt(&[&child, &second], "Combine.");
        assert_eq!(text.matches("class FirstNet(").count(), 1, "{text}");
        assert!(text.contains("class FirstNet2(") && text.contains("class SecondNet2("), "{text}");
    }

    #[test]
    fn defect_4_a_candidate_keeps_the_text_whole_with_helper_classes_and_early_returns() {
        // Defect 4 of the public code: the text is cut at the first `return`.
        let completion = "    def forward(self, x):\n        if x.dim() == 2:\n            return x\n        \
                          return self.late(Block()(x))\n\n\nclass Late(nn.Module):\n    \
                          def forward(self, x):\n        return x\n";
        let text = candidate(&[PARENT], completion);
        assert!(text.ends_with(&format!("{HEADER}{completion}")), "{text}");
        assert!(
            text.contains("class Block") && text.contains("def helper"),
            "helpers, through helpers: {text}"
        );
        assert!(!text.contains("class Unused") && text.contains("import math"), "{text}");
        assert_eq!(text.matches("class Net(").count(), 1);
    }

    #[test]
    fn a_helper_that_the_completion_defines_itself_is_not_taken_from_the_parent() {
        let completion = "    pass\n\n\nclass Block(nn.Module):\n    mine = True\n";
        let text = candidate(&[PARENT], completion);
        assert_eq!(text.matches("class Block").count(), 1);
        assert!(text.contains("mine = True"));
    }

    #[test]
    fn lines_of_other_letters_in_column_0_are_text_like_any_other() {
        let completion = "    pass\n\n\n→ a\nβ = 2\n→=\nx == 1\n";
        for text in [completion.to_owned(), candidate(&[PARENT], completion)] {
            assert!(prompt(&[&text], "Improve it.").ends_with("class Net(nn.Module):\n"));
        }
        assert!(assigns("β = 2", "β") && !assigns("→ a", "a") && !assigns("x == 1", "x"));
    }

    #[test]
    fn white_space_does_not_make_a_difference() {
        assert!(same_text("a = 1\n\n  b", "a=1\nb"));
        assert!(!same_text("a = 1", "a = 2"));
    }
}
