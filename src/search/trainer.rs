//! The evaluator of real searches: [`Trainer`] behind the search's own traits.
//!
//! Input: tasks. Output: scores and weights. One limit: a parent's weights are read from its file for each
//! child.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use crate::config::{self, SearchConfig};
use crate::data::{DataError, Dataset};
use crate::graph::Graph;
use crate::rng::RootSeed;
use crate::train::{self, Job, TrainEvent, Trainer};

use super::error::EvaluatorError;
use super::evaluate::{DataIdentity, Evaluator, Measured, Task, TrainProgress, Weights};
use super::record::Score;

/// Trains with libtorch on a data set.
#[derive(Debug)]
pub struct LibtorchEvaluator {
    trainer: Trainer,
    /// Where latency is measured, if an axis of the archive asks for it.
    latency: Option<config::Device>,
}

impl LibtorchEvaluator {
    /// Load the data set and prepare the device.
    ///
    /// # Errors
    /// The data or the device cannot be used.
    pub fn new(config: &SearchConfig) -> Result<LibtorchEvaluator, EvaluatorError> {
        let dataset = Dataset::load(&config.data, &config::home(), config.device).map_err(|error| {
            EvaluatorError { input: !matches!(error, DataError::Device(_)), message: error.to_string() }
        })?;
        let settings = config.train.clone();
        let trainer = Trainer::new(dataset, settings, config.device, config.threads, RootSeed(config.seed))
            .map_err(|error| EvaluatorError { message: error.to_string(), input: true })?;
        let latency = config.archive.needs_latency().then_some(config.device);
        Ok(LibtorchEvaluator { trainer, latency })
    }
}

impl Weights for train::Weights {
    fn save(&self, path: &Path) -> Result<(), String> {
        self.save_atomically(path).map_err(|error| error.to_string())
    }
}

impl Evaluator for LibtorchEvaluator {
    fn data(&self) -> DataIdentity {
        let info = self.trainer.info();
        DataIdentity {
            name: info.name.clone(),
            sha256: info.sha256.clone(),
            input_sizes: info.input_sizes.clone(),
            classes: info.classes,
        }
    }

    fn has_weights(&self) -> bool {
        true
    }

    fn normalisation(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        let (mean, std) = self.trainer.normalisation();
        Some((mean.to_vec(), std.to_vec()))
    }

    fn evaluate(
        &mut self,
        tasks: &[Task<'_>],
        on_progress: &mut (dyn FnMut(TrainProgress) + Send),
        cancelled: &AtomicBool,
    ) -> Result<Vec<Result<Measured, String>>, EvaluatorError> {
        let parents = tasks
            .iter()
            .map(|task| task.inherit.as_deref().map(train::Weights::load).transpose())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| EvaluatorError { message: error.to_string(), input: false })?;
        let jobs: Vec<Job<'_>> = tasks
            .iter()
            .zip(&parents)
            .map(|(task, parent)| Job {
                graph: task.graph,
                indices: task.indices,
                inherit: parent.as_ref(),
                steps: Some(task.steps),
            })
            .collect();
        let outcomes = self.with_progress(&jobs, on_progress, cancelled);
        Ok(outcomes
            .into_iter()
            .zip(tasks)
            .map(|(outcome, task)| {
                let outcome = outcome.map_err(|failure| failure.to_string())?;
                // After the training of all, so that nothing runs beside it.
                let measure = |device| train::latency(task.graph, &outcome.weights, device);
                let latency = self.latency.map(measure).transpose().map_err(|failure| failure.to_string())?;
                let score = Score {
                    fitness: outcome.validation.accuracy,
                    loss: outcome.validation.loss,
                    curve: outcome.curve.iter().map(|&(step, loss)| (step as u64, loss)).collect(),
                    inherited: outcome.inherited as u64,
                    latency,
                };
                Ok(Measured { score, seconds: outcome.seconds, weights: Some(Box::new(outcome.weights)) })
            })
            .collect())
    }

    fn test(&mut self, graph: &Graph, weights: &Path) -> Result<Option<f64>, EvaluatorError> {
        let fail = |message: String| EvaluatorError { message, input: false };
        let weights = train::Weights::load(weights).map_err(|error| fail(error.to_string()))?;
        let measured = self.trainer.test_accuracy(graph, &weights);
        measured.map(|measured| Some(measured.accuracy)).map_err(|failure| fail(failure.to_string()))
    }
}

impl LibtorchEvaluator {
    /// Train; the workers tell the observer one at a time.
    fn with_progress(
        &self,
        jobs: &[Job<'_>],
        on_progress: &mut (dyn FnMut(TrainProgress) + Send),
        cancelled: &AtomicBool,
    ) -> Vec<Result<train::Outcome, train::Failure>> {
        let told = Mutex::new((vec![0; jobs.len()], 0, on_progress));
        let tell = |event: TrainEvent| {
            // A panic of the observer loses progress lines, no more.
            let Ok(mut told) = told.lock() else { return };
            let (steps, done, on_progress) = &mut *told;
            match event {
                TrainEvent::Started { .. } => {}
                TrainEvent::Step { job, step, .. } => steps[job] = step,
                TrainEvent::Finished { .. } => *done += 1,
            }
            on_progress(TrainProgress { done: *done, steps: steps.iter().sum() });
        };
        self.trainer.train_all(jobs, &tell, cancelled)
    }
}
