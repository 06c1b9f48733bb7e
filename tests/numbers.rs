//! Plain numbers of Python's `random` and of numpy, line by line, against CPython and numpy themselves.
//!
//! Each line of tests/fixtures/numbers.txt is an expression, after statements where it needs some (`random.seed(1);
//! random.random()`). What Python makes of it is written into the constructor of a network as an assertion, which must
//! hold when the network is read; where Python raises, reading must fail with the same exception. Needs the Python of
//! tests/pytorch.rs. Limit: floats are compared to two units in the last place.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

mod oracle;

use std::path::Path;

use llmatic_offline::lower::{Request, lower};

const HEAD: &str = "\
import math
import random
import numpy as np
import torch
import torch.nn as nn

def plain(value):
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value

def same(a, b):
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b or abs(a - b) <= 4.5e-16 * max(abs(a), abs(b)) or (a != a and b != b)
    return a == b

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 10)
";

/// What reading the line as a constructor gives: nothing where the assertion holds.
fn read(line: &str, expected: &str) -> Option<String> {
    let (statements, expression) = line.rsplit_once("; ").unwrap_or(("pass", line));
    let mut source = String::from(HEAD);
    for statement in statements.split("; ") {
        source += &format!("        {statement}\n");
    }
    source += &format!("        value = plain({expression})\n");
    source += &format!("        expected = {expected}\n");
    source += "        assert same(value, expected), f'got {value}, expected {expected}'\n";
    source += "\n    def forward(self, x):\n        return self.fc(x.flatten(1))\n";
    let request = Request::new(&source, &[3, 2, 2], Some(10));
    lower(&request).err().map(|refusal| refusal.message)
}

#[test]
fn numbers_of_random_and_numpy_are_pythons() {
    let Some(python) = oracle::python() else { return };
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/numbers.txt");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    oracle::run(&python, "numbers_reference.py", &[&cases, &out]);
    let expected: Vec<(String, String, bool)> =
        serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    let mut failures = Vec::new();
    for (line, expected, raised) in &expected {
        let failure = if *raised {
            match read(line, "None") {
                Some(message) if message.starts_with(expected.as_str()) => continue,
                Some(message) => format!("expected {expected}, got {message}"),
                None => format!("expected {expected}, got a value"),
            }
        } else {
            match read(line, expected) {
                Some(message) => message,
                None => continue,
            }
        };
        failures.push(format!("{line}\n    {failure}"));
    }
    eprintln!("{} of {} lines agree", expected.len() - failures.len(), expected.len());
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
