//! Generator functions, which run from one `yield` to the next.
//!
//! Input: a function that yields, at its first statement. Output: one value at a time; the statements between them have
//! run when it is asked for. Limit: one that yields within `try`, `with`, `match` or an expression runs to its end when
//! it is called. `send` and what a generator returns are refused or lost.

use std::rc::Rc;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Stmt, StmtFor, StmtFunctionDef, StmtWhile};
use ruff_text_size::Ranged;

use crate::lower::error::{R, Raise};
use crate::lower::interp::stmt::Flow;
use crate::lower::interp::{Frame, Interp, Iter};
use crate::lower::value::{Value, Yields};

/// A generator function between two of its values.
pub(crate) struct Suspended {
    code: Rc<StmtFunctionDef>,
    /// Its frame, while it does not run.
    frame: Option<Frame>,
    /// The blocks that it is in, outermost first.
    blocks: Vec<Block>,
    /// What `yield from` gives.
    from: Option<Rc<Iter>>,
}

/// A block of statements on its way.
struct Block {
    part: Part,
    /// The statement that is next, or being run where a block within it is.
    at: usize,
    /// What the loop around walks over.
    walk: Option<Rc<Iter>>,
}

/// Which block of a statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Body,
    /// `elif` or `else` of an `if`.
    Clause(usize),
    /// `else` of a loop.
    Orelse,
}

impl Suspended {
    pub(crate) fn new(code: Rc<StmtFunctionDef>, frame: Frame) -> Suspended {
        let whole = Block { part: Part::Body, at: 0, walk: None };
        Suspended { code, frame: Some(frame), blocks: vec![whole], from: None }
    }

    fn enter(&mut self, part: Part, walk: Option<Rc<Iter>>) {
        self.blocks.push(Block { part, at: 0, walk });
    }

    /// Go on behind the statement that the innermost block is at.
    fn pass(&mut self) {
        if let Some(block) = self.blocks.last_mut() {
            block.at += 1;
        }
    }

    /// Leave the blocks up to the body of the innermost loop; what that walks over.
    fn leave_loop(&mut self) -> Option<Rc<Iter>> {
        let code = Rc::clone(&self.code);
        while let Some(block) = self.blocks.pop() {
            let looping = matches!(self.statement(&code), Some(Stmt::For(_) | Stmt::While(_)));
            if looping && block.part == Part::Body {
                return block.walk;
            }
        }
        None
    }

    /// The statement that the innermost block is at.
    fn statement<'a>(&self, code: &'a StmtFunctionDef) -> Option<&'a Stmt> {
        let mut suite: &[Stmt] = &code.body;
        let mut stmt = None;
        for block in &self.blocks {
            if let Some(around) = stmt {
                suite = block_of(around, block.part);
            }
            stmt = suite.get(block.at);
        }
        stmt
    }
}

impl Interp<'_> {
    /// Run a generator up to its next value.
    pub(crate) fn go_on(&mut self, generator: &mut Suspended) -> R<Option<Value>> {
        let Some(frame) = generator.frame.take() else { return Ok(None) };
        if self.calls >= self.limits.recursion {
            let limit = self.limits.recursion;
            return Err(Raise::limit(format!("recursion: exceeds the limit of {limit} calls")));
        }
        self.calls += 1;
        self.frames.push(frame);
        let result = self.run_to_yield(generator);
        generator.frame = self.frames.pop();
        self.calls -= 1;
        result
    }

    fn run_to_yield(&mut self, generator: &mut Suspended) -> R<Option<Value>> {
        let code = Rc::clone(&generator.code);
        while !generator.blocks.is_empty() {
            if let Some(from) = generator.from.clone() {
                if let Some(value) = self.next_of(&from)? {
                    return Ok(Some(value));
                }
                generator.from = None;
            }
            // The place is sought from the outermost block inwards.
            self.tick(1 + generator.blocks.len() / 4)?;
            let Some(stmt) = generator.statement(&code) else {
                self.end_block(generator)?;
                continue;
            };
            let result = self.deeper(|this| this.run_statement(generator, stmt));
            if let value @ Some(_) = result.map_err(|raise| self.locate(raise, stmt.range().into()))? {
                return Ok(value);
            }
        }
        Ok(None)
    }

    /// Run a statement, or go into it where it may yield.
    fn run_statement(&mut self, generator: &mut Suspended, stmt: &Stmt) -> R<Option<Value>> {
        match stmt {
            Stmt::If(stmt) => match self.branch(stmt)? {
                Some(part) => generator.enter(part, None),
                None => generator.pass(),
            },
            Stmt::For(stmt) => {
                let iterable = self.eval(&stmt.iter)?;
                let walk = self.iter(&iterable)?;
                self.for_turn(generator, stmt, walk)?;
            }
            Stmt::While(stmt) => self.while_turn(generator, stmt)?,
            Stmt::Expr(stmt) if is_yield(&stmt.value) => return self.yielded(generator, &stmt.value),
            Stmt::Assign(stmt) if is_yield(&stmt.value) => {
                let value = self.yielded(generator, &stmt.value)?;
                for target in &stmt.targets {
                    self.assign(target, Value::None)?;
                }
                return Ok(value);
            }
            _ => match self.exec_block(std::slice::from_ref(stmt))? {
                Flow::Next => generator.pass(),
                Flow::Return(_) => generator.blocks.clear(),
                Flow::Break => {
                    generator.leave_loop();
                    generator.pass();
                }
                Flow::Continue => {
                    let walk = generator.leave_loop();
                    self.next_turn(generator, walk)?;
                }
            },
        }
        Ok(None)
    }

    /// The value of a `yield`; a `yield from` is only begun.
    fn yielded(&mut self, generator: &mut Suspended, expr: &Expr) -> R<Option<Value>> {
        let value = match expr {
            Expr::Yield(expr) => match &expr.value {
                Some(value) => Some(self.eval(value)?),
                None => Some(Value::None),
            },
            Expr::YieldFrom(expr) => {
                let iterable = self.eval(&expr.value)?;
                generator.from = Some(self.iter(&iterable)?);
                None
            }
            _ => return Err(Raise::unsupported("'yield' in this expression is not supported")),
        };
        generator.pass();
        Ok(value)
    }

    /// The innermost block has come to its end.
    fn end_block(&mut self, generator: &mut Suspended) -> R<()> {
        match generator.blocks.pop() {
            Some(ended) if ended.part == Part::Body => self.next_turn(generator, ended.walk),
            _ => {
                generator.pass();
                Ok(())
            }
        }
    }

    /// What comes behind the body of the statement that the innermost block is at: in a loop its next turn.
    fn next_turn(&mut self, generator: &mut Suspended, walk: Option<Rc<Iter>>) -> R<()> {
        let code = Rc::clone(&generator.code);
        match (generator.statement(&code), walk) {
            (Some(Stmt::For(stmt)), Some(walk)) => self.for_turn(generator, stmt, walk),
            (Some(Stmt::While(stmt)), _) => self.while_turn(generator, stmt),
            _ => {
                generator.pass();
                Ok(())
            }
        }
    }

    /// The next turn of a `while`, or its `else`.
    fn while_turn(&mut self, generator: &mut Suspended, stmt: &StmtWhile) -> R<()> {
        let goes_on = self.test(&stmt.test)?;
        generator.enter(if goes_on { Part::Body } else { Part::Orelse }, None);
        Ok(())
    }

    /// The next turn of a `for`, or its `else`.
    fn for_turn(&mut self, generator: &mut Suspended, stmt: &StmtFor, walk: Rc<Iter>) -> R<()> {
        match self.next_of(&walk)? {
            Some(item) => {
                self.assign(&stmt.target, item)?;
                generator.enter(Part::Body, Some(walk));
            }
            None => generator.enter(Part::Orelse, None),
        }
        Ok(())
    }
}

/// The block of a statement.
pub(crate) fn block_of(stmt: &Stmt, part: Part) -> &[Stmt] {
    match (stmt, part) {
        (Stmt::If(stmt), Part::Body) => &stmt.body,
        (Stmt::If(stmt), Part::Clause(at)) => {
            stmt.elif_else_clauses.get(at).map_or(&[], |clause| &clause.body)
        }
        (Stmt::For(stmt), Part::Body) => &stmt.body,
        (Stmt::For(stmt), _) => &stmt.orelse,
        (Stmt::While(stmt), Part::Body) => &stmt.body,
        (Stmt::While(stmt), _) => &stmt.orelse,
        _ => &[],
    }
}

fn is_yield(expr: &Expr) -> bool {
    matches!(expr, Expr::Yield(_) | Expr::YieldFrom(_))
}

/// How the body of a function yields.
pub(crate) fn yields_of(body: &[Stmt]) -> Yields {
    if !yields(body) {
        return Yields::Never;
    }
    if body.iter().all(is_stepwise) { Yields::Stepwise } else { Yields::AtOnce }
}

/// Whether a statement yields, if at all, between statements only.
fn is_stepwise(stmt: &Stmt) -> bool {
    let all = |body: &[Stmt]| body.iter().all(is_stepwise);
    match stmt {
        Stmt::If(stmt) => {
            let clauses = &stmt.elif_else_clauses;
            !expression_yields(&stmt.test)
                && all(&stmt.body)
                && clauses
                    .iter()
                    .all(|clause| !clause.test.as_ref().is_some_and(expression_yields) && all(&clause.body))
        }
        Stmt::For(stmt) => !expression_yields(&stmt.iter) && all(&stmt.body) && all(&stmt.orelse),
        Stmt::While(stmt) => !expression_yields(&stmt.test) && all(&stmt.body) && all(&stmt.orelse),
        Stmt::Expr(stmt) => is_plain(&stmt.value),
        Stmt::Assign(stmt) => is_plain(&stmt.value) && !stmt.targets.iter().any(expression_yields),
        other => !yields(std::slice::from_ref(other)),
    }
}

/// Whether an expression yields as a whole, or not at all.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Yield(expr) => !expr.value.as_deref().is_some_and(expression_yields),
        Expr::YieldFrom(expr) => !expression_yields(&expr.value),
        other => !expression_yields(other),
    }
}

#[derive(Default)]
struct Finder(bool);

impl<'a> Visitor<'a> for Finder {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        // Functions inside yield for themselves.
        if !self.0 && !matches!(stmt, Stmt::FunctionDef(_) | Stmt::ClassDef(_)) {
            walk_stmt(self, stmt);
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Yield(_) | Expr::YieldFrom(_) => self.0 = true,
            Expr::Lambda(_) => {}
            _ if self.0 => {}
            _ => walk_expr(self, expr),
        }
    }
}

fn yields(body: &[Stmt]) -> bool {
    let mut finder = Finder::default();
    body.iter().for_each(|stmt| finder.visit_stmt(stmt));
    finder.0
}

fn expression_yields(expr: &Expr) -> bool {
    let mut finder = Finder::default();
    finder.visit_expr(expr);
    finder.0
}
