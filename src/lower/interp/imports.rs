//! `import` and `from ... import`.
//!
//! Input: the statements. Output: names of the modules that this program knows, of files beside the source, or
//! stand-ins that are refused when they are used. Limit: `import *` brings public names only, whatever `__all__` says.

use std::rc::Rc;

use ruff_python_ast::StmtImportFrom;

use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::value::Value;

impl Interp<'_> {
    pub(crate) fn import_alias(&mut self, name: &str, asname: Option<&str>) -> R<()> {
        let value = self.import(name)?;
        match asname {
            Some(asname) => self.set_name(asname, value),
            None => {
                let first = name.split('.').next().unwrap_or(name);
                let value = if first == name { value } else { self.import(first)? };
                self.set_name(first, value)
            }
        }
    }

    pub(crate) fn import_from(&mut self, stmt: &StmtImportFrom) -> R<()> {
        let module = stmt.module.as_ref().map_or("", |name| name.as_str());
        let mut base = String::new();
        if stmt.level > 0 {
            base = self.frame().module.package.clone();
            for _ in 1..stmt.level {
                base = base.rsplit_once('.').map_or(String::new(), |(package, _)| package.to_owned());
            }
        }
        let full = match (base.is_empty(), module.is_empty()) {
            (true, _) => module.to_owned(),
            (false, true) => base,
            (false, false) => format!("{base}.{module}"),
        };
        let mut source = None;
        for alias in &stmt.names {
            let name = alias.name.as_str();
            if let Some(value) = self.sibling(&full, name)? {
                self.set_name(alias.asname.as_ref().map_or(name, |name| name.as_str()), value)?;
                continue;
            }
            let source = match &source {
                Some(source) => Value::clone(source),
                None => source.insert(self.import(&full)?).clone(),
            };
            if name == "*" {
                self.import_star(&source)?;
                continue;
            }
            let value = match &source {
                Value::Module(found) => {
                    let value = found.scope.names.borrow().get(name).cloned();
                    match value {
                        Some(value) => value,
                        None => self.import(&format!("{full}.{name}"))?,
                    }
                }
                Value::Opaque(_) => self.import(&format!("{full}.{name}"))?,
                _ => self.get_attr(&source, name).map_err(|raise| match raise.class() {
                    Some("AttributeError") => {
                        Raise::python("ImportError", format!("cannot import name '{name}' from '{full}'"))
                    }
                    _ => raise,
                })?,
            };
            self.set_name(alias.asname.as_ref().map_or(name, |name| name.as_str()), value)?;
        }
        Ok(())
    }

    fn import_star(&mut self, source: &Value) -> R<()> {
        let names: Vec<(Rc<str>, Value)> = match source {
            Value::Module(module) => {
                let names = module.scope.names.borrow();
                names
                    .iter()
                    .filter(|(name, _)| !name.starts_with('_'))
                    .map(|(n, v)| (Rc::clone(n), v.clone()))
                    .collect()
            }
            Value::Namespace(namespace) => {
                let mut found = Vec::new();
                for name in crate::lower::torch::namespaces::public_names(namespace) {
                    found.push((Rc::from(name), self.get_attr(source, name)?));
                }
                found
            }
            _ => Vec::new(),
        };
        for (name, value) in names {
            self.set_name(&name, value)?;
        }
        Ok(())
    }
}
