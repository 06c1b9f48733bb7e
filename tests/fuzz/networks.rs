//! Networks drawn at random over the whole set of operations, mostly valid, as people lay them out.
//!
//! Input: a number. Output: PyTorch source of one network and the sizes of one input. The generator follows the sizes
//! of its tensors itself; what it gets wrong, and one digit in some networks, makes cases that PyTorch refuses.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use super::Random;

/// A network as text.
pub(crate) struct Source {
    pub(crate) text: String,
    pub(crate) input: Vec<usize>,
}

/// One step of a network under way: a layer to be declared, or an expression of `x`.
enum Step {
    Layer(String),
    Code(String),
}

/// The network so far: what `__init__` and `forward` say, and the sizes of `x` without the batch.
pub(crate) struct Net<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) sizes: Vec<usize>,
    init: Vec<String>,
    forward: Vec<String>,
    layers: usize,
    /// Layers not yet written, to go into one `nn.Sequential`.
    run: Vec<String>,
}

const HEAD: &str = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n";

/// The network of a case.
pub(crate) fn network(random: &mut Random) -> Source {
    let inputs: [&[usize]; 7] =
        [&[3, 16, 16], &[1, 12, 12], &[4, 9, 11], &[2, 8, 14], &[6, 10], &[9, 8], &[12]];
    let input = inputs[random.below(inputs.len())].to_vec();
    let steps = 2 + random.below(9);
    let mut net = Net {
        random,
        sizes: input.clone(),
        init: Vec::new(),
        forward: Vec::new(),
        layers: 0,
        run: Vec::new(),
    };
    for _ in 0..steps {
        net.any_step();
    }
    net.finish(input)
}

impl Net<'_> {
    /// One chance in `of`.
    pub(crate) fn rarely(&mut self, of: usize) -> bool {
        self.random.below(of) == 0
    }

    pub(crate) fn pick(&mut self, words: &str) -> String {
        self.random.word(words).to_owned()
    }

    pub(crate) fn channels(&mut self) -> usize {
        [2, 3, 4, 6, 8, 12][self.random.below(6)]
    }

    /// A divisor of `of`.
    pub(crate) fn divisor(&mut self, of: usize) -> usize {
        let divisors: Vec<usize> = (1..=of).filter(|by| of.is_multiple_of(*by)).collect();
        divisors[self.random.below(divisors.len())]
    }

    pub(crate) fn layer(&mut self, text: impl Into<String>) {
        self.step(Step::Layer(text.into()));
    }

    pub(crate) fn code(&mut self, text: impl Into<String>) {
        self.step(Step::Code(text.into()));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Layer(text) => {
                self.run.push(text);
                if !self.rarely(3) {
                    self.flush();
                }
            }
            Step::Code(text) => {
                self.flush();
                self.forward.push(text);
            }
        }
    }

    /// Declare an attribute and give its name.
    pub(crate) fn declare(&mut self, value: &str) -> String {
        let name = format!("m{}", self.layers);
        self.layers += 1;
        self.init.push(format!("self.{name} = {value}"));
        name
    }

    /// Write the layers that wait: one by one, as a container, or in a loop over a list.
    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        match (&run[..], self.random.below(3)) {
            ([], _) => {}
            ([one], _) => {
                let name = self.declare(one);
                self.forward.push(format!("x = self.{name}(x)"));
            }
            (many, 0) => {
                let name = self.declare(&format!("nn.ModuleList([{}])", many.join(", ")));
                self.forward.push(format!("for layer in self.{name}:\n            x = layer(x)"));
            }
            (many, 1) => {
                let keyed: Vec<String> =
                    many.iter().enumerate().map(|(at, text)| format!("\"part{at}\": {text}")).collect();
                let name = self.declare(&format!("nn.ModuleDict({{{}}})", keyed.join(", ")));
                self.forward.push(format!("for key in self.{name}:\n            x = self.{name}[key](x)"));
            }
            (many, _) => {
                let name = self.declare(&format!("nn.Sequential({})", many.join(", ")));
                self.forward.push(format!("x = self.{name}(x)"));
            }
        }
    }

    fn any_step(&mut self) {
        match self.random.below(10) {
            0..=4 => match self.sizes.len() {
                1 => super::steps::vector(self),
                2 => super::steps::sequence(self),
                3 => super::steps::image(self),
                _ => self.collapse(),
            },
            5 | 6 => super::steps::pointwise(self),
            7 => self.branch(),
            8 => super::steps::arithmetic(self),
            _ => super::steps::rearranged(self),
        }
        if self.sizes.len() > 3 || self.sizes.iter().product::<usize>() > 4000 {
            self.collapse();
        }
    }

    /// Back to a small tensor of few dimensions.
    fn collapse(&mut self) {
        let last = self.sizes.len();
        let reduce = ["mean", "sum", "amax", "amin"][self.random.below(4)];
        self.code(format!("x = x.{reduce}({last})"));
        self.sizes.pop();
        if self.sizes.is_empty() {
            self.code("x = x.unsqueeze(1)");
            self.sizes.push(1);
        }
    }

    /// Two ways from one tensor, put together again.
    fn branch(&mut self) {
        self.flush();
        let (before, from) = (self.sizes.clone(), self.forward.len());
        self.code("y = x");
        for _ in 0..=self.random.below(2) {
            super::steps::pointwise(self);
        }
        if self.rarely(2) {
            match self.sizes.len() {
                3 => super::steps::image(self),
                2 => super::steps::sequence(self),
                _ => super::steps::vector(self),
            }
        }
        self.flush();
        if self.sizes == before {
            let join = self.pick(
                "x+y y+x x-y x*y x+0.5*y torch.maximum(x,y) torch.lerp(x,y,0.25) \
                torch.where(x>y,x,y) y+x.sigmoid()*y",
            );
            self.code(format!("x = {}", join.replace(',', ", ")));
        } else if self.sizes.len() == before.len() {
            let apart: Vec<usize> = (0..before.len()).filter(|&dim| self.sizes[dim] != before[dim]).collect();
            if let [dim] = apart[..] {
                self.code(format!("x = torch.cat([x, y], dim={})", dim + 1));
                self.sizes[dim] += before[dim];
            } else {
                self.code("x = x + y.mean()");
            }
        } else {
            self.code("x = x * torch.sigmoid(y.mean())");
        }
        debug_assert!(self.forward.len() > from);
    }

    fn finish(mut self, input: Vec<usize>) -> Source {
        self.flush();
        let count: usize = self.sizes.iter().product();
        let (name, flat) = (
            self.declare(&format!("nn.Linear({count}, 10)")),
            self.pick(
                "x.flatten(1) \
            x.view(x.size(0),-1) torch.flatten(x,1) x.reshape(x.shape[0],-1) nn.Flatten()(x)",
            ),
        );
        let mut text = HEAD.to_owned();
        if self.rarely(4) {
            // Layers of a class of their own, to which the outer one hands its input.
            text += "class Net(nn.Module):\n    def __init__(self):\n        super(Net, self).__init__()\n";
        } else {
            text += "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n";
        }
        for line in &self.init {
            text += &format!("        {line}\n");
        }
        if self.rarely(4) {
            let start = self.pick(
                "nn.init.zeros_(p) nn.init.normal_(p,0,0.02) \
                nn.init.uniform_(p,-0.1,0.1) nn.init.trunc_normal_(p,std=0.02)",
            );
            let which = self.pick("p.dim()>1 p.dim()==1 True");
            text += &format!(
                "        for p in self.parameters():\n            if {which}:\n                {start}\n"
            );
        }
        text += "\n    def forward(self, x):\n";
        for line in &self.forward {
            text += &format!("        {line}\n");
        }
        text += &format!("        return self.{name}({flat})\n");
        if self.rarely(8) {
            text = one_digit_changed(self.random, &text);
        }
        Source { text, input }
    }
}

/// The text with another digit in one place.
fn one_digit_changed(random: &mut Random, text: &str) -> String {
    let body = text.find("class Net").unwrap();
    let places: Vec<usize> =
        text.char_indices().filter(|(at, c)| *at > body && c.is_ascii_digit()).map(|(at, _)| at).collect();
    let at = places[random.below(places.len())];
    format!("{}{}{}", &text[..at], random.below(10), &text[at + 1..])
}
