//! A pickle machine that builds plain values and records of tensors, and nothing else.
//!
//! A pickle is a program for a stack machine; Python's machine imports and calls whatever the file names. This one has
//! no import and no call: a global is two strings, and calling one gives an inert value, except for the few names that
//! mean a tensor, a parameter or an ordered dict. Values are indices into one list of nodes, so that shared and cyclic
//! values cost nothing to copy and nothing recurses. The numbers of nodes, stack slots and memo entries are bounded.
//!
//! Read [`Pickle::parse`] first. Reads no files; see [`super::torch_zip`].

use std::collections::HashMap;

/// Bytes of the largest pickle that is read. Tensor data is stored elsewhere, so real ones are far smaller.
pub const MAX_BYTES: usize = 32 << 20;

/// Limit of nodes, of stack slots and of memo entries.
const MAX_VALUES: usize = 1 << 20;

/// A value; strings and containers are nodes of the [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// None, a float: values that no tensor record needs.
    Other,
    /// An integer or a boolean.
    Int(i64),
    /// The node with this index.
    Node(usize),
}

/// A value with parts.
#[derive(Debug)]
pub enum Node<'a> {
    /// A string.
    Str(&'a str),
    /// Module and name of a Python object, never looked up.
    Global(&'a str, &'a str),
    /// An immutable sequence.
    Tuple(Vec<Value>),
    /// A mutable sequence.
    List(Vec<Value>),
    /// Pairs in the order of insertion; keys may repeat.
    Dict(Vec<(Value, Value)>),
    /// The inert result of calling this global.
    Made(&'a str, &'a str),
    /// Data elsewhere in the torch file.
    Storage(Storage<'a>),
    /// A strided view of a storage.
    Tensor(Strided<'a>),
}

/// Data elsewhere in the torch file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage<'a> {
    /// Class name: `FloatStorage`, `BFloat16Storage`, ...
    pub class: &'a str,
    /// Name of the member in the `data` folder.
    pub key: &'a str,
    /// Number of elements.
    pub count: i64,
}

/// A strided view of a storage as stated by the file, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strided<'a> {
    /// Where the elements are.
    pub storage: Storage<'a>,
    /// Index of the first element in the storage.
    pub offset: i64,
    /// Extents, outermost first.
    pub sizes: Vec<i64>,
    /// Elements from one index to the next, per axis.
    pub strides: Vec<i64>,
}

/// A pickle's value.
#[derive(Debug)]
pub struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    top: Value,
}

type Result<T> = std::result::Result<T, String>;

impl<'a> Pickle<'a> {
    /// Runs a pickle of protocol 2, as torch writes it.
    ///
    /// # Errors
    /// A sentence if the bytes are not such a pickle or need more than the limits.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(format!(
                "has a pickle of {} bytes; at most {MAX_BYTES} are read",
                bytes.len()
            ));
        }
        let mut machine = Machine {
            input: bytes,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        loop {
            let [op] = machine.take()?;
            if op == b'.' {
                let top = machine.pop()?;
                return Ok(Self {
                    nodes: machine.nodes,
                    top,
                });
            }
            machine.step(op)?;
        }
    }

    /// The whole value.
    pub fn top(&self) -> Value {
        self.top
    }

    /// The node of a value, if it has one.
    pub fn node(&self, value: Value) -> Option<&Node<'a>> {
        match value {
            Value::Node(number) => self.nodes.get(number),
            Value::Other | Value::Int(_) => None,
        }
    }

    /// The string of a value, if it is one.
    pub fn str(&self, value: Value) -> Option<&'a str> {
        match self.node(value) {
            Some(Node::Str(text)) => Some(text),
            _ => None,
        }
    }
}

struct Machine<'a> {
    input: &'a [u8],
    nodes: Vec<Node<'a>>,
    stack: Vec<Value>,
    /// Stack heights; no pop goes below the last.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, op: u8) -> Result<()> {
        match op {
            0x80 => self.take::<1>().map(drop),
            b'(' => self.mark(),
            b'}' => self.push_node(Node::Dict(Vec::new())),
            b']' => self.push_node(Node::List(Vec::new())),
            b')' => self.push_node(Node::Tuple(Vec::new())),
            b't' | 0x85..=0x87 => self.tuple(op),
            b'X' => self.string(),
            b'c' => self.global(),
            b'J' => {
                let n = i32::from_le_bytes(self.take()?);
                self.push(Value::Int(n.into()))
            }
            b'K' => {
                let [n] = self.take()?;
                self.push(Value::Int(n.into()))
            }
            b'M' => {
                let n = u16::from_le_bytes(self.take()?);
                self.push(Value::Int(n.into()))
            }
            0x8a => self.long(),
            b'G' => {
                self.take::<8>()?;
                self.push(Value::Other)
            }
            b'N' => self.push(Value::Other),
            0x88 => self.push(Value::Int(1)),
            0x89 => self.push(Value::Int(0)),
            b'q' | b'r' => self.remember(op),
            b'h' | b'j' => self.recall(op),
            b'Q' => self.storage(),
            b'R' | 0x81 => self.make(),
            b'b' => self.pop().map(drop),
            b's' | b'u' => self.set_items(op),
            b'a' | b'e' => self.append(op),
            _ => Err(format!(
                "has pickle opcode 0x{op:02x}, which files of tensors do not use"
            )),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .input
            .split_first_chunk()
            .ok_or("has a pickle cut off")?;
        self.input = rest;
        Ok(*head)
    }

    fn take_str(&mut self, bytes: usize) -> Result<&'a str> {
        let head = self.take_bytes(bytes)?;
        std::str::from_utf8(head).map_err(|_| "has a string in its pickle that is not UTF-8".into())
    }

    fn take_bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let parts = self.input.split_at_checked(count);
        let (head, rest) = parts.ok_or("has a pickle cut off")?;
        self.input = rest;
        Ok(head)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.stack.len() == MAX_VALUES {
            return Err(format!("has a pickle of more than {MAX_VALUES} values"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node<'a>) -> Result<()> {
        if self.nodes.len() == MAX_VALUES {
            return Err(format!("has a pickle of more than {MAX_VALUES} values"));
        }
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    fn pop(&mut self) -> Result<Value> {
        let top = self.top()?;
        let bottom = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= bottom {
            return Err("has a pickle that takes from an empty stack".into());
        }
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Value> {
        let top = self.stack.last().copied();
        top.ok_or_else(|| "has a pickle that takes from an empty stack".into())
    }

    fn mark(&mut self) -> Result<()> {
        if self.marks.len() == MAX_VALUES {
            return Err(format!("has a pickle of more than {MAX_VALUES} marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or("has a pickle that lacks a mark")?;
        Ok(self.stack.split_off(mark))
    }

    /// TUPLE (to the mark), TUPLE1, TUPLE2, TUPLE3.
    fn tuple(&mut self, op: u8) -> Result<()> {
        let items = match op {
            b't' => self.pop_to_mark()?,
            _ => {
                let mut items = Vec::new();
                for _ in 0x85..=op {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
        };
        self.push_node(Node::Tuple(items))
    }

    fn string(&mut self) -> Result<()> {
        let bytes = u32::from_le_bytes(self.take()?);
        let bytes = usize::try_from(bytes).map_err(|_| "has a string too large")?;
        let text = self.take_str(bytes)?;
        self.push_node(Node::Str(text))
    }

    /// Two lines: module and name.
    fn global(&mut self) -> Result<()> {
        let [module, name] = [self.line()?, self.line()?];
        self.push_node(Node::Global(module, name))
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.input.iter().position(|&b| b == b'\n');
        let line = self.take_str(end.ok_or("has a pickle cut off")?)?;
        self.take::<1>()?;
        Ok(line)
    }

    /// A little-endian two's complement number. Those beyond 64 bits are never needed.
    fn long(&mut self) -> Result<()> {
        let [length] = self.take()?;
        let bytes = self.take_bytes(length.into())?;
        let value = if bytes.len() <= 8 {
            let fill = match bytes.last() {
                Some(last) if last & 0x80 != 0 => 0xff,
                _ => 0,
            };
            let mut number = [fill; 8];
            number[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(number))
        } else {
            Value::Other
        };
        self.push(value)
    }

    fn slot(&mut self, short: bool) -> Result<u32> {
        if short {
            let [slot] = self.take()?;
            return Ok(slot.into());
        }
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn remember(&mut self, op: u8) -> Result<()> {
        let slot = self.slot(op == b'q')?;
        if self.memo.len() == MAX_VALUES {
            return Err(format!("has a pickle of more than {MAX_VALUES} values"));
        }
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, op: u8) -> Result<()> {
        let slot = self.slot(op == b'h')?;
        let value = self.memo.get(&slot).copied();
        self.push(value.ok_or("has a pickle that recalls what it never stored")?)
    }

    /// A persistent id: `('storage', class, key, device, count)`.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let storage = self.read_storage(id);
        self.push_node(Node::Storage(
            storage.ok_or("has a storage in its pickle that cannot be read")?,
        ))
    }

    fn read_storage(&self, id: Value) -> Option<Storage<'a>> {
        let [kind, class, key, _device, Value::Int(count)] = *self.tuple_at(id)? else {
            return None;
        };
        match (self.node(kind)?, self.node(class)?, self.node(key)?) {
            (Node::Str("storage"), Node::Global(_, class), Node::Str(key)) => {
                Some(Storage { class, key, count })
            }
            _ => None,
        }
    }

    /// REDUCE and NEWOBJ, where Python would call the global below the arguments.
    fn make(&mut self) -> Result<()> {
        let args = self.pop()?;
        let callee = self.pop()?;
        let Some(&Node::Global(module, name)) = self.node(callee) else {
            return Err("has a pickle that calls something that is not a name".into());
        };
        match (module, name) {
            ("torch._utils", "_rebuild_tensor_v2") => {
                let tensor = self.read_tensor(args);
                self.push_node(Node::Tensor(
                    tensor.ok_or("has a tensor in its pickle that cannot be read")?,
                ))
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                let tensor = self.tuple_at(args).and_then(|args| args.first().copied());
                self.push(tensor.ok_or("has a parameter in its pickle that cannot be read")?)
            }
            ("collections", "OrderedDict") => self.push_node(Node::Dict(Vec::new())),
            _ => self.push_node(Node::Made(module, name)),
        }
    }

    /// `(storage, offset, sizes, strides, ...)`.
    fn read_tensor(&self, args: Value) -> Option<Strided<'a>> {
        let [storage, Value::Int(offset), sizes, strides, ..] = *self.tuple_at(args)? else {
            return None;
        };
        let Node::Storage(storage) = self.node(storage)? else {
            return None;
        };
        Some(Strided {
            storage: *storage,
            offset,
            sizes: self.ints_at(sizes)?,
            strides: self.ints_at(strides)?,
        })
    }

    fn node(&self, value: Value) -> Option<&Node<'a>> {
        match value {
            Value::Node(number) => self.nodes.get(number),
            Value::Other | Value::Int(_) => None,
        }
    }

    fn tuple_at(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn ints_at(&self, value: Value) -> Option<Vec<i64>> {
        // No tensor has more axes. Without a limit, a long tuple shared by many tensors would be copied for each.
        const MAX_AXES: usize = 16;
        let items = self.tuple_at(value)?;
        let int = |&item: &Value| match item {
            Value::Int(n) => Some(n),
            Value::Other | Value::Node(_) => None,
        };
        (items.len() <= MAX_AXES)
            .then(|| items.iter().map(int).collect())
            .flatten()
    }

    /// SETITEM (one pair) and SETITEMS (to the mark), into a dict; other targets stay inert.
    fn set_items(&mut self, op: u8) -> Result<()> {
        let items = if op == b's' {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.pop_to_mark()?
        };
        let (pairs, odd) = items.as_chunks::<2>();
        if !odd.is_empty() {
            return Err("has a dict in its pickle with a key but no value".into());
        }
        if let Value::Node(number) = self.top()?
            && let Some(Node::Dict(dict)) = self.nodes.get_mut(number)
        {
            dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        }
        Ok(())
    }

    /// APPEND (one item) and APPENDS (to the mark), onto a list; other targets stay inert.
    fn append(&mut self, op: u8) -> Result<()> {
        let items = if op == b'a' {
            vec![self.pop()?]
        } else {
            self.pop_to_mark()?
        };
        if let Value::Node(number) = self.top()?
            && let Some(Node::List(list)) = self.nodes.get_mut(number)
        {
            list.extend(items);
        }
        Ok(())
    }
}
