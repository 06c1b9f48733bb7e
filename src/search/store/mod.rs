//! The run database: SQLite in WAL mode, one transaction per generation.
//!
//! Tables `run` (one row), `generation`, `candidate`, `niche`, `centroid`, `prompt_niche`, `result`, and the views
//! `generation_rates` and `yield`; [`SCHEMA`] documents each column. One limit: lists (parents, repairs, curves) are
//! JSON texts inside their column.

mod rows;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row, Transaction, params};

use super::error::SearchError;
use super::record::Candidate;
use super::state::State;
use crate::archive::CandidateId;
use rows::{
    candidate_row, generation_row, insert_candidate, insert_generation, json, replace_archives, run_row,
    unsigned,
};

pub use rows::{GenerationRow, OperatorYield, ResultRow, RunRow};

/// The format of the database; a change of meaning raises it.
const FORMAT: i64 = 4;

/// The tables.
pub const SCHEMA: &str = include_str!("schema.sql");

/// The open database of a run.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Make the database at `path`; it is there whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, run: &RunRow) -> Result<Store, SearchError> {
        let draft = path.with_extension("db.new");
        let fail = |source| SearchError::Database { path: path.to_owned(), source };
        let io = |source| SearchError::Io { path: path.to_owned(), source };
        if draft.exists() {
            std::fs::remove_file(&draft).map_err(io)?;
        }
        let mut connection = Connection::open(&draft).map_err(fail)?;
        let insert = |transaction: Transaction<'_>| {
            transaction.execute_batch(SCHEMA)?;
            transaction.execute(
                "INSERT INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                params![
                    FORMAT,
                    run.program,
                    run.created,
                    run.seed as i64,
                    run.device,
                    run.threads as i64,
                    run.config,
                    run.prompts,
                    run.model,
                    run.model_sha256,
                    run.data,
                    run.data_sha256,
                    json(&run.input_sizes),
                    run.classes as i64
                ],
            )?;
            transaction.commit()
        };
        connection.transaction().and_then(insert).map_err(fail)?;
        drop(connection);
        std::fs::rename(&draft, path).map_err(io)?;
        Store::open(path)
    }

    /// Open the database to go on with it.
    ///
    /// # Errors
    /// The file is not there, cannot be written, or is not such a database.
    pub fn open(path: &Path) -> Result<Store, SearchError> {
        let store = Store::with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        store.with(|connection| {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")
        })?;
        Ok(store)
    }

    /// Open the database to look at it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_read(path: &Path) -> Result<Store, SearchError> {
        // A folder that cannot be written has no place for the WAL's index; an unchanging file needs none.
        Store::with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).or_else(|error| {
            if error.is_mismatch() {
                return Err(error);
            }
            let log = path.with_extension("db-wal");
            if log.metadata().is_ok_and(|log| log.len() > 0) {
                let source = std::io::Error::other(
                    "holds generations that can only be read where files can be made; copy the folder, and read that",
                );
                return Err(SearchError::Io { path: log, source });
            }
            let uri = format!("file:{}?immutable=1", in_uri(path));
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Store::with_flags(Path::new(&uri), flags)
                .map(|store| Store { path: path.to_owned(), ..store })
                .map_err(|_| error)
        })
    }

    /// What the run is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn run(&self) -> Result<RunRow, SearchError> {
        self.with(|connection| connection.query_row("SELECT * FROM run", [], run_row))
    }

    /// Commit a generation whole, with both archives as they are after it.
    ///
    /// # Errors
    /// The file cannot be written; it then holds what it held before.
    pub fn commit(
        &mut self,
        generation: &GenerationRow,
        candidates: &[Candidate],
        state: &State,
    ) -> Result<(), SearchError> {
        let write = |transaction: Transaction<'_>| {
            insert_generation(&transaction, generation)?;
            candidates.iter().try_for_each(|candidate| insert_candidate(&transaction, candidate))?;
            replace_archives(&transaction, state)?;
            transaction.commit()
        };
        let path = self.path.clone();
        self.connection.transaction().and_then(write).map_err(|source| SearchError::Database { path, source })
    }

    /// The committed generations in order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn generations(&self) -> Result<Vec<GenerationRow>, SearchError> {
        self.rows("SELECT * FROM generation ORDER BY number", generation_row)
    }

    /// All candidates in the order of generations, slots and attempts.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn candidates(&self) -> Result<Vec<Candidate>, SearchError> {
        self.rows("SELECT * FROM candidate ORDER BY generation, slot, attempt", candidate_row)
    }

    /// The generations and their candidates as of one moment, even while another process writes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn snapshot(&self) -> Result<(Vec<GenerationRow>, Vec<Candidate>), SearchError> {
        self.with(|connection| connection.execute_batch("BEGIN"))?;
        let read = self.generations().and_then(|rows| Ok((rows, self.candidates()?)));
        self.with(|connection| connection.execute_batch("ROLLBACK"))?;
        read
    }

    /// Keep the results of the end, instead of any kept before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_results(&mut self, results: &[ResultRow]) -> Result<(), SearchError> {
        let write = |transaction: Transaction<'_>| {
            transaction.execute("DELETE FROM result", [])?;
            for row in results {
                transaction.execute(
                    "INSERT INTO result VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![
                        row.id.generation as i64,
                        row.id.slot as i64,
                        row.file,
                        row.best,
                        row.final_steps as i64,
                        row.validation,
                        row.test
                    ],
                )?;
            }
            transaction.commit()
        };
        let path = self.path.clone();
        self.connection.transaction().and_then(write).map_err(|source| SearchError::Database { path, source })
    }

    /// The results of the end; empty before.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn results(&self) -> Result<Vec<ResultRow>, SearchError> {
        self.rows("SELECT * FROM result ORDER BY best DESC, validation DESC, file", |row| {
            Ok(ResultRow {
                id: CandidateId { generation: unsigned(row, "generation")?, slot: unsigned(row, "slot")? },
                file: row.get("file")?,
                best: row.get("best")?,
                final_steps: unsigned(row, "final_steps")?,
                validation: row.get("validation")?,
                test: row.get("test")?,
            })
        })
    }

    /// What each operator came to, in the order of their names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn yields(&self) -> Result<Vec<OperatorYield>, SearchError> {
        self.yields_by("''", "operator")
    }

    /// What each pair of operator and instruction came to, in the order of their names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn prompt_yields(&self) -> Result<Vec<OperatorYield>, SearchError> {
        self.yields_by("instruction", "operator, instruction")
    }

    fn yields_by(&self, instruction: &str, group: &str) -> Result<Vec<OperatorYield>, SearchError> {
        let sql = format!(
            "SELECT operator, {instruction} AS prompt, SUM(texts) AS texts, SUM(retried) AS retried, \
             SUM(valid) AS valid, \
             SUM(novel) AS novel, SUM(trained) AS trained, SUM(archived) AS archived, SUM(tokens) AS tokens, \
             SUM(prompt_tokens) AS prompt_tokens, SUM(generate_seconds) AS generate_seconds, \
             SUM(train_seconds) AS train_seconds FROM yield GROUP BY {group} ORDER BY {group}"
        );
        self.rows(&sql, |row| {
            Ok(OperatorYield {
                operator: row.get("operator")?,
                instruction: row.get("prompt")?,
                trained: unsigned(row, "trained")?,
                prompt_tokens: unsigned(row, "prompt_tokens")?,
                train_seconds: row.get("train_seconds")?,
                texts: unsigned(row, "texts")?,
                retried: unsigned(row, "retried")?,
                valid: unsigned(row, "valid")?,
                novel: unsigned(row, "novel")?,
                archived: unsigned(row, "archived")?,
                tokens: unsigned(row, "tokens")?,
                generate_seconds: row.get("generate_seconds")?,
            })
        })
    }

    fn with_flags(path: &Path, flags: OpenFlags) -> Result<Store, SearchError> {
        if path.is_dir() {
            let reason = "expected a file, got a folder".to_owned();
            return Err(SearchError::Corrupt { path: path.to_owned(), reason });
        }
        let fail = |source| SearchError::Database { path: path.to_owned(), source };
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        let store = Store { connection, path: path.to_owned() };
        let format: i64 =
            store.with(|connection| connection.query_row("SELECT format FROM run", [], |row| row.get(0)))?;
        if format == FORMAT {
            Ok(store)
        } else {
            Err(SearchError::Mismatch {
                what: "format of run.db",
                expected: format.to_string(),
                got: FORMAT.to_string(),
            })
        }
    }

    fn with<T>(
        &self,
        action: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, SearchError> {
        action(&self.connection).map_err(|source| SearchError::Database { path: self.path.clone(), source })
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, SearchError> {
        self.with(|connection| connection.prepare(sql)?.query_map([], read)?.collect())
    }
}

/// A path as SQLite's URIs have it.
fn in_uri(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}
