//! Repair: a text that ends in the middle of a statement.
//!
//! Input: a source text that is not Python. Output: the text without its last lines, as few as make it Python with a
//! `forward` that returns. Limit: what the missing text would have done is not guessed, so a `forward` that is cut
//! before its `return` stays refused.

use ruff_python_ast::Stmt;

use super::Proposal;
use crate::python;

/// Most lines that are dropped.
const MAX_LINES: usize = 30;

pub(crate) fn propose(source: &str) -> Vec<Proposal> {
    let mut text = source.trim_end();
    for dropped in 1..=MAX_LINES {
        let Some((before, _)) = text.rsplit_once('\n') else { break };
        text = before.trim_end();
        let Ok(suite) = python::parse_module(text) else { continue };
        if !ends_with_a_network(&suite) {
            break;
        }
        let detail = format!("dropped the last {dropped} line(s), where the text breaks off");
        return vec![Proposal { source: format!("{text}\n"), detail }];
    }
    Vec::new()
}

/// Whether the last class has a `forward` whose last statement returns.
fn ends_with_a_network(suite: &[Stmt]) -> bool {
    let last = suite.iter().rev().find_map(|stmt| match stmt {
        Stmt::ClassDef(class) => Some(class),
        _ => None,
    });
    last.is_some_and(|class| {
        class.body.iter().any(|stmt| {
            matches!(stmt, Stmt::FunctionDef(def)
                if def.name.as_str() == "forward" && matches!(def.body.last(), Some(Stmt::Return(_))))
        })
    })
}
