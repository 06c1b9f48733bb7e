//! Normalisation: batch, instance, layer, RMS, group and local response norms. The shape stays.

use super::{first, float, shape_error};
use crate::graph::op::BatchNorm;
use crate::graph::{BuildError, Dim, Fact, Shape};

/// `F.batch_norm`: input `(N, C, *)`, then running statistics and affine weights of `(C,)`.
pub(super) fn batch_norm(norm: &BatchNorm, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let input = first("batch_norm", inputs)?;
    float("batch_norm", input)?;
    let vectors = 2 * (usize::from(norm.running) + usize::from(norm.affine));
    let names = if norm.running {
        ["running_mean", "running_var", "weight", "bias"].as_slice()
    } else {
        ["weight", "bias"].as_slice()
    };
    per_channel("batch_norm", inputs, vectors, names)?;
    Ok(input.shape.clone())
}

/// `F.instance_norm`: input `(N, C, *)`.
pub(super) fn instance_norm(affine: bool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let input = first("instance_norm", inputs)?;
    float("instance_norm", input)?;
    per_channel("instance_norm", inputs, 2 * usize::from(affine), &["weight", "bias"])?;
    let spatial = input.shape.0.iter().skip(2).try_fold(Dim::fixed(1), |product, &dim| product.times(dim));
    if spatial == Some(Dim::fixed(1)) {
        return Err(shape_error(format!(
            "Expected more than 1 spatial element when training, got input size {}",
            input.shape
        )));
    }
    Ok(input.shape.clone())
}

/// Layer and RMS norm over the last dimensions, which must be `sizes`.
pub(super) fn over_last(
    name: &str,
    sizes: &[usize],
    weights: usize,
    inputs: &[Fact],
) -> Result<Shape, BuildError> {
    let input = first(name, inputs)?;
    float(name, input)?;
    let expected = Shape::fixed(sizes);
    if inputs.len() != 1 + weights {
        return Err(shape_error(format!("{name} expected {} inputs, got {}", 1 + weights, inputs.len())));
    }
    let fits = input.shape.0.ends_with(&expected.0) && !sizes.is_empty();
    if !fits || inputs[1..].iter().any(|fact| fact.shape != expected) {
        return Err(shape_error(format!(
            "Given normalized_shape={sizes:?}, expected input with shape [*, {}], but got input of size {}",
            sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            input.shape
        )));
    }
    Ok(input.shape.clone())
}

/// `F.group_norm`: input `(N, C, *)`, C divisible by the groups.
pub(super) fn group_norm(groups: usize, affine: bool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let input = first("group_norm", inputs)?;
    float("group_norm", input)?;
    let channels = channels("group_norm", input)?;
    if groups == 0 || channels % groups != 0 {
        return Err(shape_error(format!(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape {} and \
             num_groups={groups}",
            input.shape
        )));
    }
    per_channel("group_norm", inputs, 2 * usize::from(affine), &["weight", "bias"])?;
    Ok(input.shape.clone())
}

/// `F.local_response_norm`: input `(N, C, *)` of at least three dimensions.
pub(super) fn local_response_norm(size: usize, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let input = first("local_response_norm", inputs)?;
    float("local_response_norm", input)?;
    if input.shape.rank() < 3 {
        return Err(shape_error(format!(
            "Expected 3D or higher dimensionality input (got {} dimensions)",
            input.shape.rank()
        )));
    }
    if size == 0 {
        return Err(shape_error("local_response_norm: size must be positive"));
    }
    Ok(input.shape.clone())
}

fn channels(name: &str, input: &Fact) -> Result<usize, BuildError> {
    let dim = input.shape.0.get(1).copied();
    dim.and_then(Dim::known).ok_or_else(|| {
        shape_error(format!("{name}: expected at least 2 dimensions (N, C, ...), got {}", input.shape))
    })
}

fn per_channel(name: &str, inputs: &[Fact], vectors: usize, names: &[&str]) -> Result<(), BuildError> {
    let channels = channels(name, &inputs[0])?;
    if inputs.len() != 1 + vectors {
        return Err(shape_error(format!("{name} expected {} inputs, got {}", 1 + vectors, inputs.len())));
    }
    for (fact, what) in inputs[1..].iter().zip(names) {
        if fact.shape != Shape::fixed(&[channels]) {
            let got = fact.shape.numel().map_or_else(|| fact.shape.to_string(), |dim| dim.to_string());
            return Err(shape_error(format!("{what} should contain {channels} elements not {got}")));
        }
    }
    Ok(())
}
