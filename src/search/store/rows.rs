//! Rows of the run database: plain values to columns and back.
//!
//! One limit: a number beyond 2^63 wraps into SQLite's signed one, and back.

use rusqlite::{Row, Transaction, params};

use crate::archive::{AddOutcome, CandidateId, PromptChoice};
use crate::search::record::{Candidate, Cost, Described, Facts, Operator, Score, Verdict};
use crate::search::state::State;

/// What reading or writing a row gives.
type Sql<T> = Result<T, rusqlite::Error>;

/// What a run is; the row of the table `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Version of the program.
    pub program: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The root seed.
    pub seed: u64,
    /// Where tensors live.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// The resolved run file.
    pub config: String,
    /// The instructions' file.
    pub prompts: String,
    /// The model's name.
    pub model: String,
    /// Its hash.
    pub model_sha256: String,
    /// The data set's name.
    pub data: String,
    /// Its hash.
    pub data_sha256: String,
    /// Sizes of one input.
    pub input_sizes: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

/// A row of the table `generation`.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct GenerationRow {
    /// Its number.
    pub number: u64,
    /// Candidates, without copies and duplicates that were asked again.
    pub candidates: u64,
    /// Copies that were asked again.
    pub retried: u64,
    /// Sources that are networks.
    pub valid: u64,
    /// Networks not seen before.
    pub novel: u64,
    /// Networks that entered the archive.
    pub archived: u64,
    /// Filled niches.
    pub elites: u64,
    /// Filled niches over niches.
    pub coverage: f64,
    /// Sum of fitness.
    pub qd_score: f64,
    /// Highest fitness.
    pub best: Option<f64>,
    /// Mean fitness of the elites.
    pub mean: Option<f64>,
    /// Descriptors clipped so far.
    pub clipped: u64,
    /// Networks that were trained and measured.
    pub trained: u64,
    /// Networks that are a parent again.
    pub copies: u64,
    /// Networks seen before.
    pub duplicates: u64,
    /// Mean fitness of the networks trained in it.
    pub fitness: Option<f64>,
    /// Tokens written.
    pub tokens: u64,
    /// Tokens read by the LLM, cached or not.
    pub prompt_tokens: u64,
    /// Time the LLM took.
    pub generate_seconds: f64,
    /// Time the trainer took.
    pub train_seconds: f64,
    /// Of everything up to here.
    pub digest: String,
}

impl GenerationRow {
    /// What writing and training took.
    pub fn seconds(&self) -> f64 {
        self.generate_seconds + self.train_seconds
    }
}

/// A row of the table `result`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ResultRow {
    /// The elite.
    pub id: CandidateId,
    /// Its source, relative to the run directory.
    pub file: String,
    /// Whether it is the one chosen.
    pub best: bool,
    /// Steps of further training.
    pub final_steps: u64,
    /// Validation accuracy after it.
    pub validation: f64,
    /// Test accuracy.
    pub test: Option<f64>,
}

/// What an operator came to; the view `yield`, by instruction or summed over instructions.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct OperatorYield {
    /// Its name.
    pub operator: String,
    /// The instruction; empty for all of them.
    pub instruction: String,
    /// Texts, copies and duplicates that were asked again included.
    pub texts: u64,
    /// Copies that were asked again.
    pub retried: u64,
    /// Texts that are networks, without copies and duplicates that were asked again.
    pub valid: u64,
    /// Networks not seen before.
    pub novel: u64,
    /// Networks that were trained and measured.
    pub trained: u64,
    /// Networks that entered the archive.
    pub archived: u64,
    /// Tokens written.
    pub tokens: u64,
    /// Tokens read by the LLM, cached or not.
    pub prompt_tokens: u64,
    /// Time the LLM took.
    pub generate_seconds: f64,
    /// Time the trainer took.
    pub train_seconds: f64,
}

pub(super) fn insert_generation(transaction: &Transaction<'_>, row: &GenerationRow) -> Sql<()> {
    transaction
        .execute(
            "INSERT INTO generation VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
             ?20, ?21)",
            params![
                row.number as i64,
                row.candidates as i64,
                row.retried as i64,
                row.valid as i64,
                row.novel as i64,
                row.archived as i64,
                row.elites as i64,
                row.coverage,
                row.qd_score,
                row.best,
                row.mean,
                row.clipped as i64,
                row.trained as i64,
                row.copies as i64,
                row.duplicates as i64,
                row.fitness,
                row.tokens as i64,
                row.prompt_tokens as i64,
                row.generate_seconds,
                row.train_seconds,
                row.digest
            ],
        )
        .map(|_| ())
}

pub(super) fn insert_candidate(transaction: &Transaction<'_>, row: &Candidate) -> Sql<()> {
    let parents: Vec<[u64; 2]> = row.parents.iter().map(|id| [id.generation, id.slot]).collect();
    let (facts, score, cost) = (row.facts.as_ref(), row.score.as_ref(), row.cost);
    transaction
        .prepare_cached(
            "INSERT INTO candidate VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
             ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, \
             ?35, ?36, ?37, ?38, ?39, ?40, ?41)",
        )?
        .execute(params![
            row.id.generation as i64,
            row.id.slot as i64,
            row.attempt as i64,
            row.retried,
            row.operator.name(),
            json(&parents),
            row.instruction,
            row.prompt.map(|prompt| prompt.instruction as i64),
            row.prompt.map(|prompt| prompt.bin as i64),
            row.prompt.map(|prompt| prompt.temperature),
            row.temperature,
            row.prompt_text,
            row.source,
            row.kept,
            row.verdict.name(),
            row.message,
            json(&row.repairs),
            row.prior,
            row.predicted,
            facts.map(|facts| facts.architecture.as_str()),
            facts.map(|facts| facts.parameters as i64),
            facts.map(|facts| facts.macs as i64),
            facts.map(|facts| facts.described.width_to_depth),
            facts.map(|facts| facts.described.depth),
            facts.map(|facts| facts.described.log_flops),
            facts.map(|facts| facts.described.log_parameters),
            facts.map(|facts| facts.described.log_activation),
            facts.map(|facts| facts.layers.as_str()),
            score.map(|score| score.fitness),
            score.map(|score| score.loss),
            score.map(|score| json(&score.curve)),
            score.map(|score| score.inherited as i64),
            score.and_then(|score| score.latency),
            row.placed.map(|(niche, _)| niche as i64),
            row.placed.map(|(_, outcome)| outcome.name()),
            cost.prompt_tokens as i64,
            cost.cached_tokens as i64,
            cost.completion_tokens as i64,
            cost.saved_tokens as i64,
            cost.generate_seconds,
            cost.train_seconds
        ])
        .map(|_| ())
}

pub(super) fn replace_archives(transaction: &Transaction<'_>, state: &State) -> Sql<()> {
    transaction.execute("DELETE FROM niche", [])?;
    for (niche, elite) in state.archive.elites() {
        let [x, y] = state.archive.point(elite.descriptor);
        transaction.execute(
            "INSERT INTO niche VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                niche as i64,
                x,
                y,
                elite.id.generation as i64,
                elite.id.slot as i64,
                elite.architecture,
                elite.fitness
            ],
        )?;
    }
    // They stay what they are from the first generation on.
    let new = if state.generations <= 1 { state.archive.niches().centroids() } else { &[] };
    for (niche, [x, y]) in new.iter().enumerate() {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO centroid VALUES (?1, ?2, ?3)")?
            .execute(params![niche as i64, x, y])?;
    }
    transaction.execute("DELETE FROM prompt_niche", [])?;
    for ((instruction, bin), entry) in state.prompts.entries() {
        transaction.execute(
            "INSERT INTO prompt_niche VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                instruction as i64,
                bin as i64,
                entry.temperature,
                entry.curiosity,
                entry.used as i64,
                entry.archived as i64
            ],
        )?;
    }
    Ok(())
}

pub(super) fn run_row(row: &Row<'_>) -> Sql<RunRow> {
    Ok(RunRow {
        program: row.get("program")?,
        created: row.get("created")?,
        seed: unsigned(row, "seed")?,
        device: row.get("device")?,
        threads: unsigned(row, "threads")? as usize,
        config: row.get("config")?,
        prompts: row.get("prompts")?,
        model: row.get("model")?,
        model_sha256: row.get("model_sha256")?,
        data: row.get("data")?,
        data_sha256: row.get("data_sha256")?,
        input_sizes: parsed(row, "input_sizes")?,
        classes: unsigned(row, "classes")? as usize,
    })
}

pub(super) fn generation_row(row: &Row<'_>) -> Sql<GenerationRow> {
    Ok(GenerationRow {
        number: unsigned(row, "number")?,
        candidates: unsigned(row, "candidates")?,
        retried: unsigned(row, "retried")?,
        valid: unsigned(row, "valid")?,
        novel: unsigned(row, "novel")?,
        archived: unsigned(row, "archived")?,
        elites: unsigned(row, "elites")?,
        coverage: row.get("coverage")?,
        qd_score: row.get("qd_score")?,
        best: row.get("best")?,
        mean: row.get("mean")?,
        clipped: unsigned(row, "clipped")?,
        trained: unsigned(row, "trained")?,
        copies: unsigned(row, "copies")?,
        duplicates: unsigned(row, "duplicates")?,
        fitness: row.get("fitness")?,
        tokens: unsigned(row, "tokens")?,
        prompt_tokens: unsigned(row, "prompt_tokens")?,
        generate_seconds: row.get("generate_seconds")?,
        train_seconds: row.get("train_seconds")?,
        digest: row.get("digest")?,
    })
}

pub(super) fn candidate_row(row: &Row<'_>) -> Sql<Candidate> {
    let named = |column: &'static str| bad_column(column, "a known name");
    let parents: Vec<[u64; 2]> = parsed(row, "parents")?;
    let prompt = match row.get::<_, Option<f64>>("prompt_temperature")? {
        None => None,
        Some(temperature) => Some(PromptChoice {
            instruction: unsigned(row, "prompt_instruction")? as usize,
            bin: unsigned(row, "prompt_bin")? as usize,
            temperature,
        }),
    };
    let facts = match row.get::<_, Option<String>>("architecture")? {
        None => None,
        Some(architecture) => Some(Facts {
            architecture,
            parameters: unsigned(row, "parameters")?,
            macs: unsigned(row, "macs")?,
            described: Described {
                width_to_depth: row.get("width_to_depth")?,
                depth: row.get("depth")?,
                log_flops: row.get("log_flops")?,
                log_parameters: row.get("log_parameters")?,
                log_activation: row.get("log_activation")?,
            },
            layers: row.get("layers")?,
        }),
    };
    let score = match row.get::<_, Option<f64>>("fitness")? {
        None => None,
        Some(fitness) => Some(Score {
            fitness,
            loss: row.get("loss")?,
            curve: parsed(row, "curve")?,
            inherited: unsigned(row, "inherited")?,
            latency: row.get("latency")?,
        }),
    };
    let placed = match row.get::<_, Option<String>>("outcome")?.as_deref() {
        None => None,
        Some(name) => {
            let outcomes = [AddOutcome::Rejected, AddOutcome::Improved, AddOutcome::New];
            let outcome = outcomes.into_iter().find(|outcome| outcome.name() == name);
            Some((unsigned(row, "niche")? as usize, outcome.ok_or_else(|| named("outcome"))?))
        }
    };
    Ok(Candidate {
        id: CandidateId { generation: unsigned(row, "generation")?, slot: unsigned(row, "slot")? },
        attempt: unsigned(row, "attempt")?,
        retried: row.get("retried")?,
        operator: Operator::from_name(&row.get::<_, String>("operator")?).ok_or_else(|| named("operator"))?,
        parents: parents.into_iter().map(|[generation, slot]| CandidateId { generation, slot }).collect(),
        prompt,
        instruction: row.get("instruction")?,
        temperature: row.get("temperature")?,
        prompt_text: row.get("prompt")?,
        source: row.get("source")?,
        kept: row.get("kept")?,
        verdict: Verdict::from_name(&row.get::<_, String>("verdict")?).ok_or_else(|| named("verdict"))?,
        message: row.get("message")?,
        repairs: parsed(row, "repairs")?,
        prior: row.get("prior")?,
        predicted: row.get("predicted")?,
        facts,
        score,
        placed,
        cost: Cost {
            prompt_tokens: unsigned(row, "prompt_tokens")?,
            cached_tokens: unsigned(row, "cached_tokens")?,
            completion_tokens: unsigned(row, "completion_tokens")?,
            saved_tokens: unsigned(row, "saved_tokens")?,
            generate_seconds: row.get("generate_seconds")?,
            train_seconds: row.get("train_seconds")?,
        },
    })
}

pub(super) fn unsigned(row: &Row<'_>, column: &'static str) -> Sql<u64> {
    row.get::<_, i64>(column).map(|number| number as u64)
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    // Lists of numbers and texts always have a JSON form; NaN becomes null.
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn parsed<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Sql<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|_| bad_column(column, "JSON of its kind"))
}

pub(super) fn bad_column(column: &'static str, expected: &str) -> rusqlite::Error {
    let message = format!("column {column}: expected {expected}");
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, message.into())
}
