//! The interpreter against Python: files of assertions that hold in both, and sources whose verdict is PyTorch's.
//!
//! The files lie in the folder `tests` beside this one; `python FILE` runs them.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use crate::graph::{Init, Op};

use super::{Network, Refusal, RepairSet, Request, Verdict, lower};

fn lowered(source: &str, repairs: RepairSet) -> Result<Network, Refusal> {
    lower(&Request { repairs, ..Request::new(source, &[3, 8, 8], Some(10)) })
}

/// A network with these lines at the top, in `__init__` and in `forward`, where `x` is `(N, 3, 8, 8)`.
fn network(top: &str, init: &str, forward: &str) -> String {
    let indent = |text: &str| text.lines().map(|line| format!("        {line}\n")).collect::<String>();
    format!(
        "import torch\nimport torch.nn as nn\n{top}\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        \
         super().__init__()\n        self.fc = nn.Linear(192, 10)\n{}\n    def forward(self, x):\n{}        \
         return self.fc(x.flatten(1))\n",
        indent(init),
        indent(forward)
    )
}

fn accepted(top: &str, init: &str, forward: &str) -> Network {
    let source = network(top, init, forward);
    lowered(&source, RepairSet::none())
        .unwrap_or_else(|refusal| panic!("{}", refusal.render(&source, "net.py")))
}

/// The refusal of a network that repairs do not turn into another one either.
fn refused(top: &str, init: &str, forward: &str) -> Refusal {
    refused_with(RepairSet::all(), top, init, forward)
}

fn refused_with(repairs: RepairSet, top: &str, init: &str, forward: &str) -> Refusal {
    let source = network(top, init, forward);
    match lowered(&source, repairs) {
        Ok(network) => panic!("accepted, with {:?}:\n{source}", network.repairs),
        Err(refusal) => refusal,
    }
}

/// Run a file of assertions, which hold in Python, in `__init__`.
fn holds(text: &str) {
    accepted("", text, "");
    // What is not run cannot fail: the same with one more line does.
    assert_eq!(
        refused("", &format!("{text}\nassert False, 'the end'"), "").message,
        "AssertionError: the end"
    );
}

#[test]
fn classes_follow_python() {
    holds(include_str!("tests/classes.py"));
}

#[test]
fn the_library_follows_python() {
    holds(include_str!("tests/library.py"));
}

#[test]
fn functions_of_math_and_itertools_follow_python() {
    holds(include_str!("tests/math_and_iterators.py"));
}

#[test]
fn sets_ranges_data_classes_and_enumerations_compare_and_print_as_in_python() {
    holds(include_str!("tests/comparisons.py"));
}

#[test]
fn names_are_those_of_their_functions() {
    // At the top, since `global` means that.
    let text = include_str!("tests/names.py");
    accepted(text, "", "");
    assert_eq!(
        refused(&format!("{text}\nassert False, 'the end'"), "", "").message,
        "AssertionError: the end"
    );
}

#[test]
fn methods_of_strings_follow_python() {
    holds(include_str!("tests/strings.py"));
}

#[test]
fn formats_follow_python() {
    holds(include_str!("tests/formats.py"));
}

#[test]
fn names_that_python_or_pytorch_has_are_not_taken_for_mistakes() {
    for (top, init, forward) in [
        ("import math", "self.n = math.ulp(1.0) + 1", ""),
        ("", "self.n = 'a'.expandtabs(2) + 'b'", ""),
        ("", "self.n = [1].__sizeof__() + 1", ""),
        ("", "self.n = (3).to_bytes(2) + 1", ""),
        ("", "", "x = self._named_members(x)"),
        ("from torch.nn.functional import *", "", "x = ctc_loss(x, x, x, x)"),
        (
            "from torch.nn.utils import parametrizations",
            "self.p = parametrizations.orthogonal(nn.Linear(8, 8))",
            "",
        ),
        ("from torchvision.models import *", "self.p = resnet18()", "x = self.p(x)"),
        (
            "class Conv(nn.Conv2d):\n    def shape(self):\n        return self._reversed_padding_repeated_twice",
            "self.n = Conv(3, 3, 1).shape()[0] + 1",
            "",
        ),
    ] {
        let refusal = refused(top, init, forward);
        assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax, "{top} {init} {forward}: {refusal}");
    }
    // What nobody has is a mistake still.
    let refusal = refused("", "self.n = 'a'.shape", "");
    assert_eq!(refusal.message, "AttributeError: 'str' object has no attribute 'shape'");
    assert_eq!(
        refused_with(RepairSet::none(), "from math import *", "self.n = sine(1)", "").message,
        "NameError: name 'sine' is not defined"
    );
    accepted(
        "",
        "assert hasattr('a', 'encode') and hasattr([], '__iter__') and not hasattr(1, '__iter__')",
        "",
    );
}

#[test]
fn stars_bring_the_names_of_a_module() {
    accepted(
        "from torch.nn.functional import *",
        "",
        "x = relu(dropout(x, 0.1, self.training)) + normalize(x)",
    );
    accepted(
        "from math import *",
        "assert sin(0) == 0 and pi > 3 and pow(2, 2) == 4.0 and ceil(1.2) == 2",
        "",
    );
    accepted("from torch import *", "", "x = relu(x) + tanh(x) + zeros(1)");
    accepted("from itertools import *", "assert list(islice(chain([1], [2]), 2)) == [1, 2]", "");
    // Only what the module has: `product` is no name of `math`.
    assert!(
        refused_with(RepairSet::none(), "from math import *", "product(1)", "")
            .message
            .starts_with("NameError")
    );
}

#[test]
fn layers_lend_their_own_methods_to_subclasses() {
    let conv = "class Conv(nn.Conv2d):\n    def forward(self, x):\n        \
                return self._conv_forward(x, self.weight * 2, self.bias)\n";
    accepted(conv, "self.c = Conv(3, 3, 3, padding=1, padding_mode='reflect')", "x = self.c(x)");
    let norm = "class Norm(nn.BatchNorm2d):\n    def forward(self, x):\n        \
                self._check_input_dim(x)\n        return x * self.weight[:, None, None]\n";
    accepted(norm, "self.n = Norm(3)", "x = self.n(x)");
    let refusal = refused(norm, "self.n = Norm(3)", "x = self.n(x.flatten(1)[:, :3])");
    assert_eq!(refusal.message, "ValueError: expected 4D input (got 2D input)");
}

#[test]
fn modules_put_into_a_registry_are_the_networks() {
    let network = accepted(
        "",
        "for name in ('a', 'b'):\n    self._modules[name] = nn.Conv2d(3, 3, 1)\n\
         self._parameters['w'] = nn.Parameter(torch.zeros(3))\nself._buffers['s'] = torch.ones(1)\n\
         del self._modules['b']\nassert 'a' in self._modules and not hasattr(self, 'b')",
        "x = self.a(x) * self.s + self.w[:, None, None]",
    );
    let names: Vec<&str> = network.graph.params.iter().map(|param| param.name.as_str()).collect();
    assert_eq!(names, ["w", "s", "fc.weight", "fc.bias", "a.weight", "a.bias"]);
    for init in ["self._modules['a'] = 1", "self._parameters['a'] = torch.zeros(1)", "self._modules = {}"] {
        assert_eq!(refused("", init, "").verdict, Verdict::UnsupportedSyntax, "{init}");
    }
}

#[test]
fn objects_that_say_what_is_equal_are_no_keys_here() {
    let class = "class Key:\n    def __init__(self, n):\n        self.n = n\n    def __eq__(self, other):\n        \
                 return self.n == other.n\n    def __hash__(self):\n        return hash(self.n)\n";
    for init in ["a = {Key(1), Key(1)}", "a = {Key(1): 2}[Key(1)]"] {
        assert_eq!(refused(class, init, "").verdict, Verdict::UnsupportedSyntax, "{init}");
    }
    accepted("class Key:\n    pass\n", "a = Key()\nassert {a: 1}[a] == 1 and len({a, Key()}) == 2", "");
}

#[test]
fn checks_on_values_are_taken_to_hold() {
    for forward in [
        "assert not torch.isnan(x).any(), 'nan'",
        "assert x.sum() > 0",
        "if torch.isnan(x).any():\n    raise ValueError('nan')",
        "if x.max().item() > 1e6:\n    print('large')\n    raise ValueError('large')",
        "print(x.mean().item(), x.sum().tolist())\nprint(f'{x.std().item():.3f}')",
    ] {
        let checked = accepted("", "", forward).graph.architecture_id();
        assert_eq!(checked, accepted("", "", "").graph.architecture_id(), "{forward}");
    }
    for forward in [
        "if x.sum() > 0:\n    x = x * 2",
        "y = x.sum().item()\nx = x * y",
        "if x.sum() > 0:\n    print(1)\nelse:\n    x = x * 2\n    y = x.sum().item() * 2",
    ] {
        assert_eq!(refused("", "", forward).verdict, Verdict::UnsupportedSyntax, "{forward}");
    }
}

#[test]
fn objects_to_the_right_of_a_tensor_are_asked() {
    let scale = "class Scale:\n    def __rmul__(self, x):\n        return x * 3\n    def __radd__(self, x):\n        \
                 return x + 4\n    def __gt__(self, x):\n        return x < 5\n";
    let own = accepted(scale, "", "x = x * Scale() + Scale()\nx = torch.where(x < Scale(), x, x * 2)");
    let plain = accepted("", "", "x = x * 3 + 4\nx = torch.where(x < 5, x, x * 2)");
    assert_eq!(own.graph.architecture_id(), plain.graph.architecture_id());
    accepted("", "", "y = torch.fft.fft2(x)\nx = (x * y - x / (1 + x * x) * y).real");
}

#[test]
fn numbers_are_true_in_logical_functions_where_they_are_not_zero() {
    accepted(
        "",
        "a, b = torch.tensor([0., 2., -1., 0.]), torch.tensor([0, 4, 0, 3])\n\
         assert torch.logical_and(a, b).tolist() == [False, True, False, False]\n\
         assert torch.logical_or(a, b).tolist() == [False, True, True, True]\n\
         assert a.logical_xor(b).tolist() == [False, False, True, True]\n\
         assert torch.logical_not(a).tolist() == [True, False, False, True]",
        "",
    );
    assert!(refused("", "", "x = ~x").message.starts_with("TypeError"));
}

#[test]
fn numpys_names_of_arguments_are_pytorchs_too() {
    for (forward, same) in [
        ("x = x - x.mean(axis=1, keepdims=True)", "x = x - x.mean(dim=1, keepdim=True)"),
        ("x = x - x.max(axis=1, keepdims=True)[0]", "x = x - x.max(1, keepdim=True)[0]"),
        ("x = torch.softmax(x, axis=1)", "x = torch.softmax(x, 1)"),
        ("x = x.where(x > 0, x * 2)", "x = torch.where(x > 0, x, x * 2)"),
        ("x = torch.clamp(x, x * 2, x * 3)", "x = torch.minimum(torch.maximum(x, x * 2), x * 3)"),
        ("x = x.clamp(max=x * 3)", "x = torch.minimum(x, x * 3)"),
        (
            "x = x + torch.arange(0, x.size(0))[:, None, None, None]",
            "x = x + torch.arange(x.size(0))[:, None, None, None]",
        ),
    ] {
        let [one, other] = [forward, same].map(|forward| accepted("", "", forward).graph.architecture_id());
        assert_eq!(one, other, "{forward}");
    }
    accepted("", "", "x = x * torch.arange(1, x.size(0) + 1, dtype=torch.float32).view(-1, 1, 1, 1)");
    accepted(
        "import math",
        "t = torch.tensor(2.0)\nassert float(t) == 2.0 and math.sqrt(t * 2) == 2.0 and f'{t:.1f}' == '2.0'",
        "",
    );
}

#[test]
fn the_batch_size_is_a_number_beside_a_tensor() {
    let forward = "n = x.size(0)\nx = x / n + (2 * n - 1) * x.sum((1, 2, 3), keepdim=True)\nx = n - x";
    let graph = accepted("", "", forward).graph;
    let printed = graph.to_pytorch("Net");
    let again = lowered(&printed, RepairSet::none()).unwrap();
    assert_eq!(again.graph.architecture_id(), graph.architecture_id(), "{printed}");
    let refusal = refused("", "", "x = x * (x.size(0) - 3)");
    assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax);
}

#[test]
fn constructors_refuse_what_pytorch_refuses() {
    for (init, message) in [
        ("self.d = nn.Dropout(2)", "ValueError: dropout probability has to be between 0 and 1, but got 2"),
        ("self.d = nn.Dropout2d('0.5')", "TypeError: '<' not supported between instances of 'str' and 'int'"),
        (
            "self.c = nn.Conv2d(in_channel=8, out_channels=8, kernel_size=1)",
            "TypeError: Conv2d() got an unexpected keyword argument 'in_channel'",
        ),
    ] {
        assert_eq!(refused("", init, "").message, message);
    }
    accepted("", "self.d = nn.Dropout(1)\nself.e = nn.Dropout(p=0.0)", "x = self.e(self.d(x))");
}

#[test]
fn sizes_that_do_not_fit_64_bits_are_no_network() {
    let top = "import torch.nn.functional as F";
    let weight = "self.w = nn.Parameter(torch.ones(3, 3, 3, 3))";
    for forward in [
        "x = F.unfold(x, 1, padding=2147483644).sum(2).repeat(1, 64)",
        "x = F.unfold(x, 1, padding=2147483647).sum(2).repeat(1, 64)",
        "x = F.conv2d(x, self.w, padding=9223372036854775807).flatten(1)[:, :192]",
        "x = F.conv_transpose2d(x, self.w, stride=4611686018427387904).flatten(1)[:, :192]",
        "x = F.conv2d(x, self.w, dilation=4611686018427387904).flatten(1)[:, :192]",
        "x = F.conv_transpose2d(x, torch.ones(3, 2, 3, 3), groups=2).flatten(1)[:, :192]",
        "x = F.local_response_norm(x, 2000000000)",
    ] {
        let refusal = refused_with(RepairSet::none(), top, weight, forward);
        let expected = [Verdict::ShapeError, Verdict::LimitExceeded];
        assert!(expected.contains(&refusal.verdict), "{forward}: {}", refusal.message);
    }
}

#[test]
fn what_is_written_in_another_way_has_the_same_id() {
    let id = |forward: &str| {
        let resized = format!("{forward}\nx = F.interpolate(x, (8, 8))");
        accepted("import torch.nn.functional as F", "", &resized).graph.architecture_id()
    };
    for [one, other] in [
        ["x = x * 0.5", "x = 0.5 * x"],
        ["x = x + 2", "x = 2 + x"],
        ["x = F.avg_pool2d(x, 3, 1, count_include_pad=False)", "x = F.avg_pool2d(x, 3, 1)"],
        [
            "x = F.scaled_dot_product_attention(x, x, x)",
            "x = F.scaled_dot_product_attention(x, x, x, scale=8 ** -0.5)",
        ],
    ] {
        assert_eq!(id(one), id(other), "{one} and {other}");
    }
    assert_ne!(id("x = x - 2"), id("x = 2 - x"));
    assert_ne!(
        id("x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)"),
        id("x = F.avg_pool2d(x, 3, 1, 1)")
    );
}

#[test]
fn names_of_annotations_must_exist_where_python_evaluates_them() {
    let annotated = "def widen(x: Tensor, *sizes: List[int]) -> Optional[Tensor]:\n    return x";
    let refusal = refused_with(RepairSet::none(), annotated, "", "");
    assert_eq!(refusal.message, "NameError: name 'Tensor' is not defined");
    let repaired = lowered(&network(annotated, "", ""), RepairSet::all()).unwrap();
    for import in ["from torch import Tensor", "from typing import List", "from typing import Optional"] {
        assert!(repaired.source.contains(&format!("{import}\n")), "{}", repaired.source);
    }
    for (top, message) in [
        ("x: nn.Linnear = None", "AttributeError: module 'torch.nn' has no attribute 'Linnear'"),
        ("class A:\n    x: 'fine'\n    y: dict[str, Nothing]", "NameError: name 'Nothing' is not defined"),
    ] {
        assert_eq!(refused_with(RepairSet::none(), top, "", "").message, message);
    }
    let typing =
        "from typing import List, Optional\nfrom torch import Tensor\nimport torch.nn.functional as F";
    accepted(typing, "y: Nothing = 1\nself.z: Nothing = 1", "");
    accepted(
        typing,
        "def f(x: 'Nothing', y: torch.Tensor | None = None) -> Optional[List[Tensor]]: pass",
        "",
    );
}

#[test]
fn gradients_stop_within_contexts_and_decorated_functions() {
    let detached = |top: &str, forward: &str| {
        let body = accepted(top, "", forward).graph.eval;
        body.nodes.iter().filter(|node| matches!(node.op, Op::Detach)).count()
    };
    for without in
        ["torch.no_grad()", "torch.no_grad", "torch.inference_mode()", "torch.set_grad_enabled(False)"]
    {
        let top = format!(
            "@{without}\ndef double(x, by=2):\n    assert not torch.is_grad_enabled()\n    return x * by"
        );
        assert_eq!(detached(&top, "x = x + double(x, by=3)"), 1, "{without}");
    }
    for (within, times) in [
        ("with torch.no_grad():\n    y = x * 2", 1),
        ("with torch.inference_mode():\n    y = x * 2", 1),
        ("with torch.set_grad_enabled(self.training):\n    y = x * 2", 1),
        ("with torch.set_grad_enabled(True):\n    y = x * 2", 0),
        ("with torch.no_grad():\n    with torch.enable_grad():\n        y = x * 2\n    y = y + 1", 1),
        ("with torch.no_grad():\n    pass\nassert torch.is_grad_enabled()\ny = x * 2", 0),
    ] {
        assert_eq!(detached("", &format!("{within}\nx = x + y")), times, "{within}");
    }
}

/// How `self.p` starts after these lines.
fn start_of_p(init: &str) -> Init {
    let graph = accepted("", &format!("{init}\nself.p = nn.Parameter(p)"), "x = x * self.p.sum()").graph;
    graph.params.iter().find(|param| param.name == "p").unwrap().init.clone()
}

#[test]
fn computed_first_values_keep_what_they_are_computed_of() {
    for (init, drawn, operations) in [
        ("p = torch.rand(4).exp()", 1, 1),
        ("w = torch.randn(4, 4)\np = w @ w.t()", 1, 2),
        ("p = 0.1 * torch.randn(4) + (2 * torch.rand(4)).sqrt()", 2, 2),
        ("w = torch.rand(4).log()\nw.mul_(2)\np = w.exp()", 1, 3),
        ("w = torch.randn(2, 3)\nw.data = w / w.norm()\nq = nn.Parameter(w)\np = q.detach().abs()", 1, 3),
        ("w = torch.empty(4).normal_()\nu = w.exp()\nw.normal_()\np = u + w", 2, 2),
        ("self.q = nn.Parameter(torch.randn(3))\nself.q.data.div_(self.q.data.norm())\np = self.q", 1, 2),
    ] {
        let Init::Computed(graph) = start_of_p(init) else { panic!("{init}") };
        let params = graph.params.iter().filter(|param| param.init.is_drawn()).count();
        let leaves = graph.eval.nodes.iter().filter(|node| node.inputs.is_empty()).count();
        assert_eq!((params, graph.eval.nodes.len() - leaves), (drawn, operations), "{init}: {graph:#?}");
    }
    let normal = Init::Normal { mean: 0.0, std: 1.0 };
    for init in ["p = torch.randn(4, 8).t().contiguous()", "p = torch.randn(3, 4, 8)[:, 1].permute(1, 0)"] {
        assert_eq!(start_of_p(init), normal, "{init}");
    }
}

#[test]
fn what_has_no_value_costs_no_steps_to_compute() {
    start_of_p("w = torch.randn(1000, 1000)\nfor i in range(20):\n    w = w @ w\np = w[0]");
}

#[test]
fn several_forms_of_one_draw_are_not_taken_for_draws_of_their_own() {
    for init in [
        "w = torch.randn(4)\np = w + w * 2",
        "w = torch.randn(4)\nv = w.clone()\nw.mul_(3)\np = w + v",
        "w = torch.randn(4)\ny = w * w\nw.mul_(3)\np = w + y",
        "w = torch.randn(4, 4)\np = w * w.view(2, 8).view(4, 4)",
        "w = torch.randn(4)\nv = torch.empty(4)\nv.copy_(w)\np = w * v",
        "w = torch.randn(4)\nv = torch.rand(4)\nv.data = w\np = w * v",
        "w = torch.randn(4)\nself.q = nn.Parameter(w)\np = self.q.data * w",
    ] {
        let refusal = refused("", &format!("{init}\nself.p = nn.Parameter(p)"), "");
        assert!(
            refusal.message.contains("several forms of one random tensor"),
            "{init}: {}",
            refusal.message
        );
    }
    for init in [
        "self.fc.weight.data[0] = self.fc.weight.data[1]",
        "self.fc.bias.data[:5] = self.fc.bias.data[5:].abs()",
    ] {
        assert!(refused("", init, "").message.contains("computed of others"), "{init}");
    }
    for init in ["p = nn.Dropout(0.5)(torch.rand(5))", "p = nn.BatchNorm1d(3)(torch.randn(5, 3))"] {
        let refusal = refused("", &format!("{init}\nself.p = nn.Parameter(p)"), "");
        assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax, "{init}");
    }
}

#[test]
fn chance_that_the_weights_do_not_hold_is_noted() {
    let chance = |init: &str, forward: &str| {
        accepted("import random", init, forward).unfit.map(|refusal| refusal.message)
    };
    for (init, forward) in [
        ("self.layers = [nn.Conv2d(3, 3, 1)]", "x = self.layers[0](x)"),
        ("self.layers = {'a': nn.Conv2d(3, 3, 1)}", "x = self.layers['a'](x)"),
        ("self.noise = torch.randn(8)", "x = x + self.noise"),
        ("self.register_buffer('noise', torch.rand(8), persistent=False)", "x = x + self.noise"),
    ] {
        assert!(chance(init, forward).unwrap().contains("state_dict"), "{init}");
    }
    for (init, forward) in [
        ("self.order = torch.randperm(3)", "x = x[:, self.order]"),
        ("self.k = random.choice([1, 3, 5])", "x = x * self.k"),
        ("random.seed()\nself.k = random.random()", "x = x * self.k"),
    ] {
        assert!(chance(init, forward).is_some(), "{init}");
    }
    for (init, forward) in [
        ("self.layers = nn.ModuleList([nn.Conv2d(3, 3, 1)])", "x = self.layers[0](x)"),
        ("self.register_buffer('noise', torch.rand(8))", "x = x + self.noise"),
        ("self.scale = torch.ones(8)", "x = x * self.scale"),
        ("self.layers = [nn.ReLU(), nn.Dropout(0.1)]", "x = self.layers[1](self.layers[0](x))"),
        ("random.seed(3)\nself.k = random.choice([1, 3, 5])", "x = x * self.k + torch.rand_like(x)"),
    ] {
        assert_eq!(chance(init, forward), None, "{init}");
    }
}

#[test]
fn modules_without_a_hash_are_refused() {
    let layer = |top: &str, body: &str| {
        format!(
            "from dataclasses import dataclass\n{top}\nclass Layer(nn.Module):\n    {body}\n    \
             def forward(self, x):\n        return x"
        )
    };
    let by_fields = "n: int = 3\n    def __post_init__(self):\n        super().__init__()";
    let by_eq = "def __eq__(self, other):\n        return True";
    for (top, body) in [("@dataclass", by_fields), ("", by_eq)] {
        let refusal = refused(&layer(top, body), "self.layer = Layer()", "");
        assert_eq!(refusal.message, "TypeError: unhashable type: 'Layer'");
    }
    for (top, body) in [
        ("@dataclass(eq=False)", by_fields),
        ("@dataclass(unsafe_hash=True)", by_fields),
        ("", "def __eq__(self, other):\n        return True\n    __hash__ = nn.Module.__hash__"),
    ] {
        accepted(&layer(top, body), "self.layer = Layer()", "x = self.layer(x)");
    }
}

#[test]
fn what_a_stand_in_would_change_is_refused() {
    for line in [
        "heapq.heappush([], 3)",
        "bisect.insort([1, 3], 2)",
        "contextlib.ExitStack()",
        "operator.setitem({}, 'a', 1)",
        "nn.init.sparse_(self.fc.weight, 0.1)",
        "nn.utils.prune.random_unstructured(self.fc, 'weight', 0.5)",
        "nn.utils.vector_to_parameters(torch.zeros(1930), self.parameters())",
        "torch.set_default_dtype(torch.float64)",
        "torch.set_default_tensor_type('torch.DoubleTensor')",
        "torch.set_grad_enabled(False)",
        "self.fc = torch.compile(self.fc)",
    ] {
        let refusal = refused("import bisect, contextlib, heapq, operator", line, "");
        assert_eq!(refusal.verdict, Verdict::UnsupportedSyntax, "{line}: {}", refusal.message);
    }
    for line in [
        "torch.set_default_dtype(torch.float32)",
        "torch.set_default_tensor_type(torch.FloatTensor)",
        "torch.set_grad_enabled(True)",
        "nn.utils.clip_grad_norm_(self.parameters(), 1.0)",
        "self.fc.forward = types.MethodType(lambda self, x: nn.Linear.forward(self, x), self.fc)",
        "assert isinstance(self.forward, types.MethodType) and not isinstance(len, types.MethodType)",
        "t = torch.ones(2)\nu = torch.tensor(t, dtype=torch.long)\nt[0] = 5\nassert u.tolist() == [1, 1]",
        "assert nn.__dict__['ReLU'] is nn.ReLU and 'Conv2d' in nn.__dict__ and 'NoLayer' not in nn.__dict__",
        "assert (torch.tensor([True]) ^ torch.tensor([True])).tolist() == [False]",
        "assert torch.tensor([1, 2]).masked_fill(torch.tensor([True, False]), 7).dtype == torch.int64",
        "assert torch.tensor([1]).new_ones(2).dtype == torch.int64",
        "x = torch.ones(2)\nx += torch.ones(2, dtype=torch.float64)\nassert x.dtype == torch.float32",
        "t = torch.ones(2)\nu = torch.as_tensor(t)\nt[0] = 5\nassert u.tolist() == [5.0, 1.0]",
    ] {
        accepted("import types", line, "");
    }
}

#[test]
fn an_operation_in_place_keeps_the_type_of_its_tensor_or_fails() {
    for line in ["x = torch.tensor([1, 2])\nx += 0.5", "x = torch.tensor([1, 2])\nx /= 2"] {
        let refusal = refused("", line, "");
        assert!(refusal.message.contains("result type Float can't be cast"), "{line}: {}", refusal.message);
    }
}

#[test]
fn a_slice_of_a_container_is_of_its_class() {
    let layers = |base: &str, call: &str| {
        format!(
            "class Layers(nn.{base}):\n    def __init__(self, {call}):\n        super().__init__({call})\n        \
             self.depth = len(self)"
        )
    };
    for (base, call, made) in [
        ("Sequential", "*layers", "nn.ReLU(), nn.Tanh()"),
        ("ModuleList", "layers=None", "[nn.ReLU(), nn.Tanh()]"),
    ] {
        let init = format!(
            "part = Layers({made})[1:]\nassert type(part) is Layers and part.depth == 1 and \
             isinstance(part[0], nn.Tanh)"
        );
        accepted(
            &layers(base, call).replace("super().__init__(layers=None)", "super().__init__(layers)"),
            &init,
            "",
        );
    }
}

#[test]
fn containers_and_masks_follow_pytorch() {
    for line in [
        "x = torch.arange(12).view(3, 4)\nassert x[x > 9].tolist() == [10, 11]",
        "p = nn.ParameterList([torch.ones(2)])\np[0] = torch.zeros(2)\nassert isinstance(p[0], nn.Parameter)",
        "calls, part = [], nn.ReLU()\nnn.Sequential(part, part).apply(calls.append)\nassert len(calls) == 2",
        "assert self.get_parameter('fc.weight') is self.fc.weight and self.get_submodule('fc') is self.fc",
        "assert len(nn.Sequential(nn.ReLU(), nn.Tanh()) * 3) == 6 and pow(2, 5, 10) == 2",
    ] {
        accepted("", line, "");
    }
    let several = refused("", "x = torch.zeros(2, 3, 4)[:, torch.ones(3, 4) > 0]", "");
    assert_eq!(several.verdict, Verdict::UnsupportedSyntax);
}
