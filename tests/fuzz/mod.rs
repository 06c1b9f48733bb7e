//! Texts for the fuzz test: sources made by a grammar, hostile programs, texts mutated by character, byte and token.
//!
//! Input: a number. Output: the same text for the same number. Limit: nothing guides the mutations.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

pub(crate) mod networks;
mod steps;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, 0 where there is none.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    /// One of `from`.
    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// One word of a text.
    pub(crate) fn word<'a>(&mut self, from: &'a str) -> &'a str {
        let words: Vec<&str> = from.split_whitespace().collect();
        self.pick(&words)
    }
}

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "x", "self", "nn", "torch", "F", "0", "-1", "1", "2", "3", "10", "64", "9223372036854775807",
    "-9223372036854775808", "1e308", "0.5", "None", "True", "False", "(", ")", "[", "]", "{", "}", ":", ",",
    ".", "*", "**", "//", "%", "@", "<<", "~", "not", "lambda", "yield", "await", "del", "global", "=",
    "+=", "->", "\"\"", "f\"{x}\"", "b''", "...", "\n", "\t", "    ", "#", "\\", "\u{0}", "\u{e9}",
    "\u{1f600}", "super()", "x.shape", "x.size(0)", "range(3)", "len", "isinstance", "inplace", "dim=-1",
    "[::2]", "[None, ...]", "[-1]", "print", "assert", "raise", "try:", "with", "float('nan')",
    "float('inf')", "10**100", "self.training", "import x", "class A: pass", "match x:", "case _:",
    "async def f(): pass", "nonlocal x", ":=", "*args, **kwargs", "{**x}", "[*x]", "%s", "f\"{x:>9}\"",
    "0x7f", "1_000", "1j", "1e999", "\r", "\u{feff}", "\u{202e}", "while", "else:", "elif", "return", "'''",
    "\"\"\"", "__class__", "__dict__", "__mro__", "[x for x in x]", "x.view(-1)", "= =", "@", ";",
];

const LAYERS: &str = "Conv2d Linear BatchNorm2d MaxPool2d AvgPool2d AdaptiveAvgPool2d Dropout ReLU LSTM GRU Flatten \
    Upsample ConvTranspose2d GroupNorm LayerNorm Embedding PReLU Softmax Unflatten PixelShuffle \
    Sequential ModuleList ModuleDict Conv1d MultiheadAttention TransformerEncoderLayer LSTMCell \
    ZeroPad2d Bilinear Identity InstanceNorm2d LocalResponseNorm LPPool2d ParameterList";

const METHODS: &str = "view reshape permute transpose flatten unsqueeze squeeze mean sum max chunk split expand repeat \
    clamp softmax matmul roll flip narrow select unfold add_ relu_ mul pow norm argmax cumsum \
    contiguous detach clone to float item tolist size";

const FUNCTIONS: &str = "torch.cat torch.stack torch.einsum F.relu F.interpolate F.pad F.conv2d F.linear F.max_pool2d \
    F.avg_pool2d F.adaptive_avg_pool2d F.dropout F.softmax F.normalize torch.where torch.arange \
    torch.zeros torch.ones torch.randn torch.matmul torch.flatten F.unfold F.layer_norm torch.tril \
    F.scaled_dot_product_attention F.one_hot F.pixel_shuffle torch.full torch.linspace torch.eye";

fn number(random: &mut Random) -> String {
    match random.below(12) {
        0 => "-1".to_owned(),
        1 => "0".to_owned(),
        2 => "2147483648".to_owned(),
        3 => "9223372036854775807".to_owned(),
        4 => "None".to_owned(),
        5 => "0.5".to_owned(),
        6 => "(1, 2)".to_owned(),
        7 => "[3, -1]".to_owned(),
        _ => (1 << random.below(8)).to_string(),
    }
}

fn expression(random: &mut Random, depth: usize) -> String {
    if depth == 0 {
        return match random.below(4) {
            0 => number(random),
            1 => format!("self.m{}", random.below(5)),
            _ => "x".to_owned(),
        };
    }
    let inner = expression(random, depth - 1);
    match random.below(12) {
        0 | 1 => format!("self.m{}({inner})", random.below(5)),
        2 | 3 => format!("{inner}.{}({}, {})", random.word(METHODS), number(random), number(random)),
        4 => format!("{inner}.{}({})", random.word(METHODS), number(random)),
        5 => format!("{}({inner}, {})", random.word(FUNCTIONS), number(random)),
        6 => format!(
            "{}([{inner}, {}], {})",
            random.word(FUNCTIONS),
            expression(random, depth - 1),
            number(random)
        ),
        7 => format!(
            "({inner} {} {})",
            random.pick(&["+", "-", "*", "/", "//", "%", "**", "@", "<", "=="]),
            number(random)
        ),
        8 => format!("({inner} + {})", expression(random, depth - 1)),
        9 => format!("{inner}[{}:{}, {}]", number(random), number(random), number(random)),
        10 => format!("[{inner} for i in range({})][{}]", number(random), number(random)),
        _ => format!("({inner} if self.training else {})", expression(random, depth - 1)),
    }
}

/// A network of layers and expressions drawn at random, with arguments that make little sense.
pub(crate) fn made(random: &mut Random) -> String {
    let mut source = String::from(
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\nclass Net(nn.Module):\n    \
         def __init__(self):\n        super().__init__()\n",
    );
    for layer in 0..5 {
        let arguments: Vec<String> = (0..random.below(5)).map(|_| number(random)).collect();
        source += &format!("        self.m{layer} = nn.{}({})\n", random.word(LAYERS), arguments.join(", "));
    }
    source += "\n    def forward(self, x):\n";
    for _ in 0..=random.below(5) {
        let depth = random.below(4);
        let (target, value) = (random.pick(&["x", "x", "y", "x[:, 0]", "x, y"]), expression(random, depth));
        source += &match random.below(5) {
            0 => format!("        for i in range({}):\n            x = {value}\n", number(random)),
            1 => format!("        if {value}:\n            x = {value}\n"),
            2 => format!("        x {} {value}\n", random.pick(&["+=", "*=", "-="])),
            _ => format!("        {target} = {value}\n"),
        };
    }
    source + "        return x.flatten(1)\n"
}

/// A text with a few pieces cut, doubled, moved or replaced: characters, bytes or words.
pub(crate) fn mutated(random: &mut Random, text: &str, other: &str) -> String {
    match random.below(3) {
        0 => characters(random, text, other),
        1 => bytes(random, text),
        _ => tokens(random, text, other),
    }
}

fn characters(random: &mut Random, text: &str, other: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(6) {
        let at = random.below(chars.len() + 1);
        let end = (at + random.below(40)).min(chars.len());
        match random.below(6) {
            0 => drop(chars.drain(at..end)),
            1 => {
                let copy = chars[at..end].to_vec();
                chars.splice(at..at, copy);
            }
            2 => drop(chars.splice(at..end.min(at + 3), random.pick(WORDS).chars())),
            3 => drop(chars.splice(at..at, random.pick(WORDS).chars())),
            4 => {
                let lines: Vec<&str> = other.lines().collect();
                let line = lines.get(random.below(lines.len())).copied().unwrap_or_default();
                let start = chars[..at].iter().rposition(|&char| char == '\n').map_or(0, |at| at + 1);
                drop(chars.splice(start..start, format!("{line}\n").chars()));
            }
            _ => {
                // A number becomes another.
                if let Some(digit) = (at..chars.len()).find(|&at| chars[at].is_ascii_digit()) {
                    drop(chars.splice(digit..=digit, number(random).chars()));
                }
            }
        }
    }
    chars.into_iter().collect()
}

/// Bytes flipped, and read as UTF-8 as far as they are.
fn bytes(random: &mut Random, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = match random.below(3) {
                0 => *byte ^ (1 << random.below(8)),
                1 => u8::try_from(random.below(128)).unwrap(),
                _ => u8::try_from(random.below(256)).unwrap(),
            };
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Names, numbers and signs exchanged, for others of this text or of another.
fn tokens(random: &mut Random, text: &str, other: &str) -> String {
    let (mut own, others) = (split(text), split(other));
    for _ in 0..=random.below(10) {
        let (at, from) = (random.below(own.len()), random.below(own.len()));
        let Some(known) = own.get(from).copied() else { break };
        match random.below(6) {
            0 => own[at] = known,
            1 => own.insert(at, known),
            2 => drop(own.remove(at)),
            3 => own.swap(at, from),
            4 => own[at] = random.pick(WORDS),
            _ => own[at] = others.get(random.below(others.len())).copied().unwrap_or(known),
        }
    }
    own.concat()
}

/// A text as words, runs of blanks and single signs.
fn split(text: &str) -> Vec<&str> {
    let class = |char: char| match char {
        char if char.is_alphanumeric() || char == '_' => 1,
        ' ' => 2,
        _ => 0,
    };
    let mut parts = Vec::new();
    let mut start = 0;
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    for pair in chars.windows(2) {
        let (before, (at, after)) = (pair[0].1, pair[1]);
        if class(before) == 0 || class(before) != class(after) {
            parts.push(&text[start..at]);
            start = at;
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A program that wants to use up time or memory: pieces that grow, in loops, recursion and nesting.
pub(crate) fn hostile(random: &mut Random) -> String {
    let mut source = String::from(
        "import torch, math, copy, itertools, functools, collections\nimport numpy as np\nimport torch.nn as nn\n\
         import torch.nn.functional as F\n",
    );
    let lines: Vec<String> = (0..=random.below(4)).map(|_| greedy(random, 0)).collect();
    match random.below(4) {
        0 => source += &lines.join("\n"),
        1 => {
            source += "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n";
            source += "        a, b, c = [], {}, ''\n";
            lines.iter().for_each(|line| source += &indented(line, 8));
            source += "        self.fc = nn.Linear(3072, 10)\n    def forward(self, x):\n";
            source += "        return self.fc(x.flatten(1))\n";
        }
        _ => {
            source += "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n";
            source += "        self.fc = nn.Linear(3072, 10)\n    def forward(self, x):\n";
            source += "        a, b, c = x, [x], 'x'\n";
            lines.iter().for_each(|line| source += &indented(line, 8));
            source += "        return self.fc(x.flatten(1))\n";
        }
    }
    source + "\n"
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

fn large(random: &mut Random) -> String {
    random.pick(&["3", "50", "1000", "10**5", "10**6", "10**9", "2**62", "99999", "len(b)", "-1"]).to_owned()
}

/// A statement that grows something.
fn greedy(random: &mut Random, depth: usize) -> String {
    let (n, m) = (large(random), large(random));
    let inner = if depth < 3 { greedy_value(random) } else { "a".to_owned() };
    match random.below(9) {
        0 if depth < 3 => format!("for i in range({n}):\n{}", indented(&greedy(random, depth + 1), 4)),
        1 if depth < 3 => format!("while True:\n{}", indented(&greedy(random, depth + 1), 4)),
        2 if depth < 3 => format!(
            "def f(a, b=[], c='x', *args, **kwargs):\n{}    return f(a, b, c)\nf({inner})",
            indented(&greedy(random, depth + 1), 4)
        ),
        3 if depth < 3 => format!(
            "try:\n{}except Exception as e:\n    a = e\nfinally:\n    a = {inner}",
            indented(&greedy(random, depth + 1), 4)
        ),
        7 if depth < 3 => format!(
            "def g(b=b):\n    for i in range({n}):\n        if i % 2: yield {inner}\n{}    yield from b\n{}",
            indented(&greedy(random, depth + 1), 4),
            random
                .pick(&["a = list(g())", "b = g()", "a = next(g())", "b = [g() for _ in range(N)]"])
                .replace('N', &m)
        ),
        4 => format!("b = [{inner}] * {n} + [{m}]"),
        5 => format!("a = {inner}; b = a; c = str(b)"),
        6 => format!("x = {inner}"),
        _ => format!("a = {inner}"),
    }
}

fn greedy_value(random: &mut Random) -> String {
    #[rustfmt::skip]
    const VALUES: &[&str] = &[
        "[a, a, a]", "(a, b)", "{N: a}", "a + a", "b + b",
        "c + c", "c * N", "[0] * N", "[a] * N", "list(range(N))",
        "sorted(range(N), key=lambda k: -k)", "sum(range(N))", "max(range(N))", "c.join([c] * N)", "str(a) * N",
        "[i for i in range(N) for j in range(N)]", "{i: a for i in range(N)}",
        "'%*d' % (N, N)", "f'{a!r:>{N}}'",
        "copy.deepcopy(a)", "list(itertools.product(b, b))",
        "functools.reduce(lambda p, q: p + q, [b] * N)", "[*b, *b]",
        "nn.Sequential(*[nn.ReLU() for _ in range(N)])", "nn.ModuleList([nn.Linear(8, 8)] * N)",
        "a == b", "N ** N",
        "nn.Linear(N, N)", "torch.zeros(N, N)",
        "torch.cat([x] * N)", "x.repeat(1, N, 1, 1)", "x.expand(N, -1, -1, -1, -1)",
        "F.pad(x, (N, N))", "F.interpolate(x, scale_factor=N)",
        "x.unfold(2, 1, 1)", "torch.stack([x] * N, 1)", "x + N",
        "x.split(1, 2)", "x.chunk(N, 1)",
        "list(x.unbind(3))", "[x[:, i] for i in range(N)]", "math.factorial(N)",
        "np.arange(N)", "np.linspace(0, 1, N)", "lambda: a",
        "type('A', (nn.Module,), {})", "hash(a)", "id(a)", "1 << N",
        "c.replace('', c)", "c.split('x')", "c.format(*b)", "b.index(N)",
        "N in b", "dict(zip(b, b))", "set(b)", "b[::-1]",
        "b.pop()", "reversed(b)", "isinstance(a, (int, list))",
        "map(str, b)", "(i for i in b)", "any(b)", "sum(b)", "next(iter(b))", "itertools.chain(b, b)",
        "itertools.islice(itertools.count(), N, None)", "zip(b, b)", "filter(None, b)", "enumerate(b)",
        "{i: i for i in range(N)}.items()", "set(a.items() | a.keys())", "itertools.tee(b)",
        "list(itertools.accumulate(b))", "nn.__dict__", "collections.OrderedDict(a)",
        "getattr(a, c, a)", "x.view(-1, N)", "x.reshape(N, N)",
        "torch.einsum('bchw,bdhw->bcd', x, x)", "torch.arange(N)",
        "x.flatten(1) @ torch.ones(3072, N)", "nn.Conv2d(3, N, N)(x)",
    ];
    random.pick(VALUES).replace('N', &large(random))
}
