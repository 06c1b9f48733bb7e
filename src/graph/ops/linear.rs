//! Products: `F.linear`, `F.bilinear`, `F.embedding`, `torch.matmul`, `torch.einsum`, attention.

use std::collections::BTreeMap;

use super::{broadcast, first, float, shape_error, take};
use crate::graph::{BuildError, DType, Dim, Fact, Shape};

/// `F.linear`: input `(*, in)`, weight `(out, in)`, bias `(out,)`; output `(*, out)`.
pub(super) fn linear(bias: bool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let input = first("linear", inputs)?;
    float("addmm_impl_cpu_", input)?;
    if inputs.len() != 2 + usize::from(bias) {
        return Err(shape_error(format!("linear expected {} inputs", 2 + usize::from(bias))));
    }
    let [out_features, in_features] = inputs[1].shape.0[..] else {
        return Err(shape_error(format!("linear: weight must be a matrix, got {}", inputs[1].shape)));
    };
    let Some((&last, leading)) = input.shape.0.split_last() else {
        return Err(shape_error("both arguments to linear need to be at least 1D, but they are 0D and 2D"));
    };
    if last != in_features {
        let rows = Shape(leading.to_vec()).numel().map_or("?".to_owned(), |rows| rows.to_string());
        return Err(shape_error(format!(
            "mat1 and mat2 shapes cannot be multiplied ({rows}x{last} and {in_features}x{out_features})"
        )));
    }
    if bias && inputs[2].shape.0 != [out_features] {
        return Err(shape_error(format!(
            "linear: bias of size {} does not fit {out_features} features",
            inputs[2].shape
        )));
    }
    let mut shape = Shape(leading.to_vec());
    shape.0.push(out_features);
    Ok(shape)
}

/// `F.bilinear`: inputs `(*, in1)` and `(*, in2)`, weight `(out, in1, in2)`; output `(*, out)`.
pub(super) fn bilinear(bias: bool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    if inputs.len() != 3 + usize::from(bias) {
        return Err(shape_error(format!("bilinear expected {} inputs", 3 + usize::from(bias))));
    }
    let (left, right, weight) = (&inputs[0].shape, &inputs[1].shape, &inputs[2].shape);
    let fits = weight.rank() == 3
        && left.0.last() == Some(&weight.0[1])
        && right.0.last() == Some(&weight.0[2])
        && left.0[..left.rank() - 1] == right.0[..right.rank() - 1];
    if !fits {
        return Err(shape_error(format!("bilinear(): sizes {left}, {right} and weight {weight} do not fit")));
    }
    let mut shape = Shape(left.0[..left.rank() - 1].to_vec());
    shape.0.push(weight.0[0]);
    Ok(shape)
}

/// `F.embedding`: indices `(*)`, weight `(entries, width)`; output `(*, width)`.
pub(super) fn embedding(inputs: &[Fact]) -> Result<Shape, BuildError> {
    let [indices, weight] = take("embedding", inputs)?;
    if indices.dtype != DType::I64 || weight.shape.rank() != 2 {
        return Err(shape_error(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int",
        ));
    }
    let mut shape = indices.shape.clone();
    shape.0.push(weight.shape.0[1]);
    Ok(shape)
}

/// `torch.matmul`, with its rules for vectors and its broadcasting of leading dimensions.
pub(super) fn matmul(inputs: &[Fact]) -> Result<Shape, BuildError> {
    let [left, right] = take("matmul", inputs)?;
    float("matmul", left)?;
    float("matmul", right)?;
    let (left, right) = (&left.shape, &right.shape);
    if left.rank() == 0 || right.rank() == 0 {
        return Err(shape_error("both arguments to matmul need to be at least 1D"));
    }
    let (rows, inner) = match left.0[..] {
        [inner] => (None, inner),
        [.., rows, inner] => (Some(rows), inner),
        [] => unreachable!("rank checked above"),
    };
    let (inner_right, columns) = match right.0[..] {
        [inner] => (inner, None),
        [.., inner, columns] => (inner, Some(columns)),
        [] => unreachable!("rank checked above"),
    };
    if inner != inner_right {
        return Err(shape_error(format!(
            "mat1 and mat2 shapes cannot be multiplied ({left} and {right}): expected {inner}, got {inner_right}"
        )));
    }
    let batch_of = |shape: &Shape| Shape(shape.0[..shape.rank().saturating_sub(2)].to_vec());
    let mut shape = broadcast(&batch_of(left), &batch_of(right))?;
    shape.0.extend(rows);
    shape.0.extend(columns);
    Ok(shape)
}

/// `F.scaled_dot_product_attention`: query `(*, L, E)`, key `(*, S, E)`, value `(*, S, V)`; output `(*, L, V)`. A mask
/// is spread over the scores `(*, L, S)`, and they over no mask.
pub(super) fn attention(mask: bool, inputs: &[Fact]) -> Result<Shape, BuildError> {
    if inputs.len() != 3 + usize::from(mask) {
        return Err(shape_error("scaled_dot_product_attention expected query, key and value"));
    }
    for input in &inputs[..3] {
        float("scaled_dot_product_attention", input)?;
    }
    let [query, key, value] = [&inputs[0].shape, &inputs[1].shape, &inputs[2].shape];
    let ranks = [query.rank(), key.rank(), value.rank()];
    let bad = || {
        shape_error(format!(
            "scaled_dot_product_attention: query {query}, key {key} and value {value} do not fit"
        ))
    };
    if ranks.iter().any(|&rank| rank < 2) {
        return Err(bad());
    }
    let [lq, eq] = [query.0[ranks[0] - 2], query.0[ranks[0] - 1]];
    let [sk, ek] = [key.0[ranks[1] - 2], key.0[ranks[1] - 1]];
    let [sv, ev] = [value.0[ranks[2] - 2], value.0[ranks[2] - 1]];
    if eq != ek || sk != sv {
        return Err(bad());
    }
    let heads = |shape: &Shape| Shape(shape.0[..shape.rank() - 2].to_vec());
    let mut scores = broadcast(&heads(query), &heads(key))?;
    let mut shape = broadcast(&scores, &heads(value))?;
    if mask {
        scores.0.extend([lq, sk]);
        let spread = broadcast(&inputs[3].shape, &scores)?;
        if spread != scores {
            return Err(shape_error(format!(
                "output with shape {scores} doesn't match the broadcast shape {spread}"
            )));
        }
        let (mask, query) = (inputs[3].dtype, inputs[0].dtype);
        if mask != DType::Bool && mask != DType::F32 && mask != query {
            return Err(shape_error(format!(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: {} \
                 and query.dtype: {}",
                mask.name(),
                query.name()
            )));
        }
    }
    shape.0.extend([lq, ev]);
    Ok(shape)
}

/// The size of each letter of an einsum equation, which has been checked against the inputs.
///
/// # Errors
/// A letter with two sizes, a wrong number of operands or dimensions, an ellipsis (not supported).
pub fn einsum_dims(equation: &str, inputs: &[Fact]) -> Result<BTreeMap<char, Dim>, BuildError> {
    if equation.contains('.') {
        return Err(BuildError::Unsupported("einsum with an ellipsis".to_owned()));
    }
    let Some((left, right)) = equation.split_once("->") else {
        return Err(shape_error(format!("einsum(): expected `->` in the equation {equation:?}")));
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != inputs.len() {
        return Err(shape_error(format!(
            "einsum(): the equation names {} operands, got {}",
            terms.len(),
            inputs.len()
        )));
    }
    let mut dims = BTreeMap::new();
    for (term, input) in terms.iter().zip(inputs) {
        if term.chars().count() != input.shape.rank() {
            return Err(shape_error(format!(
                "einsum(): the number of subscripts in {term:?} does not match the number of dimensions of {}",
                input.shape
            )));
        }
        for (letter, &dim) in term.chars().zip(&input.shape.0) {
            let known = dims.entry(letter).or_insert(dim);
            if *known == Dim::fixed(1) {
                *known = dim;
            } else if *known != dim && dim != Dim::fixed(1) {
                return Err(shape_error(format!("einsum(): subscript {letter} has sizes {known} and {dim}")));
            }
        }
    }
    match right.chars().find(|letter| !dims.contains_key(letter)) {
        Some(letter) => Err(shape_error(format!("einsum(): output subscript {letter} is in no operand"))),
        None => Ok(dims),
    }
}

/// `torch.einsum`.
pub(super) fn einsum(equation: &str, inputs: &[Fact]) -> Result<Shape, BuildError> {
    let dims = einsum_dims(equation, inputs)?;
    let output = equation.split_once("->").map_or("", |(_, output)| output);
    Ok(Shape(output.chars().map(|letter| dims[&letter]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(shape: Shape) -> Fact {
        Fact { shape, dtype: DType::F32 }
    }

    #[test]
    fn a_linear_layer_that_does_not_fit_says_both_shapes() {
        let inputs = [fact(Shape::batched(&[512])), fact(Shape::fixed(&[10, 1024]))];
        assert_eq!(
            linear(false, &inputs).unwrap_err().to_string(),
            "mat1 and mat2 shapes cannot be multiplied (Nx512 and 1024x10)"
        );
    }

    #[test]
    fn matmul_broadcasts_leading_dimensions() {
        let inputs = [fact(Shape::batched(&[4, 7, 16])), fact(Shape::fixed(&[16, 5]))];
        assert_eq!(matmul(&inputs).unwrap(), Shape::batched(&[4, 7, 5]));
    }

    #[test]
    fn einsum_checks_every_subscript() {
        let inputs = [fact(Shape::batched(&[4, 8])), fact(Shape::batched(&[8, 3]))];
        assert_eq!(einsum("bij,bjk->bik", &inputs).unwrap(), Shape::batched(&[4, 3]));
        assert!(einsum("bij,bik->bjk", &inputs).is_err());
    }
}
