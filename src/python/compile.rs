//! Text to the syntax tree that Python would compile: parsed, checked for what only the compiler refuses, private names
//! in the form that they have at run time.
//!
//! Input: source text of any origin. Output: a tree, or the first [`SyntaxError`]. The checks are those of ruff's
//! `SemanticSyntaxChecker` (a `break` outside a loop, a parameter twice), to which this file says where in the program
//! an expression stands. Limit: Python 3.10, the oldest that PyTorch runs on: newer syntax is refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_comprehension, walk_expr, walk_stmt};
use ruff_python_ast::{Comprehension, Expr, Parameters, PythonVersion, Stmt, Suite};
use ruff_python_parser::semantic_errors::{
    LazyImportContext, SemanticSyntaxChecker, SemanticSyntaxContext, SemanticSyntaxError,
};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::{Ranged, TextRange};

use super::bindings::Bindings;
use super::{SyntaxError, guard, located, mangle};

/// Parse a module as Python's compiler would take it.
///
/// # Errors
/// [`SyntaxError`], with `limit` set where the text is larger or more deeply nested than is read.
pub fn compile_module(source: &str) -> Result<Suite, SyntaxError> {
    guard::check(source)?;
    let options = ParseOptions::from(Mode::Module).with_target_version(VERSION);
    let parsed = parse_unchecked(source, options);
    if let Some(error) = parsed.errors().first() {
        return Err(super::syntax_error(error, source));
    }
    let newer =
        parsed.unsupported_syntax_errors().first().map(|error| located(&error.to_string(), error.range()));
    if let Some(error) = newer {
        return Err(error);
    }
    let Some(module) = parsed.into_syntax().module() else {
        return Err(located("expected a module", TextRange::default()));
    };
    let mut suite = module.body;
    check(source, &suite)?;
    mangle::mangle(&mut suite);
    Ok(suite)
}

/// The oldest Python that PyTorch 2.13 runs on.
const VERSION: PythonVersion = PythonVersion::PY310;

fn check(source: &str, suite: &[Stmt]) -> Result<(), SyntaxError> {
    let around = Around { source, scopes: vec![Scope::new(Kind::Module)], errors: RefCell::default() };
    let mut walker = Walker { checker: SemanticSyntaxChecker::new(), around };
    walker.visit_body(suite);
    match walker.around.errors.into_inner().first() {
        Some(error) => Err(located(&error.to_string(), error.range())),
        None => Ok(()),
    }
}

/// What a block of the program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Module,
    Function { is_async: bool },
    Lambda,
    Class,
    Comprehension { is_async: bool },
    Generator,
}

/// A block of the program, and what it binds.
struct Scope {
    kind: Kind,
    /// Loops around the place, within this block.
    loops: usize,
    parameters: BTreeSet<String>,
    bound: BTreeSet<String>,
    globals: BTreeMap<String, TextRange>,
}

impl Scope {
    fn new(kind: Kind) -> Scope {
        Scope {
            kind,
            loops: 0,
            parameters: BTreeSet::new(),
            bound: BTreeSet::new(),
            globals: BTreeMap::new(),
        }
    }

    fn of_function(kind: Kind, parameters: Option<&Parameters>, body: &[Stmt]) -> Scope {
        let names = parameters.into_iter().flat_map(|all| all.iter().map(|one| one.name().to_string()));
        let Bindings { bound, globals, .. } = Bindings::of(body);
        Scope { parameters: names.collect(), bound, globals, ..Scope::new(kind) }
    }
}

/// The blocks around a place, the innermost last.
struct Around<'a> {
    source: &'a str,
    scopes: Vec<Scope>,
    errors: RefCell<Vec<SemanticSyntaxError>>,
}

impl Around<'_> {
    fn scope(&self) -> &Scope {
        // The module's is never left.
        &self.scopes[self.scopes.len() - 1]
    }

    /// The kinds of the blocks around, the innermost first.
    fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.scopes.iter().rev().map(|scope| scope.kind)
    }
}

impl SemanticSyntaxContext for Around<'_> {
    // Where they are not evaluated, annotations are checked all the same: these rules are the compiler's.
    fn future_annotations_or_stub(&self) -> bool {
        false
    }

    fn lazy_import_context(&self) -> Option<LazyImportContext> {
        None
    }

    fn python_version(&self) -> PythonVersion {
        VERSION
    }

    fn source(&self) -> &str {
        self.source
    }

    fn global(&self, name: &str) -> Option<TextRange> {
        self.scope().globals.get(name).copied()
    }

    fn has_nonlocal_binding(&self, name: &str) -> bool {
        self.scopes.iter().rev().skip(1).any(|scope| {
            matches!(scope.kind, Kind::Function { .. } | Kind::Lambda)
                && (scope.parameters.contains(name) || scope.bound.contains(name))
        })
    }

    fn in_async_context(&self) -> bool {
        self.kinds().find_map(|kind| match kind {
            Kind::Function { is_async } => Some(is_async),
            Kind::Lambda | Kind::Class => Some(false),
            _ => None,
        }) == Some(true)
    }

    fn in_await_allowed_context(&self) -> bool {
        self.kinds().find_map(|kind| match kind {
            Kind::Function { .. } | Kind::Lambda => Some(true),
            Kind::Class => Some(false),
            _ => None,
        }) == Some(true)
    }

    fn in_yield_allowed_context(&self) -> bool {
        matches!(self.scope().kind, Kind::Function { .. } | Kind::Lambda)
    }

    fn in_sync_comprehension(&self) -> bool {
        self.kinds().any(|kind| kind == Kind::Comprehension { is_async: false })
    }

    fn in_class_body_comprehension(&self) -> bool {
        let mut around =
            self.kinds().skip_while(|kind| matches!(kind, Kind::Comprehension { .. } | Kind::Generator));
        around.next() == Some(Kind::Class)
    }

    fn in_module_scope(&self) -> bool {
        self.scopes.len() == 1
    }

    fn in_function_scope(&self) -> bool {
        matches!(self.scope().kind, Kind::Function { .. } | Kind::Lambda)
    }

    fn in_generator_context(&self) -> bool {
        self.kinds().any(|kind| kind == Kind::Generator)
    }

    fn in_notebook(&self) -> bool {
        false
    }

    fn report_semantic_error(&self, error: SemanticSyntaxError) {
        self.errors.borrow_mut().push(error);
    }

    fn in_loop_context(&self) -> bool {
        self.scope().loops > 0
    }

    fn is_bound_parameter(&self, name: &str) -> bool {
        self.scope().parameters.contains(name)
    }
}

/// Goes through the program and asks the checker about every part of it.
struct Walker<'a> {
    checker: SemanticSyntaxChecker,
    around: Around<'a>,
}

impl Walker<'_> {
    fn within(&mut self, scope: Scope, action: impl FnOnce(&mut Self)) {
        self.around.scopes.push(scope);
        action(self);
        self.around.scopes.pop();
    }

    fn looping<'a>(&mut self, body: &'a [Stmt], orelse: &'a [Stmt])
    where
        Self: Visitor<'a>,
    {
        let here = self.around.scopes.len() - 1;
        self.around.scopes[here].loops += 1;
        self.visit_body(body);
        self.around.scopes[here].loops -= 1;
        self.visit_body(orelse);
    }

    /// A comprehension: its first iterable belongs to the block around.
    fn comprehension<'a>(&mut self, kind: Kind, generators: &'a [Comprehension], elements: &[&'a Expr]) {
        let Some((first, rest)) = generators.split_first() else { return };
        self.visit_expr(&first.iter);
        self.within(Scope::new(kind), |this| {
            this.visit_expr(&first.target);
            first.ifs.iter().for_each(|test| this.visit_expr(test));
            rest.iter().for_each(|generator| walk_comprehension(this, generator));
            elements.iter().for_each(|element| this.visit_expr(element));
        });
    }
}

impl<'a> Visitor<'a> for Walker<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        self.checker.visit_stmt(stmt, &self.around);
        match stmt {
            Stmt::FunctionDef(def) => {
                def.decorator_list.iter().for_each(|decorator| self.visit_decorator(decorator));
                self.visit_parameters(&def.parameters);
                def.returns.iter().for_each(|returns| self.visit_annotation(returns));
                let kind = Kind::Function { is_async: def.is_async };
                let scope = Scope::of_function(kind, Some(&def.parameters), &def.body);
                self.within(scope, |this| this.visit_body(&def.body));
            }
            Stmt::ClassDef(def) => {
                def.decorator_list.iter().for_each(|decorator| self.visit_decorator(decorator));
                def.arguments.iter().for_each(|arguments| self.visit_arguments(arguments));
                let scope = Scope::of_function(Kind::Class, None, &def.body);
                self.within(scope, |this| this.visit_body(&def.body));
            }
            Stmt::For(stmt) => {
                self.visit_expr(&stmt.iter);
                self.visit_expr(&stmt.target);
                self.looping(&stmt.body, &stmt.orelse);
            }
            Stmt::While(stmt) => {
                self.visit_expr(&stmt.test);
                self.looping(&stmt.body, &stmt.orelse);
            }
            _ => walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        self.checker.visit_expr(expr, &self.around);
        let kind = |generators: &[Comprehension]| Kind::Comprehension {
            is_async: generators.iter().any(|generator| generator.is_async),
        };
        match expr {
            Expr::Lambda(lambda) => {
                lambda.parameters.iter().for_each(|parameters| self.visit_parameters(parameters));
                let scope = Scope::of_function(Kind::Lambda, lambda.parameters.as_deref(), &[]);
                self.within(scope, |this| this.visit_expr(&lambda.body));
            }
            Expr::ListComp(comp) => {
                self.comprehension(kind(&comp.generators), &comp.generators, &[&comp.elt])
            }
            Expr::SetComp(comp) => self.comprehension(kind(&comp.generators), &comp.generators, &[&comp.elt]),
            Expr::Generator(comp) => self.comprehension(Kind::Generator, &comp.generators, &[&comp.elt]),
            Expr::DictComp(comp) => {
                let parts: Vec<&Expr> = comp.key.iter().map(|key| &**key).chain([&*comp.value]).collect();
                self.comprehension(kind(&comp.generators), &comp.generators, &parts);
            }
            _ => walk_expr(self, expr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::compile_module;

    // Each was compiled by CPython 3.10 and 3.11: the first ones are refused by both, `except*` by the former only.
    #[test]
    fn what_only_the_compiler_refuses_is_refused() {
        for (source, part) in [
            ("def f():\n    return 1\n    break\n", "`break` outside loop"),
            ("if False:\n    continue\n", "`continue` outside loop"),
            ("for x in y:\n    def f():\n        break\n", "`break` outside loop"),
            ("for x in y:\n    pass\nelse:\n    break\n", "`break` outside loop"),
            ("for x in y:\n    class A:\n        break\n", "`break` outside loop"),
            ("def f(x, x=None): pass\n", "duplicate parameter"),
            ("f = lambda x, x: x\n", "duplicate parameter"),
            ("f(a=1, a=2)\n", "duplicate keyword"),
            ("def f():\n    nonlocal y\n", "no binding for nonlocal"),
            ("def f():\n    [y for y in z]\n    def g():\n        nonlocal y\n", "no binding for nonlocal"),
            ("def f():\n    y = 1\n    global y\n", "prior to global"),
            ("def f(y):\n    global y\n", "a parameter and a global"),
            ("def f():\n    await g()\n", "asynchronous function"),
            ("class A:\n    return 1\n", "outside of a function"),
            ("return 1\n", "outside of a function"),
            ("yield 1\n", "outside of a function"),
            ("[(yield 1) for x in y]\n", "yield"),
            ("x = 1\nfrom __future__ import annotations\n", "__future__"),
            ("*a = (1,)\n", "starred"),
            ("def f():\n    from os import *\n", "module level"),
            ("try:\n    pass\nexcept* ValueError:\n    pass\n", "except*"),
            ("class A[T]: pass\n", "type parameter"),
            ("x = f'{a['b']}'\n", "f-string"),
        ] {
            let error = compile_module(source).unwrap_err();
            assert!(
                error.message.to_lowercase().contains(&part.to_lowercase()),
                "{source}: {}",
                error.message
            );
        }
    }

    #[test]
    fn what_the_compiler_takes_is_taken() {
        for source in [
            "for x in y:\n    if x:\n        break\n    else:\n        continue\nelse:\n    pass\n",
            "while x:\n    while y:\n        pass\n    break\n",
            "def f(x):\n    y = 1\n    def g():\n        nonlocal y, x\n        y = 2\n    g()\n",
            "def f():\n    for y in z: pass\n    def g():\n        nonlocal y\n",
            "def f():\n    [y := x for x in z]\n    def g():\n        nonlocal y\n",
            "def f():\n    del y\n    def g():\n        nonlocal y\n",
            "def f():\n    global y\n    y = 1\n",
            "def f():\n    yield 1\n    return [x for x in y] if False else (yield)\n",
            "async def f():\n    await g()\n    return [await x for x in y]\n",
            "'doc'\nfrom __future__ import annotations\nimport torch\n",
            "f(a=1, *b, **c)\nx, *y = z\n[*x]\ndel a[0], b.c\n",
            "match x:\n    case [1, *rest] | {'a': 1, **rest}:\n        pass\n",
            "class A:\n    x = [i for i in range(3)]\n    y = lambda self, k=x: k\n    def f(self, *, k=1): pass\n",
            "f = lambda *a, **k: (yield)\n",
            "with (open(a) as b, open(c) as d):\n    if (n := 1): pass\n",
        ] {
            assert_eq!(compile_module(source).err(), None, "{source}");
        }
    }

    #[test]
    fn private_names_are_those_of_the_innermost_class() {
        let source = "__x = 1\nclass _Net(Base.__a):\n    def __init__(self, __p):\n        self.__fc = __p\n        \
                      class Inner:\n            y = __x.__y\n    def __f(self): return self.__fc, self.__len__\n";
        let tree = format!("{:?}", compile_module(source).unwrap());
        for (name, times) in [
            ("\"_Net__fc\"", 2),
            ("\"_Net__p\"", 2),
            ("\"_Net__f\"", 1),
            ("\"_Inner__x\"", 1),
            ("\"_Inner__y\"", 1),
            ("\"__x\"", 1),
            ("\"__a\"", 1),
            ("\"__init__\"", 1),
            ("\"__len__\"", 1),
            ("\"__fc\"", 0),
        ] {
            assert_eq!(tree.matches(name).count(), times, "{name}: {tree}");
        }
    }
}
