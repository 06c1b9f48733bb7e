//! The steps of a random network: which operations an image, a sequence, a vector or any tensor may go through.
//!
//! Input: the network so far. Output: one or more lines more. Images are `(N, C, H, W)`, sequences `(N, L, D)` (or
//! `(N, C, L)` to convolutions), vectors `(N, F)`; sizes are kept without `N`. Limit: three spatial dimensions and
//! complex numbers do not occur.

use super::networks::Net;

/// Size after a window of `kernel` with `stride`, `padding`, `dilation`.
fn windows(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> Option<usize> {
    (size + 2 * padding).checked_sub(dilation * (kernel - 1) + 1).map(|rest| rest / stride + 1)
}

/// A convolution over the last `dims` dimensions, which fits unless drawn badly.
fn convolution(net: &mut Net<'_>, dims: usize) {
    let (inputs, mut outputs) = (net.sizes[0], net.channels());
    let groups = if net.rarely(3) { net.divisor(inputs) } else { 1 };
    outputs = outputs.div_ceil(groups) * groups;
    let kernel = [1, 3, 3, 2, 5][net.random.below(5)];
    let stride = [1, 1, 2, 3][net.random.below(4)];
    let (padding, dilation) = (net.random.below(kernel), [1, 1, 1, 2][net.random.below(4)]);
    let sizes: Option<Vec<usize>> =
        net.sizes[1..].iter().map(|&size| windows(size, kernel, stride, padding, dilation)).collect();
    let Some(sizes) = sizes.filter(|sizes| sizes.iter().all(|&size| size > 0)) else { return };
    let mut text =
        format!("nn.Conv{dims}d({inputs}, {outputs}, {kernel}, stride={stride}, dilation={dilation}");
    if stride == 1 && net.rarely(5) {
        let mode = net.pick("zeros replicate circular");
        net.layer(format!("{text}, padding='same', groups={groups}, padding_mode='{mode}')"));
        net.sizes[0] = outputs;
        return;
    }
    let shortest = net.sizes[1..].iter().copied().min().unwrap_or(0);
    let mode =
        if padding < shortest { net.pick("zeros zeros reflect replicate circular") } else { "zeros".into() };
    text += &format!(", padding={padding}, groups={groups}, padding_mode='{mode}'");
    let bias = if net.rarely(3) { ", bias=False" } else { "" };
    net.layer(format!("{text}{bias})"));
    net.sizes = [vec![outputs], sizes].concat();
}

fn transposed(net: &mut Net<'_>, dims: usize) {
    let (inputs, outputs) = (net.sizes[0], net.channels());
    let groups = if net.rarely(3) { net.divisor(inputs) } else { 1 };
    let outputs = outputs.div_ceil(groups) * groups;
    let (kernel, stride) = (2 + net.random.below(3), 1 + net.random.below(3));
    let (padding, dilation) = (net.random.below(2), 1 + net.random.below(2));
    let extra = net.random.below(stride.max(dilation));
    let grown = |size: usize| {
        ((size - 1) * stride + dilation * (kernel - 1) + 1 + extra)
            .checked_sub(2 * padding)
            .filter(|&it| it > 0)
    };
    let sizes: Option<Vec<usize>> = net.sizes[1..].iter().map(|&size| grown(size)).collect();
    let Some(sizes) = sizes.filter(|sizes| sizes.iter().product::<usize>() < 900) else { return };
    net.layer(format!(
        "nn.ConvTranspose{dims}d({inputs}, {outputs}, {kernel}, stride={stride}, padding={padding}, \
         output_padding={extra}, groups={groups}, dilation={dilation})"
    ));
    net.sizes = [vec![outputs], sizes].concat();
}

/// A pool over the last `dims` dimensions.
fn pool(net: &mut Net<'_>, dims: usize) {
    let (kernel, stride) = (2 + net.random.below(2), 1 + net.random.below(3));
    let (padding, ceil) = (net.random.below(2), net.rarely(3));
    let kind = net.random.below(5);
    let dilation = if kind == 0 && net.rarely(4) { 2 } else { 1 };
    let padding = if kind == 2 { 0 } else { padding };
    let after = |size: usize| {
        let whole = windows(size, kernel, stride, padding, dilation)?;
        let rest = (size + 2 * padding - dilation * (kernel - 1) - 1) % stride;
        // The last window must start inside the image or the padding before it.
        let more = ceil && rest > 0 && whole * stride < size + padding;
        Some(whole + usize::from(more))
    };
    let sizes: Option<Vec<usize>> = net.sizes[1..].iter().map(|&size| after(size)).collect();
    let Some(sizes) = sizes else { return };
    let ceil = if ceil { "True" } else { "False" };
    let (sign, name) = if net.rarely(2) { ("nn.", "") } else { ("F.", "x, ") };
    let case = |layer: &'static str, function: &'static str| if sign == "nn." { layer } else { function };
    let text = match kind {
        0 => {
            let class = case("MaxPool", "max_pool");
            format!(
                "{sign}{class}{dims}d({name}{kernel}, {stride}, {padding}, dilation={dilation}, ceil_mode={ceil})"
            )
        }
        1 => {
            let class = case("AvgPool", "avg_pool");
            let count = if net.rarely(2) { "True" } else { "False" };
            format!(
                "{sign}{class}{dims}d({name}{kernel}, {stride}, {padding}, ceil_mode={ceil}, count_include_pad={count})"
            )
        }
        2 => {
            let class = case("LPPool", "lp_pool");
            format!("{sign}{class}{dims}d({name}2, {kernel}, stride={stride}, ceil_mode={ceil})")
        }
        _ => {
            let size = 1 + net.random.below(5);
            let class = if kind == 3 {
                case("AdaptiveAvgPool", "adaptive_avg_pool")
            } else {
                case("AdaptiveMaxPool", "adaptive_max_pool")
            };
            net.sizes[1..].fill(size);
            let text = format!("{sign}{class}{dims}d({name}{size})");
            return if sign == "nn." { net.layer(text) } else { net.code(format!("x = {text}")) };
        }
    };
    if sign == "nn." {
        net.layer(text)
    } else {
        net.code(format!("x = {text}"))
    }
    net.sizes[1..].copy_from_slice(&sizes);
}

/// A norm of a tensor with channels first.
fn norm(net: &mut Net<'_>, dims: usize) {
    let channels = net.sizes[0];
    let groups = net.divisor(channels);
    let whole = format!("{:?}", net.sizes);
    let last = net.sizes[net.sizes.len() - 1];
    let text = match net.random.below(10) {
        0 => format!("nn.BatchNorm{dims}d({channels})"),
        1 => format!("nn.BatchNorm{dims}d({channels}, eps=1e-3, momentum=0.3, affine=False)"),
        2 => format!("nn.BatchNorm{dims}d({channels}, track_running_stats=False)"),
        3 => format!("nn.BatchNorm{dims}d({channels}, momentum=None)"),
        4 => format!("nn.GroupNorm({groups}, {channels})"),
        5 => format!("nn.GroupNorm({groups}, {channels}, affine=False, eps=1e-4)"),
        6 if net.sizes[1..].iter().product::<usize>() > 1 => {
            format!("nn.InstanceNorm{dims}d({channels}, affine={})", net.pick("True False"))
        }
        7 => format!("nn.LayerNorm({whole}, elementwise_affine={})", net.pick("True False")),
        8 => format!("nn.RMSNorm({last}, eps=1e-6)"),
        _ => format!("nn.LayerNorm({last}, bias={})", net.pick("True False")),
    };
    net.layer(text);
}

/// An image `(C, H, W)`.
pub(crate) fn image(net: &mut Net<'_>) {
    let [channels, height, width] = net.sizes[..] else { return };
    match net.random.below(16) {
        0..=3 => convolution(net, 2),
        4 => transposed(net, 2),
        5 | 6 => pool(net, 2),
        7 => norm(net, 2),
        8 => {
            let mode = net.pick("nearest bilinear bicubic nearest-exact area");
            let (tall, wide) = (2 + net.random.below(9), 2 + net.random.below(9));
            let align = if mode.starts_with("bi") && net.rarely(2) { ", align_corners=True" } else { "" };
            net.code(format!("x = F.interpolate(x, size=({tall}, {wide}), mode='{mode}'{align})"));
            net.sizes = vec![channels, tall, wide];
        }
        9 => {
            let (factor, mode) = (net.pick("2 0.5 1.5"), net.pick("nearest bilinear"));
            let scale: f64 = factor.parse().unwrap_or(1.0);
            let scaled = |size: usize| (size as f64 * scale).floor() as usize;
            let (tall, wide) = (scaled(height), scaled(width));
            if tall == 0 || wide == 0 || tall * wide > 600 {
                return;
            }
            net.layer(format!("nn.Upsample(scale_factor={factor}, mode='{mode}')"));
            net.sizes = vec![channels, tall, wide];
        }
        10 if channels.is_multiple_of(4) => {
            net.layer("nn.PixelShuffle(2)");
            net.sizes = vec![channels / 4, height * 2, width * 2];
        }
        11 if height.is_multiple_of(2) && width.is_multiple_of(2) => {
            net.code("x = F.pixel_unshuffle(x, 2)");
            net.sizes = vec![channels * 4, height / 2, width / 2];
        }
        12 => {
            let name = net.declare(&format!("nn.Conv2d({channels}, {channels}, 1)"));
            let reduce =
                net.pick("F.adaptive_avg_pool2d(x,1) x.mean((2,3),keepdim=True) x.amax((-1,-2),True)");
            let gate = net.pick("torch.sigmoid F.hardsigmoid torch.tanh");
            net.code(format!("x = x * {gate}(self.{name}({}))", reduce.replace(',', ", ")));
        }
        13 if height >= 3 && width >= 3 => {
            let (tall, wide) = (height / 2, width / 2);
            net.code("x = F.unfold(x, 2, stride=2)");
            net.sizes = vec![channels * 4, tall * wide];
        }
        14 => {
            let (text, pads) = pads(net, height.min(width));
            net.layer(text);
            net.sizes = vec![channels, height + 2 * pads, width + 2 * pads];
        }
        _ => {
            net.code("x = x.flatten(2).transpose(1, 2)");
            net.sizes = vec![height * width, channels];
        }
    }
}

fn pads(net: &mut Net<'_>, least: usize) -> (String, usize) {
    let pads = 1 + net.random.below(least.clamp(2, 4) - 1);
    let kind = net.pick("Zero Reflection Replication Circular");
    (format!("nn.{kind}Pad2d({pads})"), pads)
}

/// A sequence `(L, D)`, which convolutions read as `(C, L)`.
pub(crate) fn sequence(net: &mut Net<'_>) {
    let [length, width] = net.sizes[..] else { return };
    let heads = net.divisor(width);
    match net.random.below(18) {
        0 => convolution(net, 1),
        1 => transposed(net, 1),
        2 => pool(net, 1),
        3 => norm(net, 1),
        4 | 5 => linear(net),
        6 => {
            let (hidden, class) = (net.channels(), net.pick("RNN LSTM GRU"));
            let both = net.rarely(3);
            let layers = 1 + usize::from(net.rarely(3));
            let name = net.declare(&format!(
                "nn.{class}({width}, {hidden}, num_layers={layers}, batch_first=True, bidirectional={})",
                if both { "True" } else { "False" }
            ));
            net.code(format!("x, _ = self.{name}(x)"));
            net.sizes = vec![length, hidden * (1 + usize::from(both))];
        }
        7 => {
            let name = net.declare(&format!("nn.MultiheadAttention({width}, {heads}, batch_first=True)"));
            net.code(format!("x = x + self.{name}(x, x, x, need_weights=False)[0]"));
        }
        8 => {
            let (first, act) = (net.pick("True False"), net.pick("'relu' 'gelu'"));
            net.layer(format!(
                "nn.TransformerEncoderLayer({width}, {heads}, {}, batch_first=True, \
                    norm_first={first}, activation={act})",
                2 * width
            ));
        }
        9 => {
            let layer = format!(
                "nn.TransformerEncoderLayer({width}, {heads}, {width}, batch_first=True, dropout=0.2)"
            );
            net.layer(format!("nn.TransformerEncoder({layer}, 2, enable_nested_tensor=False)"));
        }
        10 => {
            let name = net.declare(&format!("nn.Linear({width}, {}, bias=False)", 3 * width));
            net.code(format!("q, k, v = self.{name}(x).chunk(3, dim=-1)"));
            if net.rarely(2) {
                net.code(format!("w = (q @ k.transpose(-2, -1) / math.sqrt({width})).softmax(dim=-1)"));
                net.code("x = torch.bmm(w, v)");
            } else {
                let causal = net.pick("True False");
                net.code(format!("x = F.scaled_dot_product_attention(q, k, v, is_causal={causal})"));
            }
        }
        11 => {
            let name = net.declare(&format!("nn.Parameter(torch.randn(1, {length}, {width}) * 0.02)"));
            net.code(format!("x = x + self.{name}"));
        }
        12 => {
            let name = net.declare(&format!("nn.Parameter(torch.zeros(1, 1, {width}))"));
            net.code(format!("x = torch.cat((self.{name}.expand(x.size(0), -1, -1), x), dim=1)"));
            net.sizes = vec![length + 1, width];
        }
        13 => {
            let rows = net.divisor(length);
            net.code(format!("x = x.transpose(1, 2).unflatten(2, ({rows}, {}))", length / rows));
            net.sizes = vec![width, rows, length / rows];
        }
        14 => {
            net.code("x = torch.einsum('nld,nmd->nlm', x, x) / x.shape[-1]");
            net.sizes = vec![length, length];
        }
        15 => {
            let kept = 1 + net.random.below(length);
            net.code(format!("x = torch.topk(x, {kept}, dim=1)[0]"));
            net.sizes = vec![kept, width];
        }
        16 => {
            let name = net.declare(&format!("nn.Parameter(torch.randn({length}, {length}) * 0.1)"));
            net.code(format!("x = torch.matmul(self.{name}, x)"));
        }
        _ => {
            let reduce =
                net.pick("x.mean(1) x.mean(dim=-2) x.max(dim=1)[0] x[:,0] x[:,-1,:] x.sum(1) x.logsumexp(1)");
            net.code(format!("x = {}", reduce.replace(',', ", ")));
            net.sizes = vec![width];
        }
    }
}

fn linear(net: &mut Net<'_>) {
    let (inputs, outputs) = (net.sizes[net.sizes.len() - 1], net.channels());
    let bias = if net.rarely(3) { ", bias=False" } else { "" };
    net.layer(format!("nn.Linear({inputs}, {outputs}{bias})"));
    *net.sizes.last_mut().unwrap_or(&mut 0) = outputs;
}

/// A vector.
pub(crate) fn vector(net: &mut Net<'_>) {
    let [width] = net.sizes[..] else { return };
    match net.random.below(12) {
        0..=2 => linear(net),
        3 => net.layer(format!("nn.BatchNorm1d({width})")),
        4 => net.layer(format!("nn.LayerNorm({width})")),
        5 if width.is_multiple_of(2) => {
            let text = net
                .pick("F.glu(x,dim=-1) x.chunk(2,1)[1]*x[:,:x.size(1)//2] torch.tensor_split(x,2,dim=1)[0]");
            net.code(format!("x = {}", text.replace(',', ", ")));
            net.sizes = vec![width / 2];
        }
        6 if width < 20 => {
            let outputs = net.channels();
            let name = net.declare(&format!("nn.Bilinear({width}, {width}, {outputs})"));
            net.code(format!("x = self.{name}(x, x.tanh())"));
            net.sizes = vec![outputs];
        }
        7 => {
            let rows = net.divisor(width);
            let text = net.pick(
                "x.view(-1,R,C) x.reshape(x.size(0),R,C) x.unflatten(1,(R,C)) nn.Unflatten(1,(R,C))(x)",
            );
            let text = text
                .replace(',', ", ")
                .replace('R', &rows.to_string())
                .replace('C', &(width / rows).to_string());
            net.code(format!("x = {text}"));
            net.sizes = vec![rows, width / rows];
        }
        8 if width < 40 => {
            net.code("x = torch.cat([x, x.abs()], 1)");
            net.sizes = vec![2 * width];
        }
        9 => {
            let name = net.declare(&format!("nn.Embedding({width}, {width})"));
            net.code(format!("x = x + self.{name}(x.argmax(1))"));
        }
        10 => {
            let hidden = net.channels();
            let class = net.pick("GRUCell RNNCell");
            let name = net.declare(&format!("nn.{class}({width}, {hidden})"));
            net.code(format!("h = torch.zeros(x.size(0), {hidden}, device=x.device)"));
            net.code(format!("for _ in range(2):\n            h = self.{name}(x, h)"));
            net.code("x = h");
            net.sizes = vec![hidden];
        }
        _ => {
            let name = net.declare(&format!("nn.Parameter(torch.ones({width}))"));
            net.code(format!("x = F.normalize(x, dim=1) * self.{name}"));
        }
    }
}

/// The same sizes out: activations, dropouts.
pub(crate) fn pointwise(net: &mut Net<'_>) {
    let dims = net.sizes.len();
    match net.random.below(5) {
        0 => {
            let layer = net.pick(
                "ReLU(inplace=True) ReLU6() LeakyReLU(0.2) ELU() CELU(0.5) SELU() GELU() GELU('tanh') SiLU() Mish() \
                 Hardswish() Hardsigmoid() Hardtanh(-2.0,2.0) Sigmoid() Tanh() Softplus() Softsign() LogSigmoid() \
                 Softshrink(0.1) Tanhshrink() RReLU() PReLU() Identity() Hardshrink(0.2)",
            );
            net.layer(format!("nn.{}", layer.replace(',', ", ")));
        }
        1 => {
            let call = net.pick(
                "F.relu F.gelu F.silu torch.tanh torch.sigmoid F.leaky_relu F.elu \
                F.mish F.softplus F.hardswish",
            );
            net.code(format!("x = {call}(x)"));
        }
        2 => {
            let layer = match (net.random.below(4), dims) {
                (0, 3) => "nn.Dropout2d(0.1)".to_owned(),
                (1, _) => "nn.AlphaDropout(0.1)".to_owned(),
                _ => "nn.Dropout(p=0.3)".to_owned(),
            };
            net.layer(layer);
        }
        3 => {
            let dim = 1 + net.random.below(dims);
            let call = net.pick("F.softmax F.log_softmax torch.softmax F.softmin torch.cumsum F.normalize");
            net.code(format!("x = {call}(x, dim={dim})"));
        }
        _ => {
            let channels = net.sizes[0];
            net.layer(format!("nn.PReLU({channels})"));
        }
    }
}

/// The same sizes out: arithmetic with numbers, constants, parameters and reductions of the tensor itself.
pub(crate) fn arithmetic(net: &mut Net<'_>) {
    let dim = 1 + net.random.below(net.sizes.len());
    let last = net.sizes[net.sizes.len() - 1];
    let size = net.sizes[dim - 1];
    let text = net.random.pick(&[
        "x = x * 2 - 1",
        "x = (x - x.mean(D, keepdim=True)) / (x.std(D, keepdim=True, unbiased=False) + 1e-3)",
        "x = 1 / (1 + x.abs())",
        "x = torch.log1p(x ** 2)",
        "x = torch.sqrt(x.pow(2) + 1) - 0.5",
        "x = x.clamp(-1, 1) + x.clamp(min=0)",
        "x = torch.where(x > 0, x, 0.1 * x)",
        "x = x.masked_fill(x < 0, 0.0)",
        "x = x + torch.arange(L, dtype=x.dtype) / L",
        "x = x - x.amax(dim=D, keepdim=True)",
        "x = x * torch.linspace(0, 1, L)",
        "x = x.exp() / x.exp().sum(D, keepdim=True)",
        "x = x / x.norm(dim=D, keepdim=True).clamp_min(1e-2)",
        "x = x + torch.ones_like(x) * x.mean()",
        "x = x * (x.sigmoid() + 0.5); x += 0.1",
        "if self.training:\n            x = x + 0.1 * torch.randn_like(x)",
        "for i in range(2):\n            x = x + torch.sin(x * (i + 1))",
        "y = x.clone()\n        y[:, 0] = y[:, 0] * 2\n        x = y",
        "x = torch.addcmul(x, x.tanh(), x.cos(), value=0.5)",
        "assert x.size(D) == S\n        x = -x",
        "x = x.cumsum(D) / torch.tensor(S).float()",
        "x = x + torch.eye(1, L)[0]",
        "x = x * torch.tensor([0.5] * L)",
        "x = x @ torch.tril(torch.ones(L, L)) if x.dim() > 9 else x.abs()",
        "x = x.view_as(x).to(torch.float32).contiguous()",
    ]);
    net.code(
        text.replace('D', &dim.to_string()).replace('L', &last.to_string()).replace('S', &size.to_string()),
    );
}

/// The same numbers in another order or fewer of them.
pub(crate) fn rearranged(net: &mut Net<'_>) {
    let rank = net.sizes.len();
    let at = net.random.below(rank);
    let (dim, size) = (at + 1, net.sizes[at]);
    match net.random.below(10) {
        0 => net.code(format!("x = x.flip({dim})")),
        1 => {
            let shift = 1 + net.random.below(3);
            net.code(format!("x = torch.roll(x, shifts={shift}, dims={dim})"));
        }
        2 if size > 2 => {
            let before = ":, ".repeat(dim);
            let (text, left) = match net.random.below(4) {
                0 => (format!("x[{before}1:]"), size - 1),
                1 => (format!("x[{before}::2]"), size.div_ceil(2)),
                2 => (format!("x[{before}:-1]"), size - 1),
                _ => (format!("x.narrow({dim}, 1, {})", size - 2), size - 2),
            };
            net.code(format!("x = {text}"));
            net.sizes[at] = left;
        }
        3 if rank > 1 => {
            let other = net.random.below(rank);
            net.code(format!("x = x.transpose({dim}, {})", other + 1));
            net.sizes.swap(at, other);
        }
        4 if rank == 3 => {
            net.code("x = x.permute(0, 2, 3, 1)");
            net.sizes.rotate_left(1);
        }
        5 if size > 1 => {
            let parts = 2 + net.random.below(size - 1);
            net.code(format!("y = list(torch.chunk(x, {parts}, dim={dim}))"));
            net.code(format!("x = torch.cat(y[::-1], dim={dim})"));
        }
        6 if size > 1 => {
            let first = 1 + net.random.below(size - 1);
            net.code(format!("a, b = torch.split(x, [{first}, {}], {dim})", size - first));
            net.code(format!("x = torch.cat((F.relu(a), b), {dim})"));
        }
        7 if size > 1 => {
            net.code(format!("x = torch.stack([x.select({dim}, i) for i in range(2)], dim={dim})"));
            net.sizes[at] = 2;
        }
        8 if net.sizes.iter().product::<usize>() < 600 => {
            let text = net
                .pick("torch.repeat_interleave(x,2,dim=D) x.repeat_interleave(2,D) torch.cat([x,x],dim=D)");
            net.code(format!("x = {}", text.replace(',', ", ").replace('D', &dim.to_string())));
            net.sizes[at] *= 2;
        }
        _ => {
            let (before, after) = (net.random.below(3), net.random.below(3));
            net.code(format!("x = F.pad(x, ({before}, {after}), value=0.5)"));
            net.sizes[rank - 1] += before + after;
        }
    }
}
