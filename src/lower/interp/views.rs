//! Views of a dictionary: what `keys()`, `values()` and `items()` give. They follow its changes and have no indices.
//!
//! Input: dictionaries. Output: views, their items, and sets of these. Limit: that a dictionary changes its size while
//! it is walked is no error.

use std::cell::RefCell;
use std::rc::Rc;

use ruff_python_ast::Operator;

use crate::lower::error::R;
use crate::lower::interp::Interp;
use crate::lower::value::{Dict, DictClass, Value};

/// What a view shows of its dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Keys,
    Values,
    Items,
}

/// A view of a dictionary.
pub(crate) struct View {
    dict: Rc<RefCell<Dict>>,
    part: Part,
}

impl View {
    /// The name that `type()` shows.
    pub(crate) fn type_name(&self) -> &'static str {
        match (self.part, &self.dict.borrow().class) {
            (Part::Keys, DictClass::Ordered) => "odict_keys",
            (Part::Values, DictClass::Ordered) => "odict_values",
            (Part::Items, DictClass::Ordered) => "odict_items",
            (Part::Keys, _) => "dict_keys",
            (Part::Values, _) => "dict_values",
            (Part::Items, _) => "dict_items",
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dict.borrow().len()
    }
}

impl Interp<'_> {
    pub(crate) fn view(&mut self, dict: &Rc<RefCell<Dict>>, part: Part) -> R<Value> {
        self.own(Value::View(Rc::new(View { dict: Rc::clone(dict), part })))
    }

    /// What a view shows now.
    pub(crate) fn shown(&mut self, view: &View) -> R<Vec<Value>> {
        match view.part {
            Part::Keys => Ok(view.dict.borrow().keys()),
            Part::Values => Ok(view.dict.borrow().values()),
            Part::Items => {
                let entries = view.dict.borrow().entries().to_vec();
                entries.into_iter().map(|(key, value)| self.tuple(vec![key, value])).collect()
            }
        }
    }

    /// The operators and comparisons that views of keys and items share with sets: both sides as sets, if one of them
    /// is such a view.
    pub(crate) fn as_sets(&mut self, left: &Value, right: &Value) -> R<Option<(Value, Value)>> {
        let acts = |value: &Value| matches!(value, Value::View(view) if view.part != Part::Values);
        if !acts(left) && !acts(right) {
            return Ok(None);
        }
        let mut set = |value: &Value| match value {
            Value::Set(_) => Ok(value.clone()),
            _ => {
                let items = self.iterate(value)?;
                // Keys of pairs are made, compared and copied.
                self.tick(8 * items.len())?;
                self.set(items)
            }
        };
        Ok(Some((set(left)?, set(right)?)))
    }

    /// `|`, `&`, `-` and `^` of views.
    pub(crate) fn binary_of_views(&mut self, op: Operator, left: &Value, right: &Value) -> R<Option<Value>> {
        if !matches!(op, Operator::BitOr | Operator::BitAnd | Operator::Sub | Operator::BitXor) {
            return Ok(None);
        }
        match self.as_sets(left, right)? {
            Some((left, right)) => self.binary(op, &left, &right).map(Some),
            None => Ok(None),
        }
    }
}
