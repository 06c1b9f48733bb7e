//! The parameters that constructors of layers register.
//!
//! Input: a layer, a name, sizes and first values. Output: the parameter, registered, or `None` in its place. Limit: in
//! single precision; `dtype=` changes them afterwards.

use std::rc::Rc;

use crate::graph::{DType, Init, ParamKind};
use crate::lower::error::R;
use crate::lower::interp::Interp;
use crate::lower::torch::{creation, modules};
use crate::lower::value::{Object, Value};

pub(crate) fn fan_in(fan: usize) -> Init {
    if fan == 0 {
        return Init::Constant(0.0);
    }
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let bound = 1.0 / (fan as f64).sqrt();
    Init::Uniform { low: -bound, high: bound }
}

pub(crate) fn bias(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    wanted: bool,
    size: usize,
    init: Init,
) -> R<()> {
    optional(this, object, "bias", wanted, vec![size], init)
}

pub(crate) fn optional(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    name: &str,
    wanted: bool,
    sizes: Vec<usize>,
    init: Init,
) -> R<()> {
    if wanted {
        return parameter(this, object, name, sizes, init);
    }
    modules::put_parameter(object, name, Value::None);
    Ok(())
}

/// Register a trained parameter.
pub(crate) fn parameter(
    this: &mut Interp<'_>,
    object: &Rc<Object>,
    name: &str,
    sizes: Vec<usize>,
    init: Init,
) -> R<()> {
    let value = creation::new_parameter(this, sizes, DType::F32, ParamKind::Trained, init)?;
    modules::put_parameter(object, name, value);
    Ok(())
}
