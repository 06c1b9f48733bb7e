//! Values of operations that take several elements of a constant together: sums, products, softmax, norms.
//!
//! Input: constants and an operation's settings. Output: the elements of its result, row-major, in double precision.
//! Limit: `MAX_VALUES` steps; of `einsum`, equations without an ellipsis.

use std::rc::Rc;

use crate::graph::Op;
use crate::graph::op::Reduction;
use crate::lower::torch::constant::{Constant, build, truth};
use crate::lower::torch::creation::MAX_VALUES;

/// The values of such an operation, whose result has these sizes; `None` where it is none of them.
pub(super) fn compute(op: &Op, inputs: &[Rc<Constant>], sizes: &[usize]) -> Option<Vec<f64>> {
    let x = inputs.first()?;
    Some(match op {
        Op::MatMul => product(x, inputs.get(1)?, sizes)?,
        Op::Einsum { equation } => einsum(equation, inputs, sizes)?,
        Op::Reduce { op, dims, keepdim } => reduce(*op, dims, *keepdim, x, sizes)?,
        Op::CumSum { dim } => along(x, *dim, |line| {
            (1..line.len()).for_each(|at| line[at] += line[at - 1]);
        }),
        Op::CumProd { dim } => along(x, *dim, |line| {
            (1..line.len()).for_each(|at| line[at] *= line[at - 1]);
        }),
        Op::Softmax { dim } => along(x, *dim, |line| {
            let total = log_sum_exp(line);
            line.iter_mut().for_each(|value| *value = (*value - total).exp());
        }),
        Op::LogSoftmax { dim } => along(x, *dim, |line| {
            let total = log_sum_exp(line);
            line.iter_mut().for_each(|value| *value -= total);
        }),
        Op::Normalize { p, dim, eps } => along(x, *dim, |line| {
            let length = norm(line, *p).max(*eps);
            line.iter_mut().for_each(|value| *value /= length);
        }),
        _ => return None,
    })
}

/// The elements with each line along a dimension changed.
fn along(x: &Constant, dim: usize, change: impl Fn(&mut [f64])) -> Vec<f64> {
    let mut values = x.values.clone();
    let size = x.sizes.get(dim).copied().unwrap_or(1);
    let stride: usize = x.sizes.iter().skip(dim + 1).product();
    let mut line = vec![0.0; size];
    for start in (0..values.len()).filter(|start| (start / stride).is_multiple_of(size)) {
        for (at, value) in line.iter_mut().enumerate() {
            *value = values[start + at * stride];
        }
        change(&mut line);
        for (at, value) in line.iter().enumerate() {
            values[start + at * stride] = *value;
        }
    }
    values
}

fn log_sum_exp(line: &[f64]) -> f64 {
    let most = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        return most;
    }
    most + line.iter().map(|value| (value - most).exp()).sum::<f64>().ln()
}

fn norm(line: &[f64], p: f64) -> f64 {
    let sizes = line.iter().map(|value| value.abs());
    if p == f64::INFINITY {
        sizes.fold(0.0, f64::max)
    } else if p == f64::NEG_INFINITY {
        sizes.fold(f64::INFINITY, f64::min)
    } else if p == 0.0 {
        sizes.map(|value| truth(value != 0.0)).sum()
    } else if p == 2.0 {
        sizes.map(|value| value * value).sum::<f64>().sqrt()
    } else {
        sizes.map(|value| value.powf(p)).sum::<f64>().powf(1.0 / p)
    }
}

/// A product of matrices, of which there may be a batch.
fn product(a: &Constant, b: &Constant, sizes: &[usize]) -> Option<Vec<f64>> {
    if a.sizes.len() < 2 || b.sizes.len() < 2 {
        return None;
    }
    let inner = *a.sizes.last()?;
    if sizes.iter().product::<usize>().checked_mul(inner)? > MAX_VALUES {
        return None;
    }
    Some(build(sizes, |place| {
        let (mut left, mut right) = (place.to_vec(), place.to_vec());
        let rank = place.len();
        (0..inner)
            .map(|at| {
                (left[rank - 1], right[rank - 2]) = (at, at);
                a.at(&left) * b.at(&right)
            })
            .sum()
    }))
}

/// `torch.einsum`: the sum, over the letters that the result lacks, of the products.
fn einsum(equation: &str, inputs: &[Rc<Constant>], sizes: &[usize]) -> Option<Vec<f64>> {
    let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (terms, result) = equation.split_once("->")?;
    let terms: Vec<Vec<char>> = terms.split(',').map(|term| term.chars().collect()).collect();
    let mut letters: Vec<char> = result.chars().collect();
    let kept = letters.len();
    if equation.contains('.') || kept != sizes.len() || terms.len() != inputs.len() {
        return None;
    }
    let mut extents = sizes.to_vec();
    for (term, input) in terms.iter().zip(inputs) {
        if term.len() != input.sizes.len() {
            return None;
        }
        for (&letter, &size) in term.iter().zip(&input.sizes) {
            match letters.iter().position(|&known| known == letter) {
                Some(at) => extents[at] = extents[at].max(size),
                None => {
                    letters.push(letter);
                    extents.push(size);
                }
            }
        }
    }
    if extents.iter().try_fold(1usize, |product, &size| product.checked_mul(size))? > MAX_VALUES {
        return None;
    }
    let places: Vec<Vec<usize>> = terms
        .iter()
        .map(|term| {
            term.iter().filter_map(|letter| letters.iter().position(|known| known == letter)).collect()
        })
        .collect();
    let mut sums = vec![0.0; sizes.iter().product()];
    build(&extents, |place| {
        let offset = place[..kept].iter().zip(sizes).fold(0, |offset, (&at, &size)| offset * size + at);
        let factor = |(input, places): (&Rc<Constant>, &Vec<usize>)| {
            let at: Vec<usize> = places.iter().map(|&dim| place[dim]).collect();
            input.at(&at)
        };
        sums[offset] += inputs.iter().zip(&places).map(factor).product::<f64>();
        0.0
    });
    Some(sums)
}

fn reduce(op: Reduction, dims: &[usize], keepdim: bool, x: &Constant, sizes: &[usize]) -> Option<Vec<f64>> {
    let rank = x.sizes.len();
    let gone = |dim: usize| dims.is_empty() || dims.contains(&dim);
    if matches!(op, Reduction::ArgMax | Reduction::ArgMin) && dims.len() != 1 && rank != 1 {
        return None;
    }
    // The elements that each element of the result is made of.
    let mut groups: Vec<Vec<f64>> = vec![Vec::new(); sizes.iter().product()];
    build(&x.sizes, |place| {
        let (mut offset, mut axis) = (0, 0);
        for (dim, &at) in place.iter().enumerate() {
            if gone(dim) {
                axis += usize::from(keepdim);
            } else {
                offset = offset * sizes[axis] + at;
                axis += 1;
            }
        }
        groups[offset].push(x.at(place));
        0.0
    });
    Some(groups.iter().map(|group| reduced(op, group)).collect())
}

fn reduced(op: Reduction, group: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "constants are small")]
    let number = |count: usize| count as f64;
    let count = number(group.len());
    let values = group.iter().copied();
    let variance = |correction: f64| {
        let mean = values.clone().sum::<f64>() / count;
        values.clone().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - correction).max(0.0)
    };
    let best = |better: fn(f64, f64) -> bool| {
        let first = |best: usize, at: usize| if better(group[at], group[best]) { at } else { best };
        number((0..group.len()).fold(0, first))
    };
    match op {
        Reduction::Sum => values.sum(),
        Reduction::Mean => values.sum::<f64>() / count,
        Reduction::Prod => values.product(),
        Reduction::Max => values.fold(f64::NEG_INFINITY, f64::max),
        Reduction::Min => values.fold(f64::INFINITY, f64::min),
        Reduction::ArgMax => best(|new, old| new > old),
        Reduction::ArgMin => best(|new, old| new < old),
        Reduction::LogSumExp => log_sum_exp(group),
        Reduction::Var { correction } => variance(correction),
        Reduction::Std { correction } => variance(correction).sqrt(),
        Reduction::Norm { p } => norm(group, p),
        Reduction::All => truth(values.clone().all(|value| value != 0.0)),
        Reduction::Any => truth(values.clone().any(|value| value != 0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;

    fn constant(sizes: &[usize], values: &[f64]) -> Rc<Constant> {
        Rc::new(Constant { sizes: sizes.to_vec(), dtype: DType::F64, values: values.to_vec() })
    }

    fn check(op: &Op, inputs: &[Rc<Constant>], sizes: &[usize], expected: &[f64]) {
        let values = compute(op, inputs, sizes).unwrap();
        let close = values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close && values.len() == expected.len(), "{op:?}: {values:?}");
    }

    #[test]
    fn lines_are_those_of_the_dimension() {
        let x = constant(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(&Op::CumSum { dim: 1 }, &[Rc::clone(&x)], &[2, 3], &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
        check(&Op::CumSum { dim: 0 }, &[Rc::clone(&x)], &[2, 3], &[1.0, 2.0, 3.0, 5.0, 7.0, 9.0]);
        check(&Op::CumProd { dim: 1 }, &[Rc::clone(&x)], &[2, 3], &[1.0, 2.0, 6.0, 4.0, 20.0, 120.0]);
        let half = 1.0 / 1f64.exp().mul_add(1.0, 1.0);
        let pair = constant(&[2], &[0.0, 1.0]);
        check(&Op::Softmax { dim: 0 }, &[pair], &[2], &[half, 1.0 - half]);
        let sides = constant(&[1, 2], &[3.0, 4.0]);
        check(&Op::Normalize { p: 2.0, dim: 1, eps: 1e-12 }, &[sides], &[1, 2], &[0.6, 0.8]);
    }

    #[test]
    fn einsum_sums_over_what_the_result_lacks() {
        let (a, b) = (constant(&[2], &[1.0, 2.0]), constant(&[3], &[5.0, 6.0, 7.0]));
        let outer = Op::Einsum { equation: "i,j->ij".into() };
        check(&outer, &[Rc::clone(&a), Rc::clone(&b)], &[2, 3], &[5.0, 6.0, 7.0, 10.0, 12.0, 14.0]);
        let square = constant(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        check(&Op::Einsum { equation: "i i -> ".into() }, &[Rc::clone(&square)], &[], &[5.0]);
        check(&Op::Einsum { equation: "ij,j->i".into() }, &[square, a], &[2], &[5.0, 11.0]);
        assert!(compute(&Op::Einsum { equation: "...i->i".into() }, &[b], &[3]).is_none());
    }

    #[test]
    fn reductions_are_those_of_each_group() {
        let x = constant(&[2, 2], &[1.0, 3.0, -4.0, 0.0]);
        let reduce = |op: Reduction, expected: &[f64]| {
            check(&Op::Reduce { op, dims: vec![1], keepdim: false }, &[Rc::clone(&x)], &[2], expected);
        };
        reduce(Reduction::Mean, &[2.0, -2.0]);
        reduce(Reduction::Var { correction: 1.0 }, &[2.0, 8.0]);
        reduce(Reduction::Std { correction: 0.0 }, &[1.0, 2.0]);
        reduce(Reduction::Norm { p: 1.0 }, &[4.0, 4.0]);
        reduce(Reduction::Norm { p: f64::INFINITY }, &[3.0, 4.0]);
        reduce(Reduction::ArgMax, &[1.0, 1.0]);
        reduce(Reduction::Any, &[1.0, 1.0]);
        reduce(Reduction::All, &[1.0, 0.0]);
        let all = Op::Reduce { op: Reduction::LogSumExp, dims: vec![], keepdim: false };
        check(&all, &[constant(&[2], &[0.0, 0.0])], &[], &[2f64.ln()]);
    }
}
