//! Why a search cannot start, go on or end: one message, one hint, one class that becomes the exit code.
//!
//! One limit: a candidate's failure is never here; it is a verdict in the record.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::archive::ArchiveError;
use crate::config::ConfigError;
use crate::llm::LlmError;

/// Whose turn it is after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The user's: something given cannot be used.
    Input,
    /// Ours, or the machine's.
    Failure,
    /// The user stopped the run; it can be resumed.
    Interrupted,
}

/// Why an evaluator cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvaluatorError {
    /// What is wrong, with the way out.
    pub message: String,
    /// Whether something given is to blame.
    pub input: bool,
    /// The task, by its index, whose training ended the device's use for this process.
    pub lost: Option<usize>,
}

impl EvaluatorError {
    /// What is given cannot be used.
    pub fn refused(message: impl ToString) -> EvaluatorError {
        EvaluatorError { message: message.to_string(), input: true, lost: None }
    }

    /// The evaluator or the machine failed.
    pub fn failure(message: impl ToString) -> EvaluatorError {
        EvaluatorError { message: message.to_string(), input: false, lost: None }
    }
}

/// Why a search cannot start, go on or end.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The run file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The LLM.
    #[error(transparent)]
    Model(#[from] LlmError),
    /// The trainer or its data.
    #[error(transparent)]
    Evaluator(#[from] EvaluatorError),
    /// The recorded completions of a `scripted:` model.
    #[error("{}: {reason}", path.display())]
    Script {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The output folder holds a run.
    #[error("{} holds a run already", path.display())]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// The output folder holds something else.
    #[error("{} is not empty and is not a run", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// There is no run.
    #[error("{} holds no run (there is no run.db)", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process writes the run.
    #[error("{} is being written by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the run cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The run's database cannot be read or written.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The run was made by, or with, something else.
    #[error("{what}: the run was made with {expected}, here it is {got}")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// As recorded.
        expected: String,
        /// As found.
        got: String,
    },
    /// The run's records contradict each other.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The network that everything starts from cannot be used.
    #[error("the seed network cannot be trained: {reason}")]
    SeedNetwork {
        /// Why.
        reason: String,
    },
    /// A measurement that is not a number.
    #[error("candidate {id}: {source}")]
    Archive {
        /// Which candidate.
        id: String,
        /// What is wrong.
        source: ArchiveError,
    },
    /// The device failed in a network's training.
    #[error("{message}; {generations} generations are kept in {}", path.display())]
    DeviceLost {
        /// The folder.
        path: PathBuf,
        /// Committed generations, the seed network's included.
        generations: u64,
        /// The device's words.
        message: String,
    },
    /// The user stopped the run.
    #[error("interrupted; {generations} generations are kept in {}", path.display())]
    Interrupted {
        /// The folder.
        path: PathBuf,
        /// Committed generations, the seed network's included.
        generations: u64,
    },
}

impl SearchError {
    /// Whether something is of another version or kind than expected, rather than unreadable.
    pub(super) fn is_mismatch(&self) -> bool {
        matches!(self, SearchError::Mismatch { .. } | SearchError::Corrupt { .. })
    }

    /// Whose turn it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            SearchError::Interrupted { .. } => ErrorClass::Interrupted,
            SearchError::Model(
                LlmError::NotFinite { .. } | LlmError::Compute { .. } | LlmError::Threads { .. },
            ) => ErrorClass::Failure,
            SearchError::Model(LlmError::Io { source, .. }) if is_the_machines(source) => ErrorClass::Failure,
            SearchError::Evaluator(error) if !error.input => ErrorClass::Failure,
            SearchError::Io { source, .. } if is_no_folder(source) => ErrorClass::Input,
            SearchError::Io { .. }
            | SearchError::Database { .. }
            | SearchError::Corrupt { .. }
            | SearchError::DeviceLost { .. }
            | SearchError::Archive { .. } => ErrorClass::Failure,
            _ => ErrorClass::Input,
        }
    }

    /// The way out, if there is one to name.
    pub fn hint(&self) -> Option<String> {
        let resume = |path: &PathBuf| format!("llmatic-offline resume {}", in_shell(path));
        match self {
            SearchError::Config(error) => error.hint.clone(),
            SearchError::RunExists { path } => Some(format!("continue it with: {}", resume(path))),
            SearchError::Interrupted { path, .. } => Some(format!("go on with: {}", resume(path))),
            SearchError::DeviceLost { path, .. } => {
                Some(format!("go on with: {}; the network that was trained then is left out", resume(path)))
            }
            SearchError::NotEmpty { .. } => Some("choose another folder with --out".into()),
            SearchError::NoRun { .. } => Some("a run is made by: llmatic-offline search --out DIR".into()),
            SearchError::Locked { .. } => Some("wait for it, or stop it".into()),
            SearchError::Io { source, .. } if is_no_folder(source) => {
                Some("expected a folder, or a place for a new one; choose another with --out".into())
            }
            SearchError::Database { source, .. } if is_no_database(source) => Some(
                "it is damaged, or no run of this program; without a copy of it, start a new run with --out"
                    .into(),
            ),
            SearchError::SeedNetwork { .. } => Some(
                "raise the limits of the run file ([limits]), or lower train.learning_rate where training \
                 failed; then start again in another folder"
                    .into(),
            ),
            SearchError::Model(LlmError::Io { source, .. }) if is_the_machines(source) => {
                Some("free some space or make it writable".into())
            }
            SearchError::Io { .. } | SearchError::Database { .. } => {
                Some("free some space or make it writable; a started run then goes on with `resume`".into())
            }
            SearchError::Mismatch { .. } => {
                Some("resume needs the same program version, model and data; or start a new run".into())
            }
            SearchError::Corrupt { .. } => Some("the folder was changed by hand; start a new run".into()),
            SearchError::Script { .. } => {
                Some("expected one JSON object per line with a text \"completion\"".into())
            }
            _ => None,
        }
    }
}

/// A path as a shell takes it.
pub fn in_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Whether a file is where a folder was expected.
fn is_no_folder(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::AlreadyExists)
}

/// Whether a file cannot be read or written for another reason than what it is or where it was looked for.
fn is_the_machines(error: &std::io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidData
            | ErrorKind::UnexpectedEof
    )
}

/// Whether a file is no database, lacks the tables of one, or has other values in them than this program writes.
fn is_no_database(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnIndex, InvalidColumnName,
        InvalidColumnType, QueryReturnedNoRows,
    };
    if matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnIndex(_)
            | InvalidColumnName(_)
            | InvalidColumnType(..)
            | QueryReturnedNoRows
    ) {
        return true;
    }
    let known = [ErrorCode::NotADatabase, ErrorCode::DatabaseCorrupt, ErrorCode::Unknown];
    error.sqlite_error_code().is_some_and(|code| known.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(in_shell(Path::new("runs/001")), "runs/001");
        assert_eq!(in_shell(Path::new("my run's")), r"'my run'\''s'");
    }

    #[test]
    fn a_full_disk_is_the_machines_failure_and_a_missing_file_the_users() {
        let class = |kind: ErrorKind| {
            let source = std::io::Error::from(kind);
            SearchError::Model(LlmError::Io { path: "a.gguf".into(), source }).class()
        };
        assert_eq!(class(ErrorKind::StorageFull), ErrorClass::Failure);
        assert_eq!(class(ErrorKind::NotFound), ErrorClass::Input);
    }
}
