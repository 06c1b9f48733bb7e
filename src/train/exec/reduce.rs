//! Reductions over dimensions: a tensor in, fewer or shorter dimensions out.
//!
//! One limit: of several equal extremes, a reduction over several dimensions shares the gradient among them.

use tch::{Kind, TchError, Tensor};

use super::ints;
use crate::graph::op::Reduction;

/// Reduce over `dims`, or over all where there are none.
pub(super) fn reduce(op: Reduction, dims: &[usize], keepdim: bool, x: &Tensor) -> Result<Tensor, TchError> {
    let all: Vec<i64> = if dims.is_empty() { (0..x.dim() as i64).collect() } else { ints(dims) };
    let over = all.as_slice();
    let first = dims.first().map(|&dim| dim as i64).filter(|_| dims.len() == 1);
    match op {
        Reduction::Sum => x.f_sum_dim_intlist(over, keepdim, None::<Kind>),
        Reduction::Mean => x.f_mean_dim(over, keepdim, None::<Kind>),
        Reduction::Prod => one_by_one(x, over, |x, dim| x.f_prod_dim_int(dim, keepdim, None::<Kind>)),
        // One dimension: the gradient goes to one of several equal values, as torch.max(x, dim) does it.
        Reduction::Max if dims.len() == 1 => x.f_max_dim(over[0], keepdim).map(|pair| pair.0),
        Reduction::Min if dims.len() == 1 => x.f_min_dim(over[0], keepdim).map(|pair| pair.0),
        Reduction::Max => x.f_amax(over, keepdim),
        Reduction::Min => x.f_amin(over, keepdim),
        Reduction::ArgMax => x.f_argmax(first, keepdim),
        Reduction::ArgMin => x.f_argmin(first, keepdim),
        Reduction::LogSumExp => x.f_logsumexp(over, keepdim),
        Reduction::Var { correction } => x.f_var_correction(over, correction, keepdim),
        Reduction::Std { correction } => x.f_std_correction(over, correction, keepdim),
        Reduction::Norm { p } => x.f_norm_scalaropt_dim(p, over, keepdim),
        Reduction::All => one_by_one(&x.f_to_kind(Kind::Bool)?, over, |x, dim| x.f_all_dim(dim, keepdim)),
        Reduction::Any => one_by_one(&x.f_to_kind(Kind::Bool)?, over, |x, dim| x.f_any_dim(dim, keepdim)),
    }
}

/// Last dimension first, so that the numbers of the others stay.
fn one_by_one(
    x: &Tensor,
    dims: &[i64],
    step: impl Fn(&Tensor, i64) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    dims.iter().rev().try_fold(x.shallow_clone(), |x, &dim| step(&x, dim))
}
