//! Real PyTorch beside the tests: where it is, how its scripts are run, and what comes back.
//!
//! Input: files that `scripts/setup.sh --test-python` installs, scripts of `tests/python`. Output: tensors and
//! differences. What is not installed skips a test with a line, or fails it where `LLMATIC_REQUIRE_MODEL` is set.
//! Limit: numbers are compared as f32.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "shared by test files, of which none uses all"
)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use llmatic_offline::graph::{Body, Graph, Op};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Whether a file or folder is there.
pub fn present(path: &Path) -> bool {
    if path.exists() {
        return true;
    }
    assert!(
        std::env::var_os("LLMATIC_REQUIRE_MODEL").is_none(),
        "{} is missing; run scripts/setup.sh --test-python",
        path.display()
    );
    eprintln!("skipped: {} is missing", path.display());
    false
}

/// Where a tool of the tests is: as `variable` says, else under the data folder.
pub fn place(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| llmatic_offline::config::home().join(default), PathBuf::from)
}

/// The Python with PyTorch; without it the caller's test is skipped.
pub fn python() -> Option<PathBuf> {
    let python = place("LLMATIC_PYTHON", "venv-test/bin/python");
    present(&python).then_some(python)
}

/// Runs a script of `tests/python` to its end.
pub fn run<A: AsRef<OsStr>>(python: &Path, script: &str, arguments: &[A]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut command = Command::new(python);
    let output = command.arg("-W").arg("ignore").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// All tensors of a safetensors file: names, sizes, values.
pub fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = file.tensors().into_iter();
    all.map(|(name, view)| (name, view.shape().to_vec(), values(&view))).collect()
}

/// The numbers of a tensor, whatever its type.
pub fn values(view: &TensorView<'_>) -> Vec<f32> {
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::F64 => {
            data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()) as f32).collect()
        }
        Dtype::I64 => {
            data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect()
        }
        Dtype::BOOL | Dtype::U8 => data.iter().map(|&b| f32::from(b)).collect(),
        other => panic!("a tensor of type {other:?}"),
    }
}

/// One tensor of a safetensors file.
pub fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let found = tensors(path).into_iter().find(|(known, _, _)| known == name);
    let (_, sizes, values) = found.unwrap_or_else(|| panic!("{}: no tensor `{name}`", path.display()));
    (sizes, values)
}

/// The largest difference; infinite where a number is not finite, which `f32::max` would pass over.
pub fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let apart = |(a, b): (&f32, &f32)| if (a - b).is_finite() { (a - b).abs() } else { f32::INFINITY };
    ours.iter().zip(theirs).map(apart).fold(0.0, f32::max)
}

/// The length of a vector.
pub fn length(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// Keys and sizes of a graph's `state_dict`, in its order.
pub fn state(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    let mut state = Vec::new();
    for param in &graph.params {
        let keys = std::iter::once(&param.name).chain(&param.aliases).filter(|key| !key.is_empty());
        state.extend(keys.map(|key| (key.clone(), param.sizes.clone())));
    }
    state
}

/// The first operations or parameters of two graphs that are not alike.
pub fn difference(one: &Graph, other: &Graph) -> String {
    let texts = |graph: &Graph, body: &Body| -> Vec<String> {
        let live = body.live();
        let nodes = body.nodes.iter().zip(live).filter(|(_, live)| *live);
        nodes
            .map(|(node, _)| match &node.op {
                Op::Param(id) => {
                    let param = graph.param(*id);
                    format!("{:?} {:?} {:?}", param.sizes, param.kind, param.init)
                }
                op => format!("{op:?}"),
            })
            .collect()
    };
    for training in [false, true] {
        let (mut ours, mut theirs) = (texts(one, one.body(training)), texts(other, other.body(training)));
        ours.sort();
        theirs.sort();
        let apart = ours.iter().zip(&theirs).find(|(a, b)| a != b);
        if let Some((a, b)) = apart {
            return format!("{a} becomes {b}");
        }
        if ours.len() != theirs.len() {
            return format!("{} operations become {}", ours.len(), theirs.len());
        }
    }
    format!(
        "the same operations, connected otherwise (training bodies: {}, {})",
        one.train.is_some(),
        other.train.is_some()
    )
}
