//! Infill: a hole in a parent's source that the LLM fills, with everything around it prepared.
//!
//! Input: a parent, its graph, a variant and a random stream. Output: a [`Hole`] (the texts before and after, and
//! when the filling is complete), then the whole candidate. The wiring of a new layer is written before the LLM is
//! asked, so that all it adds is the layer. Measured habits of small instruct models are kept to: no line end or
//! indentation at the end of the text before the hole, one complete line, brackets closed, no name assigned that the
//! text after the hole assigns. Reference: Bavarian et al. 2022 (fill in the middle). Limit: holes in `__init__`.

use crate::graph::Graph;
use crate::llm::Stop;
use crate::python::Span;
use crate::python::outline::Outline;
use crate::rng::Stream;

use super::source::CLASS;
use super::typed::{Place, apply, count, end_of_line, fresh, gaps, indentation, wire};

/// Stands for the hole until the text is cut there; no source has it.
const MARK: &str = "\u{1}";

/// What kind of hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// A new line whose start is given, with its call already in `forward`; or a new item of a `Sequential`.
    Forced,
    /// The right-hand side of a line of `__init__`.
    RightHandSide,
    /// Two lines that follow each other in `__init__`.
    TwoLines,
}

impl Variant {
    /// The variant that these words of the file of prompts stand for.
    pub fn from_words(words: &str) -> Option<Variant> {
        match words.trim() {
            "forced" => Some(Variant::Forced),
            "right-hand side" => Some(Variant::RightHandSide),
            "two-line cut" => Some(Variant::TwoLines),
            _ => None,
        }
    }
}

/// A source with a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    /// The source up to the hole.
    pub(super) before: String,
    /// The source from the hole on.
    pub(super) after: String,
    /// When the filling is complete.
    pub(super) stop: Stop,
    /// What every filling ends with: the comma of an item.
    tail: &'static str,
}

/// A hole of this variant at a random place; `None` where there is none.
pub(super) fn hole(source: &str, graph: &Graph, variant: Variant, stream: &mut Stream) -> Option<Hole> {
    let outline = Outline::of(source, CLASS).ok().flatten()?;
    match variant {
        Variant::Forced => forced(source, graph, &outline, stream),
        Variant::RightHandSide => right_hand_side(source, &outline, stream),
        Variant::TwoLines => two_lines(source, &outline, stream),
    }
}

/// The whole candidate.
pub(super) fn fill(hole: &Hole, completion: &str) -> String {
    let mut text = closed(without_names_of(completion.trim_end(), &hole.after));
    if !hole.tail.is_empty() {
        text.truncate(text.trim_end().trim_end_matches(',').len());
        text.push_str(hole.tail);
    }
    format!("{}{text}{}", hole.before, hole.after)
}

fn forced(source: &str, graph: &Graph, outline: &Outline, stream: &mut Stream) -> Option<Hole> {
    let gaps = gaps(source, outline, graph);
    let gap = gaps.get(stream.below(gaps.len()))?;
    let name = if count(source, "extra") == 0 { "extra".to_owned() } else { fresh(source, "extra") };
    let item = matches!(gap.place, Place::Item { .. });
    let text = if item { format!("nn.{MARK}") } else { MARK.to_owned() };
    let wired = apply(source, wire(source, outline, gap, &name, &text, false)?)?;
    let (before, after) = wired.split_once(MARK)?;
    // The comma behind the new item belongs to the filling, as in a text that was written in order.
    let (after, tail) = match after.strip_prefix(',') {
        Some(after) if item => (after, ","),
        _ => (after, ""),
    };
    Some(Hole { before: before.trim_end().to_owned(), after: after.to_owned(), stop: Stop::Lines(1), tail })
}

fn right_hand_side(source: &str, outline: &Outline, stream: &mut Stream) -> Option<Hole> {
    let values: Vec<Span> = outline
        .init
        .iter()
        .filter(|statement| statement.target.as_ref().is_some_and(|target| target.starts_with("self.")))
        .filter_map(|statement| statement.value)
        .filter(|&value| outline.call_at(value).is_some() && !value.text(source).contains('\n'))
        .collect();
    let value = values.get(stream.below(values.len()))?;
    let (before, after) = (source.get(..value.start as usize)?, source.get(value.end as usize..)?);
    let stop = Stop::Lines(1);
    Some(Hole { before: before.trim_end().to_owned(), after: after.to_owned(), stop, tail: "" })
}

fn two_lines(source: &str, outline: &Outline, stream: &mut Stream) -> Option<Hole> {
    let own = |target: &Option<String>| target.as_ref().is_some_and(|target| target.starts_with("self."));
    let statements = outline.init.iter().filter(|statement| own(&statement.target));
    let mut lines: Vec<(Span, &str)> = statements.clone().map(|statement| (statement.span, "")).collect();
    for call in statements.filter_map(|statement| outline.call_at(statement.value?)) {
        if call.name == "Sequential" {
            lines.extend(call.arguments.iter().map(|item| (item.span, ",")));
        }
    }
    lines.retain(|(span, _)| {
        !span.text(source).contains('\n') && indentation(source, span.start as usize).is_some()
    });
    let mut pairs = Vec::new();
    for &(first, tail) in &lines {
        let end = end_of_line(source, first.end as usize);
        let follows = |&(second, other): &(Span, &str)| {
            let line = source.get(end + 1..second.start as usize);
            other == tail && line.is_some_and(|indent| indent.chars().all(|c| c == ' ' || c == '\t'))
        };
        pairs.extend(lines.iter().copied().find(follows).map(|(second, _)| (first, second, tail)));
    }
    let &(first, second, tail) = pairs.get(stream.below(pairs.len()))?;
    let before = source.get(..first.start as usize)?.trim_end();
    let after = source.get(end_of_line(source, second.end as usize)..)?;
    let tail = if tail == "," { "," } else { "" };
    Some(Hole { before: before.to_owned(), after: after.to_owned(), stop: Stop::Lines(2), tail })
}

/// The text up to the first line that assigns a name which `after` assigns: from there on the LLM repeats what
/// follows. The first line is never left out.
fn without_names_of<'a>(text: &'a str, after: &str) -> &'a str {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let target = line.split_once('=').map(|(target, _)| target.trim());
        let repeats = target.is_some_and(|target| {
            target.starts_with("self.") && after.lines().any(|other| assigns(other, target))
        });
        if repeats && !text[..start].trim().is_empty() {
            return text[..start].trim_end();
        }
        start += line.len();
    }
    text
}

fn assigns(line: &str, target: &str) -> bool {
    let rest = line.trim_start().strip_prefix(target).map(str::trim_start);
    rest.is_some_and(|rest| rest.starts_with('=') && !rest.starts_with("=="))
}

/// The text with the brackets closed that it leaves open.
fn closed(text: &str) -> String {
    let mut open = Vec::new();
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(quoted), _) if c == quoted => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => open.push(')'),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ')' | ']' | '}') => drop(open.pop()),
            _ => {}
        }
    }
    let mut text = text.to_owned();
    if !open.is_empty() && text.ends_with(',') {
        text.pop();
    }
    text.extend(open.into_iter().rev());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::RootSeed;
    use crate::search::typed::tests::{PARENTS, read};

    fn holes(parent: usize, variant: Variant) -> Vec<Hole> {
        let parent = read(PARENTS[parent]).unwrap();
        (0..30)
            .filter_map(|seed| {
                let mut stream = RootSeed(seed).stream("infill", &[]);
                hole(&parent.source, &parent.graph, variant, &mut stream)
            })
            .collect()
    }

    #[test]
    fn a_forced_hole_is_a_network_once_a_layer_stands_in_it() {
        for parent in 0..PARENTS.len() {
            let holes = holes(parent, Variant::Forced);
            assert!(holes.len() > 10, "parent {parent} has {} of 30", holes.len());
            for hole in holes {
                let item = hole.before.ends_with("nn.");
                let text = fill(&hole, if item { "Identity()," } else { " nn.Identity()" });
                let child = read(&text).unwrap_or_else(|refusal| panic!("{}\n{text}", refusal.message));
                assert!(child.repairs.is_empty(), "{text}");
                assert!(item || hole.before.ends_with('='), "{}", hole.before);
            }
        }
    }

    #[test]
    fn no_hole_follows_a_line_end_or_indentation() {
        for variant in [Variant::Forced, Variant::RightHandSide, Variant::TwoLines] {
            for hole in (0..PARENTS.len()).flat_map(|parent| holes(parent, variant)) {
                assert_eq!(hole.before, hole.before.trim_end());
            }
        }
    }

    #[test]
    fn filling_a_hole_with_what_was_there_gives_the_parent() {
        let parent = read(PARENTS[1]).unwrap();
        for variant in [Variant::RightHandSide, Variant::TwoLines] {
            let holes = holes(1, variant);
            assert!(holes.len() > 10, "{} of 30", holes.len());
            for hole in holes {
                let end = parent.source.len() - hole.after.len();
                let was = &parent.source[hole.before.len()..end];
                assert_eq!(fill(&hole, was), parent.source);
            }
        }
    }

    #[test]
    fn open_brackets_are_closed_and_repeated_names_left_out() {
        assert_eq!(closed(" nn.Sequential(nn.Conv2d(1, 2,"), " nn.Sequential(nn.Conv2d(1, 2))");
        let after = "\n        self.fc = nn.Linear(1, 2)\n";
        let text = "\n        self.a = nn.ReLU()\n        self.fc = nn.Linear(3, 4)";
        assert_eq!(without_names_of(text, after), "\n        self.a = nn.ReLU()");
        assert_eq!(without_names_of("\n        self.fc = 1", after), "\n        self.fc = 1");
    }

    #[test]
    fn a_hole_depends_on_its_stream_alone() {
        for variant in [Variant::Forced, Variant::RightHandSide, Variant::TwoLines] {
            let found: Vec<Vec<Hole>> = (0..PARENTS.len()).map(|parent| holes(parent, variant)).collect();
            assert_eq!(found[0], holes(0, variant));
            let differ = |holes: &Vec<Hole>| holes.iter().any(|hole| *hole != holes[0]);
            assert!(found.iter().any(differ), "every stream gives one hole");
        }
    }
}
