"""Read JSON Schemas that people wrote, say how many are refused and why, and check answers under some.

    python -m tests.benchmarks.real_schemas FOLDER --answers 500

A folder is searched for .json files that are schemas, such as what packages with schemas unpack to. Longer
ones than requests may send are left out, and those that refer to other files are counted apart. The answers
are by random weights of E2B's architecture, which say anything that they are not kept from, and are judged by
jsonschema as it is. The last line is the result as JSON.
"""

import argparse
import json
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import jsonschema
import numpy as np

from gemma4_block.contract import Answer, GenerationConfig, JsonSchema, LocalModel, Prompt
from gemma4_block.engine.pool import load_local
from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema import find_mismatch, relax_schema
from gemma4_block.limits import Limits, ask
from gemma4_block.settings import Settings
from tests.miniatures import build_miniature

_BATCH_SIZE = 32
_MAX_NEW_TOKENS = 160
_ELSEWHERE = "nothing is fetched from elsewhere"
_SCHEMA_KEYWORDS = ("$ref", "allOf", "anyOf", "definitions", "oneOf", "properties")


def find_schemas(folder: Path, *, most_characters: int) -> list[str]:
    """Return the different schemas below a folder, as JSON text, in the order of their paths."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.json"))]
    short = [text for text in dict.fromkeys(texts) if len(text) <= most_characters]
    return [text for text in short if _is_schema(text)]


def _is_schema(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("$schema"), str):
        return "schema" in value["$schema"]
    return any(keyword in value for keyword in _SCHEMA_KEYWORDS) and ("type" in value or "$ref" in value)


def sort_out(texts: Sequence[str]) -> tuple[list[str], Counter[str], int]:
    """Return the schemas that are taken, why the others are not, and how many refer to other files."""
    problems = {text: _find_refusal(text) for text in texts}
    taken = [text for text, problem in problems.items() if problem is None]
    refused = Counter(
        re.sub(r"'[^']*'|\d+", "*", problem)[:100]
        for problem in problems.values()
        if problem is not None and _ELSEWHERE not in problem
    )
    return taken, refused, len(texts) - len(taken) - refused.total()


def _find_refusal(text: str) -> str | None:
    try:
        relax_schema(text)
    except ConfigurationError as error:
        return str(error)
    return None


def judge(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Ask under each schema, and yield what came of it, and the answer with its schema."""
    settings = Settings(max_batch_size=_BATCH_SIZE, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        directory = build_miniature("e2b", Path(folder) / "e2b")
        engine = load_local(LocalModel(directory=directory, quantization="none"), settings)
        for start in range(0, len(texts), _BATCH_SIZE):
            some = texts[start : start + _BATCH_SIZE]
            prompts = [
                Prompt(text="Answer.", constraint=JsonSchema(text=text, is_checked_later=True))
                for text in some
            ]
            generation = GenerationConfig(
                max_new_tokens=_MAX_NEW_TOKENS, do_sample=True, temperature=1.5, seed=start
            )
            answers = ask(engine, prompts, generation, limits=Limits.of_process(settings))
            for text, answer in zip(some, answers, strict=True):
                if not isinstance(answer, Answer):
                    yield "refused", f"{answer} under {text}"
                elif answer.cut_off is not None:
                    yield "cut", ""
                else:
                    yield _judge_one(answer.text, text)


def _judge_one(answer: str, text: str) -> tuple[str, str]:
    value, schema = json.loads(answer), json.loads(text)
    mismatch = find_mismatch(value, text)
    if mismatch is not None:
        return "error_status", f"{mismatch}: {answer} under {text}"
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    if validator(schema).is_valid(value):
        return "valid", ""
    return "invalid", f"{answer} under {text}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is refused and what came of the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--answers", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    texts = find_schemas(options.folder, most_characters=Settings().max_schema_characters)
    taken, refused, elsewhere = sort_out(texts)
    for reason, count in refused.most_common():
        print(f"{count:5} {reason}")  # noqa: T201
    rng = np.random.default_rng(options.seed)
    some = [taken[place] for place in rng.permutation(len(taken))[: options.answers]]
    found = Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for outcome, words in judge(some):
            found[outcome] += 1
            if outcome in {"invalid", "refused"}:
                print(f"{outcome}: {words[:600]}")  # noqa: T201
    result = {
        "schemas": len(texts),
        "refer_to_other_files": elsewhere,
        "refused": refused.total(),
        "answers": dict(found),
    }
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main()
