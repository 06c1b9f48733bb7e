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
        let dataset =
            Dataset::load(&config.data, &config::home(), config.device).map_err(|error| match error {
                DataError::Device(_) => EvaluatorError::failure(error),
                _ => EvaluatorError::refused(error),
            })?;
        let settings = config.train.clone();
        let trainer = Trainer::new(dataset, settings, config.device, config.threads, RootSeed(config.seed))
            .map_err(EvaluatorError::refused)?;
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
            .map_err(EvaluatorError::failure)?;
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
        self.trainer.release();
        let measured: Vec<Result<Measured, train::Failure>> = outcomes
            .into_iter()
            .zip(tasks)
            .map(|(outcome, task)| {
                let outcome = outcome?;
                // After the training of all, so that nothing runs beside it.
                let measure = |device| train::latency(task.graph, &outcome.weights, device);
                let latency = self.latency.map(measure).transpose()?;
                let score = Score {
                    fitness: outcome.validation.accuracy,
                    loss: outcome.validation.loss,
                    curve: outcome.curve.iter().map(|&(step, loss)| (step as u64, loss)).collect(),
                    inherited: outcome.inherited as u64,
                    latency,
                };
                Ok(Measured { score, seconds: outcome.seconds, weights: Some(Box::new(outcome.weights)) })
            })
            .collect();
        of_a_whole_device(measured)
    }

    fn test(&mut self, graph: &Graph, weights: &Path) -> Result<Option<f64>, EvaluatorError> {
        let weights = train::Weights::load(weights).map_err(EvaluatorError::failure)?;
        let measured = self.trainer.test_accuracy(graph, &weights);
        measured.map(|measured| Some(measured.accuracy)).map_err(EvaluatorError::failure)
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

/// The results as the search takes them. What fails after a fault of the device fails for that reason, so the first
/// such network ends the search.
fn of_a_whole_device(
    measured: Vec<Result<Measured, train::Failure>>,
) -> Result<Vec<Result<Measured, String>>, EvaluatorError> {
    let failed =
        |result: &Result<Measured, train::Failure>| matches!(result, Err(train::Failure::Device { .. }));
    if let Some(index) = measured.iter().position(failed)
        && let Some(Err(failure)) = measured.get(index)
    {
        return Err(EvaluatorError { lost: Some(index), ..EvaluatorError::failure(failure) });
    }
    Ok(measured.into_iter().map(|result| result.map_err(|failure| failure.to_string())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "import torch\nimport torch.nn as nn\n\nclass Net(nn.Module):\n    \
                          def __init__(self):\n        \
                          super().__init__()\n        self.conv = nn.Conv2d(1, 4, 3)\n        self.fc = \
                          nn.Linear(144, 4)\n\n    def forward(self, x):\n        return \
                          self.fc(torch.relu(self.conv(x)).flatten(1))\n";

    #[test]
    fn defect_5_fitness_is_of_the_validation_split_and_the_test_split_is_another() {
        let config = config::resolve("[train]\nbatch_size = 16\n", "", &[], config::Device::Cpu, 1).unwrap();
        let dataset = Dataset::synthetic(&[1, 8, 8], 4, (200, 60, 80), RootSeed(1)).unwrap();
        let trainer = Trainer::new(dataset, config.train.clone(), config.device, 1, RootSeed(0)).unwrap();
        let mut evaluator = LibtorchEvaluator { trainer, latency: None };
        let graph =
            crate::lower::lower(&crate::lower::Request::new(SOURCE, &[1, 8, 8], Some(4))).unwrap().graph;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parent.safetensors");
        let mut train = |inherit: Option<&Path>, steps: usize| {
            let task = Task { graph: &graph, indices: [1, 0], inherit: inherit.map(Path::to_owned), steps };
            let measured = evaluator.evaluate(&[task], &mut |_| {}, &AtomicBool::new(false)).unwrap();
            let measured = measured.into_iter().next().unwrap().unwrap();
            measured.weights.as_ref().unwrap().save(&path).unwrap();
            measured.score
        };
        let first = train(None, 30);
        assert_eq!((first.inherited, first.curve.last().unwrap().0), (0, 30));
        let second = train(Some(&path), 7);
        assert_eq!((second.inherited, second.curve.last().unwrap().0), (4, 7));
        let weights = train::Weights::load(&path).unwrap();
        let validation = evaluator.trainer.validation_accuracy(&graph, &weights).unwrap().accuracy;
        let test = evaluator.trainer.test_accuracy(&graph, &weights).unwrap().accuracy;
        assert_eq!(second.fitness, validation);
        assert_eq!(evaluator.test(&graph, &path).unwrap(), Some(test));
        assert!((validation - test).abs() > 1e-6, "60 images and 80 others: {validation} {test}");
    }

    #[test]
    fn the_first_network_that_the_device_failed_in_ends_the_search_and_others_fail_alone() {
        let fine = || Ok(Measured::untrained(0.5, None));
        let own = || Err(train::Failure::NonFinite { step: 3 });
        let device = |words: &str| Err(train::Failure::Device { message: words.into() });
        let results = of_a_whole_device(vec![fine(), own()]).unwrap();
        assert!(results[0].is_ok() && results[1].as_ref().is_err_and(|words| words.contains("step 3")));
        let error = of_a_whole_device(vec![fine(), own(), device("assert"), device("again")]).err().unwrap();
        assert!(error.lost == Some(2) && error.message.ends_with("assert"), "{error:?}");
    }
}
