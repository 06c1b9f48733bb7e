//! The front-end on whole sources: fixtures that must be accepted or refused, hostile texts, recorded generations.
//!
//! Fixtures are named after the fact they show. What is expected of them is recorded from PyTorch by
//! `scripts/record_frontend_reference.py` in `tests/fixtures/reference.json`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

mod oracle;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use llmatic_offline::graph::{Op, When};
use llmatic_offline::lower::{Network, Refusal, RepairSet, Request, Verdict, lower};

fn request(source: &str) -> Request<'_> {
    Request::new(source, &[3, 32, 32], Some(10))
}

fn plain(source: &str) -> Result<Network, Refusal> {
    lower(&request(source))
}

fn repaired(source: &str) -> Result<Network, Refusal> {
    lower(&Request { repairs: RepairSet::all(), ..request(source) })
}

fn fixtures(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "py"));
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn recorded_generations_get_pytorchs_verdict() {
    let root = std::env::var("LLMATIC_SHARED").unwrap_or_else(|_| "../shared".to_owned());
    let Ok(text) = std::fs::read_to_string(Path::new(&root).join("data/generations.jsonl")) else {
        eprintln!("skipped: no generations.jsonl in {root} (set LLMATIC_SHARED)");
        return;
    };
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut agreed, mut made_valid, mut valid, mut complete, mut novel) = (0, 0, 0, 0, 0);
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let source = row["source"].as_str().unwrap();
        let expected = row["valid"].as_bool().unwrap();
        let result = plain(source);
        if result.is_ok() == expected {
            agreed += 1;
        } else {
            let ours =
                result.as_ref().err().map(|refusal| refusal.render(source, "net.py")).unwrap_or_default();
            eprintln!(
                "row {index}: PyTorch says {expected} ({}), we say {}\n{ours}",
                row["error"],
                result.is_ok()
            );
        }
        if !row["model"].as_str().unwrap().starts_with("qwen") || row["verdict"] == "valid_identical" {
            continue;
        }
        novel += 1;
        let syntax = matches!(&result, Err(refusal) if refusal.verdict == Verdict::SyntaxError);
        complete += usize::from(!syntax);
        valid += usize::from(expected);
        match repaired(source) {
            Ok(network) => {
                if let Ok(folder) = std::env::var("LLMATIC_KEEP_REPAIRED") {
                    std::fs::write(Path::new(&folder).join(format!("{index}.py")), &network.source).unwrap();
                }
                for repair in &network.repairs {
                    eprintln!("row {index}: {}: {}", repair.name, repair.detail);
                }
                made_valid += 1;
                assert!(
                    plain(&network.source).is_ok(),
                    "row {index}: the repaired source is not valid itself"
                );
                if expected {
                    assert!(network.repairs.is_empty(), "row {index}: a valid network was changed");
                }
            }
            Err(refusal) => {
                eprintln!("row {index}: not repaired: {} (PyTorch: {})", refusal.message, row["error"]);
                *causes.entry(refusal.message.chars().take(40).collect()).or_insert(0) += 1;
            }
        }
    }
    eprintln!("agreement {agreed} of {}", rows.len());
    eprintln!(
        "qwen without copies: {novel}, complete {complete}, valid as written {valid}, with repairs {made_valid}"
    );
    assert!(agreed * 100 >= rows.len() * 99, "agreement {agreed} of {}", rows.len());
}

fn reference() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_view_and_the_layer_after_it_get_the_width_that_arrives() {
    let source = "import torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n\
        \x20       self.conv = nn.Conv2d(3, 28, 6)\n\
        \x20       self.fc = nn.Linear(28 * 28, 10)\n    def forward(self, x):\n\
        \x20       x = self.conv(x)\n        x = x.view(-1, 28 * 28)\n        return self.fc(x)\n";
    let network = repaired(source).unwrap();
    let names: Vec<&str> = network.repairs.iter().map(|repair| repair.name).collect();
    assert_eq!(names, ["input_widths", "input_widths"]);
    assert!(network.source.contains("view(-1, 20412)") && network.source.contains("Linear(20412, 10)"));
}

#[test]
fn accept_fixtures_have_pytorchs_parameters_and_names() {
    let reference = reference();
    for (name, source) in fixtures("accept") {
        let network = plain(&source).unwrap_or_else(|refusal| panic!("{}", refusal.render(&source, &name)));
        let expected = &reference["fixtures"][format!("accept/{name}")];
        assert!(expected["valid"].as_bool().unwrap(), "{name}: PyTorch refuses it");
        assert_eq!(network.graph.parameter_count(), expected["parameters"].as_u64().unwrap(), "{name}");
        let mut state = oracle::state(&network.graph);
        let mut wanted: Vec<(String, Vec<usize>)> =
            serde_json::from_value(expected["state"].clone()).unwrap();
        state.sort();
        wanted.sort();
        assert_eq!(state, wanted, "{name}");
    }
}

#[test]
fn reject_fixtures_are_refused() {
    for (name, source) in fixtures("reject") {
        assert!(plain(&source).is_err(), "{name} was accepted");
        let valid = &reference()["fixtures"][format!("reject/{name}")]["valid"];
        assert_eq!(valid.as_bool(), Some(false), "{name}: PyTorch accepts it");
    }
}

#[test]
fn hostile_sources_are_refused() {
    let net =
        "import torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n";
    // With this end they would be networks.
    let end = "        self.fc = nn.Linear(3072, 10)\n\n    def forward(self, x):\n        return \
               self.fc(x.flatten(1))\n";
    let inside = |body: &str| format!("{net}        {body}\n{end}");
    assert!(plain(&inside("self.a = [0] * 10")).is_ok());
    let sources = [
        "x = ".to_owned() + &"(".repeat(50_000),
        "x = ".to_owned() + &"-".repeat(200_000) + "1",
        "x = 1".to_owned() + &" + 1".repeat(60_000),
        "x = ".to_owned() + &"not ".repeat(50_000) + "1",
        "#".repeat(10 << 20),
        (0..200).map(|depth| " ".repeat(depth) + "if True:\n").collect(),
        "f'".to_owned() + &"{f\"".repeat(50),
        "def f():\n    return f()\nf()\n".to_owned(),
        "f = lambda g: g(g)\nf(f)\n".to_owned(),
    ];
    for body in [
        "for i in range(10**9): pass",
        "while True: pass",
        "self.a = 'a' * 10**9",
        "self.a = [0] * 10**10",
        "self.a = 10**10**10",
        "self.a = 1 << 10000",
        "self.a = [i for i in range(10**8)]",
        "self.a = list(range(10**12))",
        "self.a = nn.Linear(10**9, 10**9)",
        "self.a = nn.Conv2d(10**6, 10**6, 1000)",
        "a = []\n        for i in range(10**6): a = [a]",
        "a = []\n        b = a\n        while True:\n            n = []\n            b.append(n)\n            b = n",
        "a = [1]\n        while True: a = a + a",
        "a = {}\n        while True: a = {0: a, 1: a}",
        "a = 'x'\n        while True: a = a + a",
        "a = 'x'\n        while True: a = f'{a}{a}'",
        "a = ()\n        for i in range(10**6): a = (a, a)\n        self.b = str(a)",
        "self.l = nn.ModuleList([nn.Linear(100, 100) for _ in range(10**5)])",
        "m = nn.Sequential()\n        for i in range(10**5): m = nn.Sequential(m)\n        self.m = m",
        "f = lambda: 0\n        for i in range(10**6): f = (lambda g: lambda: g())(f)\n        f()",
        "self.me = self\n        self.apply(lambda m: None)",
        "a = '%1000000000d' % 5",
        "a = f'{5:1000000000}'",
        "a = 'ab'.replace('', 'x' * 10**5).join(['a'] * 10**5)",
        "import re\n        re.compile('(?:a{1000}){1000}')",
        "import re\n        re.compile('(' * 2000 + ')' * 2000)",
        "import re\n        while True: re.findall('(a+)+b', 'a' * 1000)",
        "import torch\n        w = torch.randn(10**5, 2)\n        for i in range(10**5): w[i] = 0",
        "import itertools\n        a = list(itertools.product(range(1000), range(1000), range(1000)))",
    ] {
        // The stack of Python's `re` is no limit of its own here.
        let expected =
            if body.contains("'(' * 2000") { Verdict::UnsupportedSyntax } else { Verdict::LimitExceeded };
        match plain(&inside(body)) {
            Ok(_) => panic!("accepted: {body}"),
            Err(refusal) => assert_eq!(refusal.verdict, expected, "{body}: {}", refusal.message),
        }
    }
    for source in &sources {
        let head: String = source.chars().take(80).collect();
        match plain(source) {
            Ok(_) => panic!("accepted: {head}"),
            Err(refusal) => {
                assert!(!refusal.message.contains("internal error"), "{}: {head}", refusal.message)
            }
        }
    }
}

fn with_forward(init: &str, forward: &str) -> String {
    let indent = |text: &str| text.lines().map(|line| format!("        {line}\n")).collect::<String>();
    format!(
        "import torch\nimport torch.nn as nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        \
         super().__init__()\n        self.fc = nn.Linear(3072, 10)\n{}\n    def forward(self, x):\n{}",
        indent(init),
        indent(forward)
    )
}

#[test]
fn a_tensor_changed_through_a_view_is_refused_when_it_is_used_again() {
    for forward in [
        "y = x * 1\ny.view(-1, 3072).add_(1)\nreturn self.fc(y.flatten(1))",
        "y = x * 1\nz = y.narrow(1, 0, 1)\ny[:, 0] = 0\nreturn self.fc(torch.cat([z, z, z], 1).flatten(1))",
        "y = x.view(-1, 3072)\ny[:, 0] += 1\nreturn self.fc(x.flatten(1))",
        "y = x * 1\nz = y.transpose(1, 2)\ny += 1\nreturn self.fc(z.flatten(1))",
        "y = x * 1\nz = y.unsqueeze(1)\nz.relu_()\nreturn self.fc(y.flatten(1))",
        "y = x * 1\ny.detach().mul_(2)\nreturn self.fc(y.flatten(1))",
        "y = (x * 1).clone()\ny.select(1, 0).zero_()\nreturn self.fc(y.flatten(1))",
    ] {
        let refusal = plain(&with_forward("", forward)).unwrap_err();
        assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax, "{forward}: {}", refusal.message);
    }
    for forward in [
        "y = x * 1\ny[:, 0] = 0\nreturn self.fc(y.flatten(1))",
        "y = x * 1\ny[:, 0] += 1\nreturn self.fc(y.flatten(1))",
        "y = x * 1\ny = y.view(-1, 3072)\ny += 1\nreturn self.fc(y)",
        "y = x * 1\nz = y\ny += 1\nreturn self.fc(z.flatten(1))",
        "y = x * 1\nz = y.clone()\nz += 1\nreturn self.fc((y + z).flatten(1))",
        "y = x * 1\nz = y.flatten(1)\nw = z + 1\nw += z\nreturn self.fc(w)",
        "y = x * 1\nz = y[:, :1]\nz.relu_()\ny[0].copy_(x[0])\nreturn self.fc(y.flatten(1))",
    ] {
        let result = plain(&with_forward("", forward));
        assert!(result.is_ok(), "{forward}: {}", result.unwrap_err().message);
    }
}

#[test]
fn the_memory_of_what_is_joined_with_itself_again_and_again_is_looked_at_once() {
    // 2 to the 31st ways lead from the view to the input.
    let forward =
        "for i in range(31):\n    x = torch.stack([x, x])[0]\nreturn self.fc(x.view(x.size(0), -1))";
    assert!(plain(&with_forward("", forward)).is_ok());
}

#[test]
fn a_tensor_just_made_is_not_changed_through_a_view_that_it_would_not_follow() {
    let with = |init: &str| {
        plain(&with_forward(
            &format!("{init}\nself.w = nn.Parameter(w)"),
            "return self.fc(x.flatten(1)) * self.w.sum()",
        ))
    };
    for init in [
        "w = torch.randn(4, 4)\nw.view(-1)[0] = 7.0",
        "w = torch.randn(4, 4)\nw.t().zero_()",
        "w = torch.zeros(4, 4)\nw.view(2, 8).mul_(3.0).add_(1)",
        "w = torch.randn(4, 4)\ntorch.transpose(w, 0, 1)[0] = 1.0",
        "w = torch.randn(4, 4)\nv = w.view(-1)\nv += 1",
        "w = torch.randn(4, 4)\nnn.init.zeros_(w.view(16))",
    ] {
        let verdict = with(init).map_err(|refusal| refusal.verdict).map(|_| init);
        assert_eq!(verdict, Err(Verdict::UnsupportedSyntax), "{init}");
    }
    for init in [
        "w = torch.randn(16).view(4, 4)\nw[0] = 7.0",
        "w = torch.randn(16)\nw = w.view(4, 4)\nw.mul_(0.1)[1] = 2.0",
        "w = torch.zeros(4, 4)\nv = w.view(16).clone()\nw[1] = 7.0",
        "w = torch.randn(4, 4)\nw[0] = 7.0\nw[:, 1].zero_()",
        "w = torch.zeros(4, 4)\nw += 1\nw.chunk(2)[0].fill_(3)",
    ] {
        let result = with(init);
        assert!(result.is_ok(), "{init}: {}", result.unwrap_err().message);
    }
}

/// A function with a backward pass of its own, applied to what a linear layer gave.
fn with_backward(backward: &str) -> Result<Network, Refusal> {
    plain(&format!(
        "import torch\nimport torch.nn as nn\n\n\nclass Own(torch.autograd.Function):\n    @staticmethod\n    \
         def forward(ctx, x):\n        ctx.save_for_backward(x)\n        return x.abs()\n\n    @staticmethod\n    \
         def backward(ctx, grad):\n        x, = ctx.saved_tensors\n        {backward}\n\n\n\
         class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        \
         self.fc = nn.Linear(3072, 10)\n\n    def forward(self, x):\n        \
         return Own.apply(self.fc(x.flatten(1)))\n"
    ))
}

#[test]
fn a_backward_pass_must_be_the_gradient_times_a_factor() {
    for backward in [
        "return grad * x.sign()",
        "return -grad / 2",
        "return grad.masked_fill(x < 0, 0)",
        "return torch.where(x > 0, grad, grad * 0.1)",
        "return grad * x + grad",
        "return None",
        "return torch.zeros_like(x)",
    ] {
        let network =
            with_backward(backward).unwrap_or_else(|refusal| panic!("{backward}: {}", refusal.message));
        assert_eq!(network.graph.parameter_count(), 30_730, "{backward}");
    }
    for backward in [
        "return grad.flip(1)",
        "return grad * grad",
        "return grad + x",
        "return x",
        "return grad.clamp(-1, 1)",
        "return grad.cumsum(1)",
        "return x / grad",
        "return torch.where(grad > 0, grad, x)",
        "return (grad * x).sum(1, keepdim=True) * x",
    ] {
        let refusal = with_backward(backward).unwrap_err();
        assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax, "{backward}: {}", refusal.message);
        assert!(
            refusal.message.contains("'Own': its backward pass is not"),
            "{backward}: {}",
            refusal.message
        );
    }
    let refusal = with_backward("return grad, None").map(|_| ());
    assert!(refusal.is_ok(), "PyTorch takes a further None");
    let refusal = with_backward("return grad, grad").unwrap_err();
    assert!(
        refusal.message.contains("incorrect number of gradients (expected 1, got 2)"),
        "{}",
        refusal.message
    );
}

#[test]
fn an_unseeded_random_choice_is_the_same_each_time() {
    let source = with_forward(
        "import random\nimport numpy as np\nself.extra = nn.Linear(random.randint(2, 90), np.random.randint(2, 90))",
        "return self.fc(x.flatten(1))",
    );
    let graph = plain(&source).unwrap().graph;
    assert_eq!(graph, plain(&source).unwrap().graph);
    // As after `random.seed(0)` and `numpy.random.seed(0)`.
    assert_eq!(graph.params.iter().find(|param| param.name == "extra.weight").unwrap().sizes, [46, 51]);
}

#[test]
fn a_random_number_of_python_in_forward_is_refused_unless_forward_seeds_it() {
    for (refused, forward) in [
        (true, "import random\nreturn self.fc(x.flatten(1) * random.random())"),
        (
            true,
            "import random\nif self.training and random.random() < 0.5:\n    x = x * 2\nreturn self.fc(x.flatten(1))",
        ),
        (true, "import numpy as np\nreturn self.fc(x.flatten(1) * np.random.rand())"),
        (
            false,
            "import random\nif False and random.random() < 0.5:\n    x = x * 2\nreturn self.fc(x.flatten(1))",
        ),
        (false, "import random\nrandom.seed(3)\nreturn self.fc(x.flatten(1) * random.random())"),
    ] {
        match plain(&with_forward("", forward)) {
            Ok(_) => assert!(!refused, "{forward}"),
            Err(refusal) => {
                assert!(refused, "{forward}: {}", refusal.message);
                assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax);
                assert!(refusal.message.contains("must not depend on chance"), "{}", refusal.message);
            }
        }
    }
}

#[test]
fn a_module_put_in_evaluation_mode_stays_there_in_the_training_pass() {
    let norms = |source: &str| -> Vec<When> {
        let graph = plain(source).unwrap().graph;
        let norms = graph.body(true).nodes.iter().filter_map(|node| match &node.op {
            Op::BatchNorm(norm) => Some(norm.batch_statistics),
            _ => None,
        });
        norms.collect()
    };
    let init = "self.bn = nn.BatchNorm2d(3)";
    let at_init = with_forward("self.bn = nn.BatchNorm2d(3).eval()", "return self.fc(self.bn(x).flatten(1))");
    // `net.train()`, which a trainer calls, undoes what `__init__` did.
    assert_eq!(norms(&at_init), [When::Training]);
    let in_forward = with_forward(init, "self.bn.eval()\nreturn self.fc(self.bn(x).flatten(1))");
    assert_eq!(norms(&in_forward), [When::Never]);
    let always = with_forward(init, "self.bn.train()\nreturn self.fc(self.bn(x).flatten(1))");
    assert_eq!(norms(&always), [When::Always]);
}

#[test]
fn parameters_of_replaced_modules_are_gone() {
    let source = with_forward("self.fc = nn.Linear(3072, 10)", "return self.fc(x.flatten(1))");
    let graph = plain(&source).unwrap().graph;
    assert_eq!(graph.params.len(), 2, "{:?}", graph.params);
}

#[test]
fn a_text_that_breaks_off_after_forward_loses_its_last_statement() {
    let whole = with_forward("", "return self.fc(x.flatten(1))");
    let cut = format!("{whole}\n    def count(self):\n        size = self.fc(\n");
    assert!(plain(&cut).is_err());
    let network = repaired(&cut).unwrap();
    assert_eq!(network.repairs[0].name, "truncated");
    assert_eq!(network.source, whole);
    let inside = with_forward("", "x = self.fc(x.flatten(1))\nx = torch.relu(");
    assert_eq!(repaired(&inside).unwrap_err().verdict, Verdict::SyntaxError);
}

/// A network, and the same one with other names and with its layers made in another order.
const TWINS: [&str; 2] = [
    "import torch
import torch.nn as nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 10)
    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.fc(x.mean((2, 3)))
",
    "import torch
from torch import nn

class Other(nn.Module):
    def __init__(self, width=8):
        super(Other, self).__init__()
        self.last = nn.Linear(width, 10)
        self.first = nn.Sequential(nn.Conv2d(3, width, kernel_size=(3, 3)), nn.BatchNorm2d(width), nn.ReLU())
    def forward(self, image):
        y = self.first(image)
        return self.last(torch.mean(y, dim=[2, 3]))
",
];

#[test]
fn renamed_and_reordered_twins_have_one_architecture_id() {
    let [one, other] = TWINS.map(|source| plain(source).unwrap().graph.architecture_id());
    assert_eq!(one, other);
}

#[test]
fn networks_that_differ_in_one_setting_have_different_architecture_ids() {
    let changes = [
        ("Conv2d(3, 8, 3)", "Conv2d(3, 8, 5)"),
        ("Conv2d(3, 8, 3)", "Conv2d(3, 8, 3, padding=1)"),
        ("Conv2d(3, 8, 3)", "Conv2d(3, 8, 3, stride=2)"),
        ("Conv2d(3, 8, 3)", "Conv2d(3, 8, 3, dilation=2)"),
        ("Conv2d(3, 8, 3)", "Conv2d(3, 8, 3, bias=False)"),
        ("Conv2d(3, 8, 3)", "Conv2d(3, 8, 3, padding=1, padding_mode='reflect')"),
        ("BatchNorm2d(8)", "BatchNorm2d(8, eps=1e-3)"),
        ("BatchNorm2d(8)", "GroupNorm(2, 8)"),
        ("BatchNorm2d(8)", "Identity()"),
        ("torch.relu", "torch.tanh"),
        ("torch.relu", "nn.functional.gelu"),
        ("x.mean((2, 3))", "x.amax((2, 3))"),
        ("x.mean((2, 3))", "x.sum((2, 3))"),
        ("return self.fc(x.mean((2, 3)))", "return self.fc(x.mean((2, 3))) * 2"),
        ("return self.fc(x.mean((2, 3)))", "return self.fc(x.mean((2, 3))) + 2"),
        ("nn.Linear(8, 10)", "nn.Linear(8, 10, bias=False)"),
    ];
    let mut ids =
        BTreeMap::from([(plain(TWINS[0]).unwrap().graph.architecture_id().to_string(), "as it is")]);
    for (old, new) in changes {
        let source = TWINS[0].replace(old, new);
        assert_ne!(source, TWINS[0], "{old}");
        let network = plain(&source).unwrap_or_else(|refusal| panic!("{new}: {refusal}"));
        if let Some(twin) = ids.insert(network.graph.architecture_id().to_string(), new) {
            panic!("{new} has the architecture id of {twin}");
        }
    }
}

/// Dropouts whose results are used twice, and random numbers that are drawn for each block.
const RANDOM: &str = "\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.drop = nn.Dropout(0.1)
        self.blocks = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)])
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        x = self.drop(self.stem(x))
        for block in self.blocks:
            x = x + F.dropout(torch.relu(block(x)), 0.2, self.training)
        return self.fc(x.mean((2, 3)))
";

#[test]
fn networks_that_draw_keep_the_ids_that_databases_of_runs_know() {
    let depth = RANDOM.replace(
        "F.dropout(torch.relu(block(x)), 0.2, self.training)",
        "torch.relu(block(x)) * torch.rand(x.shape[0], 1, 1, 1)",
    );
    let id = |source: &str| plain(source).unwrap().graph.architecture_id();
    assert_eq!(id(RANDOM), "e9b2d999b8c7904dcc385462e9d9d648c66398dc989dfd426d375763bd773e4c");
    assert_eq!(id(&depth), "b4e25efaaeb03da01ad0049678ffb47c2f48b85bd2d488984f849ce04e13c183");
    // One draw for all blocks is another network.
    let shared = depth.replace("* torch.rand(x.shape[0], 1, 1, 1)", "* keep").replace(
        "        for block in",
        "        keep = torch.rand(x.shape[0], 1, 1, 1)\n        for block in",
    );
    assert_ne!(id(&shared), id(&depth));
}

#[test]
fn a_layer_of_half_precision_is_not_supported() {
    let source =
        with_forward("self.half = nn.Linear(4, 4, dtype=torch.float16)", "return self.fc(x.flatten(1))");
    let refusal = plain(&source).unwrap_err();
    assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax);
    let expected = "Linear of another dtype: expected float32 or float64 parameters, as the input is float32";
    assert!(refusal.message.contains(expected), "{}", refusal.message);
}

#[test]
fn every_accept_fixture_has_an_id_of_its_own_that_survives_new_names() {
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (name, source) in fixtures("accept") {
        let id = plain(&source).unwrap().graph.architecture_id().to_string();
        let renamed =
            source.replace("Net", "Other").replace("self.fc", "self.renamed").replace("self.conv", "self.c");
        assert_ne!(renamed, source, "{name}");
        let twin = plain(&renamed).unwrap_or_else(|refusal| panic!("{}", refusal.render(&renamed, &name)));
        assert_eq!(twin.graph.architecture_id().to_string(), id, "{name}:\n{renamed}");
        if let Some(other) = ids.insert(id, name.clone()) {
            panic!("{name} has the architecture id of {other}");
        }
    }
}

#[test]
fn every_accept_fixture_printed_and_read_again_keeps_its_id() {
    for (name, source) in fixtures("accept") {
        let graph = plain(&source).unwrap().graph;
        let printed = graph.to_pytorch("Net");
        let again = plain(&printed).unwrap_or_else(|refusal| panic!("{}", refusal.render(&printed, &name)));
        let apart = oracle::difference(&graph, &again.graph);
        assert_eq!(again.graph.architecture_id(), graph.architecture_id(), "{name}: {apart}\n{printed}");
    }
}

#[test]
fn verdicts_have_the_names_that_inspect_prints() {
    let verdict =
        |source: &str| plain(source).map_or_else(|refusal| refusal.verdict, |_| Verdict::Accepted).as_str();
    assert_eq!(verdict(TWINS[0]), "accepted");
    assert_eq!(verdict("class Net(nn.Module:\n"), "syntax_error");
    assert_eq!(
        verdict(&with_forward("", "return self.fc(torch.linalg.svdvals(x).flatten(1))")),
        "unsupported"
    );
    assert_eq!(verdict(&with_forward("", "return self.fc(x)")), "shape_error");
    assert_eq!(verdict(&with_forward("while True: pass", "return x")), "limit_exceeded");
}
