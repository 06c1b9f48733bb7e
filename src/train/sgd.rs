//! Stochastic gradient descent and its learning-rate schedule: settings and a step number in, changed
//! parameters out.
//!
//! The step is `torch.optim.SGD` with dampening 0 (Sutskever et al. 2013 for Nesterov's form), all parameters
//! in one call. One limit: weight decay falls on every parameter alike, as in PyTorch.

use tch::{TchError, Tensor};

use super::shim::{SgdStep, sgd_step};
use crate::config::{Schedule, TrainConfig};

/// The optimiser of one job.
#[derive(Debug)]
pub(crate) struct Sgd {
    params: Vec<Tensor>,
    momenta: Vec<Tensor>,
}

impl Sgd {
    /// For the parameters that are trained.
    pub(crate) fn new(params: Vec<Tensor>) -> Result<Sgd, TchError> {
        let momenta =
            params.iter().map(|param| param.f_detach()?.f_zeros_like()).collect::<Result<_, _>>()?;
        Ok(Sgd { params, momenta })
    }

    /// Change the parameters by their gradients, which are cleared.
    pub(crate) fn step(&mut self, config: &TrainConfig, rate: f64) -> Result<(), TchError> {
        let step = SgdStep {
            rate,
            momentum: config.momentum,
            weight_decay: config.weight_decay,
            nesterov: config.nesterov,
            max_norm: config.clip_grad_norm,
        };
        sgd_step(&self.params, &self.momenta, step)
    }
}

/// The learning rate of step `step` (from 0) of `steps`. A triangle is read in the middle of the step, so
/// that no step has rate zero.
pub(crate) fn learning_rate(config: &TrainConfig, step: usize, steps: usize) -> f64 {
    match config.schedule {
        Schedule::Constant => config.learning_rate,
        Schedule::Triangular => {
            let (at, end) = (step as f64 + 0.5, steps as f64);
            let top = end * config.warmup;
            let share = if at < top { at / top } else { (end - at) / (end - top) };
            config.learning_rate * share.clamp(0.0, 1.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrainConfig {
        TrainConfig {
            steps: 10,
            batch_size: 4,
            learning_rate: 1.0,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            warmup: 0.2,
            label_smoothing: 0.0,
            clip_grad_norm: 0.0,
            flip: false,
            crop_padding: 0,
            inherit: false,
        }
    }

    /// The parameter after steps with gradient `gradient` each, starting at zero.
    fn after(config: &TrainConfig, gradient: &[f32], steps: usize) -> Vec<f32> {
        let param = Tensor::zeros([gradient.len() as i64], (tch::Kind::Float, tch::Device::Cpu));
        let param = param.set_requires_grad(true);
        let mut sgd = Sgd::new(vec![param.shallow_clone()]).unwrap();
        for _ in 0..steps {
            (&param * Tensor::from_slice(gradient)).sum(tch::Kind::Float).backward();
            sgd.step(config, config.learning_rate).unwrap();
        }
        Vec::try_from(&param.detach()).unwrap()
    }

    #[test]
    fn a_gradient_of_norm_five_is_clipped_to_norm_one() {
        let clipped = after(&TrainConfig { clip_grad_norm: 1.0, ..config() }, &[3.0, 4.0], 1);
        assert!((clipped[0] + 0.6).abs() < 1e-5 && (clipped[1] + 0.8).abs() < 1e-5, "{clipped:?}");
        let small = after(&TrainConfig { clip_grad_norm: 10.0, ..config() }, &[3.0, 4.0], 1);
        assert_eq!(small, [-3.0, -4.0]);
    }

    #[test]
    fn momentum_and_nesterov_follow_the_formula() {
        // v: 1, 1.5, 1.75; plain steps by v, Nesterov by g + 0.5 v: 1.5, 1.75, 1.875.
        let plain = after(&TrainConfig { momentum: 0.5, ..config() }, &[1.0], 3);
        assert_eq!(plain, [-4.25]);
        let nesterov = after(&TrainConfig { momentum: 0.5, nesterov: true, ..config() }, &[1.0], 3);
        assert_eq!(nesterov, [-5.125]);
    }

    #[test]
    fn weight_decay_pulls_towards_zero() {
        // w1 = -1; w2 = w1 - (1 + 0.1 w1) = -1.9.
        let decayed = after(&TrainConfig { weight_decay: 0.1, ..config() }, &[1.0], 2);
        assert!((decayed[0] + 1.9).abs() < 1e-6, "{decayed:?}");
    }

    #[test]
    fn a_triangle_climbs_for_its_warm_up_and_falls_to_zero() {
        let config = TrainConfig { schedule: Schedule::Triangular, ..config() };
        let rates: Vec<f64> = (0..10).map(|step| learning_rate(&config, step, 10)).collect();
        let expected = [0.25, 0.75, 0.9375, 0.8125, 0.6875, 0.5625, 0.4375, 0.3125, 0.1875, 0.0625];
        assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
        let none = TrainConfig { warmup: 0.0, ..config.clone() };
        assert!((learning_rate(&none, 0, 10) - 0.95).abs() < 1e-12);
        let all = TrainConfig { warmup: 1.0, ..config };
        assert!((learning_rate(&all, 9, 10) - 0.95).abs() < 1e-12);
    }
}
