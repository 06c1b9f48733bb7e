//! Attention written out against libtorch's own: values, masked rows, dropout.

use tch::{Kind, Tensor};

use super::{floats, near, value};
use crate::graph::Op;

#[test]
fn attention_agrees_with_libtorchs_own() {
    let draw = |sizes: [i64; 4]| Tensor::randn(sizes, (Kind::Float, tch::Device::Cpu));
    let (query, key, value_) = (draw([2, 3, 5, 4]), draw([2, 3, 5, 4]), draw([2, 3, 5, 6]));
    let visible = Tensor::ones([5, 5], (Kind::Bool, tch::Device::Cpu)).tril(1);
    for (mask, causal, scale) in [(None, true, None), (Some(&visible), false, Some(0.3)), (None, false, None)]
    {
        let op = Op::Attention { mask: mask.is_some(), causal, dropout: 0.0, scale };
        let mut inputs = vec![&query, &key, &value_];
        inputs.extend(mask);
        let expected =
            Tensor::scaled_dot_product_attention(&query, &key, &value_, mask, 0.0, causal, scale, false);
        assert!(near(&value(&op, &inputs, true), &expected), "{op:?}");
    }
}

#[test]
fn a_row_of_attention_that_may_look_at_nothing_is_zeros_and_has_no_gradient() {
    let x = Tensor::randn([1, 3, 4], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
    let visible = Tensor::ones([3, 3], (Kind::Bool, tch::Device::Cpu)).tril(-1);
    let hidden = Tensor::zeros([3, 3], (Kind::Float, tch::Device::Cpu))
        .masked_fill(&visible.logical_not(), f64::NEG_INFINITY);
    let gradient = |result: &Tensor| {
        let loss = result.square().sum(Kind::Float);
        Tensor::run_backward(&[loss], &[&x], false, false).remove(0)
    };
    for mask in [&visible, &hidden] {
        let op = Op::Attention { mask: true, causal: false, dropout: 0.0, scale: None };
        let result = value(&op, &[&x, &x, &x, mask], true);
        let expected = Tensor::scaled_dot_product_attention(&x, &x, &x, Some(mask), 0.0, false, None, false);
        assert_eq!(floats(&result.select(1, 0)), [0.0; 4]);
        assert!(near(&result, &expected));
        assert!(near(&gradient(&result), &gradient(&expected)));
    }
}

#[test]
fn attention_drops_in_evaluation_too() {
    let x = Tensor::ones([2, 30, 4], (Kind::Float, tch::Device::Cpu));
    let op = Op::Attention { mask: false, causal: false, dropout: 0.5, scale: None };
    for training in [false, true] {
        let result = value(&op, &[&x, &x, &x], training);
        assert!((&result - 1.0).abs().max().double_value(&[]) > 0.05, "{training}");
    }
}
