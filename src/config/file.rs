//! The run file as written: TOML text to a [`SearchConfig`], with every complaint at its file and line.
//!
//! Three layers, each over the one before: the built-in quickstart, the user's file, the flags. A key is
//! known if the quickstart has it (or it is one of [`OPTIONAL`]). One limit: a wrong value is reported alone,
//! the first one found.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::{Device, SearchConfig, check};

/// The run file that fills the holes of every other one.
pub const QUICKSTART: &str = include_str!("../../configs/quickstart.toml");

/// Words for the axes of the archive.
const DESCRIPTORS: [&str; 6] =
    ["width_to_depth", "depth", "log_flops", "log_parameters", "log_activation", "log_latency"];

/// Keys that have no default: text, if given.
const OPTIONAL: [&str; 2] = ["data.path", "prompts.file"];

/// A value given outside of the file, such as by a flag.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The flag, such as `--seed`.
    pub flag: &'static str,
    /// The dotted key, such as `search.generations`.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This line of the file.
    Line(usize),
    /// This flag.
    Flag(&'static str),
}

/// Why a run file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// `FILE:LINE`, `FILE`, or the flag.
    pub place: String,
    /// What is wrong, with the key's name.
    pub message: String,
    /// The way out, if one is known.
    pub hint: Option<String>,
}

/// The complete configuration of `text` (a run file called `name`; empty for the quickstart itself) under
/// `overrides`.
///
/// `auto_device` and `auto_threads` are what `device = "auto"` and `threads = 0` stand for on this machine.
///
/// # Errors
/// Broken TOML, unknown keys, values of the wrong type or out of range.
pub fn resolve(
    text: &str,
    name: &str,
    overrides: &[Override],
    auto_device: Device,
    auto_threads: usize,
) -> Result<SearchConfig, ConfigError> {
    let mut merged: Table = QUICKSTART.parse().map_err(|error: toml::de::Error| ConfigError {
        place: "configs/quickstart.toml".into(),
        message: error.message().into(),
        hint: None,
    })?;
    let mut origins = BTreeMap::new();
    let document = DeTable::parse(text).map_err(|error| ConfigError {
        place: place(name, error.span().map(|span| line_of(text, span.start))),
        message: error.message().trim().replace('\n', "; "),
        hint: Some("the file must be TOML; configs/quickstart.toml shows every key".into()),
    })?;
    let file = File { text, name };
    file.merge(document.get_ref(), &mut merged, "", &mut origins)?;
    for item in overrides {
        set(&mut merged, item.key, item.value.clone());
        origins.insert(item.key.to_owned(), Origin::Flag(item.flag));
    }
    if merged.get("device").and_then(Value::as_str) == Some("auto") {
        set(&mut merged, "device", Value::String(auto_device.to_string()));
    }
    if merged.get("threads").and_then(Value::as_integer) == Some(0) {
        set(&mut merged, "threads", Value::Integer(i64::try_from(auto_threads).unwrap_or(1)));
    }
    let at = |key: &str| match origins.get(key) {
        Some(Origin::Flag(flag)) => (*flag).to_owned(),
        Some(Origin::Line(line)) => place(name, Some(*line)),
        None => place(name, None),
    };
    check_enums(&merged).map_err(|(key, message)| ConfigError {
        place: at(key),
        message: format!("{key}: {message}"),
        hint: None,
    })?;
    let config: SearchConfig = merged.try_into().map_err(|error: toml::de::Error| ConfigError {
        place: place(name, None),
        message: error.message().trim().replace('\n', "; "),
        hint: None,
    })?;
    check::ranges(&config).map_err(|(key, message)| ConfigError {
        place: at(key),
        message: format!("{key}: {message}"),
        hint: None,
    })?;
    Ok(config)
}

/// A resolved configuration that a run directory holds.
///
/// # Errors
/// As [`resolve`], if the text was changed by hand.
pub fn resolve_saved(text: &str, path: &Path) -> Result<SearchConfig, ConfigError> {
    resolve(text, &path.display().to_string(), &[], Device::Cpu, 1)
}

struct File<'a> {
    text: &'a str,
    name: &'a str,
}

impl File<'_> {
    fn merge(
        &self,
        from: &DeTable<'_>,
        into: &mut Table,
        prefix: &str,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Result<(), ConfigError> {
        for (key, value) in from {
            let dotted = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            let line = line_of(self.text, key.span().start);
            let fail = |message: String| ConfigError {
                place: place(self.name, Some(line)),
                message: format!("{dotted}: {message}"),
                hint: None,
            };
            origins.insert(dotted.clone(), Origin::Line(line));
            if OPTIONAL.contains(&dotted.as_str()) {
                let text = value.get_ref().as_str().ok_or_else(|| fail(expected("text", value)))?;
                into.insert(key.get_ref().to_string(), Value::String(text.to_owned()));
                continue;
            }
            match (into.get_mut(key.get_ref().as_ref()), value.get_ref()) {
                (None, _) => return Err(self.unknown(&dotted, line)),
                (Some(Value::Table(inner)), DeValue::Table(table)) => {
                    self.merge(table, inner, &dotted, origins)?;
                }
                (Some(slot), _) => *slot = same_kind(slot, value).map_err(fail)?,
            }
        }
        Ok(())
    }

    fn unknown(&self, dotted: &str, line: usize) -> ConfigError {
        let known = known_keys();
        let nearest = known
            .iter()
            .min_by_key(|key| {
                // The same last part under another table is the likeliest slip.
                let last = |text: &str| text.rsplit('.').next().unwrap_or(text).to_owned();
                (distance(key, dotted).min(1 + distance(&last(key), &last(dotted))), key.len())
            })
            .cloned()
            .unwrap_or_default();
        ConfigError {
            place: place(self.name, Some(line)),
            message: format!("unknown key {dotted}"),
            hint: Some(format!("the nearest known key is {nearest}")),
        }
    }
}

/// The value, if it is of the kind of the default's.
fn same_kind(default: &Value, value: &Spanned<DeValue<'_>>) -> Result<Value, String> {
    let given = value.get_ref();
    let number = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::Integer(_) => integer(item).map(|number| number as f64),
        DeValue::Float(float) => {
            float.as_str().replace('_', "").parse::<f64>().map_err(|error| error.to_string())
        }
        _ => Err(expected("a number", item)),
    };
    match default {
        Value::String(_) => {
            given.as_str().map(|text| Value::String(text.to_owned())).ok_or_else(|| expected("text", value))
        }
        Value::Boolean(_) => {
            given.as_bool().map(Value::Boolean).ok_or_else(|| expected("true or false", value))
        }
        Value::Integer(_) => match integer(value)? {
            negative if negative < 0 => Err(format!("expected 0 or more, got {negative}")),
            number => Ok(Value::Integer(number)),
        },
        Value::Float(_) => number(value).map(Value::Float),
        Value::Array(items) => {
            let list = given.as_array().ok_or_else(|| expected("a pair of numbers", value))?;
            if list.len() != items.len() {
                return Err(format!("expected {} numbers, got {}", items.len(), list.len()));
            }
            list.iter().map(|item| number(item).map(Value::Float)).collect::<Result<_, _>>().map(Value::Array)
        }
        Value::Table(_) => Err(expected("a table", value)),
        Value::Datetime(_) => Err("dates have no meaning here".into()),
    }
}

fn integer(value: &Spanned<DeValue<'_>>) -> Result<i64, String> {
    let Some(integer) = value.get_ref().as_integer() else { return Err(expected("a whole number", value)) };
    i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix())
        .map_err(|_| format!("expected a whole number below 2^63, got {}", integer.as_str()))
}

fn expected(what: &str, value: &Spanned<DeValue<'_>>) -> String {
    let got = match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("expected {what}, got {got}")
}

/// Words out of a fixed list, checked here so that the complaint has a line.
fn check_enums(table: &Table) -> Result<(), (&'static str, String)> {
    let lists: [(&str, &[&str]); 11] = [
        ("model.vocabulary", &["whole", "working"]),
        ("prompts.style", &["model", "completion", "chat"]),
        ("train.schedule", &["constant", "triangular"]),
        ("search.parents", &["random", "fittest", "curious", "seed", "latest", "ageing"]),
        ("operators.choice", &["rates", "bandit"]),
        ("operators.prior", &["llm", "opposite", "none", "random"]),
        ("surrogate.kind", &["none", "ridge"]),
        ("archive.kind", &["cvt", "grid"]),
        ("archive.x", &DESCRIPTORS),
        ("archive.y", &DESCRIPTORS),
        ("final.from", &["elite", "scratch"]),
    ];
    let text = |key: &str| {
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| table.get(part));
        parts.fold(first, |value, part| value.and_then(|value| value.get(part))).and_then(Value::as_str)
    };
    for (key, words) in lists {
        let got = text(key).unwrap_or_default();
        if !words.contains(&got) {
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            return Err((key, format!("expected {}, got \"{got}\"", words.join(" or "))));
        }
    }
    text("device").unwrap_or_default().parse::<Device>().map(|_| ()).map_err(|message| ("device", message))
}

fn set(table: &mut Table, dotted: &str, value: Value) {
    match dotted.split_once('.') {
        None => {
            table.insert(dotted.to_owned(), value);
        }
        Some((first, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(first) {
                set(inner, rest, value);
            }
        }
    }
}

fn known_keys() -> Vec<String> {
    fn collect(table: &Table, prefix: &str, keys: &mut Vec<String>) {
        for (key, value) in table {
            let dotted = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if let Value::Table(inner) = value {
                collect(inner, &dotted, keys);
            }
            keys.push(dotted);
        }
    }
    let mut keys: Vec<String> = OPTIONAL.iter().map(|&key| key.to_owned()).collect();
    collect(&QUICKSTART.parse().unwrap_or_default(), "", &mut keys);
    keys.sort();
    keys
}

fn place(name: &str, line: Option<usize>) -> String {
    let name = if name.is_empty() { "configs/quickstart.toml (built in)" } else { name };
    line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

/// Levenshtein's distance.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let error = resolve(text, "run.toml", &[], Device::Cpu, 2).unwrap_err();
        match &error.hint {
            Some(hint) => format!("{error}\n{hint}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn the_shipped_files_resolve_and_survive_a_round_trip() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let of_prompts = |path: &Path| path.to_string_lossy().ends_with("prompts.toml");
        let run_files: Vec<_> = files.filter(|path| !of_prompts(path)).collect();
        assert!(run_files.len() > 10, "{run_files:?}");
        for path in run_files {
            let (name, text) = (path.display().to_string(), std::fs::read_to_string(path).unwrap());
            let config = resolve(&text, &name, &[], Device::Cpu, 2).unwrap();
            assert_eq!((config.threads, config.device), (2, Device::Cpu));
            let saved = toml::to_string(&config).unwrap();
            assert_eq!(resolve_saved(&saved, Path::new("config.toml")).unwrap(), config);
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
        assert_eq!(
            error("seed = 1\n[train]\nlearning_rte = 0.1\n"),
            "run.toml:3: unknown key train.learning_rte\nthe nearest known key is train.learning_rate"
        );
        assert_eq!(
            error("generations = 3\n"),
            "run.toml:1: unknown key generations\nthe nearest known key is search.generations"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_or_range_name_key_and_line() {
        assert_eq!(error("seed = \"x\""), "run.toml:1: seed: expected a whole number, got text");
        assert_eq!(error("\nseed = -1"), "run.toml:2: seed: expected 0 or more, got -1");
        assert_eq!(error("seed = 1.5"), "run.toml:1: seed: expected a whole number, got a number");
        assert_eq!(
            error("[train]\nflip = 1"),
            "run.toml:2: train.flip: expected true or false, got a whole number"
        );
        assert_eq!(
            error("[train]\nschedule = \"cosine\""),
            "run.toml:2: train.schedule: expected \"constant\" or \"triangular\", got \"cosine\""
        );
        assert_eq!(
            error("device = \"gpu\""),
            "run.toml:1: device: expected \"auto\", \"cpu\" or \"cuda:N\", got \"gpu\""
        );
        assert_eq!(error("[train]\nmomentum = 2"), "run.toml:2: train.momentum: expected 0 to 1, got 2");
        assert_eq!(error("train = 3"), "run.toml:1: train: expected a table, got a whole number");
        assert_eq!(
            error("[archive]\nlog_flops = [9.0, 4.0]"),
            "run.toml:2: archive.log_flops: expected a lower and a higher number, got [9, 4]"
        );
        assert_eq!(
            error("[archive]\nlog_flops = [9.0]"),
            "run.toml:2: archive.log_flops: expected 2 numbers, got 1"
        );
    }

    #[test]
    fn operators_need_a_rate_and_a_model_where_they_write() {
        let none = "[operators]\nrewrite = 0\ncrossover = 0\ninfill = 0\ntyped = 0\n";
        assert_eq!(
            error(none),
            "run.toml:2: operators.rewrite: expected at least one operator with a rate above 0, got none"
        );
        assert!(error("[model]\nname = \"none\"").starts_with("run.toml:2: model.name: expected a model"));
        assert_eq!(
            error("[archive]\nx = \"log_flops\""),
            "run.toml: archive.y: expected another descriptor than archive.x, got log_flops twice"
        );
    }

    #[test]
    fn broken_toml_is_refused_with_its_line() {
        let message = error("seed = 1\nthreads = \n");
        assert!(message.starts_with("run.toml:2: "), "{message}");
    }

    #[test]
    fn a_flag_wins_over_the_file_and_is_named_when_it_is_wrong() {
        let flag =
            |value| [Override { flag: "--children", key: "search.children", value: Value::Integer(value) }];
        let config = resolve("[search]\nchildren = 2", "run.toml", &flag(3), Device::Cpu, 1).unwrap();
        assert_eq!(config.search.children, 3);
        let error = resolve("", "run.toml", &flag(0), Device::Cpu, 1).unwrap_err();
        assert_eq!(error.to_string(), "--children: search.children: expected 1 to 10000, got 0");
    }
}
