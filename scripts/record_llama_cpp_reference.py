#!/usr/bin/env python3
"""Records what llama.cpp writes greedily, for tests/llama_cpp.rs to compare with.

usage: record_llama_cpp_reference.py --model FILE.gguf --out tests/fixtures/llama_cpp/NAME.json [--threads 2]

Needs llama-cpp-python. For each of 20 prompts: the prompt's tokens, the 64 tokens that follow greedily, and after each
of them by how much the best logit beat the second; and the tokens that llama.cpp itself writes instead when it adds up
attention in f32 and not in half precision, its default. The prompts are below: networks and other Python, whole and cut
within words and lines. Limit: batches of one token after the prompt, so these are llama.cpp's single-row numbers.
"""

import argparse
import json

import numpy
from bench_llama_cpp import Llama

NEW_TOKENS = 64

NET = """import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 7 * 7, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        return self.fc2(F.relu(self.fc1(x)))
"""

PROMPTS = [
    NET + "\n\n# The same network with one more convolution.\nclass Net(nn.Module):\n",
    NET + "\n\n# The same network with batch normalization.\nclass Net(nn.Module):\n",
    NET + "\n\n# The same network with dropout before the last layer.\n"
    "class Net(nn.Module):\n    def __init__(self):\n",
    NET[:420],
    NET[:250],
    NET + "\n\ndef count_parameters(model):\n",
    NET + "\n\ndef train(model, loader, optimizer):\n",
    "import torch.nn as nn\n\n\nclass ResidualBlock(nn.Module):\n",
    "import torch.nn as nn\n\n\nclass DepthwiseSeparable(nn.Module):\n"
    "    def __init__(self, inputs, outputs):\n",
    "class SqueezeExcite(nn.Module):\n    \"\"\"Channel attention",
    "class LeNet(nn.Module):\n    def __init__(self, classes=10):\n        super().__init__()\n",
    "class MLP(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.layers = nn.Sequential(\n",
    "def fibonacci(n):\n    \"\"\"The n-th Fibonacci number.\"\"\"\n",
    "def quicksort(values):\n",
    "def is_prime(n: int) -> bool:\n",
    "import json\n\n\ndef read_config(path):\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "# Read a CSV file and print the mean of each column.\nimport csv\n",
    "def levenshtein(a, b):\n    \"\"\"Edit distance of two strings.\"\"\"\n    previous = list(range(len(b) + 1))\n",
    "import numpy as np\n\n\ndef softmax(x, axis=-1):\n",
]


def record(llama, prompt):
    tokens = llama.tokens(prompt)
    llama.prefill(tokens)
    size = llama.lib.llama_vocab_n_tokens(llama.vocabulary)
    written, gaps = [], []
    place = -1
    for position in range(len(tokens), len(tokens) + NEW_TOKENS):
        logits = numpy.ctypeslib.as_array(llama.lib.llama_get_logits_ith(llama.context, place), (size,))
        best = int(logits.argmax())
        first, second = numpy.partition(logits, -2)[:-3:-1]
        written.append(best)
        gaps.append(round(float(first - second), 4))
        llama.decode([(best, position, 0, True)])
        place = 0
    return {"prompt": prompt, "tokens": tokens, "written": written, "gaps": gaps}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    import llama_cpp

    by_default, exact = ([], [])
    for records, in_f32 in ((by_default, False), (exact, True)):
        llama = Llama(args.model, args.threads, 1024, 1, True, in_f32)
        records.extend(record(llama, prompt) for prompt in PROMPTS)
    records = [{**a, "written_with_f32_attention": b["written"]} for a, b in zip(by_default, exact)]
    lines = ",\n".join(json.dumps(entry) for entry in records)
    with open(args.out, "w", encoding="utf-8") as out:
        out.write(f'{{"llama-cpp-python": "{llama_cpp.__version__}", "rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
