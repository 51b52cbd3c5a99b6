"""W5: what a JSON Schema costs per decoded token, and how many steps of the model its forced text saves."""

import json
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, JsonSchema, Prompt
from gemma4_block.engine.local import LocalEngine
from tests.benchmarks.floors import Floors
from tests.benchmarks.reports import Goal, Report, Turns, time_in_turns
from tests.benchmarks.workloads import Step, many_crops

if TYPE_CHECKING:
    from gemma4_block.engine.profiling import Profile

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
    engine: LocalEngine, floors: Floors, budget: ImageSeqLength, turns: Turns, *, step: Step | None = None
) -> Report:
    """W5: the crops of W2, held to a schema and not, about images that the engine has seen.

    What is timed is all but the reading of the prompts, and what is counted all tokens but the first. The
    answers that are not held to the schema are cut at the mean length of those that are.

    Args:
        engine: Ours.
        floors: Of its checkpoint.
        budget: Visual token budget.
        turns: How often each takes its turn.
        step: What to ask; None means the crops.

    """
    step = many_crops(0, budget) if step is None else step
    schema = JsonSchema(text=json.dumps(_SCHEMA))
    bound_prompts, free_prompts = (_write_prompts(step, budget, one) for one in (schema, None))
    answers, _ = engine.profile(bound_prompts, GenerationConfig(max_new_tokens=_MOST_TOKENS))
    lengths = [answer.output_tokens for answer in answers if isinstance(answer, Answer)]
    longest, mean_length = max(lengths), round(statistics.mean(lengths))
    assert longest < _MOST_TOKENS, "an answer did not end"
    profiles: dict[str, list[Profile]] = {"ours": [], "unconstrained": []}

    def player(name: str, prompts: Sequence[Prompt], most: int) -> Callable[[int], None]:
        generation = GenerationConfig(max_new_tokens=most)
        return lambda _: profiles[name].append(engine.profile(prompts, generation)[1])

    times_s = time_in_turns(
        {
            "ours": player("ours", bound_prompts, longest),
            "unconstrained": player("unconstrained", free_prompts, mean_length),
        },
        int,
        turns,
    )
    prefill_s = statistics.median(profile.stages["prefill"].seconds for profile in profiles["unconstrained"])
    tokens = {"ours": sum(lengths) - len(step), "unconstrained": (mean_length - 1) * len(step)}
    per_token_s = {
        name: [(seconds - prefill_s) / tokens[name] for seconds in times] for name, times in times_s.items()
    }
    steps = {name: found[-1].stages["decode"].passes for name, found in profiles.items()}
    ratio = statistics.median(per_token_s["ours"]) / statistics.median(per_token_s["unconstrained"])
    return Report(
        row="W5",
        budget=budget,
        times_s=per_token_s,
        goals=[
            Goal(name="ours / unconstrained, seconds per token", value=ratio, at_most=1.05),
            # Anything below 1 would do, and 1 is what no skipping gives.
            Goal(name="steps / tokens", value=steps["ours"] / (longest - 1), at_most=0.99),
        ],
        floor_s=floors.of_decoding(floors.read(step, budget), mean_length) / tokens["unconstrained"],
        figures={
            "tokens": tokens["ours"],
            "tokens_of_longest": longest - 1,
            "steps": steps["ours"],
            "unconstrained_steps": steps["unconstrained"],
        },
    )


def _write_prompts(step: Step, budget: ImageSeqLength, schema: JsonSchema | None) -> list[Prompt]:
    return [
        Prompt(text=text, images=(image,), image_seq_length=budget, constraint=schema) for image, text in step
    ]
