//! Scores that an LLM gave, kept for all searches of a benchmark and, in a file, for the next call.
//!
//! Input: a model's identity and a prompt. Output: the scores of its continuations, if they are known. Format: one line
//! per prompt, the SHA-256 of model and prompt, then the scores, with spaces between; numbers are printed so that they
//! read back to the bit. A last line that was cut off is dropped. Limit: who changes which continuations a prompt has
//! must change the prompt.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::archive::digest::Hasher;
use crate::llm::GeneratorIdentity;

/// Why a file of scores cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScoresError {
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A line is not one of scores.
    #[error("{}:{line}: expected a SHA-256 and scores; without the file all are asked for again", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}

/// Scores by model and prompt.
#[derive(Debug, Default)]
pub struct ScoreCache {
    known: BTreeMap<String, Vec<f64>>,
    file: Option<(PathBuf, File)>,
}

impl ScoreCache {
    /// Scores that are kept in `path` as well.
    ///
    /// # Errors
    /// [`ScoresError`] if the file cannot be opened for reading and appending, or holds something else.
    pub fn open(path: &Path) -> Result<ScoreCache, ScoresError> {
        let failed = |error| ScoresError::File { path: path.to_owned(), error };
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut known = BTreeMap::new();
        for (index, line) in text[..whole].lines().enumerate() {
            let (key, scores) =
                read(line).ok_or_else(|| ScoresError::Line { path: path.to_owned(), line: index + 1 })?;
            known.insert(key, scores);
        }
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::Start(whole as u64)).map_err(failed)?;
        Ok(ScoreCache { known, file: Some((path.to_owned(), file)) })
    }

    /// The scores behind a key of [`key`].
    pub fn get(&self, key: &str) -> Option<&[f64]> {
        self.known.get(key).map(Vec::as_slice)
    }

    /// Keeps scores.
    ///
    /// # Errors
    /// [`ScoresError`] if they cannot be written down.
    pub fn insert(&mut self, key: String, scores: Vec<f64>) -> Result<(), ScoresError> {
        if let Some((path, file)) = &mut self.file {
            let mut line = key.clone();
            for score in &scores {
                let _ = write!(line, " {score:?}");
            }
            line.push('\n');
            let written = file.write_all(line.as_bytes());
            written.map_err(|error| ScoresError::File { path: path.clone(), error })?;
        }
        self.known.insert(key, scores);
        Ok(())
    }
}

/// What scores of a model after a prompt are found by.
pub fn key(model: &GeneratorIdentity, prompt: &str) -> String {
    let mut hasher = Hasher::default();
    hasher.text(&model.sha256);
    hasher.text(prompt);
    hasher.hex()
}

fn read(line: &str) -> Option<(String, Vec<f64>)> {
    let mut words = line.split(' ');
    let key = words.next().filter(|key| key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let scores: Vec<f64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    (!scores.is_empty() && scores.iter().all(|score| score.is_finite())).then(|| (key.to_owned(), scores))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(sha256: &str) -> GeneratorIdentity {
        GeneratorIdentity { name: "a".into(), sha256: sha256.into() }
    }

    #[test]
    fn scores_come_back_to_the_bit_and_a_cut_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.txt");
        let scores = vec![-0.1 - 0.2, -1e-300, f64::MIN_POSITIVE, -12_345.678_901_234_5];
        let (first, second) = (key(&model("1"), "a"), key(&model("1"), "b"));
        let mut cache = ScoreCache::open(&path).unwrap();
        cache.insert(first.clone(), scores.clone()).unwrap();
        cache.insert(second.clone(), vec![-1.0, -2.0]).unwrap();
        drop(cache);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 2]).unwrap();
        let mut cache = ScoreCache::open(&path).unwrap();
        assert_eq!(cache.get(&first), Some(&scores[..]));
        assert_eq!(cache.get(&second), None, "a line without its end may lack digits");
        cache.insert(second.clone(), vec![-1.0, -2.0]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn keys_differ_by_model_and_prompt() {
        assert_eq!(key(&model("1"), "a"), key(&model("1"), "a"));
        assert_ne!(key(&model("1"), "a"), key(&model("2"), "a"));
        assert_ne!(key(&model("1"), "a"), key(&model("1"), "b"));
    }

    #[test]
    fn another_file_is_refused_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.txt");
        let good = format!("{} -1.5\n", key(&model("1"), "a"));
        for bad in ["dataset,method", "0123 -1", &format!("{} NaN", key(&model("1"), "b"))] {
            std::fs::write(&path, format!("{good}{bad}\n")).unwrap();
            let error = ScoreCache::open(&path).unwrap_err().to_string();
            assert!(error.contains("scores.txt:2: expected a SHA-256 and scores"), "{error}");
        }
    }
}
