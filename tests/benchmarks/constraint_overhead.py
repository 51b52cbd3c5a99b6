"""Measure what a JSON Schema costs per decoded token, against a decode step of E2B's width.

    python -m tests.benchmarks.constraint_overhead

The vocabulary has 262,144 entries, as Gemma 4's. The step is that of 7 of E2B's 35 layers in bfloat16, so the
share of the whole model is smaller still. One thread. The last line is the result as JSON.
"""

import json
import os
import random
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from rich.console import Console
from rich.table import Table
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import DynamicCache, Gemma4ForCausalLM, Gemma4TextConfig, PreTrainedTokenizerFast

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.family import SamplingDefaults, SpecialTokens
from gemma4_block.engine.gemma4.special_tokens import read_special_tokens
from gemma4_block.engine.preprocess import PreparedPrompt
from gemma4_block.engine.runner.decode import choose_tokens
from gemma4_block.engine.sampling import Grammar, Grammars, Sampler
from gemma4_block.engine.scheduler import Request, Sequence
from gemma4_block.reading import BOX_CONTRACTS, boxes_schema

VOCABULARY_SIZE = 262_144
_CONFIG = Path(__file__).parents[1] / "engine" / "configs" / "gemma-4-e2b-it.config.json"
_CONTEXT_TOKENS = 320
_REPEATS = 7
_SPECIAL = {
    0: "<pad>",
    1: "<eos>",
    2: "<bos>",
    3: "<unk>",
    100: "<|channel>",
    101: "<channel|>",
    106: "<turn|>",
}

_SCHEMAS: dict[str, dict[str, Any]] = {
    "three fields": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "ok": {"type": "boolean"}},
        "required": ["name", "age", "ok"],
        "additionalProperties": False,
    },
    "boxes of 20 classes": {
        **boxes_schema(BOX_CONTRACTS["yxyx_0_1000"], [f"class number {place}" for place in range(20)]),
        # Noise would end the list at once.
        "minItems": 20,
    },
    "thirty alternatives": {
        "type": "object",
        "properties": {
            f"field_{place}": {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}
            for place in range(30)
        },
        "required": [f"field_{place}" for place in range(30)],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Overhead:
    """What a schema costs.

    Attributes:
        schema: Which one.
        batch_size: Rows that are decoded together.
        constraint_ms: Median of what choosing under the schema adds to one step.
        step_ms: Median of the model's own step.
        share: The first over the second.
        start_ms: Building the grammar, once for a schema.

    """

    schema: str
    batch_size: int
    constraint_ms: float
    step_ms: float
    share: float
    start_ms: float


def build_tokenizer(rng: random.Random) -> PreTrainedTokenizerFast:
    """Make a tokenizer of Gemma 4's size and kind: byte fallback, words with and without a blank."""
    tokens = dict.fromkeys(_SPECIAL.get(place, f"<unused{place}>") for place in range(256))
    tokens |= dict.fromkeys(f"<0x{byte:02X}>" for byte in range(256))
    tokens |= dict.fromkeys(chr(code) for code in range(33, 127))
    # What a schema forces may be a blank alone.
    tokens["▁"] = None
    marks = "\"'{}[]:,.;!?()<>/\\|-_=+*&%$#@ \n"
    while len(tokens) < VOCABULARY_SIZE:
        letters = "".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", k=rng.randint(2, 11)))
        kind = rng.random()
        if kind < 0.03:
            letters = "".join(rng.choices(marks, k=rng.randint(2, 4)))
        elif kind < 0.3:
            letters = letters.capitalize()
        elif kind < 0.4:
            letters = "".join(chr(rng.randint(0x3B1, 0x9FFF)) for _ in range(rng.randint(1, 3)))
        tokens["▁" * (rng.random() < 0.45) + letters.replace(" ", "▁")] = None
    vocabulary = {token: place for place, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL.values()])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )


def build_model() -> Gemma4ForCausalLM:
    """Make 7 of E2B's layers, 4 of which share keys and values, and its vocabulary; random weights."""
    values = json.loads(_CONFIG.read_text(encoding="utf-8"))["text_config"]
    sliding, full = "sliding_attention", "full_attention"
    values |= {
        "layer_types": [sliding, sliding, full, sliding, sliding, sliding, full],
        "num_hidden_layers": 7,
        "num_kv_shared_layers": 4,
    }
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Gemma4ForCausalLM(Gemma4TextConfig.from_dict(values))
    finally:
        torch.set_default_dtype(torch.float32)
    return model.eval()


def measure_step(model: Gemma4ForCausalLM, batch_size: int) -> float:
    """Return the median milliseconds of one decode step."""
    cache = DynamicCache(config=model.config)
    ids = torch.randint(200, 9000, (batch_size, _CONTEXT_TOKENS))
    times = []
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        for _ in range(_REPEATS):
            started = time.perf_counter()
            model(input_ids=ids[:, :1], past_key_values=cache, use_cache=True, logits_to_keep=1)
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def measure_schema(
    name: str, grammars: Grammars, special_tokens: SpecialTokens, batch_size: int, step_ms: float
) -> Overhead:
    """Decode 48 tokens of noise under a schema and without, in turns."""
    text = json.dumps(_SCHEMAS[name])
    started = time.perf_counter()
    grammars.start(text)
    start_ms = 1000 * (time.perf_counter() - started)
    rng = torch.Generator().manual_seed(1)
    bound = [_begin(special_tokens, grammars.start(text)) for _ in range(batch_size)]
    free = [_begin(special_tokens, None) for _ in range(batch_size)]
    added = []
    for _ in range(48):
        logits = torch.randn(batch_size, VOCABULARY_SIZE, generator=rng)
        times = []
        for sequences in (free, bound):
            going_on = [one for one in sequences if not one.has_ended]
            started = time.perf_counter()
            choose_tokens(going_on, logits[: len(going_on), None])
            times.append(1000 * (time.perf_counter() - started))
        added.append(times[1] - times[0])
        if all(one.has_ended for one in bound):
            break
    failures = [str(one.failure) for one in bound if one.failure is not None]
    assert not failures, failures
    constraint_ms = statistics.median(added)
    return Overhead(
        schema=name,
        batch_size=batch_size,
        constraint_ms=constraint_ms,
        step_ms=step_ms,
        share=constraint_ms / step_ms,
        start_ms=start_ms,
    )


def _begin(special_tokens: SpecialTokens, grammar: Grammar | None) -> Sequence:
    generation = GenerationConfig(max_new_tokens=4096)
    prompt = PreparedPrompt(index=0, input_ids=(5,), image_tokens=0, images=())
    sampler = Sampler(generation, SamplingDefaults())
    return Sequence(Request(1), prompt, generation, special_tokens, sampler, grammar=grammar)


def main() -> None:
    """Measure all schemas at one and at eight rows, and print the table."""
    torch.set_num_threads(1)
    console = Console()
    model = build_model()
    tokenizer = build_tokenizer(random.Random(1))
    model.generation_config.eos_token_id = [1, 106]
    # A model of text alone knows of no images.
    model.config.image_token_id = 4
    special_tokens = read_special_tokens(model, tokenizer)
    grammars = Grammars(tokenizer, special_tokens)
    started = time.perf_counter()
    grammars.token_bytes([1000])
    console.print(f"the tokenizer's trie took {time.perf_counter() - started:.1f} s, once for a checkpoint")
    found = []
    for batch_size in (1, 8):
        step_ms = measure_step(model, batch_size)
        found += [measure_schema(name, grammars, special_tokens, batch_size, step_ms) for name in _SCHEMAS]
    table = Table("schema", "rows", "constraint ms", "step ms", "share", "start ms")
    for one in found:
        numbers = (
            f"{one.constraint_ms:.2f}",
            f"{one.step_ms:.1f}",
            f"{one.share:.1%}",
            f"{one.start_ms:.1f}",
        )
        table.add_row(one.schema, str(one.batch_size), *numbers)
    console.print(table)
    line = json.dumps({"torch": torch.__version__, "threads": 1, "rows": [asdict(one) for one in found]})
    console.print(line, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()
