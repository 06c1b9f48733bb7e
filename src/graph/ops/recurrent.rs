//! Recurrent layers: `nn.RNN`, `nn.LSTM`, `nn.GRU`.
//!
//! # Shapes
//! sequence `(N, L, F)` if `batch_first`, else `(L, N, F)`, or `(L, F)` for one sample; outputs: the sequence with
//! `directions * hidden` features, the last hidden state `(layers * directions, N, hidden)`, and an LSTM's cell state.

use super::{first, float, precision, shape_error};
use crate::graph::op::{Cell, Recurrent};
use crate::graph::{BuildError, Dim, Fact, Shape};

/// Facts of the outputs.
pub(super) fn recurrent(settings: &Recurrent, inputs: &[Fact]) -> Result<Vec<Fact>, BuildError> {
    let input = first("recurrent layer", inputs)?;
    float("rnn", input)?;
    let (sequence, features) = match input.shape.0[..] {
        [.., features] if (2..=3).contains(&input.shape.rank()) => (&input.shape, features),
        _ => {
            return Err(shape_error(format!(
                "RNN: Expected input to be 2D or 3D, got {}D instead",
                input.shape.rank()
            )));
        }
    };
    let directions = 1 + usize::from(settings.bidirectional);
    let states = if settings.initial_state { 1 + usize::from(settings.cell == Cell::Lstm) } else { 0 };
    let per_layer = 2 + 2 * usize::from(settings.bias) + usize::from(settings.projection > 0);
    let expected = 1 + states + settings.layers * directions * per_layer;
    if inputs.len() != expected || settings.layers == 0 {
        return Err(shape_error(format!("recurrent layer expected {expected} inputs, got {}", inputs.len())));
    }
    let weight = &inputs[1 + states].shape;
    if weight.rank() != 2 || weight.0[1] != features {
        let wanted = weight.0.last().map_or_else(String::new, ToString::to_string);
        return Err(shape_error(format!(
            "input.size(-1) must be equal to input_size. Expected {wanted}, got {features}"
        )));
    }
    let out = if settings.projection > 0 { settings.projection } else { settings.hidden };
    let batch = match (sequence.rank(), settings.batch_first) {
        (3, true) => Some(sequence.0[0]),
        (3, false) => Some(sequence.0[1]),
        _ => None,
    };
    let state = |width: usize| {
        let mut shape = Shape::fixed(&[settings.layers * directions]);
        shape.0.extend(batch);
        shape.0.push(Dim::from(width));
        shape
    };
    for (index, width) in [out, settings.hidden].iter().enumerate().take(states) {
        let (got, expected) = (&inputs[1 + index].shape, state(*width));
        if *got != expected {
            let name = if index == 0 { "hidden[0]" } else { "hidden[1]" };
            return Err(shape_error(format!("Expected {name} size {expected}, got {got}")));
        }
    }
    let mut output = sequence.clone();
    if let Some(last) = output.0.last_mut() {
        *last = Dim::from(out * directions);
    }
    let mut shapes = vec![output, state(out)];
    if settings.cell == Cell::Lstm {
        shapes.push(state(settings.hidden));
    }
    let dtype = precision("rnn", inputs)?;
    Ok(shapes.into_iter().map(|shape| Fact { shape, dtype }).collect())
}
