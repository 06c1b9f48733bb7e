#!/usr/bin/env python3
"""Record what transformers computes with tiny random models, for tests/models.rs.

Writes one Hugging Face directory per architecture (config.json, model.safetensors, tokenizer files) and
reference.json beside it: a prompt, the logits after each of its tokens, and greedy tokens. Weights are random
(seeded), so nothing is downloaded. The CodeGen directory also gets its weights as pytorch_model.bin; those of
qwen3moe are cut into two shards.

Needs torch, safetensors and transformers (>= 5):
    python3 scripts/record_codegen_reference.py tests/fixtures [codegen llama ...]
The ids of a real tokenizer on TEXTS and this script, for tests/llm_real.rs:
    python3 scripts/record_codegen_reference.py tests/fixtures qwen2-tokens=PATH/tokenizer.json
The shape of CodeGen 350M, for the ignored test (1.4 GB, not to be committed):
    python3 scripts/record_codegen_reference.py FOLDER codegen-350m
"""
import json
import pathlib
import sys

import torch


def without_distributed():
    """Some builds of torch come without torch.distributed; transformers only asks whether it is there."""
    if torch.distributed.is_available():
        return
    torch.distributed.is_initialized = lambda: False


def byte_alphabet():
    """GPT-2's printable stand-in for each byte, in its vocabulary's order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = 0x100
    letters = {}
    for byte in range(256):
        if byte in printable:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(spare)
            spare += 1
    return [letters[b] for b in printable] + [letters[b] for b in range(256) if b not in printable]


# Merges of a made-up tokenizer: enough that words, indents and calls are joined.
MERGES = [
    ("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("Ġ", "s"), ("s", "e"), ("se", "l"), ("sel", "f"), ("d", "e"), ("de", "f"),
    ("Ġ", "="), ("n", "n"), ("c", "l"), ("a", "s"), ("cl", "as"), ("clas", "s"), ("Ġ", "N"), ("ĠN", "e"),
    ("ĠNe", "t"), ("r", "e"), ("t", "u"), ("re", "tu"), ("retu", "r"), ("retur", "n"), ("Ċ", "Ċ"),
]

PROMPT = "class Net(nn.Module):\n    def forward(self, x):\n        return x\n\n\n# one more\n"
TEXTS = [
    PROMPT,
    "",
    " leading and trailing  ",
    "tabs\t\tand\tspaces    " + " " * 13 + "\n\n\r\n\tx",
    "x = 12345 + 3.14e-10  # naïve café ‘quotes’ 漢字 🙂 e\u0301",
    "it's we'll I'd THEY'RE <|endoftext|> not the end",
    "class Net(nn.Module):\n\tdef __init__(self):\n\t\tsuper().__init__()\n" + " " * 40 + "pass",
]


def vocabulary(end):
    tokens = [end] if end in ("<s>",) else []
    tokens += byte_alphabet() + [a + b for a, b in MERGES]
    if end not in tokens:
        tokens.append(end)
    return {token: index for index, token in enumerate(tokens)}


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def codegen(folder):
    """CodeGen's own tokenizer: GPT-2's with runs of spaces and tabs as added tokens."""
    from transformers import CodeGenConfig, CodeGenForCausalLM, CodeGenTokenizer

    vocab = vocabulary("<|endoftext|>")
    write_json(folder / "vocab.json", vocab)
    merges = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES)
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    added = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]
    write_json(folder / "added_tokens.json", {text: len(vocab) + i for i, text in enumerate(added)})
    tokenizer = CodeGenTokenizer(vocab=vocab, merges=MERGES)
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(text, normalized=True) for text in added])
    config = CodeGenConfig(
        vocab_size=320 + 16, n_positions=192, n_ctx=192, n_embd=64, n_layer=2, n_head=4, rotary_dim=8,
        n_inner=128, bos_token_id=vocab["<|endoftext|>"], eos_token_id=vocab["<|endoftext|>"],
        tie_word_embeddings=False,
    )
    return CodeGenForCausalLM(config), tokenizer


def codegen_350m(folder):
    """The shape of CodeGen 350M with the made-up tokenizer."""
    from transformers import CodeGenConfig, CodeGenForCausalLM

    _, tokenizer = codegen(folder)
    config = CodeGenConfig(
        vocab_size=51200, n_positions=2048, n_ctx=2048, n_embd=1024, n_layer=20, n_head=16, rotary_dim=32,
        bos_token_id=279, eos_token_id=279, tie_word_embeddings=False,
    )
    return CodeGenForCausalLM(config), tokenizer


def gpt2_like(folder, pre_tokenizer, normalizer=None, end="<|endoftext|>", special=()):
    """A byte-level BPE tokenizer.json with the given cuts."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(end), merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(end, special=True, normalized=False)])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"eos_token": end, "bos_token": None})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)


QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def cuts(kind):
    from tokenizers import Regex, pre_tokenizers

    if kind == "qwen2":
        split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(False, use_regex=True)])


SHAPE = dict(
    vocab_size=304, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=192,
)


def llama(folder):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SHAPE, rms_norm_eps=1e-5, tie_word_embeddings=True, attention_bias=False,
                         rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 100000.0})
    return LlamaForCausalLM(config), gpt2_like(folder, cuts("smollm"), special=("<|im_end|>",))


def starcoder2(folder):
    from transformers import Starcoder2Config, Starcoder2ForCausalLM

    config = Starcoder2Config(**SHAPE, norm_epsilon=1e-5, use_bias=True, hidden_act="gelu_pytorch_tanh",
                              sliding_window=None, tie_word_embeddings=True)
    return Starcoder2ForCausalLM(config), gpt2_like(folder, cuts("starcoder"), special=("<fim_prefix>",))


def qwen2(folder):
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from tokenizers import normalizers

    config = Qwen2Config(**SHAPE, rms_norm_eps=1e-6, tie_word_embeddings=False)
    return Qwen2ForCausalLM(config), gpt2_like(folder, cuts("qwen2"), normalizers.NFC())


def qwen3(folder):
    from transformers import Qwen3Config, Qwen3ForCausalLM
    from tokenizers import normalizers

    config = Qwen3Config(**SHAPE, head_dim=32, rms_norm_eps=1e-6, tie_word_embeddings=True)
    return Qwen3ForCausalLM(config), gpt2_like(folder, cuts("qwen2"), normalizers.NFC())


def qwen3moe(folder):
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
    from tokenizers import normalizers

    config = Qwen3MoeConfig(**SHAPE, head_dim=32, rms_norm_eps=1e-6, tie_word_embeddings=False, num_experts=6,
                            num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True)
    return Qwen3MoeForCausalLM(config), gpt2_like(folder, cuts("qwen2"), normalizers.NFC())


def gemma3(folder):
    """Six layers, so that one sees all positions, and a window shorter than the prompt."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = sentencepiece_like(folder)
    shape = SHAPE | {"vocab_size": len(tokenizer) + 5, "num_hidden_layers": 6}
    config = Gemma3TextConfig(**shape, head_dim=32, rms_norm_eps=1e-6, query_pre_attn_scalar=24,
                              sliding_window=12, tie_word_embeddings=True)
    return Gemma3ForCausalLM(config), tokenizer


def sentencepiece_like(folder):
    """A tokenizer of Gemma's kind: byte fallback, `▁` for spaces, runs of white space before all else. Its
    pieces are learnt from TEXTS; the merges follow from them, as in Gemma's own tokenizer.json."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers import trainers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import generate_merges

    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    trainer = trainers.BpeTrainer(vocab_size=200, limit_alphabet=60, show_progress=False)
    trained.train_from_iterator(TEXTS[:6], trainer)
    learnt = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    runs = [mark * n for mark in ("\n", "▁", "\t") for n in range(2, 9)]
    pieces = [piece for piece, _ in learnt if piece not in runs]
    tokens = specials + runs + [f"<0x{byte:02X}>" for byte in range(256)]
    # Single characters come last and are made by no merge.
    tokens += [piece for piece in pieces if len(piece) > 1] + [piece for piece in pieces if len(piece) == 1]
    vocab = {token: index for index, token in enumerate(tokens)}
    scores = {token: 0.0 if token in runs else -float(index) for token, index in vocab.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=generate_merges(vocab, scores, specials),
                                     unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])])
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in runs])
    tokenizer.save(str(folder / "tokenizer.json"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", bos_token="<bos>")


BY_HAND = {"codegen-350m": codegen_350m}
MODELS = {"codegen": codegen, "gemma3": gemma3, "llama": llama, "qwen2": qwen2, "qwen3": qwen3,
          "qwen3moe": qwen3moe, "starcoder2": starcoder2}


def randomise(model):
    """Weights large enough that logits are spread, norms and biases away from 1 and 0; exact in 16 bits."""
    torch.manual_seed(7)
    scale = 1.2 / model.config.hidden_size**0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                # Gemma stores what its norms differ from 1 by.
                around_one = name.endswith("weight") and not model.config.model_type.startswith("gemma")
                centre = 1.0 if around_one else 0.0
                parameter.copy_(centre + 0.1 * torch.randn_like(parameter))
            else:
                parameter.copy_(scale * torch.randn_like(parameter))
            parameter.copy_(parameter.half())


def one_by_one(state):
    """The state as files hold it: an expert's matrices by themselves."""
    split = {}
    for key, value in state.items():
        before, fused, _ = key.partition("mlp.experts.gate_up_proj")
        if fused:
            for expert, both in enumerate(value):
                gate, up = both.chunk(2)
                split[f"{before}mlp.experts.{expert}.gate_proj.weight"] = gate.contiguous()
                split[f"{before}mlp.experts.{expert}.up_proj.weight"] = up.contiguous()
            continue
        before, fused, _ = key.partition("mlp.experts.down_proj")
        if fused:
            for expert, down in enumerate(value):
                split[f"{before}mlp.experts.{expert}.down_proj.weight"] = down.contiguous()
            continue
        split[key] = value
    return split


def save_shards(state, folder):
    """Two files and the index that says which tensor is where."""
    from safetensors.torch import save_file

    names, places = sorted(state), {}
    for shard, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"model-{shard:05}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        places |= {name: file for name in part}
    size = sum(value.numel() * value.element_size() for value in state.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places})


def reference(model, tokenizer):
    ids = tokenizer(PROMPT)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
        row = list(ids)
        step = model(torch.tensor([row]), use_cache=True)
        for _ in range(100):
            row.append(int(step.logits[0, -1].argmax()))
            step = model(torch.tensor([row[-1:]]), past_key_values=step.past_key_values, use_cache=True)
    return {
        "prompt": PROMPT,
        "tokens": ids,
        "logits": [[round(float(x), 6) for x in logits[i]] for i in (0, len(ids) - 1)],
        "greedy": row[len(ids):],
        "text": tokenizer.decode(row[len(ids):], skip_special_tokens=True),
        "tokenized": [{"text": text, "tokens": tokenizer(text)["input_ids"]} for text in TEXTS],
    }


def record_tokens(target, tokenizer):
    """Ids of a real tokenizer, whose file is too large to be committed."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer)
    lines = pathlib.Path(__file__).read_text(encoding="utf-8").splitlines(keepends=True)
    texts = TEXTS + ["".join(lines[at : at + 20]) for at in range(0, 200, 20)]
    cases = [{"text": text, "tokens": tokenizer.encode(text).ids} for text in texts]
    write_json(target, cases)


def main():
    without_distributed()
    target = pathlib.Path(sys.argv[1])
    for argument in [argument for argument in sys.argv[2:] if "=" in argument]:
        name, _, path = argument.partition("=")
        sys.argv.remove(argument)
        record_tokens(target / f"{name}.json", path)
        if len(sys.argv) == 2:
            return
    for name in sys.argv[2:] or MODELS:
        folder = target / (name if name in BY_HAND else f"{name}-tiny")
        folder.mkdir(parents=True, exist_ok=True)
        model, tokenizer = (BY_HAND | MODELS)[name](folder)
        model = model.float().eval()
        randomise(model)
        # Written as plain files, so that they are the same with every version of transformers.
        state = {key: value.contiguous().half() for key, value in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        from safetensors.torch import save_file

        if name == "qwen3moe":
            save_shards(one_by_one(state), folder)
        else:
            save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        if name == "codegen":
            torch.save(state, folder / "pytorch_model.bin")
        config = model.config.to_dict()
        config.pop("transformers_version", None)
        write_json(folder / "config.json", config)
        write_json(folder / "reference.json", reference(model, tokenizer))
        print(folder, {path.name: path.stat().st_size for path in folder.iterdir()})


if __name__ == "__main__":
    main()
