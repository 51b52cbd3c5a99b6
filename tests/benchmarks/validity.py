"""Ask random questions under random schemas, and check that every answer that ended is valid.

    python -m tests.benchmarks.validity --answers 10000

Two models are asked in turns: the demo, and a random one of E2B's architecture, which says anything that it
is not kept from. The last line is the result as JSON.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from rich.console import Console
from rich.progress import track

from gemma4_block.contract import Answer, Engine, GenerationConfig, JsonSchema, Prompt
from gemma4_block.demo import phrases
from gemma4_block.demo.evaluation import CHECKPOINT_DIRECTORY
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.pool.factory import load_engine
from gemma4_block.settings import Settings
from tests.miniatures import build_miniature

Schema = dict[str, Any]

_BATCH_SIZE = 32
_MAX_NEW_TOKENS = 160
_WORDS = ("red circle", "naïve", 'say "no"', "back\\slash", "日本", "a/b", "<|image|>", "x: [1]", "true")


@dataclass(frozen=True, kw_only=True, slots=True)
class Validity:
    """What came of the answers of one model.

    Attributes:
        model: Which one.
        answers: How many were asked for.
        valid: Ended, parsed, and matched their schema.
        cut: Ran into the token limit, and said so.
        invalid: Ended, and did not match: there must be none.
        refused: Were refused with a reason, because the schema names a control token.

    """

    model: str
    answers: int
    valid: int
    cut: int
    invalid: int
    refused: int


def draw_schema(rng: np.random.Generator, depth: int = 3) -> Schema:
    """Draw a schema of scalars, objects, lists and alternatives, at most `depth` deep."""
    kinds = ["string", "integer", "number", "boolean", "enum", "pattern", "format"]
    if depth > 0:
        kinds += ["object", "object", "object", "array", "array", "anyOf", "allOf"]
    kind = kinds[int(rng.integers(len(kinds)))]
    return _DRAW[kind](rng, depth - 1)


def _string(rng: np.random.Generator, _: int) -> Schema:
    bound = {"maxLength": int(rng.integers(1, 20))} if rng.random() < 0.9 else {}
    return {"type": "string", **bound}


def _integer(rng: np.random.Generator, _: int) -> Schema:
    low = int(rng.integers(-2000, 2000))
    return {"type": "integer", "minimum": low, "maximum": low + int(rng.integers(0, 5000))}


def _number(rng: np.random.Generator, _: int) -> Schema:
    return {"type": "number", "minimum": -1, "maximum": float(rng.integers(0, 100)) / 4}


def _enum(rng: np.random.Generator, _: int) -> Schema:
    values: list[object] = [*_WORDS, 3, None, 2.5, False]
    picked = rng.permutation(len(values))[: int(rng.integers(1, 6))]
    return {"enum": [values[place] for place in picked]}


def _pattern(rng: np.random.Generator, _: int) -> Schema:
    patterns = (r"^[A-Z]{2}-\d{3}$", r"^(left|right) \d{1,2}$", r"^[a-f0-9]{8}$", r"^.{0,5}$")
    return {"type": "string", "pattern": patterns[int(rng.integers(len(patterns)))]}


def _format(rng: np.random.Generator, _: int) -> Schema:
    return {"type": "string", "format": ("date", "time", "uuid")[int(rng.integers(3))]}


def _object(rng: np.random.Generator, depth: int) -> Schema:
    names = [f"{_WORDS[int(rng.integers(5))]}{place}" for place in range(int(rng.integers(1, 5)))]
    required = [name for name in names if rng.random() < 0.7]
    return {
        "type": "object",
        "properties": {name: draw_schema(rng, depth) for name in names},
        "required": required,
        "additionalProperties": False,
    }


def _array(rng: np.random.Generator, depth: int) -> Schema:
    least = int(rng.integers(0, 3))
    return {
        "type": "array",
        "items": draw_schema(rng, depth),
        "minItems": least,
        "maxItems": least + int(rng.integers(0, 4)),
    }


def _any_of(rng: np.random.Generator, depth: int) -> Schema:
    return {"anyOf": [draw_schema(rng, depth), draw_schema(rng, depth), {"type": "null"}]}


def _all_of(rng: np.random.Generator, depth: int) -> Schema:
    return {"allOf": [draw_schema(rng, depth)]}


_DRAW = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _rng, _depth: {"type": "boolean"},
    "enum": _enum,
    "pattern": _pattern,
    "format": _format,
    "object": _object,
    "array": _array,
    "anyOf": _any_of,
    "allOf": _all_of,
}


def draw_prompts(rng: np.random.Generator, count: int) -> Iterator[Prompt]:
    """Draw questions about scenes, each with a schema of its own; a scene is asked about eight times."""
    questions = (*phrases.DESCRIBE, *phrases.READ, "Write a poem.", "{", '["', "```json", "thought\n")
    for place in range(count):
        if place % 8 == 0:
            image = draw_scene(rng).image
        schema = JsonSchema(text=json.dumps(draw_schema(rng)))
        text = questions[int(rng.integers(len(questions)))]
        yield Prompt(text=text, images=(image,), image_seq_length=70, constraint=schema)


def judge(
    engine: Engine, prompts: Sequence[Prompt], generation: GenerationConfig
) -> tuple[Counter[str], list[str]]:
    """Ask, and return what came of the answers, and a line for each invalid one."""
    found = Counter({"answers": len(prompts)})
    problems = []
    for prompt, answer in zip(prompts, engine.answer(prompts, generation), strict=True):
        if not isinstance(answer, Answer):
            found["refused"] += 1
        elif answer.finish_reason == "length":
            found["cut"] += 1
        else:
            assert isinstance(prompt.constraint, JsonSchema)
            problem = find_problem(answer.text, json.loads(prompt.constraint.text))
            found["valid" if problem is None else "invalid"] += 1
            if problem is not None:
                problems.append(f"{answer.text!r} under {prompt.constraint.text}: {problem}")
    return found, problems


def find_problem(text: str, schema: Schema) -> str | None:
    """Return what is wrong with an answer, or None."""
    try:
        jsonschema.validate(json.loads(text), schema)
    except (json.JSONDecodeError, jsonschema.ValidationError) as error:
        return str(error).split("\n")[0]
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask both models, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    settings = Settings(max_batch_size=_BATCH_SIZE, device="cpu")
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        directories = {
            "gemma-4-demo": CHECKPOINT_DIRECTORY,
            "random weights": build_miniature("e2b", Path(folder) / "e2b"),
        }
        engines = {
            name: load_engine(directory, quantization="none", settings=settings)
            for name, directory in directories.items()
        }
        started = time.monotonic()
        found, problems = judge_all(engines, answers=options.answers, seed=options.seed, console=console)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    results = {"seed": options.seed, "seconds": round(time.monotonic() - started)}
    line = json.dumps({**results, "models": [asdict(one) for one in found]})
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def judge_all(
    engines: Mapping[str, Engine], *, answers: int, seed: int, console: Console
) -> tuple[list[Validity], list[str]]:
    """Ask all models in turns; return what came of each, and a line for each invalid answer."""
    rng = np.random.default_rng(seed)
    totals: dict[str, Counter[str]] = {name: Counter() for name in engines}
    problems: list[str] = []
    rounds = -(-answers // (_BATCH_SIZE * len(engines)))
    for number in track(range(rounds), description="asking", console=console):
        for name, engine in engines.items():
            prompts = list(draw_prompts(rng, _BATCH_SIZE))
            counts, new = judge(engine, prompts, _generation(number))
            totals[name].update(counts)
            problems += new
    names = ("answers", "valid", "cut", "invalid", "refused")
    found = [
        Validity(model=model, **{name: total[name] for name in names}) for model, total in totals.items()
    ]
    return found, problems


def _generation(number: int) -> GenerationConfig:
    """Take turns at plain, thinking and sampled answers."""
    if number % 3 == 1:
        return GenerationConfig(max_new_tokens=_MAX_NEW_TOKENS, enable_thinking=True, max_thinking_tokens=12)
    if number % 3 == 2:
        return GenerationConfig(max_new_tokens=_MAX_NEW_TOKENS, do_sample=True, temperature=1.5, seed=number)
    return GenerationConfig(max_new_tokens=_MAX_NEW_TOKENS)


if __name__ == "__main__":
    main()
