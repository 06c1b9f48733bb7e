//! What a source would do beside making a network, if Python ran it: files, processes, other machines, other packages.
//!
//! Input: the syntax tree of a network that was read. Output: the first place that asks for more than PyTorch's
//! computations, as a [`Refusal`]. The front-end itself executes nothing, and skips what a network does not use; but a
//! text that is kept is one that its user runs. Limit: a guard against what a model may write, by names. It is no
//! sandbox: names that a program makes up while it runs are not seen.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Parameter, Stmt, StmtImport, StmtImportFrom};
use ruff_text_size::{Ranged, TextRange};

use crate::lower::error::{Refusal, Verdict};
use crate::lower::interp::imports::is_installed;

/// Packages whose names may be used.
const PURE: &str = "torch torchvision numpy einops math cmath collections functools itertools typing random copy \
                    typing_extensions dataclasses enum abc operator numbers string re statistics contextlib warnings \
                    fractions __future__ types json time logging argparse textwrap pprint bisect heapq";

/// Built-in functions that reach beyond the program.
const BUILTINS: &str =
    "open exec eval compile __import__ breakpoint input exit quit __builtins__ __loader__ __spec__";

/// What the packages hold beside computations: other modules, files, processes, downloads.
const BEYOND: &str = "os sys builtins ctypes importlib subprocess glob shutil inspect threading platform pickle io \
                      tempfile hub load save load_library cpp_extension multiprocessing distributed serialization \
                      package model_zoo onnx _C _dynamo _inductor memmap fromfile tofile savetxt savez loadtxt \
                      savez_compressed genfromtxt DataSource datasets FileHandler basicConfig handlers";

/// Attributes through which any object leads to the interpreter.
const INTERPRETER: &str = "__globals__ __builtins__ __subclasses__ __code__ __closure__ __loader__ __spec__ \
                           __import__ __reduce__ __reduce_ex__ __mro__ __bases__ __base__";

/// The first thing in a source that a network needs for nothing and that would have an effect beyond it.
pub(crate) fn effect(suite: &[Stmt]) -> Option<Refusal> {
    let mut own = Own::default();
    own.visit_body(suite);
    let mut search = Search { own: own.names, modules: BTreeMap::new(), found: None };
    search.visit_body(suite);
    let (range, what) = search.found?;
    let span = (range.start().to_u32(), range.end().to_u32());
    let message = format!("{what}; a network needs PyTorch's computations only");
    Some(Refusal { verdict: Verdict::UnsupportedSyntax, message, span: Some(span) })
}

fn has(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|known| known == name)
}

/// Names that the source itself binds other than by importing: `input` is most often an argument.
#[derive(Default)]
struct Own {
    names: BTreeSet<String>,
}

impl<'a> Visitor<'a> for Own {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => _ = self.names.insert(def.name.to_string()),
            Stmt::ClassDef(def) => _ = self.names.insert(def.name.to_string()),
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(name) = expr
            && name.ctx.is_store()
        {
            self.names.insert(name.id.to_string());
        }
        walk_expr(self, expr);
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.names.insert(parameter.name.to_string());
        ruff_python_ast::visitor::walk_parameter(self, parameter);
    }
}

/// Looks for the first effect.
struct Search {
    own: BTreeSet<String>,
    /// Names that imports bind: whether what they stand for may be used.
    modules: BTreeMap<String, bool>,
    found: Option<(TextRange, String)>,
}

impl Search {
    fn note(&mut self, range: TextRange, what: String) {
        self.found.get_or_insert((range, what));
    }

    /// Takes note of an imported module under its name here.
    fn module(&mut self, range: TextRange, module: &str, name: &str) {
        let package = module.split('.').next().unwrap_or(module);
        if !has(PURE, package) && !is_installed(module) {
            self.note(
                range,
                format!("import of {package}, which comes neither with PyTorch nor with Python"),
            );
        }
        if let Some(part) = module.split('.').skip(1).find(|part| has(BEYOND, part)) {
            self.note(range, format!("import of {module}: {part} reaches beyond the program"));
        }
        self.modules.insert(name.to_owned(), has(PURE, package));
    }

    fn import(&mut self, stmt: &StmtImport) {
        for alias in &stmt.names {
            let module = alias.name.as_str();
            let first = module.split('.').next().unwrap_or(module);
            let name = alias.asname.as_ref().map_or(first, |name| name.as_str());
            self.module(alias.range, module, name);
        }
    }

    fn import_from(&mut self, stmt: &StmtImportFrom) {
        let module = stmt.module.as_ref().map_or("", |module| module.as_str());
        if stmt.level > 0 {
            self.note(stmt.range, "import of a file beside it".to_owned());
            return;
        }
        for alias in &stmt.names {
            let name = alias.asname.as_ref().unwrap_or(&alias.name);
            self.module(stmt.range, module, name);
            if has(BEYOND, &alias.name) {
                self.note(alias.range, format!("{module}.{} reaches beyond the program", alias.name));
            }
        }
    }

    /// The name that a chain of attributes starts from, and whether an attribute leads beyond its module.
    fn attributes(&mut self, expr: &Expr) {
        let (mut inner, mut beyond) = (expr, None);
        while let Expr::Attribute(attribute) = inner {
            let name = attribute.attr.as_str();
            if has(INTERPRETER, name) {
                self.note(expr.range(), format!("{name} reaches beyond the program"));
            }
            beyond = if has(BEYOND, name) { Some(name) } else { beyond };
            inner = &attribute.value;
        }
        if let (Expr::Name(root), Some(beyond)) = (inner, beyond)
            && self.modules.contains_key(root.id.as_str())
        {
            self.note(expr.range(), format!("{}'s {beyond} reaches beyond the program", root.id));
        }
    }
}

impl<'a> Visitor<'a> for Search {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Import(stmt) => self.import(stmt),
            Stmt::ImportFrom(stmt) => self.import_from(stmt),
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx.is_load() => {
                let id = name.id.as_str();
                if has(BUILTINS, id) && !self.own.contains(id) {
                    self.note(name.range, format!("{id} reaches beyond the program"));
                } else if self.modules.get(id) == Some(&false) && !self.own.contains(id) {
                    self.note(name.range, format!("{id} is no part of a network"));
                }
            }
            Expr::Attribute(_) => self.attributes(expr),
            _ => {}
        }
        walk_expr(self, expr);
    }
}

#[cfg(test)]
mod tests {
    use crate::lower::Refusal;
    use crate::python::compile_module;

    fn effect(source: &str) -> Option<Refusal> {
        super::effect(&compile_module(source).unwrap())
    }

    const NET: &str = "import torch\nimport torch.nn as nn\nimport os, sys\n\n\nclass Net(nn.Module):\n    \
                       def forward(self, input):\n        return torch.relu(input)\n";

    #[test]
    fn defect_7_what_python_would_do_beside_the_network_is_found_wherever_it_stands() {
        for text in [
            "os.system('touch m')",
            "open('m', 'w')",
            "__import__('os').system('touch m')",
            "import subprocess\nsubprocess.run(['touch', 'm'])",
            "from os import system as relu\nrelu('touch m')",
            "from shutil import *\nimport shutil\nshutil.rmtree('m')",
            "eval('1')",
            "torch.os.system('touch m')",
            "torch.hub.load('a/b', 'c')",
            "torch.save(1, 'm')",
            "import numpy as np\nnp.save('m', 1)",
            "from torch import hub",
            "import torch.utils.cpp_extension",
            "from torch.utils.cpp_extension import load",
            "().__class__.__base__.__subclasses__()",
            "(lambda: 0).__globals__",
            "import timm",
            "import logging\nlogging.basicConfig(filename='m')",
            "from requests import get",
            "from . import other",
            "class A:\n    def __del__(self):\n        sys.exit()",
            "def never():\n    x = [os.remove(f) for f in 'ab']",
        ] {
            let refusal = effect(&format!("{NET}\n{text}\n"));
            assert!(refusal.is_some(), "{text}");
        }
    }

    #[test]
    fn what_networks_are_written_with_is_no_effect() {
        for text in [
            "",
            "from __future__ import annotations",
            "import math, random, numpy as np\nfrom typing import List\nfrom collections import OrderedDict",
            "from torch.nn.modules.utils import _pair\nfrom functools import partial\nfrom einops import rearrange",
            "import logging, json, time\nlogger = logging.getLogger(__name__)\nlogger.info(json.dumps(time.time()))",
            "from types import SimpleNamespace\nconfig = SimpleNamespace(width=4)",
            "class A(nn.Module):\n    def load(self, save, sys=1): return self.load(save).eval() + sys",
            "if __name__ == '__main__':\n    print(Net()(torch.randn(1, 3, 32, 32)).shape)",
        ] {
            let text = if text.starts_with("from __future__") {
                format!("{text}\n{NET}")
            } else {
                format!("{NET}\n{text}\n")
            };
            assert_eq!(effect(&text).map(|refusal| refusal.message), None, "{text}");
        }
    }
}
