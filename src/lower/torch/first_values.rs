//! First values of a part of a parameter or of a tensor just made, outside a forward pass.
//!
//! Input: a tensor that is such a part, or a tensor and what stands in brackets; and what the part is to start as.
//! Output: the [`Init`] of the whole, changed. Views are those of PyTorch: indices, `narrow`, `chunk`, `split`,
//! `select`, `unbind` and whole reshapes. Limit: what is a view but no block of its tensor is refused, and so is a copy
//! of values that are drawn elsewhere.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::graph::op::Distribution;
use crate::graph::{DType, Init, Op, ParamId, ParamKind, Place, Region, Shape, TensorRef};
use crate::lower::error::{R, Raise};
use crate::lower::interp::{Interp, Mode};
use crate::lower::torch::{computed, constant, index};
use crate::lower::value::{Tensor, TensorState, Value};

/// Most parts of one tensor that start in their own way.
const MAX_PARTS: usize = 1_000;

/// A view of first values: a block of a tensor, perhaps with its dimensions in another order.
pub(crate) struct View {
    root: Root,
    region: Region,
    order: Order,
}

#[derive(Clone)]
enum Root {
    Param(ParamId),
    /// A tensor just made.
    Known(Rc<Tensor>),
}

/// How the elements of a view are arranged, compared with those of its block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// In the same dimensions.
    Same,
    /// Row-major in others that start with the same one.
    SameRows,
    /// In some other way.
    Other,
}

impl View {
    /// Whether it shows values of a parameter or buffer.
    pub(crate) fn is_of_param(&self) -> bool {
        matches!(self.root, Root::Param(_))
    }
}

/// The view that a tensor is of a parameter or of a tensor just made; none where it is computed otherwise.
///
/// # Errors
/// Where it is a view that is no block.
pub(crate) fn view(this: &mut Interp<'_>, tensor: &Rc<Tensor>) -> R<Option<View>> {
    if this.mode != Mode::Building {
        return Ok(None);
    }
    let state = tensor.state.borrow().clone();
    let reference = match state {
        TensorState::Param(id) => {
            let region = Region::whole(&this.builder.param(id).sizes);
            return Ok(Some(View { root: Root::Param(id), region, order: Order::Same }));
        }
        TensorState::Known { sizes, .. } => {
            let Some(part) = tensor.part.borrow().clone() else {
                alone(this, tensor)?;
                let region = Region::whole(&sizes);
                let root = Root::Known(Rc::clone(tensor));
                return Ok(Some(View { root, region, order: Order::Same }));
            };
            let Some(outer) = this.deeper(|this| view(this, &part.base))? else { return Ok(None) };
            return inner(this, &outer, &part.index).map(Some);
        }
        TensorState::Node { tensor, body } if body == this.body => tensor,
        TensorState::Node { .. } => return Ok(None),
    };
    let memory = this.memory(reference);
    let root = match this.builder.node(memory).op {
        Op::Param(id) => Root::Param(id),
        Op::Random { .. } | Op::Full { .. } | Op::Literal { .. } => {
            let root = root(tensor);
            if !matches!(&*root.state.borrow(), TensorState::Known { .. }) {
                return alone(this, tensor).map(|()| None);
            }
            Root::Known(root)
        }
        _ => return Ok(None),
    };
    match block(this, reference, memory) {
        Some((region, order)) => Ok(Some(View { root, region, order })),
        None => Err(Raise::unsupported(
            "a change in place of first values through a view that is no block of them is not supported",
        )),
    }
}

/// Note that what `function` computed of `base` shows the memory of `base`, a tensor just made, if it is a view of it.
/// What an index made knows its base.
pub(crate) fn share(this: &Interp<'_>, function: &str, base: &Rc<Tensor>, view: &Rc<Tensor>) {
    let TensorState::Node { tensor, body } = *view.state.borrow() else { return };
    let just_made =
        matches!(&*base.state.borrow(), TensorState::Known { .. }) || base.shared.borrow().is_some();
    let shows = just_made && body == this.body && this.memory(tensor) != tensor && function != "contiguous";
    if shows && !Rc::ptr_eq(base, view) && view.part.borrow().is_none() && !view.copied.get() {
        link(base, view);
    }
}

/// Note that `view` shows the memory of `base` in another shape.
pub(crate) fn link(base: &Rc<Tensor>, view: &Rc<Tensor>) {
    let start = || Rc::new(RefCell::new(vec![Rc::downgrade(base)]));
    let shared = base.shared.borrow_mut().get_or_insert_with(start).clone();
    shared.borrow_mut().push(Rc::downgrade(view));
    *view.shared.borrow_mut() = Some(shared);
}

/// Refuses a change of memory that a tensor with a name shows in another shape: that one would not follow.
pub(crate) fn alone(this: &Interp<'_>, tensor: &Rc<Tensor>) -> R<()> {
    let Some(shared) = tensor.shared.borrow().clone() else { return Ok(()) };
    let others = shared.borrow();
    let mut others = others.iter().filter_map(Weak::upgrade).filter(|other| !Rc::ptr_eq(other, tensor));
    if others.any(|other| is_named(this, &other)) {
        return Err(Raise::unsupported(
            "a change in place of a tensor just made that another one shows in another shape is not supported",
        ));
    }
    Ok(())
}

/// Whether a running function can still refer to a tensor by a name of its own or of its object.
fn is_named(this: &Interp<'_>, tensor: &Rc<Tensor>) -> bool {
    let is = |value: &Value| matches!(value, Value::Tensor(other) if Rc::ptr_eq(other, tensor));
    this.frames.iter().any(|frame| {
        let object = match &frame.method {
            Some((_, Value::Object(object))) => object.attrs.borrow().values().any(is),
            _ => false,
        };
        object || frame.scope.names.borrow().values().any(is)
    })
}

/// The view that a tensor is, unless it is all of a parameter or of a tensor just made.
pub(crate) fn part(this: &mut Interp<'_>, tensor: &Rc<Tensor>) -> R<Option<View>> {
    let whole = match &*tensor.state.borrow() {
        TensorState::Param(_) => true,
        TensorState::Known { .. } => tensor.part.borrow().is_none(),
        TensorState::Node { .. } => false,
    };
    if whole { Ok(None) } else { view(this, tensor) }
}

/// Write what an operation in place makes of first values into what they are the first values of. Whether they are
/// some.
pub(crate) fn written(this: &mut Interp<'_>, target: &Rc<Tensor>, new: &Rc<Tensor>) -> R<bool> {
    let Some(view) = view(this, target)? else { return Ok(false) };
    let computed = matches!(&*new.state.borrow(), TensorState::Node { .. });
    match view.root {
        Root::Param(id) if computed && is_moved(this, id) => return Ok(false),
        Root::Param(_) => {}
        Root::Known(_) if computed || target.part.borrow().is_none() => return Ok(false),
        Root::Known(_) => {}
    }
    assign(this, &view, &Value::Tensor(Rc::clone(new)))?;
    touch(target);
    Ok(true)
}

/// Whether a parameter is a buffer that a layer, called while the network is made, may move: as a batch norm does.
pub(crate) fn is_moved(this: &Interp<'_>, id: ParamId) -> bool {
    this.builder.param(id).kind == ParamKind::Buffer && !this.path.is_empty()
}

/// Note that what a tensor is a part of has changed.
pub(crate) fn touch(tensor: &Rc<Tensor>) {
    let root = root(tensor);
    root.version.set(root.version.get() + 1);
}

/// Change what stands in brackets of first values. Whether that was possible; a computed value among values of a tensor
/// just made is not.
pub(crate) fn set(this: &mut Interp<'_>, tensor: &Rc<Tensor>, index: &Value, value: &Value) -> R<bool> {
    let Some(outer) = view(this, tensor)? else { return Ok(false) };
    let known = match value {
        Value::Tensor(value) => constant::of(this, value)?.is_some(),
        other => super::signature::number(other).is_some(),
    };
    let old = of_root(this, &outer.root);
    if known && old.is_some_and(|(_, _, init)| init.is_known()) && outer.order == Order::Same {
        return Ok(false);
    }
    let computed =
        matches!(value, Value::Tensor(value) if matches!(&*value.state.borrow(), TensorState::Node { .. }));
    if computed && matches!(outer.root, Root::Known(_)) {
        return Ok(false);
    }
    for index in index::each_place(this, tensor, index, value)? {
        let view = inner(this, &outer, &index)?;
        assign(this, &view, value)?;
    }
    touch(tensor);
    Ok(true)
}

/// The part of a view that stands in brackets.
fn inner(this: &mut Interp<'_>, outer: &View, index: &Value) -> R<View> {
    let sizes = outer.region.sizes();
    if outer.order != Order::Same {
        return Err(Raise::unsupported(
            "a change in place of a part of a reshaped parameter is not supported",
        ));
    }
    let shape = Shape::fixed(&sizes);
    let whole = this.append(Op::Random { shape, distribution: Distribution::Uniform }, &[])?;
    let state = TensorState::Node { tensor: whole, body: this.body };
    let stand_in = Rc::new(Tensor::new(state, false));
    let found = match index::get(this, &stand_in, index)? {
        Value::Tensor(part) => {
            let reference = this.tensor_ref(&part)?;
            if this.memory(reference) == whole { block(this, reference, whole) } else { None }
        }
        _ => None,
    };
    match found {
        Some((region, order)) => {
            let region = outer.region.within(&region);
            Ok(View { root: outer.root.clone(), region, order })
        }
        None => Err(Raise::unsupported(
            "assignment at these indices among first values that are drawn at random is not supported",
        )),
    }
}

/// How a view starts, where that can be told.
pub(crate) fn start(this: &Interp<'_>, view: &View) -> Option<(Vec<usize>, DType, Init)> {
    let (sizes, dtype, init) = of_root(this, &view.root)?;
    let part = init.part(&sizes, &view.region)?;
    (view.order == Order::Same || part.is_elementwise()).then(|| (view.region.sizes(), dtype, part))
}

/// Give a view another start.
pub(crate) fn place(this: &mut Interp<'_>, view: &View, init: Init) -> R<()> {
    let Some((sizes, dtype, old)) = of_root(this, &view.root) else { return Ok(()) };
    let fits = match view.order {
        Order::Same => true,
        Order::SameRows => init.is_elementwise() || matches!(init, Init::Orthogonal { .. } | Init::Values(_)),
        Order::Other => init.is_elementwise(),
    };
    if !fits {
        return Err(Raise::unsupported("this initialisation of a reshaped parameter is not supported"));
    }
    if dtype != DType::F32 && !(old.is_known() && init.is_known()) {
        return Err(Raise::unsupported(
            "random first values of a part of a tensor of whole numbers are not supported",
        ));
    }
    let count = sizes.iter().fold(1usize, |product, &size| product.saturating_mul(size));
    if init.is_elementwise() && view.region == Region::whole(&sizes) {
        set_root(this, &view.root, (sizes, dtype, init));
        return Ok(());
    }
    this.tick(view.region.numel() / 8 + if init.is_known() && old.is_known() { count / 8 } else { 0 })?;
    let new = old.with_part(&sizes, &view.region, init);
    if let Init::Parts { parts, .. } = &new {
        this.tick(parts.len())?;
        if parts.len() > MAX_PARTS {
            return Err(Raise::limit(format!(
                "parts of the first values of a parameter: {} exceeds the limit of {MAX_PARTS}",
                parts.len()
            )));
        }
    }
    set_root(this, &view.root, (sizes, dtype, new));
    Ok(())
}

fn set_root(this: &mut Interp<'_>, root: &Root, (sizes, dtype, init): (Vec<usize>, DType, Init)) {
    match root {
        Root::Param(id) => this.builder.set_init(*id, init),
        Root::Known(tensor) => {
            *tensor.state.borrow_mut() = TensorState::Known { sizes, dtype, init, draw: None };
            tensor.version.set(tensor.version.get() + 1);
        }
    }
}

/// Give a view the values of a number or tensor.
pub(crate) fn assign(this: &mut Interp<'_>, view: &View, value: &Value) -> R<()> {
    let init = values(this, view, value)?;
    place(this, view, init)
}

fn values(this: &mut Interp<'_>, view: &View, value: &Value) -> R<Init> {
    let Some((_, dtype, _)) = of_root(this, &view.root) else { return Ok(Init::Constant(0.0)) };
    let sizes = view.region.sizes();
    let shape = Shape::fixed(&sizes);
    let drawn = match value {
        Value::Tensor(source) => {
            let state = source.state.borrow().clone();
            match state {
                TensorState::Known { sizes, init, .. } => Some((sizes, init)),
                TensorState::Param(id) => {
                    let param = this.builder.param(id);
                    Some((param.sizes.clone(), param.init.clone())).filter(|(_, init)| init.is_known())
                }
                TensorState::Node { .. } => None,
            }
        }
        _ => None,
    };
    // PyTorch's errors, and the values where they are known.
    let filled = index::filler(this, value, dtype, &shape)?;
    match (drawn, super::signature::number(value)) {
        (_, Some(number)) => return Ok(Init::Constant(number)),
        (Some((_, Init::Constant(number))), _) => return Ok(Init::Constant(number)),
        (Some((own, init)), _) if own.iter().product::<usize>() == view.region.numel() => return Ok(init),
        _ => {}
    }
    match constant::of_result(this, filled)? {
        Some(known) => Ok(Init::Values(known.values.clone())),
        None => match view.root {
            Root::Param(id)
                if view.region != Region::whole(&this.builder.param(id).sizes)
                    && computed::is_drawn_of(this, filled, id)? =>
            {
                Err(Raise::unsupported("a part of random first values computed of others is not supported"))
            }
            _ => Ok(computed::initial(this, filled)?.2),
        },
    }
}

fn of_root(this: &Interp<'_>, root: &Root) -> Option<(Vec<usize>, DType, Init)> {
    match root {
        Root::Param(id) => {
            let param = this.builder.param(*id);
            Some((param.sizes.clone(), param.dtype, param.init.clone()))
        }
        Root::Known(tensor) => match &*tensor.state.borrow() {
            TensorState::Known { sizes, dtype, init, .. } => Some((sizes.clone(), *dtype, init.clone())),
            _ => None,
        },
    }
}

/// What a tensor is a part of, itself if it is none.
fn root(tensor: &Rc<Tensor>) -> Rc<Tensor> {
    let mut at = Rc::clone(tensor);
    loop {
        let part = at.part.borrow().clone();
        match part {
            Some(part) => at = part.base,
            None => return at,
        }
    }
}

/// The block of `root` that a chain of views of it shows.
fn block(this: &Interp<'_>, tensor: TensorRef, root: TensorRef) -> Option<(Region, Order)> {
    let mut chain = Vec::new();
    let mut at = tensor;
    while at != root {
        chain.push(at);
        at = *this.builder.node(at).inputs.first()?;
    }
    let sizes = this.builder.fact(root).shape.known()?;
    let whole = Region::whole(&sizes);
    let mut places = whole.0.clone();
    // The dimension of the root behind each of the view's; none behind those that were added.
    let mut behind: Vec<Option<usize>> = (0..sizes.len()).map(Some).collect();
    let (mut order, mut permuted) = (Order::Same, false);
    for tensor in chain.into_iter().rev() {
        match &this.builder.node(tensor).op {
            Op::Detach => {}
            Op::Slice { dim, start, end, step } if order == Order::Same => {
                let (start, end) = (start.known()?, end.known()?);
                let count = end.saturating_sub(start).div_ceil(*step);
                let at = behind[*dim]?;
                places[at] = places[at].within(Place::Every { start, count, step: *step });
            }
            Op::Select { dim, index } if order == Order::Same => {
                if let Some(at) = behind.remove(*dim) {
                    places[at] = places[at].within(Place::At(*index));
                }
            }
            Op::Unsqueeze { dim } => {
                behind.insert((*dim).min(behind.len()), None);
            }
            Op::Squeeze { dims } if order == Order::Same => {
                for &dim in dims.iter().rev() {
                    if let Some(at) = behind.remove(dim) {
                        places[at] = places[at].within(Place::At(0));
                    }
                }
            }
            // All elements in another order.
            Op::Reshape { shape } if places == whole.0 && !permuted => {
                let rows = order != Order::Other && shape.0.first()?.known() == sizes.first().copied();
                order = if rows { Order::SameRows } else { Order::Other };
            }
            Op::Permute { .. } => (order, permuted) = (Order::Other, true),
            _ => return None,
        }
    }
    if order == Order::Same && behind.iter().any(Option::is_none) {
        order = Order::Other;
    }
    Some((Region(places), order))
}
