//! Hooks of modules: functions called before and after `forward`, and what `torch.nn.utils` builds on them.
//!
//! Input: a module, a function and options. Output: handles; in a call, changed arguments and results. Limit: hooks on
//! gradients are refused; hooks on `state_dict` are taken and never called, for weights are not loaded here.

use std::rc::Rc;

use crate::graph::Init;
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Args, Bound, Interp};
use crate::lower::torch::{composed, creation, facts, signature};
use crate::lower::value::{Builtin, Hook, Object, TensorState, Value};

/// Most hooks of one module.
const MAX_HOOKS: usize = 1_000;

static FUNCTIONS: &[Builtin] =
    &[Builtin { name: "_norms", signature: "weight, sizes, dim", run: |this, args| norms(this, &args) }];

/// A function of `torch.nn.utils` that is not written in Python.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// `register_forward_hook` and `register_forward_pre_hook`.
pub(crate) fn register(this: &mut Interp<'_>, object: &Rc<Object>, before: bool, args: Args) -> R<Value> {
    let options = "hook, *, prepend=False, with_kwargs=False, always_call=False";
    let args = signature::bind("register_forward_hook", options, args)?;
    let mut state = object.module.borrow_mut();
    let Some(state) = state.as_mut() else {
        return Err(Raise::attribute(format!(
            "'{}' object has no attribute '_forward_hooks'",
            object.class.name
        )));
    };
    if state.hooks.len() >= MAX_HOOKS {
        return Err(Raise::limit(format!("hooks of a module: exceeds the limit of {MAX_HOOKS}")));
    }
    let id = state.hooks.iter().map(|hook| hook.id).max().unwrap_or(0) + 1;
    let hook = Hook { id, before, keywords: args.bool("with_kwargs")?, function: args.get("hook") };
    if args.bool("prepend")? {
        state.hooks.insert(0, hook)
    } else {
        state.hooks.push(hook)
    }
    let class = composed::utils(this, "RemovableHandle")?;
    this.call(&class, Args::of(vec![Value::Object(Rc::clone(object)), Value::Int(id)]))
}

/// `handle.remove()`.
pub(crate) fn remove(object: &Rc<Object>, args: &Args) {
    if let (Some(state), Some(Value::Int(id))) =
        (object.module.borrow_mut().as_mut(), args.positional.first())
    {
        state.hooks.retain(|hook| hook.id != *id);
    }
}

impl Interp<'_> {
    /// A call with hooks before and after `forward`.
    pub(crate) fn call_hooked(
        &mut self,
        object: &Rc<Object>,
        hooks: &[Hook],
        mut args: Args,
        forward: impl FnOnce(&mut Self, Args) -> R<Value>,
    ) -> R<Value> {
        let module = Value::Object(Rc::clone(object));
        for hook in hooks.iter().filter(|hook| hook.before) {
            let (inputs, named) = self.hook_arguments(&args)?;
            if hook.keywords {
                let result = self.call(&hook.function, Args::of(vec![module.clone(), inputs, named]))?;
                if let Value::Tuple(pair) = &result
                    && let [inputs, Value::Dict(named)] = &pair.items[..]
                {
                    args.positional = self.iterate(inputs)?;
                    args.named.clear();
                    for (name, value) in named.borrow().entries() {
                        if let Value::Str(name) = name {
                            args.named.push((Rc::clone(name), value.clone()));
                        }
                    }
                    args.site = None;
                } else if !result.is_none() {
                    return Err(Raise::runtime("forward pre-hook must return None or a tuple"));
                }
                continue;
            }
            let result = self.call(&hook.function, Args::of(vec![module.clone(), inputs]))?;
            match result {
                Value::None => {}
                Value::Tuple(tuple) => (args.positional, args.site) = (tuple.items.clone(), None),
                other => (args.positional, args.site) = (vec![other], None),
            }
        }
        let (inputs, named) = self.hook_arguments(&args)?;
        let mut result = forward(self, args)?;
        for hook in hooks.iter().filter(|hook| !hook.before) {
            let mut given = vec![module.clone(), inputs.clone()];
            if hook.keywords {
                given.push(named.clone());
            }
            given.push(result.clone());
            let changed = self.call(&hook.function, Args::of(given))?;
            if !changed.is_none() {
                result = changed;
            }
        }
        Ok(result)
    }

    fn hook_arguments(&mut self, args: &Args) -> R<(Value, Value)> {
        let inputs = self.tuple(args.positional.clone())?;
        let named = args.named.iter().map(|(name, value)| (Value::Str(Rc::clone(name)), value.clone()));
        Ok((inputs, self.dict(named.collect())?))
    }
}

/// What the norms of a weight's slices start as: each its own where the first values are known, else all what is
/// expected of them, for they are drawn with the weight.
fn norms(this: &mut Interp<'_>, args: &Bound) -> R<Value> {
    let weight = args.tensor("weight")?;
    let sizes: Vec<usize> = args.spatial_list("sizes")?;
    let shape = facts(this, &weight)?.shape.known().unwrap_or_default();
    let slices = sizes.iter().product::<usize>().max(1);
    let each = shape.iter().product::<usize>() / slices;
    let init = match &*weight.state.borrow() {
        TensorState::Param(id) => this.builder.param(*id).init.clone(),
        TensorState::Known { init, .. } => init.clone(),
        TensorState::Node { .. } => {
            return Err(Raise::unsupported("weight_norm of a computed weight is not supported"));
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
    let count = each as f64;
    if init.is_computed() {
        return Err(Raise::unsupported("weight_norm of a computed weight is not supported"));
    }
    let start = match &init {
        Init::Values(_) | Init::Parts { .. } => {
            let total = shape.iter().product::<usize>();
            this.tick(total / 4)?;
            let axis = args.int("dim")?;
            let inner = usize::try_from(axis)
                .ok()
                .map_or(1, |axis| shape.iter().skip(axis + 1).product::<usize>().max(1));
            let mut sums = vec![0.0; slices];
            for (at, square) in squares(&init, &shape).into_iter().enumerate() {
                sums[if axis < 0 { 0 } else { at / inner % slices }] += square;
            }
            Init::Values(sums.into_iter().map(f64::sqrt).collect())
        }
        Init::Orthogonal { gain } => Init::Constant(*gain),
        init => match square(init) {
            Some(square) => Init::Constant((count * square).sqrt()),
            None => Init::Constant(1.0),
        },
    };
    creation::known(this, sizes, crate::graph::DType::F32, start)
}

/// What the square of an element is expected to be, where all are drawn alike.
fn square(init: &Init) -> Option<f64> {
    Some(match init {
        Init::Constant(value) => value * value,
        Init::Uniform { low, high } => (low * low + low * high + high * high) / 3.0,
        Init::Normal { mean, std } | Init::TruncatedNormal { mean, std, .. } => mean * mean + std * std,
        _ => return None,
    })
}

/// What the squares of the elements are expected to be, row-major.
fn squares(init: &Init, sizes: &[usize]) -> Vec<f64> {
    let count = sizes.iter().product();
    match init {
        Init::Values(values) => values.iter().map(|value| value * value).collect(),
        Init::Parts { base, parts } => {
            let mut all = squares(base, sizes);
            for (region, init) in parts {
                let offsets = region.offsets(sizes);
                for (offset, square) in offsets.into_iter().zip(squares(init, &region.sizes())) {
                    all[offset] = square;
                }
            }
            all
        }
        // Rows of length one, or nearly so.
        #[expect(clippy::cast_precision_loss, reason = "sizes are small")]
        init => {
            vec![square(init).unwrap_or(1.0 / sizes.iter().skip(1).product::<usize>().max(1) as f64); count]
        }
    }
}
