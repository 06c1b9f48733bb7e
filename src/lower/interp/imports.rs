//! `import` and `from ... import`.
//!
//! Input: the statements. Output: names of the modules that this program knows, of files beside the source, or
//! stand-ins that are refused when they are used. A `try` that expects an import to fail gets its error where the
//! package is neither PyTorch's nor Python's. Limit: `import *` brings public names only, whatever `__all__` says.

use std::cell::RefCell;
use std::rc::Rc;

use ruff_python_ast::{ExceptHandler, Expr, StmtImportFrom, StmtTry};

use crate::lower::error::{R, Raise, RaiseKind};
use crate::lower::interp::Interp;
use crate::lower::torch::{composed, namespaces};
use crate::lower::value::{Module, Scope, Value};
use crate::python;

/// Packages that count as installed: Python 3.11's own and those that networks are written for.
const INSTALLED: &str = "\
    torch torchvision numpy \
    abc aifc argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii bisect \
    builtins bz2 cProfile calendar cgi cgitb chunk cmath cmd code codecs codeop collections colorsys \
    compileall concurrent configparser contextlib contextvars copy copyreg crypt csv ctypes curses \
    dataclasses datetime dbm decimal difflib dis distutils doctest email encodings ensurepip enum \
    errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc genericpath \
    getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib \
    imghdr imp importlib inspect io ipaddress itertools json keyword lib2to3 linecache locale \
    logging lzma mailbox mailcap marshal math mimetypes mmap modulefinder msilib msvcrt \
    multiprocessing netrc nis nntplib nt ntpath nturl2path numbers opcode operator optparse os \
    ossaudiodev pathlib pdb pickle pickletools pipes pkgutil platform plistlib poplib posix \
    posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri \
    random re readline reprlib resource rlcompleter runpy sched secrets select selectors shelve \
    shlex shutil signal site smtpd smtplib sndhdr socket socketserver spwd sqlite3 sre_compile \
    sre_constants sre_parse ssl stat statistics string stringprep struct subprocess sunau symtable \
    sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios textwrap threading time timeit \
    tkinter token tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing \
    unicodedata unittest urllib uu uuid venv warnings wave weakref webbrowser winreg winsound \
    wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport zlib zoneinfo";

/// Whether this `try` goes on after an import that fails.
pub(crate) fn expects_failed_import(stmt: &StmtTry) -> bool {
    fn names_it(types: &Expr) -> bool {
        match types {
            Expr::Name(name) => {
                matches!(
                    name.id.as_str(),
                    "ImportError" | "ModuleNotFoundError" | "Exception" | "BaseException"
                )
            }
            Expr::Tuple(tuple) => tuple.elts.iter().any(names_it),
            _ => false,
        }
    }
    stmt.handlers
        .iter()
        .any(|ExceptHandler::ExceptHandler(handler)| handler.type_.as_deref().is_none_or(names_it))
}

impl Interp<'_> {
    /// A module by its dotted name: one that this program knows, or a file that is run; otherwise a stand-in, or
    /// `ModuleNotFoundError` where a `try` goes on after that.
    pub(crate) fn import(&mut self, name: &str) -> R<Value> {
        if let Some(found) = self.find_module(name)? {
            return Ok(found);
        }
        if self.expected_failures > 0 && !is_installed(name) {
            return Err(Raise::python("ModuleNotFoundError", format!("No module named '{name}'")));
        }
        Ok(Value::Opaque(Rc::from(name)))
    }

    pub(crate) fn find_module(&mut self, name: &str) -> R<Option<Value>> {
        if let Some(namespace) = namespaces::find(name) {
            return Ok(Some(Value::Namespace(namespace)));
        }
        if let Some(module) = self.module(name) {
            return Ok(Some(Value::Module(module)));
        }
        self.tick(100)?;
        let Some((source, is_package)) = self.imports.resolve(name) else {
            return match composed::stands_in_for(name) {
                Some(source) => Ok(Some(Value::Module(self.source_module(name, source)?))),
                None => Ok(None),
            };
        };
        let package =
            if is_package { name } else { name.rsplit_once('.').map_or("", |(package, _)| package) };
        // A file of the user's own brings steps of its own, or large packages would use up those of one source; once.
        if self.files_read.insert(name.to_owned()) {
            self.limits.steps = self.limits.steps.saturating_add(self.limits.steps_per_import);
        }
        self.tick(source.len() / 8)?;
        Ok(Some(Value::Module(self.run_source(name, package, &source, Some(Rc::from(&*source)))?)))
    }

    /// A value, or what it stands for by now: a name that was imported from a module which was still being run.
    pub(crate) fn loaded(&self, value: &Value) -> Value {
        let Value::Opaque(name) = value else { return value.clone() };
        let mut name = Rc::clone(name);
        // The name may have been imported from a package that has it from one of its modules.
        for _ in 0..8 {
            if let Some(module) = self.module(&name) {
                return Value::Module(module);
            }
            let found = name.rsplit_once('.').and_then(|(module, name)| {
                self.modules.get(module).and_then(|module| module.scope.names.borrow().get(name).cloned())
            });
            match found {
                Some(Value::Opaque(other)) if other != name => name = other,
                Some(Value::Opaque(_)) | None => break,
                Some(found) => return found,
            }
        }
        Value::Opaque(name)
    }

    /// Whether the running module is in this package, which has not been run.
    fn stands_outside(&mut self, package: &str) -> bool {
        let within = self.frame().module.name.strip_prefix(package).is_some_and(|rest| rest.starts_with('.'));
        within && !self.modules.contains_key(package)
    }

    /// What `import name` gives. A package that the module is in is not run, since Python would be running it already:
    /// its name stands for it, and [`Interp::in_package`] finds what is asked of it.
    fn package_or_module(&mut self, name: &str) -> R<Value> {
        if self.stands_outside(name) && self.imports.resolve(name).is_some() {
            self.packages.insert(name.to_owned());
            return Ok(Value::Opaque(Rc::from(name)));
        }
        self.import(name)
    }

    /// An attribute of a package that stands for itself by its name: one of its modules, or else a name in it.
    pub(crate) fn in_package(&mut self, package: &str, name: &str) -> R<Option<Value>> {
        if !self.packages.contains(package) {
            return Ok(None);
        }
        if let Some(module) = self.find_module(&format!("{package}.{name}"))? {
            return Ok(Some(module));
        }
        match self.find_module(package)? {
            Some(package) => self.get_attr(&package, name).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a module can be imported; it is not run.
    pub(crate) fn can_import(&mut self, name: &str) -> R<bool> {
        self.tick(100)?;
        Ok(namespaces::find(name).is_some()
            || self.module(name).is_some()
            || composed::stands_in_for(name).is_some()
            || is_installed(name)
            || self.imports.resolve(name).is_some())
    }

    /// The submodule that `from package import name` means in a module of that package, which does not run the package:
    /// Python would be running it already.
    fn sibling(&mut self, package: &str, name: &str) -> R<Option<Value>> {
        if !self.stands_outside(package) {
            return Ok(None);
        }
        let found = self.find_module(&format!("{package}.{name}"))?;
        Ok(found.filter(|value| matches!(value, Value::Module(_))))
    }

    /// A module that was imported, or is being run.
    pub(crate) fn module(&self, name: &str) -> Option<Rc<Module>> {
        self.modules.get(name).cloned()
    }

    /// The module of a source text of this program, run when first asked for.
    pub(crate) fn source_module(&mut self, name: &str, source: &str) -> R<Rc<Module>> {
        match self.module(name) {
            Some(module) => Ok(module),
            None => self.run_source(name, "", source, None),
        }
    }

    fn run_source(
        &mut self,
        name: &str,
        package: &str,
        source: &str,
        text: Option<Rc<str>>,
    ) -> R<Rc<Module>> {
        let suite = python::compile_module(source)
            .map_err(|error| Raise::unsupported(format!("import of {name}: {}", error.message)))?;
        let module = self.new_module(name, package, false, text)?;
        // What a module needs is there, or nobody would import it: only its own `try` expects otherwise.
        let expected = std::mem::take(&mut self.expected_failures);
        let result = self.run_module(&module, &suite);
        self.expected_failures = expected;
        if result.is_err() {
            self.modules.remove(name);
        }
        result.map(|()| module)
    }

    pub(crate) fn new_module(
        &mut self,
        name: &str,
        package: &str,
        main: bool,
        text: Option<Rc<str>>,
    ) -> R<Rc<Module>> {
        let scope = self.scope(Scope::default())?;
        scope.names.borrow_mut().insert(Rc::from("__name__"), Value::str(name));
        scope.names.borrow_mut().insert(Rc::from("__file__"), Value::str(name));
        if !package.is_empty() && package == name {
            let path = self.list(vec![Value::str(name)])?;
            scope.names.borrow_mut().insert(Rc::from("__path__"), path);
        }
        let file = self.files;
        self.files += 1;
        let (name, package) = (Rc::from(name), package.to_owned());
        let module = Rc::new(Module {
            name: Rc::clone(&name),
            package,
            scope,
            main,
            file,
            text,
            stars: RefCell::default(),
        });
        self.modules.insert(name.to_string(), Rc::clone(&module));
        Ok(module)
    }

    pub(crate) fn import_alias(&mut self, name: &str, asname: Option<&str>) -> R<()> {
        let value = self.package_or_module(name)?;
        match asname {
            Some(asname) => self.set_name(asname, value),
            None => {
                let first = name.split('.').next().unwrap_or(name);
                let value = if first == name { value } else { self.package_or_module(first)? };
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
            let target = alias.asname.as_ref().map_or(name, |name| name.as_str());
            if let Some(value) = self.sibling(&full, name)? {
                self.set_name(target, value)?;
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
                // What is not supported does not take the names behind it away.
                _ => self
                    .get_attr(&source, name)
                    .or_else(|raise| match raise.kind {
                        RaiseKind::Unsupported(_) => Ok(Value::Opaque(Rc::from(format!("{full}.{name}")))),
                        _ => Err(raise),
                    })
                    .map_err(|raise| match raise.class() {
                        Some("AttributeError") => {
                            Raise::python("ImportError", format!("cannot import name '{name}' from '{full}'"))
                        }
                        _ => raise,
                    })?,
            };
            self.set_name(target, value)?;
        }
        Ok(())
    }

    fn import_star(&mut self, source: &Value) -> R<()> {
        let star: Option<Rc<str>> = match source {
            Value::Namespace(namespace) => Some(Rc::from(*namespace)),
            Value::Opaque(name) => Some(Rc::clone(name)),
            _ => None,
        };
        if let Some(star) = star {
            let module = Rc::clone(&self.frame().module);
            self.tick(1 + module.stars.borrow().len())?;
            module.stars.borrow_mut().push(star);
        }
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

impl Interp<'_> {
    /// A name that `from module import *` has brought.
    pub(crate) fn starred(&mut self, name: &str) -> R<Option<Value>> {
        let stars = self.frame().module.stars.borrow().clone();
        for star in stars.iter().rev() {
            self.tick(1)?;
            if let Some(namespace) = namespaces::find(star)
                && namespaces::exports(namespace, name)
            {
                return self.get_attr(&Value::Namespace(namespace), name).map(Some);
            }
        }
        Ok(None)
    }

    /// A module whose names are not known here, and which may have brought any.
    pub(crate) fn star_of_any_name(&mut self) -> Option<Rc<str>> {
        let stars = self.frame().module.stars.borrow();
        stars.iter().find(|star| namespaces::find(star).is_none() && is_installed(star)).cloned()
    }
}

pub(crate) fn is_installed(module: &str) -> bool {
    let package = module.split('.').next().unwrap_or_default();
    // Gone from PyTorch, and still asked for.
    module != "torch._six" && INSTALLED.split(' ').any(|known| known == package)
}
