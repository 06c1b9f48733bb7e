//! Stand-ins for the slow parts of a search: a reader of `nn.Linear(A, B)` lines, an evaluator with weight
//! files, and completions from a closure, so that a whole search takes milliseconds and needs neither model
//! nor libtorch.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use llmatic_offline::config::{self, Device, OperatorConfig, PROMPTS, SearchConfig};
use llmatic_offline::graph::{Builder, DType, Graph, Init, Limits, Op, Origin, ParamKind};
use llmatic_offline::llm::{Generator, Request};
use llmatic_offline::search::{
    DataIdentity, Evaluator, EvaluatorError, Event, Measured, Network, Parts, Reader, Refused, Run,
    ScriptedGenerator, SearchError, Summary, Surrogate, Task, TrainProgress, Verdict, Weights, search,
};

/// A configuration of three small generations.
pub fn config(seed: u64, extra: &str) -> SearchConfig {
    let text = format!(
        "seed = {seed}\n[archive]\nniches = 40\nsamples = 1000\nwidth_to_depth = [0.0, 60.0]\n\
         log_flops = [3.0, 6.0]\n{extra}"
    );
    let mut config = config::resolve(&text, "test.toml", &[], Device::Cpu, 2).unwrap();
    (config.search.generations, config.search.children) = (3, 6);
    // `LinearReader` knows the two that write whole classes.
    config.operators =
        OperatorConfig { rewrite: 0.7, crossover: 0.3, infill: 0.0, typed: 0.0, ..config.operators };
    config
}

/// Reads every `nn.Linear(A, B)` of the class `Net` as one hidden layer of B features; `!!` is a syntax
/// error.
pub struct LinearReader;

impl Reader for LinearReader {
    fn read(&self, source: &str) -> Result<Network, Refused> {
        let class = source.rfind("class Net(").map_or("", |at| &source[at..]);
        if class.contains("!!") {
            return Err(Refused {
                verdict: Verdict::SyntaxError,
                message: "error: `!!` is not Python".into(),
            });
        }
        let mut widths: Vec<usize> = Vec::new();
        for call in class.split("nn.Linear(").skip(1) {
            let arguments = call.split(')').next().unwrap_or("");
            let width: Option<usize> =
                arguments.rsplit(',').next().and_then(|width| width.trim().parse().ok());
            widths.extend(width);
        }
        widths.pop();
        widths.push(10);
        Ok(Network { graph: linear(&widths), source: source.to_owned(), repairs: Vec::new() })
    }
}

fn linear(widths: &[usize]) -> Graph {
    let mut builder = Builder::new(Limits::default());
    let mut x = builder.input(&[28]);
    let (mut names, mut before) = (Vec::new(), 28);
    for (index, &width) in widths.iter().enumerate() {
        let weight = builder
            .declare(vec![width, before], DType::F32, ParamKind::Trained, Init::Constant(0.0))
            .unwrap();
        names.push((format!("fc{index}.weight"), weight));
        let weight = builder.tensor(weight);
        x = builder.append(Op::Linear { bias: false }, &[x, weight], Origin::default()).unwrap();
        before = width;
    }
    let body = builder.finish_body(x);
    builder.finish(body, None, &names, &[28])
}

/// A completion of `LinearReader`'s language.
pub fn completion(widths: &[usize]) -> String {
    let layers: String =
        widths.iter().map(|width| format!("        self.l = nn.Linear(1, {width})\n")).collect();
    format!(
        "    def __init__(self):\n        super().__init__()\n{layers}\n    def forward(self, x):\n        \
         return x\n"
    )
}

/// One to three random layers, some nonsense, some repetitions: all from the request's own stream.
pub fn random_completion(request: &Request) -> String {
    let mut stream = request.stream.clone();
    if stream.below(8) == 0 {
        return "    !!".into();
    }
    let widths: Vec<usize> = (0..1 + stream.below(3)).map(|_| 8 * (1 + stream.below(12))).collect();
    completion(&[&widths[..], &[10]].concat())
}

/// The surrogate with weight files: each holds the architecture id, the steps and where they started; fitness grows
/// with inherited weights.
#[derive(Default)]
pub struct WeightedSurrogate {
    pub trained: Vec<String>,
    pub tests: usize,
    /// Architectures with this many layers fail.
    pub fail_depth: Option<usize>,
    /// Those that fail take the device with them.
    pub device_fails: bool,
    /// What training of so many steps comes to.
    pub fitness_at: Option<(usize, f64)>,
}

struct Id(String);

impl Weights for Id {
    fn save(&self, path: &Path) -> Result<(), String> {
        std::fs::write(path, &self.0).map_err(|error| error.to_string())
    }
}

impl Evaluator for WeightedSurrogate {
    fn data(&self) -> DataIdentity {
        Surrogate.data()
    }

    fn has_weights(&self) -> bool {
        true
    }

    fn evaluate(
        &mut self,
        tasks: &[Task<'_>],
        on_progress: &mut (dyn FnMut(TrainProgress) + Send),
        cancelled: &AtomicBool,
    ) -> Result<Vec<Result<Measured, String>>, EvaluatorError> {
        let measured = Surrogate.evaluate(tasks, on_progress, cancelled)?;
        let fails = |task: &Task<'_>| self.fail_depth.is_some_and(|depth| task.graph.params.len() == depth);
        let lost = tasks.iter().position(fails).filter(|_| self.device_fails);
        if lost.is_some() {
            return Err(EvaluatorError { message: "out of memory".into(), input: false, lost });
        }
        let results = measured.into_iter().zip(tasks).map(|(measured, task)| {
            let id = task.graph.architecture_id();
            self.trained.push(id.clone());
            if self.fail_depth.is_some_and(|depth| task.graph.params.len() == depth) {
                return Err("out of memory".to_owned());
            }
            let mut measured = measured?;
            if let Some(parent) = &task.inherit {
                let parent = std::fs::read_to_string(parent).map_err(|error| error.to_string())?;
                let first = u8::from_str_radix(&parent[..2], 16).unwrap_or(0);
                measured.score.fitness = (measured.score.fitness + f64::from(first) / 1000.0).min(1.0);
                measured.score.inherited = 1;
            }
            if let Some((_, fitness)) = self.fitness_at.filter(|&(steps, _)| steps == task.steps) {
                measured.score.fitness = fitness;
            }
            measured.score.curve = vec![(1, 0.1), (2, 0.7)];
            let start = if task.inherit.is_some() { "parent" } else { "scratch" };
            measured.weights = Some(Box::new(Id(format!("{id} {} {start}", task.steps))));
            Ok(measured)
        });
        Ok(results.collect())
    }

    fn test(&mut self, _: &Graph, weights: &Path) -> Result<Option<f64>, EvaluatorError> {
        self.tests += 1;
        assert!(weights.exists());
        Ok(Some(0.5))
    }
}

pub fn generator() -> ScriptedGenerator {
    ScriptedGenerator::from_closure("random", random_completion)
}

pub fn create(directory: &Path, config: SearchConfig) -> Result<Run, SearchError> {
    Run::create(directory, config, PROMPTS, &generator().describe(), &Surrogate.data())
}

/// Go on with `run`, with `generator` and `evaluator`, until the end or until `stop` says so of an event.
pub fn go_with(
    run: &mut Run,
    generator: &mut dyn Generator,
    evaluator: &mut dyn Evaluator,
    stop: &mut (dyn FnMut(&Event) -> bool + Send),
) -> Result<Summary, SearchError> {
    let cancelled = AtomicBool::new(false);
    let mut observe = |event: Event| {
        if stop(&event) {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    let mut parts =
        Parts { generator, reader: &LinearReader, evaluator, cancelled: &cancelled, observe: &mut observe };
    search(run, &mut parts)
}

/// Go on with `run` to its end.
pub fn go(run: &mut Run) -> Summary {
    go_with(run, &mut generator(), &mut WeightedSurrogate::default(), &mut |_| false).unwrap()
}
