//! Changes in place: the front-end accepts those that PyTorch can train, and those only.
//!
//! Input: operations, each with one of its operands or its result changed in place afterwards, and sources of their own
//! kind; PyTorch says of each whether `backward` runs. Limit: of what PyTorch refuses, the operations in `KEEPS_MORE`
//! are accepted, since what they keep depends on the machine or on how PyTorch composes them.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod oracle;

use std::collections::BTreeMap;

use llmatic_offline::lower::{RepairSet, Request, Verdict, lower};

/// Operations on `x`, positive numbers of sizes (3, 4, 8, 8) that have a gradient, on `y` that is like it, and on `c`,
/// which has none.
const OPERATIONS: &str = "\
F.conv2d(x, self.kernel)
F.conv_transpose2d(x, self.kernel)
F.linear(x, self.matrix)
F.linear(x, self.matrix, self.bias)
F.linear(x[:, 0, 0], self.matrix)
F.linear(x.transpose(1, 3), self.kernel[:, :, 0, 0])
F.linear(c, self.matrix) * x[:, :, :, :5]
self.norm(x)
F.instance_norm(x)
F.instance_norm(x.transpose(2, 3))
F.layer_norm(x, (8,))
F.rms_norm(x, (8,))
F.group_norm(x, 2)
F.local_response_norm(x, 2)
F.relu(x)
F.relu6(x)
F.leaky_relu(x)
F.elu(x)
F.celu(x)
F.selu(x)
F.gelu(x)
F.silu(x)
F.mish(x)
F.hardswish(x)
F.hardsigmoid(x)
torch.sigmoid(x)
F.logsigmoid(x)
torch.tanh(x)
F.tanhshrink(x)
F.softplus(x)
F.softsign(x)
F.softshrink(x, 0.1)
F.hardshrink(x, 0.1)
F.threshold(x, 0.1, 0.2)
x.clamp(0.1, 0.5)
x.clamp(min=0.1)
F.hardtanh(x)
-x
x.abs()
x.sign()
x.exp()
x.expm1()
x.log()
x.log1p()
x.log2()
x.log10()
x.sqrt()
x.rsqrt()
x.square()
x.reciprocal()
x.sin()
x.cos()
x.tan()
x.sinh()
x.cosh()
x.atan()
x.asinh()
x.erf()
x.erfc()
x.floor()
x + y
x - y
x * y
x * c
x * x
x * 2
x / y
x / c
c / x
x / 2
2 / x
1 / x
x ** 2
x ** 3
x ** 0.5
2 ** x
x ** y
torch.maximum(x, y)
torch.minimum(x, y)
torch.atan2(x, y)
torch.where(c > 0.5, x, y)
F.prelu(x, self.slopes)
F.glu(x, 1)
F.softmax(x, 1)
F.log_softmax(x, 1)
F.normalize(x, dim=1)
F.dropout(x, 0.5)
F.dropout2d(x, 0.5)
F.max_pool2d(x, 2)
F.max_pool1d(x[:, 0], 2)
F.avg_pool2d(x, 2)
F.avg_pool1d(x[:, 0], 2)
F.lp_pool2d(x, 2, 2)
F.adaptive_avg_pool2d(x, 1)
F.adaptive_avg_pool2d(x, 2)
F.adaptive_max_pool2d(x, 2)
x.sum(1)
x.mean((2, 3))
x.mean()
x.prod(1)
x.amax(1)
x.max(1).values
x.logsumexp(1)
x.var(1)
x.std(1)
x.norm(p=2, dim=1)
x.cumsum(1)
x.cumprod(1)
x.sort(1).values
x @ y
x @ c
x.transpose(2, 3) @ y
x.flatten(2) @ y.flatten(2).transpose(1, 2)
torch.bmm(x[:, 0], y[:, 0])
torch.einsum('bchw,bchw->bc', x, y)
torch.flip(x, (2,))
torch.roll(x, 1, 2)
F.pad(x, (1, 1))
F.pad(x, (1, 1, 1, 1), mode='reflect')
F.pad(x, (1, 1, 1, 1), mode='replicate')
F.pad(x, (1, 1, 1, 1), mode='circular')
F.pixel_shuffle(x, 2)
F.pixel_unshuffle(x, 2)
F.channel_shuffle(x, 2)
F.interpolate(x, scale_factor=2)
F.interpolate(x, scale_factor=2, mode='bilinear')
F.unfold(x, 2)
torch.cat([x, y], 1)
torch.stack([x, y], 1)
x.tril()
x.repeat(1, 2, 1, 1)
x.double()
F.scaled_dot_product_attention(x, y, y)
self.lstm(x[:, 0])[0]
self.gru(x[:, 0])[0]
self.attention(x[:, 0], x[:, 0], x[:, 0])[0]
F.relu_(x)
F.relu6(x, inplace=True)
F.leaky_relu_(x)
F.elu_(x)
F.celu_(x)
F.selu_(x)
F.silu(x, inplace=True)
F.hardswish(x, inplace=True)
F.hardtanh_(x)
F.dropout(x, 0.5, inplace=True)
F.dropout(x.relu(), 0.0, inplace=True)
x.sigmoid_()
x.tanh_()
x.exp_()
x.sqrt_()
x.clamp_(0.1, 0.5)
x.mul_(y)
x.div_(y)
x.add_(y)
x.pow_(2)
x.square_()
x.reciprocal_()";

/// What is done afterwards, of which the first is nothing.
const CHANGES: &[&str] =
    &["pass", "x += 1", "o += 1", "y *= 2", "c.mul_(2)", "x[:, 0] = 1", "x.flatten(1).add_(1)", "o *= 2.5"];

/// Operations that keep more in PyTorch than the front-end counts.
const KEEPS_MORE: &[&str] = &[
    "x.amax(1)",
    "torch.einsum('bchw,bchw->bc', x, y)",
    "F.scaled_dot_product_attention(x, y, y)",
    "self.lstm(x[:, 0])[0]",
    "self.gru(x[:, 0])[0]",
    "self.attention(x[:, 0], x[:, 0], x[:, 0])[0]",
];

fn network(body: &str) -> String {
    format!(
        "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\nclass Net(nn.Module):\n    \
         def __init__(self):\n        super().__init__()\n        self.conv = nn.Conv2d(3, 4, 1)\n        \
         self.kernel = nn.Parameter(torch.rand(4, 4, 3, 3))\n        \
         self.matrix = nn.Parameter(torch.rand(5, 8))\n        self.bias = nn.Parameter(torch.rand(5))\n        \
         self.slopes = nn.Parameter(torch.rand(4))\n        self.norm = nn.BatchNorm2d(4)\n        \
         self.lstm = nn.LSTM(8, 8, batch_first=True)\n        self.gru = nn.GRU(8, 8, batch_first=True)\n        \
         self.attention = nn.MultiheadAttention(8, 2, batch_first=True)\n        \
         self.scale = nn.Parameter(torch.rand(10))\n\n    def forward(self, image):\n        \
         x = self.conv(image).abs() + 0.1\n        y = x * 0.5 + 0.2\n        \
         c = (self.conv(image).abs() + 0.2).detach()\n        {body}\n"
    )
}

fn after(operation: &str, change: &str) -> String {
    network(&format!(
        "o = {operation}\n        {change}\n        \
         return (o.float().mean() + x.mean() + y.mean() + c.mean()) * self.scale.expand(image.size(0), -1)"
    ))
}

/// Sources that are no row of the table: name, what `forward` does.
const OTHERS: &[(&str, &str)] = &[
    ("a sum into a result of relu", "z = F.relu(y)\n        z += x\n        return self.out(z)"),
    ("a sum into a norm's result", "z = self.norm(y)\n        z += x\n        return self.out(F.relu(z))"),
    (
        "relu in place of what a convolution read",
        "z = self.conv2(y)\n        F.relu_(y)\n        return self.out(y + z)",
    ),
    ("chunks changed", "a, b = y.chunk(2, 1)\n        a += b\n        return self.out(torch.cat([a, b], 1))"),
    (
        "a part of a chunk changed",
        "a, b = y.chunk(2, 1)\n        a[:, 0] *= 2\n        return self.out(torch.cat([a, a], 1))",
    ),
    (
        "one of unbind changed",
        "a = y.unbind(1)[0]\n        a += 1\n        return self.out(torch.stack([a] * 4, 1))",
    ),
    (
        "chunks of the image changed",
        "a, b = c.chunk(2, 1)\n        a += 1\n        return self.out(torch.cat([a, a], 1))",
    ),
    (
        "a copy of a chunk changed",
        "a = y.chunk(2, 1)[0].clone()\n        a += 1\n        return self.out(torch.cat([a, a], 1))",
    ),
    (
        "an expanded mean changed",
        "z = y.mean((2, 3), keepdim=True).expand_as(y)\n        z += y\n        return self.out(z)",
    ),
    (
        "a part changed, then read",
        "z = y[:, :2]\n        z += 1\n        return self.out(torch.cat([z, z], 1))",
    ),
    (
        "a part scaled by what has a gradient",
        "y[:, :2] *= self.kernel[0, 0, 0, 0]\n        return self.out(y)",
    ),
    (
        "a view scaled by what has a gradient",
        "z = y[:, :2]\n        z *= self.kernel[0, 0, 0, 0]\n        return self.out(y)",
    ),
    ("a copy changed", "z = F.relu(y).clone()\n        z += x\n        return self.out(z)"),
    (
        "what a copy was made of changed",
        "z = F.relu(y)\n        k = z.clone()\n        k += 1\n        return self.out(z * k)",
    ),
    (
        "a result that nothing reads",
        "z = F.relu(y)\n        k = z.sum()\n        z += 1\n        return self.out(x)",
    ),
    ("a factor without a gradient", "z = y * c\n        y += 1\n        return self.out(z + y)"),
    ("a gate of the changed tensor", "y *= torch.sigmoid(y)\n        return self.out(y)"),
    ("a swish of the changed tensor", "y *= F.silu(y)\n        return self.out(y)"),
    (
        "under no_grad",
        "z = F.relu(y)\n        with torch.no_grad():\n            z += 1\n        return self.out(z)",
    ),
    ("a detached tensor", "z = F.relu(y).detach()\n        z += 1\n        return self.out(z + y)"),
    ("what was detached", "z = F.relu(y)\n        z.detach().add_(1)\n        return self.out(z + y)"),
    ("a mask", "z = F.relu(y)\n        z[z < 0.5] = 0\n        return self.out(z)"),
    ("a mask of a product", "z = y * 2\n        z[z < 0.5] = 0\n        return self.out(z)"),
    (
        "layers in place behind each other",
        "z = nn.Sequential(nn.ReLU(True), nn.Dropout(0.5, inplace=True))(y)\n        return self.out(z)",
    ),
    (
        "a norm between",
        "z = nn.ReLU(inplace=True)(self.norm(F.relu(y)))\n        z += 1\n        return self.out(z.clone())",
    ),
    ("twice", "y += 1\n        y += x\n        y *= 2\n        return self.out(y)"),
    (
        "a loop of sums",
        "z = torch.zeros_like(y)\n        for k in range(3):\n            z += F.relu(y)\n        return self.out(z)",
    ),
    (
        "a transposed copy's view",
        "z = F.relu(y).transpose(1, 2).reshape(y.size(0), -1)\n        z += 1\n        \
         return self.scale * z.mean(1, keepdim=True)",
    ),
    (
        "another shape of what is kept",
        "z = F.relu(y)\n        k = z.mean(1)\n        z.unsqueeze_(1)\n        \
         return self.out(z.squeeze(1) * k.sum())",
    ),
    (
        "another shape of what is not kept",
        "z = y * 2\n        k = z.mean(1)\n        z.unsqueeze_(1)\n        \
         return self.out(z.squeeze(1) * k.sum())",
    ),
    (
        "another order of what is kept",
        "z = torch.sigmoid(y)\n        z.transpose_(2, 3)\n        return self.out(z)",
    ),
    (
        "another shape of a copy",
        "z = F.relu(y).clone()\n        z.unsqueeze_(1)\n        return self.out(z.squeeze(1))",
    ),
    ("relu of a part", "F.relu(y[:, :2], inplace=True)\n        return self.out(y)"),
    (
        "relu of a part of what is kept",
        "z = torch.sigmoid(y)\n        F.relu(z[:, :2], inplace=True)\n        return self.out(z)",
    ),
    (
        "relu of two parts",
        "F.relu(y[:, :2], inplace=True)\n        F.relu(y[:, 2:], inplace=True)\n        return self.out(y)",
    ),
    (
        "rows over the rows before them",
        "z = y.transpose(0, 1).contiguous()\n        z[1:] = z[:-1]\n        return self.out(z.transpose(0, 1))",
    ),
    ("rows over a copy", "y[:, 1:] = y[:, :-1].clone()\n        return self.out(y)"),
    ("rows over other rows", "y[:, 2:] = y[:, :2]\n        return self.out(y)"),
    ("odd rows over even ones", "y[:, ::2] = y[:, 1::2]\n        return self.out(y)"),
    ("rows over themselves", "y[:, 1:] = y[:, 1:]\n        return self.out(y)"),
    (
        "a flattened view",
        "z = F.relu(y).flatten(1)\n        z += 1\n        return self.scale * z.mean(1, keepdim=True)",
    ),
];

fn other(body: &str) -> String {
    let body = body.replace("self.out(", "self.head(").replace("self.conv2", "self.conv3");
    network(&body).replace(
        "\n\n    def forward",
        "\n        self.conv3 = nn.Conv2d(4, 4, 1)\n        \
         self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))\n\n    def forward",
    )
}

fn verdict(source: &str, repairs: RepairSet) -> Result<String, (Verdict, String)> {
    let request = Request { repairs, ..Request::new(source, &[3, 8, 8], Some(10)) };
    lower(&request).map(|network| network.source).map_err(|refusal| (refusal.verdict, refusal.message))
}

/// What PyTorch says of sources: why they cannot be trained.
fn asked(sources: &BTreeMap<String, String>) -> Option<BTreeMap<String, Option<String>>> {
    let python = oracle::python()?;
    let folder = tempfile::tempdir().unwrap();
    let (jobs, out) = (folder.path().join("jobs.json"), folder.path().join("out.json"));
    let list: Vec<_> = sources
        .iter()
        .map(|(name, source)| serde_json::json!({"name": name, "source": source, "sizes": [3, 8, 8]}))
        .collect();
    std::fs::write(&jobs, serde_json::to_vec(&list).unwrap()).unwrap();
    oracle::run(&python, "backward.py", &[&jobs, &out]);
    Some(serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap())
}

#[test]
fn what_pytorch_cannot_train_is_refused_and_what_it_can_is_not() {
    let mut sources = BTreeMap::new();
    for operation in OPERATIONS.lines() {
        for change in CHANGES {
            sources.insert(format!("{operation} | {change}"), after(operation, change));
        }
    }
    for (name, body) in OTHERS {
        sources.insert((*name).to_owned(), other(body));
    }
    let Some(answers) = asked(&sources) else { return };
    let (mut wrong, mut agreed, mut refused) = (Vec::new(), 0, 0);
    for (name, source) in &sources {
        let ours = verdict(source, RepairSet::none());
        let known = KEEPS_MORE.iter().any(|operation| name.starts_with(operation));
        match (&answers[name], ours) {
            (Some(_), Err((Verdict::ShapeError, _))) => refused += 1,
            (None, Ok(_)) => agreed += 1,
            (_, Err((Verdict::UnsupportedSyntax, _))) => {}
            (Some(_), Ok(_)) if known => {}
            (theirs, ours) => {
                wrong.push(format!(
                    "{name}\n    PyTorch: {theirs:?}\n    here: {:?}",
                    ours.map(|_| "accepted")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(agreed > 500 && refused > 150, "{agreed} accepted and {refused} refused by both");
}

#[test]
fn what_is_mended_can_be_trained() {
    let mended = [
        (
            "z = F.relu(y)\n        z[:, 0] = 0.5\n        return self.out(z)",
            "z = z.clone()\n        z[:, 0] = 0.5",
        ),
        (
            "z = F.relu(y)\n        z[:, 0] *= 0.5\n        return self.out(z)",
            "z = z.clone()\n        z[:, 0] *= 0.5",
        ),
        ("z = F.relu(y)\n        z += x - 1\n        return self.out(z)", "z = z + (x - 1)"),
        ("z = self.conv2(y)\n        y.relu_()\n        return self.out(y + z)", "y = y.relu()"),
        ("z = self.conv2(y)\n        F.relu_(y)\n        return self.out(y + z)", "y = F.relu(y)"),
        ("z = self.conv2(y)\n        return self.out(y.relu_() + z)", "self.head(y.relu() + z)"),
        (
            "z = self.conv2(y)\n        return self.out(F.relu(y, inplace=True) + z)",
            "F.relu(y, inplace=False)",
        ),
        ("z = self.conv2(y)\n        return self.out(nn.ReLU(True)(y) + z)", "nn.ReLU(False)"),
        ("a, b = y.chunk(2, 1)\n        a += b\n        return self.out(torch.cat([a, b], 1))", "a = a + b"),
    ];
    let mut sources = BTreeMap::new();
    for (body, expected) in mended {
        let source = other(body);
        let (kind, message) = verdict(&source, RepairSet::none()).unwrap_err();
        assert_eq!(kind, Verdict::ShapeError, "{body}: {message}");
        let new = verdict(&source, RepairSet::all()).unwrap_or_else(|error| panic!("{body}: {error:?}"));
        assert!(new.contains(expected), "{new}");
        sources.insert(expected.to_owned(), new);
    }
    let Some(answers) = asked(&sources) else { return };
    assert!(answers.values().all(Option::is_none), "{answers:?}");
}
