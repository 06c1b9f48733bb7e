//! Recurrent layers: libtorch's own kernels, layer by layer where dropout stands between layers.
//!
//! Input: a sequence, perhaps initial states, and the weights in `state_dict` order. Output: the sequence,
//! the last hidden state and, for an LSTM, the last cell state. One limit: no packed sequences.

use tch::{Kind, TchError, Tensor};

use super::pointwise::drop_elements;
use super::{Context, arg, broken};
use crate::graph::op::{Cell, Recurrent};

pub(super) fn recurrent(
    settings: &Recurrent,
    inputs: &[&Tensor],
    context: &mut Context<'_>,
) -> Result<Vec<Tensor>, TchError> {
    let input = arg(inputs, 0)?;
    let unbatched = input.dim() == 2;
    let batch_dim = i64::from(!settings.batch_first);
    let sequence = if unbatched { input.f_unsqueeze(batch_dim)? } else { input.shallow_clone() };
    let batch = sequence.size().get(usize::from(!settings.batch_first)).copied().unwrap_or(1);
    let count = 1 + usize::from(settings.cell == Cell::Lstm);
    let mut initial: Vec<Tensor> = Vec::with_capacity(count);
    for index in 0..count {
        initial.push(match (settings.initial_state, unbatched) {
            // cuDNN takes no state that is expanded.
            (true, false) => arg(inputs, 1 + index)?.f_contiguous()?,
            (true, true) => arg(inputs, 1 + index)?.f_unsqueeze(1)?.f_contiguous()?,
            (false, _) => zero_state(settings, index, batch, context.device)?,
        });
    }
    let first_weight = 1 + if settings.initial_state { count } else { 0 };
    let weights = inputs.get(first_weight..).unwrap_or_default();
    let dropped = context.training && settings.dropout > 0.0 && settings.layers > 1;
    let mut outputs = if dropped {
        layer_by_layer(settings, sequence, &initial, weights, context)?
    } else {
        kernel(settings, settings.layers, &sequence, &initial, weights, context.training)?
    };
    if unbatched {
        for (index, output) in outputs.iter_mut().enumerate() {
            *output = output.f_squeeze_dim(if index == 0 { batch_dim } else { 1 })?;
        }
    }
    Ok(outputs)
}

fn layer_by_layer(
    settings: &Recurrent,
    mut sequence: Tensor,
    initial: &[Tensor],
    weights: &[&Tensor],
    context: &mut Context<'_>,
) -> Result<Vec<Tensor>, TchError> {
    let directions = 1 + i64::from(settings.bidirectional);
    let per_layer = (weights.len() / settings.layers.max(1)).max(1);
    let mut last: Vec<Vec<Tensor>> = initial.iter().map(|_| Vec::new()).collect();
    for (layer, weights) in weights.chunks(per_layer).enumerate() {
        if layer > 0 {
            sequence = drop_elements(&sequence, settings.dropout, context)?;
        }
        let mut start: Vec<Tensor> = Vec::with_capacity(initial.len());
        for state in initial {
            start.push(state.f_narrow(0, layer as i64 * directions, directions)?.f_contiguous()?);
        }
        let mut outputs = kernel(settings, 1, &sequence, &start, weights, context.training)?.into_iter();
        sequence = outputs.next().ok_or_else(|| broken("a recurrent layer without output"))?;
        for (states, state) in last.iter_mut().zip(outputs) {
            states.push(state);
        }
    }
    let mut outputs = vec![sequence];
    for states in &last {
        outputs.push(Tensor::f_cat(states, 0)?);
    }
    Ok(outputs)
}

/// libtorch's kernel for a stack of layers without dropout between them.
fn kernel(
    settings: &Recurrent,
    layers: usize,
    sequence: &Tensor,
    initial: &[Tensor],
    weights: &[&Tensor],
    training: bool,
) -> Result<Vec<Tensor>, TchError> {
    let (layers, bias) = (layers as i64, settings.bias);
    let (both, batch_first) = (settings.bidirectional, settings.batch_first);
    let initial: Vec<&Tensor> = initial.iter().collect();
    let state = *initial.first().ok_or_else(|| broken("a recurrent layer without state"))?;
    let pair = |(sequence, state)| vec![sequence, state];
    match settings.cell {
        Cell::Lstm => sequence
            .f_lstm(&initial, weights, bias, layers, 0.0, training, both, batch_first)
            .map(|(sequence, hidden, cell)| vec![sequence, hidden, cell]),
        Cell::Gru => sequence.f_gru(state, weights, bias, layers, 0.0, training, both, batch_first).map(pair),
        Cell::RnnTanh => {
            sequence.f_rnn_tanh(state, weights, bias, layers, 0.0, training, both, batch_first).map(pair)
        }
        Cell::RnnRelu => {
            sequence.f_rnn_relu(state, weights, bias, layers, 0.0, training, both, batch_first).map(pair)
        }
    }
}

/// Zeros `(layers * directions, n, features)`.
fn zero_state(
    settings: &Recurrent,
    index: usize,
    batch: i64,
    device: tch::Device,
) -> Result<Tensor, TchError> {
    let projected = index == 0 && settings.projection > 0;
    let width = if projected { settings.projection } else { settings.hidden };
    let rows = settings.layers * (1 + usize::from(settings.bidirectional));
    Tensor::f_zeros([rows as i64, batch, width as i64], (Kind::Float, device))
}
