//! How long a trained network takes for one sample, alone in its batch.
//!
//! Input: a graph and its weights. Output: milliseconds, the median of [`ROUNDS`] after [`WARM_UP`], on one thread of
//! the processor or on the device. Limit: wall-clock time, so whoever needs it again must write it down.

use std::time::Instant;

use super::session::{Network, evaluation_generator};
use super::workers::alone;
use super::{Failure, Weights};
use crate::config::Device;
use crate::data;
use crate::graph::Graph;

/// Forward passes that are timed.
const ROUNDS: usize = 15;
/// Forward passes before them.
const WARM_UP: usize = 3;

/// Milliseconds of one sample.
///
/// # Errors
/// [`Failure`] where the weights do not fit the graph or libtorch fails.
pub fn latency(graph: &Graph, weights: &Weights, device: Device) -> Result<f64, Failure> {
    alone(|| {
        let network = Network::with_weights(graph, weights, device)?;
        let sizes: Vec<i64> = std::iter::once(1)
            .chain(graph.input_sizes.iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)))
            .collect();
        let options = (tch::Kind::Float, data::place(device));
        let input = tch::Tensor::f_zeros(sizes.as_slice(), options)?;
        let mut generator = evaluation_generator(device)?;
        let mut times = Vec::with_capacity(ROUNDS);
        let _no_gradients = tch::no_grad_guard();
        for round in 0..WARM_UP + ROUNDS {
            let start = Instant::now();
            let logits = network.forward(&input, false, &mut generator)?;
            // On a GPU, reading a number waits for the device.
            let _ = logits.f_sum(tch::Kind::Float)?.f_double_value(&[])?;
            if round >= WARM_UP {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times[ROUNDS / 2])
    })
}
