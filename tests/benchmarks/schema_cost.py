"""W5: what a JSON Schema costs per decoded token, and how many steps of the model its forced text saves."""

import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, JsonSchema, Prompt
from gemma4_block.engine.gemma4_hf import Gemma4HF
from tests.benchmarks.floors import Floors
from tests.benchmarks.reports import Goal, Report, time_in_turns
from tests.benchmarks.workloads import Step, many_crops

# Random weights end neither a text nor a number of any length, so there is none. Keys, quotes and much of the
# words are forced.
_FIELDS: dict[str, dict[str, Any]] = {
    "condition_of_surface": {"enum": ["clean", "scratched", "corroded"]},
    "number_of_defects": {"type": "integer", "minimum": 0, "maximum": 99},
    "is_label_readable": {"type": "boolean"},
    "recommended_action": {"enum": ["accept", "inspect by hand", "reject"]},
}
_SCHEMA = {
    "type": "object",
    "properties": _FIELDS,
    "required": list(_FIELDS),
    "additionalProperties": False,
}
_MOST_TOKENS = 512


def time_schema(
    engine: Gemma4HF, floors: Floors, budget: ImageSeqLength, repeats: int, *, step: Step | None = None
) -> Report:
    """W5: the crops of W2, held to a schema and not.

    Only what comes after the first token is timed and counted: a whole answer less an answer of one token,
    about images that the engine has seen. The answers that are not held to the schema are cut at the mean
    length of those that are.

    Args:
        engine: Ours.
        floors: Of its checkpoint.
        budget: Visual token budget.
        repeats: How often each takes its turn.
        step: What to ask; None means the crops.

    """
    step = many_crops(0, budget) if step is None else step
    schema = JsonSchema(text=json.dumps(_SCHEMA))
    bound_prompts, free_prompts = (_write_prompts(step, budget, one) for one in (schema, None))
    lengths = [answer.output_tokens for answer in _Player(engine, bound_prompts, _MOST_TOKENS).play()]
    longest, mean_length = max(lengths), round(statistics.mean(lengths))
    assert longest < _MOST_TOKENS, "an answer did not end"
    players = {
        "bound": _Player(engine, bound_prompts, longest),
        "bound first": _Player(engine, bound_prompts, 1),
        "free": _Player(engine, free_prompts, mean_length),
        "free first": _Player(engine, free_prompts, 1),
    }
    times_s = time_in_turns({name: player.play for name, player in players.items()}, int, repeats)
    tokens = {"bound": sum(lengths) - len(step), "free": (mean_length - 1) * len(step)}
    per_token_s = {
        name: [
            (whole - first) / tokens[name]
            for whole, first in zip(times_s[name], times_s[f"{name} first"], strict=True)
        ]
        for name in tokens
    }
    steps = {name: players[name].steps - players[f"{name} first"].steps for name in tokens}
    ratio = statistics.median(per_token_s["bound"]) / statistics.median(per_token_s["free"])
    return Report(
        row="W5",
        budget=budget,
        times_s={"ours": per_token_s["bound"], "unconstrained": per_token_s["free"]},
        goals=[
            Goal(name="ours / unconstrained, seconds per token", value=ratio, at_most=1.05),
            # Anything below 1 would do, and 1 is what no skipping gives.
            Goal(name="steps / tokens", value=steps["bound"] / (longest - 1), at_most=0.99),
        ],
        floor_s=floors.of_decoding(floors.read(step, budget), mean_length) / tokens["free"],
        figures={
            "tokens": tokens["bound"],
            "tokens_of_longest": longest - 1,
            "steps": steps["bound"],
            "unconstrained_steps": steps["free"],
        },
    )


class _Player:
    """Asks the same prompts again and again.

    Attributes:
        steps: How often the text model ran the last time.

    """

    def __init__(self, engine: Gemma4HF, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
        self._engine = engine
        self._prompts = prompts
        self._generation = GenerationConfig(max_new_tokens=max_new_tokens)
        self.steps = 0

    def play(self, _repeat: int = 0) -> list[Answer]:
        """Ask, and return the answers."""
        with _counting_calls(self._engine._runner._model.get_decoder()) as calls:
            answers = self._engine.answer(self._prompts, self._generation)
        self.steps = len(calls)
        return [answer for answer in answers if isinstance(answer, Answer)]


def _write_prompts(step: Step, budget: ImageSeqLength, schema: JsonSchema | None) -> list[Prompt]:
    return [
        Prompt(text=text, images=(image,), image_seq_length=budget, constraint=schema) for image, text in step
    ]


@contextmanager
def _counting_calls(module: Any) -> Iterator[Sequence[None]]:  # noqa: ANN401
    calls: list[None] = []
    hook = module.register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        hook.remove()
