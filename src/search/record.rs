//! What is known of one candidate: its provenance, its text, its verdict, its measurements.
//!
//! Plain values, one row of the run's table `candidate` each. One limit: what libtorch or the LLM held in
//! memory is not here; weights are files beside the database.

use crate::archive::digest::Hasher;
use crate::archive::{AddOutcome, CandidateId, PromptChoice};
use crate::config::DescriptorKind;

/// How a candidate came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operator {
    /// The network that the search starts from.
    Seed,
    /// The LLM wrote one parent anew (the paper's mutation).
    Rewrite,
    /// The LLM combined two parents.
    Crossover,
    /// The LLM filled a hole in one parent.
    Infill,
    /// The typed edit of one parent that the LLM finds most likely.
    Rank,
    /// One parent edited at random, without the LLM.
    Typed,
}

/// All operators, in the order of reports.
pub const OPERATORS: [Operator; 6] = [
    Operator::Seed,
    Operator::Rewrite,
    Operator::Crossover,
    Operator::Infill,
    Operator::Rank,
    Operator::Typed,
];

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was trained and measured.
    Accepted,
    /// It is its parent again.
    Copy,
    /// Its architecture was seen before in this run.
    Duplicate,
    /// It is not Python.
    SyntaxError,
    /// It may be fine in PyTorch, but not here.
    Unsupported,
    /// Its tensors do not fit.
    ShapeError,
    /// It is too large, too deep or too long.
    LimitExceeded,
    /// It could not be trained.
    TrainingFailed,
    /// It is a new network that the surrogate did not choose for training.
    Skipped,
}

/// All verdicts, in the order of reports.
pub const VERDICTS: [Verdict; 9] = [
    Verdict::Accepted,
    Verdict::Copy,
    Verdict::Duplicate,
    Verdict::SyntaxError,
    Verdict::Unsupported,
    Verdict::ShapeError,
    Verdict::LimitExceeded,
    Verdict::TrainingFailed,
    Verdict::Skipped,
];

impl Operator {
    /// The name in the database and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Seed => "seed",
            Operator::Rewrite => "rewrite",
            Operator::Crossover => "crossover",
            Operator::Infill => "infill",
            Operator::Rank => "rank",
            Operator::Typed => "typed",
        }
    }

    /// The operator of this name.
    pub fn from_name(name: &str) -> Option<Operator> {
        OPERATORS.into_iter().find(|operator| operator.name() == name)
    }
}

impl Verdict {
    /// The name in the database and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::Copy => "copy",
            Verdict::Duplicate => "duplicate",
            Verdict::SyntaxError => "syntax_error",
            Verdict::Unsupported => "unsupported",
            Verdict::ShapeError => "shape_error",
            Verdict::LimitExceeded => "limit_exceeded",
            Verdict::TrainingFailed => "training_failed",
            Verdict::Skipped => "skipped",
        }
    }

    /// The verdict of this name.
    pub fn from_name(name: &str) -> Option<Verdict> {
        VERDICTS.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// What the source says of the network, before training.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its architecture id.
    pub architecture: String,
    /// Elements of all parameters.
    pub parameters: u64,
    /// Multiply-accumulate operations of one sample.
    pub macs: u64,
    /// Everything that may be an axis of the archive, raw.
    pub described: Described,
    /// One line per layer with its output shape.
    pub layers: String,
}

/// Raw descriptors of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Described {
    /// Largest layer width over the number of weighted layers.
    pub width_to_depth: f64,
    /// Number of weighted layers.
    pub depth: f64,
    /// log10 of FLOPs of one sample.
    pub log_flops: f64,
    /// log10 of the number of parameters.
    pub log_parameters: f64,
    /// log10 of the bytes of the largest intermediate result of one sample.
    pub log_activation: f64,
}

impl Described {
    /// One of them; the latency is not known before it was measured.
    pub fn value(&self, descriptor: DescriptorKind) -> f64 {
        match descriptor {
            DescriptorKind::WidthToDepth => self.width_to_depth,
            DescriptorKind::Depth => self.depth,
            DescriptorKind::LogFlops => self.log_flops,
            DescriptorKind::LogParameters => self.log_parameters,
            DescriptorKind::LogActivation => self.log_activation,
            DescriptorKind::LogLatency => f64::NAN,
        }
    }
}

/// What training measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Validation accuracy in [0, 1].
    pub fitness: f64,
    /// Validation loss.
    pub loss: f64,
    /// (step, training loss) along the way.
    pub curve: Vec<(u64, f32)>,
    /// Tensors taken over from the parent.
    pub inherited: u64,
    /// Milliseconds of one sample alone in its batch, if an axis of the archive asks for it.
    pub latency: Option<f64>,
}

/// What it cost; never part of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Of a text that was given up: tokens that the limit would still have allowed.
    pub saved_tokens: u64,
    /// Its share of the time the LLM took.
    pub generate_seconds: f64,
    /// Training and validation.
    pub train_seconds: f64,
}

/// One row of the table `candidate`.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Generation and slot.
    pub id: CandidateId,
    /// 0, or how many copies were discarded before it.
    pub attempt: u64,
    /// Whether it was discarded as a copy and asked again.
    pub retried: bool,
    /// How it came to be.
    pub operator: Operator,
    /// From which candidates.
    pub parents: Vec<CandidateId>,
    /// Which prompt niche asked for it.
    pub prompt: Option<PromptChoice>,
    /// The instruction's name; empty for the seed network.
    pub instruction: String,
    /// The temperature it was sampled at; 0 without the LLM.
    pub temperature: f64,
    /// The whole prompt; of a typed edit, what was done.
    pub prompt_text: String,
    /// The whole source as generated.
    pub source: String,
    /// The source as kept: repaired, where repairs were needed.
    pub kept: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in words; empty when accepted.
    pub message: String,
    /// What was repaired.
    pub repairs: Vec<String>,
    /// The score that an edit was chosen by: the LLM's mean log-probability per token, or what a control had instead.
    pub prior: Option<f64>,
    /// The fitness that the surrogate expected.
    pub predicted: Option<f64>,
    /// What the source says, once it is a network.
    pub facts: Option<Facts>,
    /// What training measured.
    pub score: Option<Score>,
    /// Where the archive put it.
    pub placed: Option<(usize, AddOutcome)>,
    /// What it cost.
    pub cost: Cost,
}

impl Candidate {
    /// Whether the archive took it.
    pub fn archived(&self) -> bool {
        self.placed.is_some_and(|(_, outcome)| outcome.archived())
    }

    /// Whether it is a network: its source was read, whether it is new or not.
    pub fn valid(&self) -> bool {
        self.facts.is_some()
    }

    /// Whether it is a network that this run had not seen.
    pub fn novel(&self) -> bool {
        matches!(self.verdict, Verdict::Accepted | Verdict::TrainingFailed)
    }

    /// Feed everything that is the same in every run of this seed: not costs, and not libtorch's words.
    pub fn feed(&self, hasher: &mut Hasher) {
        hasher.number(self.id.generation);
        hasher.number(self.id.slot);
        hasher.number(self.attempt);
        hasher.number(u64::from(self.retried));
        hasher.text(self.operator.name());
        hasher.number(self.parents.len() as u64);
        for parent in &self.parents {
            hasher.number(parent.generation);
            hasher.number(parent.slot);
        }
        hasher.option(self.prompt, |hasher, prompt| {
            hasher.number(prompt.instruction as u64);
            hasher.number(prompt.bin as u64);
            hasher.float(prompt.temperature);
        });
        hasher.float(self.temperature);
        for text in [&self.instruction, &self.prompt_text, &self.source] {
            hasher.text(text);
        }
        hasher.option(self.kept.as_deref(), Hasher::text);
        hasher.text(self.verdict.name());
        hasher.number(self.repairs.len() as u64);
        self.repairs.iter().for_each(|repair| hasher.text(repair));
        for value in [self.prior, self.predicted] {
            hasher.option(value, Hasher::float);
        }
        hasher.option(self.facts.as_ref(), |hasher, facts| {
            hasher.text(&facts.architecture);
            hasher.number(facts.parameters);
            hasher.number(facts.macs);
            let Described { width_to_depth, depth, log_flops, log_parameters, log_activation } =
                facts.described;
            [width_to_depth, depth, log_flops, log_parameters, log_activation]
                .into_iter()
                .for_each(|value| hasher.float(value));
        });
        hasher.option(self.score.as_ref(), |hasher, score| {
            hasher.float(score.fitness);
            hasher.float(score.loss);
            hasher.number(score.inherited);
            hasher.option(score.latency, Hasher::float);
            for &(step, loss) in &score.curve {
                hasher.number(step);
                hasher.float(f64::from(loss));
            }
        });
        hasher.option(self.placed, |hasher, (niche, outcome)| {
            hasher.number(niche as u64);
            hasher.text(outcome.name());
        });
    }
}
