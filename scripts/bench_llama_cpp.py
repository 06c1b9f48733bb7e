#!/usr/bin/env python3
"""llama.cpp's rates beside those of `llmatic-offline bench llm`: same file, threads, prompt and sampling.

usage: bench_llama_cpp.py --model FILE.gguf [--binary target/release/llmatic-offline] [--threads 1,2] [--repeats 5]
                          [--prompt-tokens 300] [--new-tokens 200] [--rows 8] [--json] [--keep FILE]

Runs the two programs in turn, each in a process of its own, and prints a Markdown table of the medians, and on standard
error what each run gave. With --keep every run is noted in a file and not run again by the same command. Needs
llama-cpp-python (`pip install llama-cpp-python`, built for this processor); both programs must be alone on the machine.

Of llama.cpp it measures: prefill of the prompt; one greedy row after it; a generation of rows that share the prompt's
cache (computed once, `llama_memory_seq_cp`) and are sampled with top-k 50 at temperature 0.9, one `llama_decode` per
token of all rows; and the same rows one after another. A generation's rate is of new tokens over all of the time,
prefill included. llama.cpp is given the better of its two cache layouts. Limit: its rows always write all new tokens,
ours end where the model ends them, which only slows ours down: the last rows run with fewer beside them.
"""

import argparse
import ctypes
import functools
import json
import os
import statistics
import subprocess
import sys
import time

RATES = ("prefill", "decode", "generation", "one_at_a_time")
TOP_K, TEMPERATURE = 50, 0.9


class Llama:
    """A model with one context, through llama.cpp's own interface."""

    def __init__(self, path, threads, positions, rows, unified, exact=False):
        """`exact`: attention in f32; by default llama.cpp adds up its values in half precision."""
        import llama_cpp

        self.lib = llama_cpp
        self.quiet = llama_cpp.llama_log_callback(lambda level, text, user: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        if not self.model:
            sys.exit(f"{path}: llama.cpp cannot load it")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = (positions * rows + 255) // 256 * 256
        settings.n_batch = settings.n_ubatch = 512
        settings.n_seq_max = rows
        settings.n_threads = settings.n_threads_batch = threads
        settings.kv_unified = unified
        settings.no_perf = True
        if exact:
            settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
            settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        if not self.context:
            sys.exit(f"{path}: llama.cpp cannot make a context of {settings.n_ctx} positions")
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(512, 0, rows)

    def tokens(self, text):
        data = text.encode()
        ids = (self.lib.llama_token * (len(data) + 8))()
        count = self.lib.llama_tokenize(
            self.vocabulary, data, len(data), ids, len(ids), True, True
        )
        return list(ids[:count])

    def decode(self, entries):
        """One step of (token, position, row, whether logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(entries)
        for i, (token, position, row, logits) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = row, logits
        if self.lib.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")

    def prefill(self, tokens):
        self.lib.llama_memory_clear(self.memory, True)
        for first in range(0, len(tokens), 512):
            part = tokens[first : first + 512]
            last = len(tokens) - 1 - first
            self.decode([(t, first + i, 0, i == last) for i, t in enumerate(part)])
        self.lib.llama_synchronize(self.context)

    def sampler(self, seed):
        lib = self.lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if seed is None:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        else:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(TOP_K))
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(TEMPERATURE))
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(seed))
        return chain

    def write(self, samplers, start, count):
        """`count` tokens of each row, from the logits of the step before, which was the prompt's."""
        sample = self.lib.llama_sampler_sample
        newest = [sample(chain, self.context, -1) for chain in samplers]
        for position in range(start, start + count - 1):
            self.decode([(token, position, row, True) for row, token in enumerate(newest)])
            newest = [sample(chain, self.context, row) for row, chain in enumerate(samplers)]


def once(args, threads, unified):
    """llama.cpp's rates, measured once in this process."""
    llama = Llama(args.model, threads, args.prompt_tokens + args.new_tokens + 64, args.rows, unified)
    tokens = llama.tokens(args.prompt)
    llama.prefill(tokens[:8])
    rates = {"prompt_tokens": len(tokens), "unified": unified}

    start = time.perf_counter()
    llama.prefill(tokens)
    rates["prefill"] = len(tokens) / (time.perf_counter() - start)

    greedy = llama.sampler(None)
    start = time.perf_counter()
    llama.write([greedy], len(tokens), args.new_tokens)
    rates["decode"] = (args.new_tokens - 1) / (time.perf_counter() - start)

    start = time.perf_counter()
    llama.prefill(tokens)
    for row in range(1, args.rows):
        llama.lib.llama_memory_seq_cp(llama.memory, 0, row, -1, -1)
    llama.write([llama.sampler(seed) for seed in range(args.rows)], len(tokens), args.new_tokens)
    rates["generation"] = args.rows * args.new_tokens / (time.perf_counter() - start)

    start = time.perf_counter()
    llama.prefill(tokens)
    for seed in range(args.rows):
        if seed > 0:
            # Only the last token of the prompt is computed again, for its logits.
            llama.lib.llama_memory_seq_rm(llama.memory, 0, len(tokens) - 1, -1)
            llama.decode([(tokens[-1], len(tokens) - 1, 0, True)])
        llama.write([llama.sampler(seed)], len(tokens), args.new_tokens)
    rates["one_at_a_time"] = args.rows * args.new_tokens / (time.perf_counter() - start)
    return rates


class Runs:
    """Runs that were made, by what was run; in a file where one is named."""

    def __init__(self, path):
        self.path, self.known = path, {}
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.known = dict(json.loads(line) for line in file)

    def get(self, key, run):
        key = " ".join(map(str, key))
        if key not in self.known:
            self.known[key] = run()
            if self.path:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps([key, self.known[key]]) + "\n")
        rates = self.known[key]
        print(key + ": " + ", ".join(f"{rate} {rates[rate]:.1f}" for rate in RATES), file=sys.stderr)
        return rates


def ours(args, threads):
    command = [args.binary, "bench", "llm", "--model", args.model, "--threads", str(threads)]
    for flag in ("prompt_tokens", "new_tokens", "rows"):
        command += ["--" + flag.replace("_", "-"), str(getattr(args, flag))]
    command += ["--repeats", "1", "--json"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {"prompt": report["prompt"], **report["rows"][0]}


def theirs(args, threads, prompt, unified):
    command = [sys.executable, __file__, "--once", "--model", args.model, "--threads", str(threads)]
    for flag in ("prompt_tokens", "new_tokens", "rows"):
        command += ["--" + flag.replace("_", "-"), str(getattr(args, flag))]
    command += ["--prompt", prompt] + (["--unified"] if unified else [])
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compare(args, threads, made):
    """Medians of both programs, run in turn."""
    runs = {"ours": [], "split": [], "unified": []}
    what = [os.path.basename(args.model), args.prompt_tokens, args.new_tokens, args.rows, f"threads={threads}"]
    for repeat in range(args.repeats):
        mine = made.get([*what, repeat, "ours"], lambda: ours(args, threads))
        runs["ours"].append(mine)
        for layout in ("split", "unified"):
            run = functools.partial(theirs, args, threads, mine["prompt"], layout == "unified")
            runs[layout].append(made.get([*what, repeat, layout], run))
    counts = {run["prompt_tokens"] for group in runs.values() for run in group}
    if len(counts) != 1:
        sys.exit(f"the programs tokenize the prompt differently: {sorted(counts)} tokens")
    median = {
        name: {rate: statistics.median(run[rate] for run in group) for rate in RATES}
        for name, group in runs.items()
    }
    best = {rate: max(median["split"][rate], median["unified"][rate]) for rate in RATES}
    shares = {
        key: statistics.median(run[key] for run in runs["ours"])
        for key in ("bandwidth", "bandwidth_share", "products", "products_share")
    }
    return {"threads": threads, "prompt_tokens": counts.pop(), "ours": median["ours"], "llama.cpp": best, **shares}


def table(results):
    lines = [
        "| threads | | prefill | one row | generation | one at a time |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        mine, other = result["ours"], result["llama.cpp"]
        for name, rates in (("llmatic-offline", mine), ("llama.cpp", other)):
            cells = " | ".join(f"{rates[rate]:.1f}" for rate in RATES)
            lines.append(f"| {result['threads']} | {name} | {cells} |")
        ratios = [mine[rate] / other[rate] for rate in RATES[:3]]
        cells = " | ".join(f"{ratio:.2f}x" for ratio in ratios)
        single = mine["generation"] / other["one_at_a_time"]
        lines.append(f"| {result['threads']} | ratio | {cells} | generation: {single:.2f}x |")
    for result in results:
        lines.append("")
        lines.append(
            f"{result['threads']} threads: memory {result['bandwidth'] / 1e9:.1f} GB/s, of which one row reaches "
            f"{100 * result['bandwidth_share']:.0f} %; int8 {result['products'] / 1e9:.0f} G products/s, of which "
            f"prefill reaches {100 * result['products_share']:.0f} %."
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the GGUF file that both programs load")
    parser.add_argument("--binary", default="target/release/llmatic-offline")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=300)
    parser.add_argument("--new-tokens", type=int, default=200)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    parser.add_argument("--keep", metavar="FILE", help="note every run here; runs that it holds are not made again")
    parser.add_argument("--once", action="store_true", help="measure llama.cpp once, print JSON")
    parser.add_argument("--prompt", help="of --once")
    parser.add_argument("--unified", action="store_true", help="of --once: one cache for all rows")
    args = parser.parse_args()
    threads = [int(count) for count in args.threads.split(",")]
    if args.once:
        print(json.dumps(once(args, threads[0], args.unified)))
        return
    made = Runs(args.keep)
    results = [compare(args, count, made) for count in threads]
    print(json.dumps(results, indent=2) if args.json else table(results))


if __name__ == "__main__":
    main()
