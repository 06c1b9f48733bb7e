//! What a compiler does not check: which module may import which, file headers, sizes, leftovers, and that the
//! documents agree with the code. Input: the files that git tracks or would track. Output: every problem as
//! `file:line: what is wrong; way out`.
//!
//! `MODULES` is the table of ARCHITECTURE.md as data, so change both together. Imports are found in the text,
//! comments and string literals blanked out; tests at the end of a file (`#[cfg(test)] mod tests`) may import what
//! they like. Limit: macros of the crate and `super::super::` paths are not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Module, and the modules of the crate that it may import besides itself.
const MODULES: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("rng", &[]),
    ("python", &[]),
    ("graph", &[]),
    ("lower", &["python", "graph"]),
    ("descriptor", &["graph"]),
    ("llm", &["config", "rng", "python"]),
    ("data", &["config", "rng"]),
    ("train", &["config", "rng", "graph", "data"]),
    ("archive", &["rng"]),
    (
        "search",
        &["config", "rng", "python", "graph", "lower", "descriptor", "llm", "data", "train", "archive"],
    ),
    ("bench", &["search", "archive", "rng", "lower", "graph", "llm", "config"]),
    ("report", &["search", "config", "graph"]),
];

/// The files of the binary crate: they see the library, and the library does not see them.
const BINARY: &[&str] = &["main", "cli"];

/// Crates and paths that only some modules may name.
const NAMED_ONLY_BY: &[(&str, &[&str])] = &[
    ("candle_core", &["llm"]),
    ("candle_nn", &["llm"]),
    ("candle_transformers", &["llm"]),
    ("tokenizers", &["llm"]),
    ("hf_hub", &["llm"]),
    ("llguidance", &["llm"]),
    ("tch", &["data", "train"]),
    ("torch_sys", &["data", "train"]),
    ("ruff_python_parser", &["python"]),
    ("ruff_python_ast", &["python", "lower"]),
    ("rusqlite", &["search", "report"]),
    ("anyhow", BINARY),
    ("clap", BINARY),
    ("ctrlc", BINARY),
    ("indicatif", BINARY),
    // A run must not depend on the clock or the environment; `config::home` is the one look
    // into it, and the trainer and the search only time what they did.
    ("Instant", &["search", "train", "main", "cli"]),
    ("SystemTime", &["search", "main", "cli"]),
    ("std::env", &["config", "search", "main", "cli"]),
    // No program is started and, but for `hf_hub`, nothing is asked of a network.
    ("process::Command", &[]),
    ("std::net", &[]),
];

const REQUIRED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "Cargo.lock",
    ".ci/run",
];

/// Words that must not stay in the source. In two pieces, so that this file passes its own test.
const LEFTOVERS: &[(&str, &str)] =
    &[("to", "do!"), ("db", "g!"), ("unimple", "mented!"), ("FIX", "ME"), ("XX", "X")];

/// Folders of one machine. In two pieces, for the same reason.
const MACHINE_PATHS: &[(&str, &str)] = &[("/wo", "rk/"), ("/ro", "ot/")];

const MAX_LINES: usize = 600;
const MAX_COLUMNS: usize = 120;
const MAX_BYTES: u64 = 1 << 20;
/// What a header says where a longer file is the better one.
const LONG_FILE_REASON: &str = "Longer than 600 lines because";

#[test]
fn modules_import_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = MODULES.iter().copied().collect();
    let mut problems = Vec::new();
    for (file, text) in library_sources() {
        let Some(module) = module_of(&file) else { continue };
        let code = without_tests(&blank_comments_and_strings(&text));
        if module == "lib" || BINARY.contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = table.get(module.as_str()) else {
            problems.push(format!(
                "{file}:1: module `{module}` is not in the table of tests/tidy.rs; add it there"
            ));
            continue;
        };
        for (line, imported) in crate_paths(&code) {
            if imported != module && !allowed.contains(&imported.as_str()) {
                problems.push(format!(
                    "{file}:{line}: `{module}` must not import `{imported}` (allowed: {}); move the code to a module \
                     that may, or pass plain values",
                    allowed.join(", ")
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn crates_are_named_only_where_they_belong() {
    let mut problems = Vec::new();
    for (file, text) in library_sources() {
        let Some(module) = module_of(&file) else { continue };
        let code = without_tests(&blank_comments_and_strings(&text));
        for (name, modules) in NAMED_ONLY_BY {
            if modules.contains(&module.as_str()) {
                continue;
            }
            for line in lines_naming(&code, name) {
                problems.push(format!(
                    "{file}:{line}: only {} may name `{name}`; wrap what is needed there in a type of ours",
                    modules.join(", ")
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn files_open_with_a_comment_that_says_what_they_are() {
    let mut problems = Vec::new();
    for (file, text) in texts() {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let ok = match kind(&file, first) {
            Kind::Rust => first.starts_with("//!"),
            Kind::Cpp => first.starts_with("//"),
            Kind::Python => first.starts_with("#!") || first.starts_with('#') || first.starts_with("\"\"\""),
            Kind::Shell => first.starts_with("#!") && lines.next().is_some_and(|line| line.starts_with("# ")),
            Kind::Toml => first.starts_with("# "),
            Kind::Other => true,
        };
        if !ok {
            problems
                .push(format!("{file}:1: no header comment; say what the file is, its input and its output"));
        }
    }
    report(&problems);
}

#[test]
fn no_leftovers_and_no_machine_paths() {
    let mut problems = Vec::new();
    for (file, text) in texts() {
        for (number, line) in numbered(&text) {
            for (head, tail) in LEFTOVERS {
                let word = format!("{head}{tail}");
                if kind(&file, "") != Kind::Other && whole_words(line, &word).next().is_some() {
                    problems.push(format!(
                        "{file}:{number}: `{word}` must not stay; finish it, or file an issue"
                    ));
                }
            }
            for (head, tail) in MACHINE_PATHS {
                let path = format!("{head}{tail}");
                if starts_a_path(line, &path) {
                    problems.push(format!(
                        "{file}:{number}: `{path}` is a folder of one machine; use a relative path"
                    ));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn files_and_lines_are_short() {
    let mut problems = Vec::new();
    for (file, text) in texts() {
        if kind(&file, text.lines().next().unwrap_or_default()) == Kind::Other {
            continue;
        }
        let count = text.lines().count();
        let excused = text.lines().take(40).any(|line| line.contains(LONG_FILE_REASON));
        if count > MAX_LINES && !excused {
            problems.push(format!(
                "{file}:{count}: expected at most {MAX_LINES} lines, got {count}; split it, or say \
                 \"{LONG_FILE_REASON} ...\" in its header"
            ));
        }
        for (number, line) in numbered(&text) {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                problems.push(format!(
                    "{file}:{number}: expected at most {MAX_COLUMNS} columns, got {columns}; break it"
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn no_tracked_file_is_large() {
    let problems: Vec<String> = files()
        .into_iter()
        .filter_map(|file| {
            let bytes = std::fs::metadata(root().join(&file)).ok()?.len();
            (bytes > MAX_BYTES).then(|| {
                format!(
                    "{file}:1: expected at most {MAX_BYTES} bytes, got {bytes}; keep data outside, or make it in \
                     the test"
                )
            })
        })
        .collect();
    report(&problems);
}

#[test]
fn the_documents_are_there() {
    let present: BTreeSet<String> = files().into_iter().collect();
    let problems: Vec<String> = REQUIRED
        .iter()
        .filter(|file| !present.contains(**file))
        .map(|file| format!("{file}:1: missing; the README and the package promise it"))
        .collect();
    report(&problems);
}

#[test]
fn the_module_table_of_architecture_md_is_this_one() {
    let Ok(text) = std::fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    let mut problems = Vec::new();
    let mut documented = BTreeSet::new();
    for (number, line) in numbered(&text) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [name, sentence, imports] = cells[..] else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
        let Some((_, allowed)) = MODULES.iter().find(|(module, _)| *module == name) else { continue };
        documented.insert(name.to_owned());
        let written: BTreeSet<&str> = imports
            .split(',')
            .map(|import| import.trim().trim_matches('`'))
            .filter(|import| import.starts_with(|first: char| first.is_ascii_lowercase()))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        if written != allowed || sentence.is_empty() {
            problems.push(format!(
                "ARCHITECTURE.md:{number}: `{name}` may import {allowed:?} in tests/tidy.rs, got {written:?} here; \
                 make the two agree, separated by commas"
            ));
        }
    }
    for (module, _) in MODULES.iter().filter(|(module, _)| !documented.contains(*module)) {
        problems.push(format!("ARCHITECTURE.md:1: no row \"| `{module}` | sentence | imports |\"; add it"));
    }
    report(&problems);
}

#[test]
fn the_changelog_is_about_this_version() {
    let Ok(text) = std::fs::read_to_string(root().join("CHANGELOG.md")) else { return };
    let expected = env!("CARGO_PKG_VERSION");
    let top = text.lines().find_map(|line| line.strip_prefix("## ")).unwrap_or_default();
    let version = top.trim_start_matches('[').split([']', ' ']).next().unwrap_or_default();
    if version != expected {
        report(&[format!(
            "CHANGELOG.md:1: expected \"## {expected}\" at the top, as in Cargo.toml, got {top:?}; write what changed"
        )]);
    }
}

#[test]
fn the_checks_see_what_they_are_for() {
    let code = blank_comments_and_strings(
        "// crate::llm\nuse crate::graph::Graph;\nlet a = \"crate::train\"; let q = '\"'; crate::rng::stream();\n\
         use crate::{config::home, data};\nfn f<'a>(x: &'a str) { r#\"tch::x \" \"#; tch::x() }\n#[cfg(test)]\n\
         mod tests { use crate::search; }\n",
    );
    let code = without_tests(&code);
    let found: Vec<(usize, String)> = crate_paths(&code);
    let expected = [(2, "graph"), (3, "rng"), (4, "config"), (4, "data")];
    assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
    assert_eq!(lines_naming(&code, "tch"), [5]);
    assert_eq!(lines_naming("use tch::Tensor;\nlet patch: T = x;\nuse tch;", "tch"), [1, 3]);
    assert_eq!(lines_naming("let x = std::env::var(y);\n use std::{env, fs};", "std::env"), [1, 2]);
    assert!(starts_a_path(&format!("see {}{}x", "/wo", "rk/"), concat!("/wo", "rk/")));
    assert!(!starts_a_path("src/work/x", concat!("/wo", "rk/")));
}

/// Fails the test with every problem on a line of its own.
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problem(s):\n{}", problems.len(), problems.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that git tracks or would track, sorted.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git ls-files failed; the tests need a checkout, not a package");
    let mut files: Vec<String> = String::from_utf8(output.stdout)
        .expect("file names are UTF-8")
        .split('\0')
        .filter(|name| !name.is_empty() && root().join(name).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    files
}

/// The files that are text, without fixtures: those are inputs, as ugly as a test needs them.
fn texts() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|file| {
            !file.starts_with("tests/fixtures/") && file != "Cargo.lock" && !file.starts_with("LICENSE")
        })
        .filter_map(|file| std::fs::read_to_string(root().join(&file)).ok().map(|text| (file, text)))
        .collect()
}

fn library_sources() -> Vec<(String, String)> {
    texts().into_iter().filter(|(file, _)| file.starts_with("src/") && file.ends_with(".rs")).collect()
}

/// `graph` for `src/graph/ops/conv.rs` and for `src/graph.rs`; none for files of tests.
fn module_of(file: &str) -> Option<String> {
    let mut parts =
        PathBuf::from(file).components().skip(1).map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    if parts.last().is_some_and(|last| last == "tests.rs") || parts.is_empty() {
        return None;
    }
    Some(parts.remove(0).to_string_lossy().trim_end_matches(".rs").to_owned())
}

#[derive(PartialEq)]
enum Kind {
    Rust,
    Cpp,
    Python,
    Shell,
    Toml,
    Other,
}

fn kind(file: &str, first_line: &str) -> Kind {
    let own_toml = |file: &str| file.starts_with("configs/") || file.starts_with("models/");
    match Path::new(file).extension().and_then(|extension| extension.to_str()) {
        Some("rs") => Kind::Rust,
        Some("cpp" | "h" | "cu") => Kind::Cpp,
        Some("py") => Kind::Python,
        Some("sh") => Kind::Shell,
        Some("toml") if own_toml(file) => Kind::Toml,
        None if first_line.starts_with("#!") && first_line.ends_with("sh") => Kind::Shell,
        _ => Kind::Other,
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The code up to the tests at its end.
fn without_tests(code: &str) -> String {
    let cut = code.find("\n#[cfg(test)]\nmod tests {").map_or(code.len(), |at| at + 1);
    code[..cut].to_owned()
}

/// The same text, line breaks in place, with the inside of comments and string literals turned to spaces.
fn blank_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        for &c in &chars[at..end.unwrap_or(at + 1)] {
            code.push(if end.is_some() && c != '\n' { ' ' } else { c });
        }
        at = end.unwrap_or(at + 1);
    }
    code
}

/// Where the comment, string or character literal ends that begins at `at`, if one begins there.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let find = |from: usize, what: &[char]| {
        (from..chars.len()).find(|&i| chars[i..].starts_with(what)).map_or(chars.len(), |i| i + what.len())
    };
    let rest = &chars[at..];
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if rest.starts_with(&['/', '/']) {
        return Some((at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len()));
    }
    if rest.starts_with(&['/', '*']) {
        return Some(find(at + 2, &['*', '/']));
    }
    if rest[0] == 'r' && !in_word {
        let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
        if rest.get(1 + hashes) == Some(&'"') {
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            return Some(find(at + hashes + 2, &close));
        }
    }
    if rest[0] == '"' {
        return Some(quoted_end(chars, at));
    }
    // A character, not a lifetime: 'x' or an escape.
    if rest[0] == '\'' && (rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'')) {
        return Some(quoted_end(chars, at));
    }
    None
}

/// The end of the literal that begins with the quote at `at`; a backslash takes the next character with it.
fn quoted_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != chars[at] {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// Line and first name of every path that begins with `crate::`, also of each in `crate::{...}`.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in whole_words(code, "crate") {
        let line = 1 + code[..at].matches('\n').count();
        let Some(rest) = code[at..].strip_prefix("crate::") else { continue };
        for name in first_names(rest) {
            found.push((line, name));
        }
    }
    found
}

/// `a` of `a::b`; `a` and `c` of `{a::{b, d}, c}`.
fn first_names(path: &str) -> Vec<String> {
    let name_of =
        |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    if !path.starts_with('{') {
        return vec![name_of(path)];
    }
    let (mut depth, mut names, mut expected) = (0, Vec::new(), false);
    for (at, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (c == '{' || c == ',') {
            expected = true;
        } else if expected && !c.is_whitespace() {
            names.push(name_of(&path[at..]));
            expected = false;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Lines that name a crate (`tch::`, `use tch;`), a type, or for `std::x` also `use std::{x, ...}`.
fn lines_naming(code: &str, name: &str) -> Vec<usize> {
    let grouped = name.strip_prefix("std::");
    numbered(code)
        .filter(|(_, line)| {
            let direct = whole_words(line, name).any(|at| {
                let after = &line[at + name.len()..];
                let type_name = name.starts_with(|first: char| first.is_uppercase());
                type_name || after.starts_with("::") || after.starts_with(';') || after.starts_with(" as ")
            });
            let in_group = grouped.is_some_and(|last| {
                line.trim_start().starts_with("use std::{") && whole_words(line, last).next().is_some()
            });
            direct || in_group
        })
        .map(|(number, _)| number)
        .collect()
}

/// Places where `word` stands alone, not inside a longer name.
fn whole_words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let closed = word.ends_with('!') || !after.is_some_and(part_of_name);
        !before.is_some_and(part_of_name) && closed
    })
}

/// Whether `path` begins in the line, rather than going on from a longer one.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}~$".contains(c))
    })
}
