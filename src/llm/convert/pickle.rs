//! A PyTorch `state_dict` without running it: the bytes of `data.pkl` in, tensor descriptions out.
//!
//! A pickle is a program. This machine knows the few instructions that `torch.save` writes for a dictionary
//! of tensors, and instead of calling a named function it checks that the name is one of six that rebuild
//! tensors; any other name is refused. Objects live in one list and refer to each other by index, so nothing
//! is recursive and memory stays within a small multiple of the bytes read. Reference: CPython's
//! `pickletools.py`, PyTorch's `_weights_only_unpickler.py`. Limit: protocol 2, tensors of float types.

use std::collections::BTreeMap;

use super::source::Element;

/// Most bytes of a pickle: many times what thousands of tensors need. A hostile one can fill a hundred times its size.
const MOST_BYTES: usize = 1 << 23;
/// Longest name of a tensor or of its storage, in bytes: each place that names it has a copy.
const LONGEST_NAME: usize = 256;

/// A tensor that the dictionary holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    pub(super) name: String,
    /// `None` for element types that are not weights, such as the Booleans of a mask.
    pub(super) element: Option<Element>,
    /// Member of the archive's `data/` folder.
    pub(super) storage: String,
    /// In elements.
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Something on the machine's stack, by its index in the list.
type Id = usize;

#[derive(Debug, Clone)]
enum Object {
    None,
    Int(i64),
    Other,
    Text(String),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    List,
    Global(String),
    /// Element type and member name.
    Storage(Option<Element>, String),
    Tensor(Box<Described>),
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack at each mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

/// The tensors of a pickled `state_dict`, in its order.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<Described>, String> {
    if bytes.len() > MOST_BYTES {
        return Err(format!("data.pkl has {} bytes, expected at most {MOST_BYTES}", bytes.len()));
    }
    let mut machine = Machine {
        bytes,
        at: 0,
        objects: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
    };
    let result = machine.run().map_err(|reason| format!("data.pkl, before byte {}: {reason}", machine.at))?;
    let Object::Dict(items) = &machine.objects[result] else {
        return Err("data.pkl does not hold a dictionary of tensors".into());
    };
    let mut tensors = Vec::new();
    for (key, value) in items {
        if let (Object::Text(name), Object::Tensor(tensor)) =
            (&machine.objects[*key], &machine.objects[*value])
        {
            check_name(name)?;
            tensors.push(Described { name: name.clone(), ..(**tensor).clone() });
        }
    }
    Ok(tensors)
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id, String> {
        loop {
            match self.take(1)?[0] {
                // PROTO
                0x80 => drop(self.take(1)?),
                // STOP
                b'.' => return self.pop(),
                code => self.step(code)?,
            }
        }
    }

    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'N' => self.push(Object::None),
            // NEWTRUE, NEWFALSE
            0x88 | 0x89 => self.push(Object::Other),
            b'K' => {
                let value = self.take(1)?[0];
                self.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Object::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Object::Int(value.into()));
            }
            // LONG1
            0x8a => {
                let value = self.long()?;
                self.push(Object::Int(value));
            }
            b'G' => {
                self.take(8)?;
                self.push(Object::Other);
            }
            b'X' => {
                let len = u32::from_le_bytes(self.array()?) as usize;
                let text = String::from_utf8(self.take(len)?.to_vec());
                self.push(Object::Text(text.map_err(|_| "a text is not UTF-8")?));
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(known_global(&module, &name)?));
            }
            b'}' => self.push(Object::Dict(Vec::new())),
            b']' => self.push(Object::List),
            b')' => self.push(Object::Tuple(Vec::new())),
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.items_since_mark()?;
                self.push(Object::Tuple(items));
            }
            // TUPLE1, TUPLE2, TUPLE3
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let first = self.stack.len().checked_sub(count).ok_or("a tuple of missing items")?;
                let items = self.stack.split_off(first);
                self.push(Object::Tuple(items));
            }
            b'q' => {
                let key = self.take(1)?[0];
                self.remember(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            b'h' => {
                let key = self.take(1)?[0];
                self.recall(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            b's' | b'u' => self.set_items(code == b's')?,
            // APPEND, APPENDS: lists are of no use here
            b'a' => drop(self.pop()?),
            b'e' => drop(self.items_since_mark()?),
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            // BUILD: attributes of a dictionary, such as `_metadata`
            b'b' => drop(self.pop()?),
            other => return Err(format!("instruction {other:#04x} has no place in a file of weights")),
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or("it is truncated")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn long(&mut self) -> Result<i64, String> {
        let len = usize::from(self.take(1)?[0]);
        let bytes = self.take(len)?;
        if len > 8 {
            return Err("a number of more than 64 bits".into());
        }
        let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
        let mut whole = [fill; 8];
        whole[..len].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(whole))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("it is truncated")?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("an item is missing on the stack".into());
        }
        self.stack.pop().ok_or_else(|| "an item is missing on the stack".to_owned())
    }

    fn items_since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let id = *self.stack.last().ok_or("nothing to remember")?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or_else(|| format!("object {key} was never remembered"))?;
        self.stack.push(id);
        Ok(())
    }

    fn set_items(&mut self, one: bool) -> Result<(), String> {
        let items = if one {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.items_since_mark()?
        };
        let (pairs, rest) = items.as_chunks::<2>();
        let target = *self.stack.last().ok_or("a dictionary is missing")?;
        match &mut self.objects[target] {
            Object::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)))
            }
            _ => return Err("items for something that is not a dictionary".into()),
        }
        Ok(())
    }

    /// `('storage', StorageType, key, device, size)`
    fn persistent(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let fields = self.tuple(id)?;
        let (Some(kind), Some(key)) = (fields.get(1), fields.get(2)) else {
            return Err("a storage without a type or key".into());
        };
        let Object::Global(kind) = &self.objects[*kind] else {
            return Err("a storage without a type".into());
        };
        let Object::Text(key) = &self.objects[*key] else { return Err("a storage without a key".into()) };
        check_name(key)?;
        let element = match kind.as_str() {
            "torch.FloatStorage" => Some(Element::F32),
            "torch.HalfStorage" => Some(Element::F16),
            "torch.BFloat16Storage" => Some(Element::BF16),
            _ => None,
        };
        let storage = Object::Storage(element, key.clone());
        self.push(storage);
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Object::Global(name) = &self.objects[function] else {
            return Err("a call of something that is not a function".into());
        };
        let object = match name.as_str() {
            "collections.OrderedDict" => Object::Dict(Vec::new()),
            "torch._utils._rebuild_tensor_v2" => Object::Tensor(Box::new(self.tensor(arguments)?)),
            "torch._utils._rebuild_parameter" => {
                match self.tuple(arguments)?.first().map(|first| &self.objects[*first]) {
                    Some(Object::Tensor(tensor)) => Object::Tensor(tensor.clone()),
                    _ => return Err("a parameter without a tensor".into()),
                }
            }
            other => return Err(format!("`{other}` is called, which rebuilds no tensor")),
        };
        self.push(object);
        Ok(())
    }

    /// `(storage, offset, size, stride, requires_grad, hooks)`
    fn tensor(&self, arguments: Id) -> Result<Described, String> {
        let fields = self.tuple(arguments)?;
        let [storage, offset, size, stride, ..] = fields else {
            return Err("a tensor without a storage, offset, size or stride".into());
        };
        let Object::Storage(element, key) = &self.objects[*storage] else {
            return Err("a tensor without a storage".into());
        };
        let Object::Int(offset) = self.objects[*offset] else {
            return Err("a tensor's offset is not a number".into());
        };
        let (shape, strides) = (self.sizes(*size)?, self.sizes(*stride)?);
        if shape.len() != strides.len() || shape.len() > 8 {
            return Err("a tensor's size and stride do not go together".into());
        }
        Ok(Described {
            name: String::new(),
            element: *element,
            storage: key.clone(),
            offset: u64::try_from(offset).map_err(|_| "a tensor's offset is negative")?,
            shape,
            strides,
        })
    }

    fn tuple(&self, id: Id) -> Result<&[Id], String> {
        match &self.objects[id] {
            Object::Tuple(items) => Ok(items),
            _ => Err("a tuple is missing".into()),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>, String> {
        let size = |id: &Id| match self.objects[*id] {
            Object::Int(value) => usize::try_from(value).map_err(|_| "a size is negative".to_owned()),
            _ => Err("a size is not a number".into()),
        };
        self.tuple(id)?.iter().map(size).collect()
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() > LONGEST_NAME {
        return Err(format!("a name of {} bytes, expected at most {LONGEST_NAME}", name.len()));
    }
    Ok(())
}

/// Refuses every name that a file of weights has no use for.
fn known_global(module: &str, name: &str) -> Result<String, String> {
    let known = match module {
        "collections" => name == "OrderedDict",
        "torch._utils" => matches!(name, "_rebuild_tensor_v2" | "_rebuild_parameter"),
        "torch" => name.ends_with("Storage"),
        _ => false,
    };
    if known {
        Ok(format!("{module}.{name}"))
    } else {
        Err(format!("it asks for `{module}.{name}`, which a file of weights has no use for; refused"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Described, Element, tensors};

    /// What `torch.save({'w': tensor})` writes for a 2 x 3 tensor, put together by hand.
    fn dictionary() -> Vec<u8> {
        let mut bytes =
            b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((".to_vec();
        bytes.extend(
            b"X\x07\x00\x00\x00storagectorch\nHalfStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ",
        );
        bytes.extend(b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtRs.");
        bytes
    }

    #[test]
    fn a_dictionary_of_tensors_is_described() {
        let described = Described {
            name: "w".into(),
            element: Some(Element::F16),
            storage: "0".into(),
            offset: 0,
            shape: vec![2, 3],
            strides: vec![3, 1],
        };
        assert_eq!(tensors(&dictionary()).unwrap(), [described]);
    }

    #[test]
    fn a_name_that_rebuilds_no_tensor_is_refused_before_anything_happens() {
        let program = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.";
        let message = tensors(program).unwrap_err();
        assert!(message.contains("`posix.system`") && message.contains("refused"), "{message}");
    }

    #[test]
    fn a_parameter_is_rebuilt_from_a_tensor_and_nothing_else() {
        let parameter = |of: &[u8]| {
            let call = [b"ctorch._utils\n_rebuild_parameter\n", of, b"\x88}\x87R"].concat();
            tensors(&[b"\x80\x02}X\x01\x00\x00\x00w", &call[..], b"s."].concat())
        };
        let whole = dictionary();
        // From the call that rebuilds the tensor up to the end of the dictionary.
        let start = whole.windows(13).position(|window| window == b"ctorch._utils").unwrap();
        let tensor = &whole[start..whole.len() - 2];
        assert_eq!(parameter(tensor), tensors(&whole));
        for other in [&b"}"[..], b"(t", b"X\x03\x00\x00\x00abc"] {
            assert!(parameter(other).unwrap_err().contains("a parameter without a tensor"));
        }
    }

    #[test]
    fn names_that_could_be_copied_into_much_memory_are_refused() {
        let named = |name: &str, storage: &str| {
            let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
            let mut bytes = dictionary();
            for (short, long) in [("w", name), ("0", storage)] {
                let short = text(short);
                let at = bytes.windows(short.len()).position(|window| window == short).unwrap();
                bytes.splice(at..at + short.len(), text(long));
            }
            tensors(&bytes)
        };
        let (good, long) = ("a".repeat(256), "a".repeat(257));
        assert_eq!(named(&good, &good).unwrap()[0].storage, good);
        assert!(named(&long, "0").unwrap_err().contains("a name of 257 bytes"));
        assert!(named("w", &long).unwrap_err().contains("a name of 257 bytes"));
    }

    #[test]
    fn a_text_longer_than_the_file_and_every_truncation_are_errors() {
        assert!(tensors(b"\x80\x02X\xff\xff\xff\xffabc.").unwrap_err().contains("truncated"));
        assert!(tensors(&vec![b'N'; (1 << 23) + 1]).unwrap_err().contains("expected at most 8388608"));
        let whole = dictionary();
        assert!((0..whole.len()).all(|len| tensors(&whole[..len]).is_err()));
    }
}
