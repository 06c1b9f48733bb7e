//! Reading sources never panics and never runs away, whatever the text: mutated fixtures and sources made by a grammar.
//!
//! The cases are the same in every run: case N depends on N alone. `LLMATIC_FUZZ_SECONDS` makes it go on for longer.
//! A panic inside is caught by the front-end and named "internal error", which this test refuses; steps, objects and
//! sizes are bounded by [`Limits`]. Limit: coverage is not measured, so the mutations are not guided by it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say what they did")]

use std::path::Path;
use std::time::{Duration, Instant};

use llmatic_offline::lower::{Limits, NoImports, RepairSet, Request, lower};

/// Cases of an ordinary run.
const CASES: u64 = 2_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const WORDS: &[&str] = &[
    "x",
    "self",
    "nn",
    "torch",
    "F",
    "0",
    "-1",
    "1",
    "2",
    "3",
    "10",
    "64",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "0.5",
    "None",
    "True",
    "False",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    ".",
    "*",
    "**",
    "//",
    "%",
    "@",
    "<<",
    "~",
    "not",
    "lambda",
    "yield",
    "await",
    "del",
    "global",
    "=",
    "+=",
    "->",
    "\"\"",
    "f\"{x}\"",
    "b''",
    "...",
    "\n",
    "\t",
    "    ",
    "#",
    "\\",
    "\u{0}",
    "\u{e9}",
    "\u{1f600}",
    "super()",
    "x.shape",
    "x.size(0)",
    "range(3)",
    "len",
    "isinstance",
    "inplace",
    "dim=-1",
    "[::2]",
    "[None, ...]",
    "[-1]",
    "print",
    "assert",
    "raise",
    "try:",
    "with",
    "float('nan')",
    "float('inf')",
    "10**100",
    "self.training",
    "import x",
    "class A: pass",
];

const LAYERS: &[&str] = &[
    "Conv2d",
    "Linear",
    "BatchNorm2d",
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "Dropout",
    "ReLU",
    "LSTM",
    "GRU",
    "Flatten",
    "Upsample",
    "ConvTranspose2d",
    "GroupNorm",
    "LayerNorm",
    "Embedding",
    "PReLU",
    "Softmax",
    "Unflatten",
    "PixelShuffle",
    "Sequential",
    "ModuleList",
    "ModuleDict",
    "Conv1d",
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "LSTMCell",
    "ZeroPad2d",
    "Bilinear",
    "Identity",
    "InstanceNorm2d",
    "LocalResponseNorm",
    "LPPool2d",
    "ParameterList",
];

const METHODS: &[&str] = &[
    "view",
    "reshape",
    "permute",
    "transpose",
    "flatten",
    "unsqueeze",
    "squeeze",
    "mean",
    "sum",
    "max",
    "chunk",
    "split",
    "expand",
    "repeat",
    "clamp",
    "softmax",
    "matmul",
    "roll",
    "flip",
    "narrow",
    "select",
    "unfold",
    "add_",
    "relu_",
    "mul",
    "pow",
    "norm",
    "argmax",
    "cumsum",
    "contiguous",
    "detach",
    "clone",
    "to",
    "float",
    "item",
    "tolist",
    "size",
];

const FUNCTIONS: &[&str] = &[
    "torch.cat",
    "torch.stack",
    "torch.einsum",
    "F.relu",
    "F.interpolate",
    "F.pad",
    "F.conv2d",
    "F.linear",
    "F.max_pool2d",
    "F.avg_pool2d",
    "F.adaptive_avg_pool2d",
    "F.dropout",
    "F.softmax",
    "F.normalize",
    "torch.where",
    "torch.arange",
    "torch.zeros",
    "torch.ones",
    "torch.randn",
    "torch.matmul",
    "torch.flatten",
    "F.unfold",
    "F.layer_norm",
    "torch.tril",
    "F.scaled_dot_product_attention",
    "F.one_hot",
    "F.pixel_shuffle",
    "torch.full",
    "torch.linspace",
    "torch.eye",
];

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
        2 | 3 => format!("{inner}.{}({}, {})", random.pick(METHODS), number(random), number(random)),
        4 => format!("{inner}.{}({})", random.pick(METHODS), number(random)),
        5 => format!("{}({inner}, {})", random.pick(FUNCTIONS), number(random)),
        6 => format!(
            "{}([{inner}, {}], {})",
            random.pick(FUNCTIONS),
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

fn made(random: &mut Random) -> String {
    let mut source = String::from(
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\nclass Net(nn.Module):\n    \
         def __init__(self):\n        super().__init__()\n",
    );
    for layer in 0..5 {
        let arguments: Vec<String> = (0..random.below(5)).map(|_| number(random)).collect();
        source += &format!("        self.m{layer} = nn.{}({})\n", random.pick(LAYERS), arguments.join(", "));
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

/// A text with a few pieces cut, doubled, moved or replaced.
fn mutated(random: &mut Random, text: &str, other: &str) -> String {
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

fn fixtures() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<_> = ["accept", "reject"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn any_text_is_read_or_refused_within_the_limits() {
    let fixtures = fixtures();
    let seconds = std::env::var("LLMATIC_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut accepted, mut slowest, mut case) = (0u64, (Duration::ZERO, 0), 0);
    while case < CASES || until.is_some_and(|until| Instant::now() < until) {
        let mut random = Random(case);
        let source = if random.below(2) == 0 {
            made(&mut random)
        } else {
            let (one, other) = (random.below(fixtures.len()), random.below(fixtures.len()));
            mutated(&mut random, &fixtures[one], &fixtures[other])
        };
        let repairs = if random.below(4) == 0 { RepairSet::all() } else { RepairSet::none() };
        let request = Request {
            source: &source,
            entry: None,
            input_sizes: &[3, 32, 32],
            classes: Some(10),
            limits: Limits { steps: 200_000, ..Limits::default() },
            repairs,
            imports: &NoImports,
        };
        let start = Instant::now();
        match lower(&request) {
            Ok(network) => {
                accepted += 1;
                // What is accepted can be printed and identified.
                assert!(!network.graph.to_pytorch("Net").is_empty());
            }
            Err(refusal) => assert!(
                !refusal.message.contains("internal error"),
                "case {case}: {}\n{source}",
                refusal.message
            ),
        }
        slowest = slowest.max((start.elapsed(), case));
        case += 1;
    }
    eprintln!("{case} cases, {accepted} accepted; slowest {:?}: case {}", slowest.0, slowest.1);
    assert!(accepted > 0, "the generator makes no network");
}
