//! A network's place in the archive: its width-to-depth ratio and its FLOPs, as in LLMatic (Nasir et al. 2023).
//!
//! Width is the largest number of channels or features that a weighted layer gives; depth is the number of weighted
//! layers. This module only measures; the archive scales both axes to the unit square by the run's configured ranges
//! (the published code never scaled them, so that about 2 of its 100 niches could ever be reached).

use crate::graph::{Graph, Op};

/// The measured descriptor of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Descriptor {
    /// Largest layer width divided by the number of weighted layers.
    pub width_to_depth: f64,
    /// log10 of the FLOPs of one sample (at least one FLOP).
    pub log_flops: f64,
    /// log10 of the number of parameters (at least one).
    pub log_parameters: f64,
    /// log10 of the bytes of the largest intermediate result of one sample (at least one byte).
    pub log_activation: f64,
    /// Largest number of channels or features that a weighted layer gives.
    pub width: usize,
    /// Number of weighted layers that lead to the output.
    pub depth: usize,
}

/// Measure a network.
pub fn of(graph: &Graph) -> Descriptor {
    let body = &graph.eval;
    let live = body.live();
    let (mut width, mut depth) = (0, 0);
    for (node, _) in body.nodes.iter().zip(live).filter(|(_, live)| *live) {
        let axis = match &node.op {
            // (N, C, *) or (C, *): the weight tells which, since its rank is that of a batched input.
            Op::Conv(settings) | Op::ConvTranspose(settings) => {
                node.outputs[0].shape.rank().checked_sub(settings.stride.len() + 1)
            }
            Op::Linear { .. } | Op::Bilinear { .. } | Op::Embedding { .. } => {
                node.outputs[0].shape.rank().checked_sub(1)
            }
            Op::Recurrent(settings) => {
                depth += settings.layers - 1;
                node.outputs[0].shape.rank().checked_sub(1)
            }
            _ => continue,
        };
        depth += 1;
        let size = axis.and_then(|axis| node.outputs[0].shape.0[axis].known());
        width = width.max(size.unwrap_or(0));
    }
    Descriptor {
        width_to_depth: width as f64 / depth.max(1) as f64,
        log_flops: (graph.flops().max(1) as f64).log10(),
        log_parameters: (graph.parameter_count().max(1) as f64).log10(),
        log_activation: (peak_activation(graph).max(1) as f64).log10(),
        width,
        depth,
    }
}

/// Bytes of the largest intermediate result of one sample, at four bytes per element.
fn peak_activation(graph: &Graph) -> u64 {
    let body = &graph.eval;
    let results = body.nodes.iter().zip(body.live()).filter(|(node, live)| {
        *live && !matches!(node.op, Op::Param(_)) && node.outputs.iter().any(|fact| !fact.shape.0.is_empty())
    });
    results.flat_map(|(node, _)| &node.outputs).map(|fact| 4 * fact.shape.numel_at(1)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, DType, Init, Limits, Origin, ParamKind};

    #[test]
    fn two_linear_layers_of_64_and_10_have_ratio_32() {
        let mut builder = Builder::new(Limits::default());
        let mut x = builder.input(&[16]);
        let mut names = Vec::new();
        for sizes in [vec![64, 16], vec![10, 64]] {
            let weight = builder.declare(sizes, DType::F32, ParamKind::Trained, Init::Constant(0.0)).unwrap();
            names.push((format!("fc{}.weight", names.len()), weight));
            let weight = builder.tensor(weight);
            x = builder.append(Op::Linear { bias: false }, &[x, weight], Origin::default()).unwrap();
        }
        let body = builder.finish_body(x);
        let descriptor = of(&builder.finish(body, None, &names, &[16]));
        assert_eq!((descriptor.width, descriptor.depth), (64, 2));
        assert!((descriptor.width_to_depth - 32.0).abs() < 1e-12);
        // 2 * (16 * 64 + 64 * 10) FLOPs
        assert!((descriptor.log_flops - 3328f64.log10()).abs() < 1e-12);
        assert!((descriptor.log_parameters - 1664f64.log10()).abs() < 1e-12);
        // 64 floats of four bytes.
        assert!((descriptor.log_activation - 256f64.log10()).abs() < 1e-12);
    }
}
