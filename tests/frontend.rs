//! The front-end on whole sources: fixtures that must be accepted or refused, hostile texts, recorded generations.
//!
//! Fixtures are named after the fact they show. What is expected of them is recorded from PyTorch by
//! `scripts/record_frontend_reference.py` in `tests/fixtures/reference.json`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests may panic, and say why they are skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use llmatic_offline::lower::{
    ImportResolver, Limits, Network, NoImports, Refusal, RepairSet, Request, Verdict, lower,
};

fn request(source: &str) -> Request<'_> {
    Request {
        source,
        entry: None,
        input_sizes: &[3, 32, 32],
        classes: Some(10),
        limits: Limits::default(),
        repairs: RepairSet::none(),
        imports: &NoImports,
    }
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
    assert!(agreed * 100 >= rows.len() * 95, "agreement {agreed} of {}", rows.len());
}

fn reference() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_view_and_the_layer_after_it_get_the_width_that_arrives() {
    let source = "import torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n\
        \x20       self.conv = nn.Conv2d(3, 28, 6)\n        self.fc = nn.Linear(28 * 28, 10)\n    def forward(self, x):\n        \
        x = self.conv(x)\n        x = x.view(-1, 28 * 28)\n        return self.fc(x)\n";
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
        let mut state: Vec<(String, Vec<usize>)> = Vec::new();
        for param in &network.graph.params {
            for key in std::iter::once(&param.name).chain(&param.aliases).filter(|key| !key.is_empty()) {
                state.push((key.clone(), param.sizes.clone()));
            }
        }
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
    let inside = |body: &str| format!("{net}        {body}\n");
    let mut sources = vec![
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
        "import itertools\n        a = list(itertools.product(range(1000), range(1000), range(1000)))",
    ] {
        sources.push(inside(body));
    }
    for source in &sources {
        let head: String = source.chars().rev().take(80).collect::<String>().chars().rev().collect();
        match plain(source) {
            Ok(_) => panic!("accepted: {head}"),
            Err(refusal) => {
                assert!(!refusal.message.contains("internal error"), "{}: {head}", refusal.message)
            }
        }
    }
}

/// Modules of a package on disk.
struct Folder(PathBuf);

impl ImportResolver for Folder {
    fn resolve(&self, name: &str) -> Option<(String, bool)> {
        if !name.starts_with("torchvision.") || name.starts_with("torchvision.transforms") {
            return None;
        }
        let path = self.0.join(name.replace('.', "/"));
        let package = path.join("__init__.py");
        let file = path.with_extension("py");
        if file.is_file() {
            return Some((std::fs::read_to_string(file).ok()?, false));
        }
        Some((std::fs::read_to_string(package).ok()?, true))
    }

    fn package(&self) -> &str {
        "torchvision.models"
    }
}

/// torchvision's classifiers and their `num_params`.
const TORCHVISION: &[(&str, &str, u64)] = &[
    ("alexnet", "alexnet()", 61_100_840),
    ("vgg", "vgg16_bn()", 138_365_992),
    ("resnet", "resnet18()", 11_689_512),
    ("resnet", "resnet152()", 60_192_808),
    ("resnet", "resnext50_32x4d()", 25_028_904),
    ("resnet", "wide_resnet50_2()", 68_883_240),
    ("densenet", "densenet121()", 7_978_856),
    ("squeezenet", "squeezenet1_0()", 1_248_424),
    ("googlenet", "googlenet(aux_logits=False, init_weights=True)", 6_624_904),
    ("inception", "inception_v3(init_weights=True)", 27_161_264),
    ("mobilenetv2", "mobilenet_v2()", 3_504_872),
    ("mobilenetv3", "mobilenet_v3_small()", 2_542_856),
    ("mnasnet", "mnasnet1_0()", 4_383_312),
    ("shufflenetv2", "shufflenet_v2_x1_0()", 2_278_604),
    ("efficientnet", "efficientnet_b0()", 5_288_548),
    ("regnet", "regnet_y_400mf()", 4_344_144),
    ("convnext", "convnext_tiny()", 28_589_128),
];

#[test]
fn torchvisions_classifiers_have_their_documented_parameters() {
    let Ok(root) = std::env::var("LLMATIC_TORCHVISION") else {
        eprintln!("skipped: LLMATIC_TORCHVISION is not set to a folder that holds torchvision/models");
        return;
    };
    let imports = Folder(PathBuf::from(&root));
    let mut failures = Vec::new();
    for (file, entry, parameters) in TORCHVISION {
        let source =
            std::fs::read_to_string(Path::new(&root).join(format!("torchvision/models/{file}.py"))).unwrap();
        let size = if *file == "inception" { 299 } else { 224 };
        let request = Request {
            entry: Some(entry),
            input_sizes: &[3, size, size],
            classes: Some(1000),
            imports: &imports,
            ..request(&source)
        };
        match lower(&request) {
            Ok(network) if network.graph.parameter_count() == *parameters => {}
            Ok(network) => failures.push(format!("{entry}: {} parameters", network.graph.parameter_count())),
            Err(refusal) => failures.push(format!("{entry}: {}", refusal.render(&source, file))),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
