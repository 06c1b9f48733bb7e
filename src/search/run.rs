//! The run directory: made once, locked while written, opened again to resume or to look at.
//!
//! `run.db` is the truth; `config.toml` and everything in `weights/`, `elites/` and the report can be made
//! again from it or are checked against it. One limit: the lock is the file system's (`flock`), so it guards
//! one machine.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{self, PromptBook, SearchConfig};
use crate::llm::GeneratorIdentity;

use super::draft::check_prompts;
use super::error::SearchError;
use super::evaluate::DataIdentity;
use super::record::Candidate;
use super::state::State;
use super::store::{GenerationRow, ResultRow, RunRow, Store};

/// What a start that was cut short may leave behind; a folder with nothing else counts as empty.
const LEFTOVERS: [&str; 3] = ["run.lock", "run.db.new", "run.db.new-journal"];

/// A run that this process may write.
#[derive(Debug)]
pub struct Run {
    /// The folder.
    pub directory: PathBuf,
    /// The resolved run file.
    pub config: SearchConfig,
    /// The instructions.
    pub book: PromptBook,
    /// What the run is.
    pub row: RunRow,
    /// What the search knows.
    pub state: State,
    pub(super) store: Store,
    _lock: File,
}

/// Refuse a folder that a new run must not be written to: cheap, before a model is loaded.
///
/// # Errors
/// It holds a run, or anything else.
pub fn check_free(directory: &Path) -> Result<(), SearchError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SearchError::Io { path: directory.to_owned(), source }),
    };
    if directory.join("run.db").exists() {
        return Err(SearchError::RunExists { path: directory.to_owned() });
    }
    for entry in entries {
        let entry = entry.map_err(|source| SearchError::Io { path: directory.to_owned(), source })?;
        let name = entry.file_name();
        // Others may have these too: weights are empty then, and a run file lies beside the lock.
        let ours = match name.to_str() {
            Some("weights") => fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none()),
            Some("config.toml") => directory.join("run.lock").exists(),
            _ => LEFTOVERS.iter().any(|leftover| name == *leftover),
        };
        if !ours {
            return Err(SearchError::NotEmpty { path: directory.to_owned() });
        }
    }
    Ok(())
}

impl Run {
    /// Make a new run in `directory`.
    ///
    /// # Errors
    /// The folder is taken, locked, or cannot be written.
    pub fn create(
        directory: &Path,
        config: SearchConfig,
        prompts: &str,
        model: &GeneratorIdentity,
        data: &DataIdentity,
    ) -> Result<Run, SearchError> {
        let book = PromptBook::parse(prompts, "prompts")?;
        check_prompts(&config, &book)?;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SearchError::Io { path, source }
        };
        check_free(directory)?;
        fs::create_dir_all(directory.join("weights")).map_err(io(directory))?;
        let lock = lock(directory)?;
        let text = toml::to_string(&config).map_err(|error| SearchError::Io {
            path: directory.join("config.toml"),
            source: std::io::Error::other(error),
        })?;
        let file = directory.join("config.toml");
        fs::write(&file, &text).map_err(io(&file))?;
        let row = RunRow {
            program: env!("CARGO_PKG_VERSION").into(),
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(0)),
            seed: config.seed,
            device: config.device.to_string(),
            threads: config.threads,
            config: text,
            prompts: prompts.to_owned(),
            model: model.name.clone(),
            model_sha256: model.sha256.clone(),
            data: data.name.clone(),
            data_sha256: data.sha256.clone(),
            input_sizes: data.input_sizes.clone(),
            classes: data.classes,
        };
        let store = Store::create(&directory.join("run.db"), &row)?;
        let state = State::new(&config, book.instructions().len());
        Ok(Run { directory: directory.to_owned(), config, book, row, state, store, _lock: lock })
    }

    /// Open a run to go on with it: its archives are rebuilt by telling them every recorded candidate again.
    ///
    /// # Errors
    /// There is no run, another process writes it, another program version made it, or its records do not
    /// give the digest that was recorded.
    pub fn open(directory: &Path) -> Result<Run, SearchError> {
        let path = directory.join("run.db");
        if !path.exists() {
            return Err(SearchError::NoRun { path: directory.to_owned() });
        }
        let lock = lock(directory)?;
        let store = Store::open(&path)?;
        let row = store.run()?;
        same("program version", &row.program, env!("CARGO_PKG_VERSION"))?;
        let config = config::resolve_saved(&row.config, &directory.join("run.db (config)"))?;
        let book = PromptBook::parse(&row.prompts, "prompts")?;
        let (generations, candidates) = store.snapshot()?;
        let state = replay(&generations, &candidates, &config, &book, &path)?;
        Ok(Run { directory: directory.to_owned(), config, book, row, state, store, _lock: lock })
    }

    /// Refuse to go on with another model or other data than the run was made with.
    ///
    /// # Errors
    /// What differs.
    pub fn verify(&self, model: &GeneratorIdentity, data: &DataIdentity) -> Result<(), SearchError> {
        self.verify_model(model)?;
        same("data set", &self.row.data, &data.name)?;
        same("data set's sha256", &self.row.data_sha256, &data.sha256)
    }

    /// Refuse another model than the run was made with.
    ///
    /// # Errors
    /// What differs.
    pub fn verify_model(&self, model: &GeneratorIdentity) -> Result<(), SearchError> {
        same("model", &self.row.model, &model.name)?;
        same("model's sha256", &self.row.model_sha256, &model.sha256)
    }

    /// Whether the run was made with these settings; its number of threads changes nothing.
    pub fn has_settings(&self, config: &SearchConfig, prompts: &str) -> bool {
        let comparable = |config: &SearchConfig| SearchConfig { threads: 0, ..config.clone() };
        comparable(&self.config) == comparable(config) && self.row.prompts == prompts
    }

    /// Whether the results of the end are there.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn is_finished(&self) -> Result<bool, SearchError> {
        Ok(!self.store.results()?.is_empty())
    }

    /// The generations committed so far.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn generations(&self) -> Result<Vec<GenerationRow>, SearchError> {
        self.store.generations()
    }

    /// Whether as many networks were trained as the run may train.
    pub fn enough(&self) -> bool {
        let most = self.config.search.evaluations as u64;
        most > 0 && self.state.trained >= most
    }

    /// Where the weights of an architecture are kept during the search.
    pub fn weights(&self, architecture: &str) -> PathBuf {
        self.directory.join("weights").join(format!("{architecture}.safetensors"))
    }
}

/// Everything that a run recorded, for reports.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// What the run is.
    pub row: RunRow,
    /// Its resolved configuration.
    pub config: SearchConfig,
    /// Its instructions.
    pub book: PromptBook,
    /// What the search knew at the end.
    pub state: State,
    /// Its generations.
    pub generations: Vec<GenerationRow>,
    /// Its candidates.
    pub candidates: Vec<Candidate>,
    /// The results of the end; empty before.
    pub results: Vec<ResultRow>,
}

/// Read a run, finished or not; nothing is written, and another process may be writing it.
///
/// # Errors
/// There is no run, or its records do not give the recorded digest.
pub fn load(directory: &Path) -> Result<RunRecord, SearchError> {
    let path = directory.join("run.db");
    if !path.exists() {
        return Err(SearchError::NoRun { path: directory.to_owned() });
    }
    let store = Store::open_to_read(&path)?;
    let row = store.run()?;
    let config = config::resolve_saved(&row.config, &directory.join("run.db (config)"))?;
    let book = PromptBook::parse(&row.prompts, "prompts")?;
    let (generations, candidates) = store.snapshot()?;
    let state = replay(&generations, &candidates, &config, &book, &path).map_err(|error| {
        // Another version may come to something else.
        same("program version", &row.program, env!("CARGO_PKG_VERSION")).err().unwrap_or(error)
    })?;
    let results = store.results()?;
    Ok(RunRecord { row, config, book, state, generations, candidates, results })
}

/// The digest of a run's last generation, rebuilt from its records and checked against the recorded one;
/// `None` if nothing was committed yet. Reads only.
///
/// # Errors
/// There is no run, or its records do not give the recorded digest.
pub fn digest(directory: &Path) -> Result<Option<String>, SearchError> {
    let state = load(directory)?.state;
    Ok((state.generations > 0).then_some(state.digest))
}

/// The state after every recorded generation.
///
/// # Errors
/// The database cannot be read, or what is replayed is not what was recorded.
fn replay(
    generations: &[GenerationRow],
    candidates: &[Candidate],
    config: &SearchConfig,
    book: &PromptBook,
    path: &Path,
) -> Result<State, SearchError> {
    let corrupt = |reason: String| SearchError::Corrupt { path: path.to_owned(), reason };
    let mut state = State::new(config, book.instructions().len());
    let mut rest = candidates;
    for generation in generations {
        let count = rest.iter().take_while(|candidate| candidate.id.generation == generation.number).count();
        let (told, others) = rest.split_at(count);
        rest = others;
        for recorded in told {
            let mut candidate = Candidate { placed: None, ..recorded.clone() };
            state
                .tell(&mut candidate)
                .map_err(|source| SearchError::Archive { id: candidate.id.to_string(), source })?;
            if candidate.placed != recorded.placed {
                return Err(corrupt(format!("candidate {} does not enter its recorded niche", recorded.id)));
            }
        }
        state.close_generation(told);
        if state.digest != generation.digest {
            return Err(corrupt(format!(
                "generation {}: expected digest {}, got {}",
                generation.number, generation.digest, state.digest
            )));
        }
    }
    match rest.first() {
        None => Ok(state),
        Some(candidate) => Err(corrupt(format!("candidate {} belongs to no generation", candidate.id))),
    }
}

fn lock(directory: &Path) -> Result<File, SearchError> {
    let path = directory.join("run.lock");
    let io = |source| SearchError::Io { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SearchError::Locked { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn same(what: &'static str, expected: &str, got: &str) -> Result<(), SearchError> {
    if expected == got {
        return Ok(());
    }
    Err(SearchError::Mismatch { what, expected: expected.to_owned(), got: got.to_owned() })
}
