//! Start values of parameters and buffers: how a parameter starts and a random stream in, a tensor out.
//!
//! The values come from our own streams, not from libtorch's generator, so that a start depends on the seed
//! and the place in the search alone. Distributions are PyTorch's (`torch.nn.init`). One limit: the bits are
//! not PyTorch's.

use tch::{Kind, TchError, Tensor};

use super::exec::{Context, Plan, kind, literal};
use super::shim::Generator;
use crate::graph::{Graph, Init, Param};
use crate::rng::Stream;

/// Draws of a truncated normal before the bounds are taken for too far away.
const TRIES: usize = 1000;

/// The tensor a parameter starts as.
pub(crate) fn start(param: &Param, stream: &mut Stream, device: tch::Device) -> Result<Tensor, TchError> {
    let sizes: Vec<i64> = param.sizes.iter().map(|&size| size as i64).collect();
    match &param.init {
        Init::Constant(value) => {
            return Tensor::f_full(sizes, *value, (Kind::Double, device))?.f_to_kind(kind(param.dtype));
        }
        Init::Values(values) => return literal(&param.sizes, values, param.dtype, device),
        Init::Computed(graph) => {
            return computed(graph, stream)?.f_to_kind(kind(param.dtype))?.f_contiguous()?.f_to(device);
        }
        _ => {}
    }
    let values = drawn(&param.init, &param.sizes, stream)?;
    Tensor::f_from_slice(&values)?.f_reshape(sizes)?.f_to_kind(kind(param.dtype))?.f_to(device)
}

/// The first values of a tensor of these sizes, row-major. A start in parts draws the whole before its parts.
fn drawn(init: &Init, sizes: &[usize], stream: &mut Stream) -> Result<Vec<f32>, TchError> {
    let count = sizes.iter().product();
    Ok(match init {
        Init::Constant(value) => vec![*value as f32; count],
        Init::Values(values) => values.iter().map(|&value| value as f32).collect(),
        Init::Orthogonal { gain } => Vec::try_from(orthogonal(sizes, *gain, stream)?)?,
        Init::Uniform { low, high } => {
            let (low, width) = (*low as f32, (high - low) as f32);
            (0..count).map(|_| low + width * stream.uniform_f32()).collect()
        }
        Init::Normal { mean, std } => (0..count).map(|_| (mean + std * stream.normal()) as f32).collect(),
        Init::TruncatedNormal { mean, std, low, high } => {
            (0..count).map(|_| truncated(*mean, *std, *low, *high, stream) as f32).collect()
        }
        Init::Eye => {
            let columns = sizes.get(1).copied().unwrap_or(1).max(1);
            (0..count).map(|index| if index / columns == index % columns { 1.0 } else { 0.0 }).collect()
        }
        Init::Dirac { groups } => dirac(sizes, *groups),
        Init::Computed(graph) => {
            Vec::try_from(computed(graph, stream)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_reshape([-1])?)?
        }
        Init::Parts { base, parts } => {
            let mut values = drawn(base, sizes, stream)?;
            for (region, init) in parts {
                let part = drawn(init, &region.sizes(), stream)?;
                for (offset, value) in region.offsets(sizes).into_iter().zip(part) {
                    if let Some(place) = values.get_mut(offset) {
                        *place = value;
                    }
                }
            }
            values
        }
    })
}

/// What a graph without an input computes from the starts of its parameters: on the processor, so that the values do
/// not depend on the device.
fn computed(graph: &Graph, stream: &mut Stream) -> Result<Tensor, TchError> {
    let device = tch::Device::Cpu;
    let params: Vec<Tensor> =
        graph.params.iter().map(|param| start(param, stream, device)).collect::<Result<_, _>>()?;
    let mut generator = Generator::new(0, crate::config::Device::Cpu)?;
    let mut context =
        Context { params: &params, generator: &mut generator, training: true, batch: 1, device };
    let none = Tensor::f_zeros([0], (Kind::Float, device))?;
    // The result may be a view of what it starts from, which another tensor may start from too.
    tch::no_grad(|| Plan::new(graph).forward(&none, &mut context))?.f_detach_copy()
}

/// A normal number within the bounds, by drawing again.
fn truncated(mean: f64, std: f64, low: f64, high: f64, stream: &mut Stream) -> f64 {
    for _ in 0..TRIES {
        let value = mean + std * stream.normal();
        if (low..=high).contains(&value) {
            return value;
        }
    }
    low + (high - low) * stream.uniform()
}

/// Rows (or columns, where there are fewer) of length `gain`, at right angles, as `nn.init.orthogonal_`; flat.
fn orthogonal(sizes: &[usize], gain: f64, stream: &mut Stream) -> Result<Tensor, TchError> {
    let rows = sizes.first().copied().unwrap_or(1) as i64;
    let columns = sizes.iter().skip(1).product::<usize>() as i64;
    let values: Vec<f64> = (0..rows * columns).map(|_| stream.normal()).collect();
    let flat = Tensor::f_from_slice(&values)?.f_reshape([rows, columns])?;
    let tall = if rows < columns { flat.f_transpose(0, 1)?.f_contiguous()? } else { flat };
    let (q, r) = Tensor::f_linalg_qr(&tall, "reduced")?;
    let q = q.f_mul(&r.f_diagonal(0, 0, 1)?.f_sign()?)?;
    let q = if rows < columns { q.f_transpose(0, 1)? } else { q };
    q.f_mul_scalar(gain)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_reshape([-1])
}

/// A convolution weight `(out, in / groups, *kernel)` that passes its input through, as `nn.init.dirac_`.
fn dirac(sizes: &[usize], groups: usize) -> Vec<f32> {
    let mut values = vec![0.0; sizes.iter().product()];
    let (Some(&out), Some(&width)) = (sizes.first(), sizes.get(1)) else { return values };
    let kernel: usize = sizes[2..].iter().product();
    let centre = sizes[2..].iter().fold(0, |index, &size| index * size + size / 2);
    let per_group = out / groups.max(1);
    for group in 0..groups {
        for channel in 0..per_group.min(width) {
            let place = ((group * per_group + channel) * width + channel) * kernel + centre;
            if let Some(value) = values.get_mut(place) {
                *value = 1.0;
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::graph::op::Unary;
    use crate::graph::{Builder, DType, Limits, Op, Origin, ParamKind, Place, Region};
    use crate::rng::RootSeed;

    fn started(sizes: &[usize], dtype: DType, init: Init) -> Tensor {
        let param = Param {
            name: "weight".to_owned(),
            aliases: Vec::new(),
            sizes: sizes.to_vec(),
            dtype,
            kind: ParamKind::Trained,
            init,
        };
        start(&param, &mut RootSeed(1).stream("init", &[0, 0, 0]), tch::Device::Cpu).unwrap()
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.flatten(0, -1)).unwrap()
    }

    #[test]
    fn uniform_and_truncated_values_keep_to_their_bounds() {
        let uniform = started(&[40, 50], DType::F32, Init::Uniform { low: -0.2, high: 0.1 });
        assert!(floats(&uniform).iter().all(|value| (-0.2..0.1).contains(value)));
        assert!((uniform.mean(Kind::Float).double_value(&[]) + 0.05).abs() < 0.01);
        let init = Init::TruncatedNormal { mean: 0.0, std: 1.0, low: -0.5, high: 0.5 };
        let cut = floats(&started(&[1000], DType::F32, init));
        assert!(cut.iter().all(|value| value.abs() <= 0.5) && cut.iter().any(|value| value.abs() > 0.3));
    }

    #[test]
    fn normal_values_have_their_mean_and_deviation() {
        let normal = started(&[100, 100], DType::F32, Init::Normal { mean: 2.0, std: 0.5 });
        assert!((normal.mean(Kind::Float).double_value(&[]) - 2.0).abs() < 0.02);
        assert!((normal.std(true).double_value(&[]) - 0.5).abs() < 0.02);
    }

    #[test]
    fn orthogonal_rows_are_at_right_angles() {
        let weight = started(&[3, 2, 4], DType::F32, Init::Orthogonal { gain: 2.0 }).reshape([3, 8]);
        let product = weight.matmul(&weight.transpose(0, 1));
        let off = (product - Tensor::eye(3, (Kind::Float, tch::Device::Cpu)) * 4.0).abs().max();
        assert!(off.double_value(&[]) < 1e-5);
    }

    #[test]
    fn a_dirac_convolution_passes_its_input_through() {
        let weight = started(&[2, 2, 3, 3], DType::F32, Init::Dirac { groups: 1 });
        let x = Tensor::arange(32, (Kind::Float, tch::Device::Cpu)).view([1, 2, 4, 4]);
        let y = x.conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
        assert_eq!(floats(&x), floats(&y));
    }

    #[test]
    fn constants_values_and_eye_are_what_they_say() {
        assert_eq!(started(&[], DType::I64, Init::Constant(0.0)).int64_value(&[]), 0);
        assert_eq!(floats(&started(&[2, 2], DType::F32, Init::Eye)), [1.0, 0.0, 0.0, 1.0]);
        let values = started(&[2], DType::F32, Init::Values(vec![1.5, -2.0]));
        assert_eq!(floats(&values), [1.5, -2.0]);
    }

    #[test]
    fn a_part_is_drawn_with_its_own_values_over_the_rest() {
        let row = |at| Region(vec![Place::At(at), Place::Every { start: 0, count: 200, step: 1 }]);
        let narrow = Init::Uniform { low: 5.0, high: 6.0 };
        let init = Init::Normal { mean: 0.0, std: 1.0 }
            .with_part(&[3, 200], &row(1), Init::Constant(0.0))
            .with_part(&[3, 200], &row(2), narrow);
        let values = floats(&started(&[3, 200], DType::F32, init.clone()));
        // The rest has the bits that it has without parts.
        let plain = floats(&started(&[3, 200], DType::F32, Init::Normal { mean: 0.0, std: 1.0 }));
        assert_eq!(values[..200], plain[..200]);
        assert!(values[200..400].iter().all(|&value| value == 0.0));
        assert!(values[400..].iter().all(|value| (5.0..6.0).contains(value)));
        assert!(values[400] != values[401]);
        assert_eq!(values, floats(&started(&[3, 200], DType::F32, init)));
    }

    #[test]
    fn a_computed_start_is_computed_from_draws_of_its_own() {
        let mut builder = Builder::new(Limits::default());
        let normal = Init::Normal { mean: 0.0, std: 1.0 };
        let drawn = builder.declare(vec![40, 50], DType::F32, ParamKind::Unsaved, normal).unwrap();
        let drawn = builder.tensor(drawn);
        let exp = builder.append(Op::Unary(Unary::Exp), &[drawn], Origin::default()).unwrap();
        let body = builder.finish_body(exp);
        let init = Init::Computed(Arc::new(builder.finish(body, None, &[], &[])));
        let values = floats(&started(&[40, 50], DType::F32, init.clone()));
        assert!(values.iter().all(|&value| value > 0.0));
        let logs = values.iter().map(|value| f64::from(value.ln()));
        assert!((logs.map(|log| log * log).sum::<f64>() / 2000.0 - 1.0).abs() < 0.1);
        assert_eq!(values, floats(&started(&[40, 50], DType::F32, init.clone())));
        let below = Region(vec![
            Place::Every { start: 1, count: 40, step: 1 },
            Place::Every { start: 0, count: 50, step: 1 },
        ]);
        let part = started(&[41, 50], DType::F32, Init::Constant(-1.0).with_part(&[41, 50], &below, init));
        assert_eq!(floats(&part)[50..], values);
        assert_eq!(floats(&part)[..50], [-1.0; 50]);
    }

    #[test]
    fn an_orthogonal_part_has_rows_at_right_angles() {
        let block = Region(vec![
            Place::At(1),
            Place::Every { start: 0, count: 4, step: 2 },
            Place::Every { start: 1, count: 4, step: 1 },
        ]);
        let init = Init::Constant(9.0).with_part(&[2, 8, 6], &block, Init::Orthogonal { gain: 1.0 });
        let weight = started(&[2, 8, 6], DType::F32, init);
        let part = weight.select(0, 1).slice(0, 0, 8, 2).slice(1, 1, 5, 1);
        let off = (part.matmul(&part.transpose(0, 1)) - Tensor::eye(4, (Kind::Float, tch::Device::Cpu)))
            .abs()
            .max();
        assert!(off.double_value(&[]) < 1e-5);
        assert_eq!(weight.eq(9.0).sum(Kind::Int64).int64_value(&[]), 96 - 16);
    }
}
