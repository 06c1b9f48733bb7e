//! Layers of `torch.nn` that are written in Python, beside this file, in terms of other layers.
//!
//! Input: a name. Output: the class or function of that name. The source is interpreted when a network first asks for
//! one of the names, under the same meters as the network's own source. Limit: repairs do not reach inside.

use crate::lower::error::{R, Raise};
use crate::lower::interp::Interp;
use crate::lower::value::Value;

const SOURCE: &str = include_str!("composed.py");

/// The layers.
pub(crate) const LAYERS: &[&str] = &[
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "TransformerEncoder",
    "TransformerDecoderLayer",
    "TransformerDecoder",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "Softmax2d",
];

/// The functions.
pub(crate) const FUNCTIONS: &[&str] = &["multi_head_attention_forward"];

/// The class or function of this name.
pub(crate) fn get(this: &mut Interp<'_>, name: &str) -> R<Value> {
    let module = this.source_module("torch.nn.composed", SOURCE)?;
    let found = module.scope.names.borrow().get(name).cloned();
    found.ok_or_else(|| Raise::unsupported(format!("'torch.nn.{name}' is not supported")))
}
