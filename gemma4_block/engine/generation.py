"""Generate a batch: the right stop ids, stop texts, sampling by each row's own generator, finish reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig as HfGenerationConfig,
)
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gemma4_block.contract import FinishReason, GenerationConfig
from gemma4_block.engine.thoughts import Spoken, split_thoughts, strip_channel_name

END_OF_TURN = "<turn|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The ids that steer generation, read from checkpoint and tokenizer.

    Attributes:
        stop_ids: Any of them ends the reply: those of generation_config.json, `<eos>` and `<turn|>`.
        pad_id: Fills rows that have ended.
        opens_thought: Id of `<|channel>`, or None.
        closes_thought: Id of `<channel|>`, or None.

    """

    stop_ids: frozenset[int]
    pad_id: int
    opens_thought: int | None
    closes_thought: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One generated row, cut where it ended."""

    thinking: str
    text: str
    finish_reason: FinishReason
    output_tokens: int


def read_vocabulary(model: Any, tokenizer: Any) -> Vocabulary:  # noqa: ANN401 - foreign objects
    """Collect stop and channel ids from every place that knows them."""
    configured = model.generation_config.eos_token_id
    stop_ids = set(configured if isinstance(configured, list) else [configured])
    stop_ids |= {tokenizer.eos_token_id, _known_id(tokenizer, END_OF_TURN)}
    stop_ids.discard(None)
    pad_id = tokenizer.pad_token_id
    return Vocabulary(
        stop_ids=frozenset(stop_ids),
        pad_id=tokenizer.eos_token_id if pad_id is None else pad_id,
        opens_thought=_known_id(tokenizer, "<|channel>"),
        closes_thought=_known_id(tokenizer, "<channel|>"),
    )


def generate_ids(
    model: Any,  # noqa: ANN401 - foreign objects
    tokenizer: Any,  # noqa: ANN401
    inputs: dict[str, torch.Tensor],
    generation: GenerationConfig,
    vocabulary: Vocabulary,
) -> torch.Tensor:
    """Return the generated ids `(B, T)` int64, without the prompt; rows that ended are padded."""
    prompt_length = inputs["input_ids"].shape[1]
    rows = inputs["input_ids"].shape[0]
    config = HfGenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(vocabulary.stop_ids),
        pad_token_id=vocabulary.pad_id,
        repetition_penalty=generation.repetition_penalty,
        # Sampling is done by our own processors. Unset, these would be filled with the checkpoint's
        # values and warned about at every call; these are transformers' own for "not used".
        temperature=1.0,
        top_p=1.0,
        top_k=50,
    )
    criteria = StoppingCriteriaList()
    if generation.stop:
        criteria.append(_StopTexts(generation.stop, tokenizer, vocabulary, prompt_length))
    with torch.inference_mode():
        generated: torch.Tensor = model.generate(
            **inputs,
            generation_config=config,
            logits_processor=_sampling(model, generation, rows),
            stopping_criteria=criteria,
        )
    return generated[:, prompt_length:]


def read_reply(
    row: Sequence[int],
    tokenizer: Any,  # noqa: ANN401 - foreign objects
    vocabulary: Vocabulary,
    stop: Sequence[str] = (),
) -> Reply:
    """Cut a generated row where it ended and split it into thoughts and answer."""
    ended_at = next((place for place, token_id in enumerate(row) if token_id in vocabulary.stop_ids), None)
    spoken = row if ended_at is None else row[:ended_at]
    if ended_at is None and vocabulary.pad_id not in vocabulary.stop_ids:
        # A row that met a stop text is padded until the longest of its batch ends.
        spoken = row[: next((i for i, token_id in enumerate(row) if token_id == vocabulary.pad_id), len(row))]
    parts = split_thoughts(spoken, opens=vocabulary.opens_thought, closes=vocabulary.closes_thought)
    text, met_stop_text = _cut_at_stop(_decode(tokenizer, parts.answer_ids), stop)
    return Reply(
        thinking=strip_channel_name(_decode(tokenizer, parts.thought_ids)),
        text=text.strip(),
        finish_reason="stop" if ended_at is not None or met_stop_text else "length",
        output_tokens=len(spoken) + (ended_at is not None),
    )


class _StopTexts(StoppingCriteria):
    """End a row as soon as its answer holds one of the texts."""

    def __init__(
        self,
        stop: Sequence[str],
        tokenizer: Any,  # noqa: ANN401 - foreign objects
        vocabulary: Vocabulary,
        prompt_length: int,
    ) -> None:
        self._stop = stop
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._prompt_length = prompt_length

    def __call__(
        self,
        input_ids: torch.LongTensor,
        scores: torch.FloatTensor,  # noqa: ARG002 - the caller's signature
        **_: object,
    ) -> torch.BoolTensor:
        replies: list[Spoken] = [
            split_thoughts(row, opens=self._vocabulary.opens_thought, closes=self._vocabulary.closes_thought)
            for row in input_ids[:, self._prompt_length :].tolist()
        ]
        texts = [_decode(self._tokenizer, reply.answer_ids) for reply in replies]
        is_met = [any(stop in text for stop in self._stop) for text in texts]
        return torch.tensor(is_met, device=input_ids.device)  # type: ignore[return-value]


class _GumbelChoice(LogitsProcessor):
    """Make the likeliest token a fair draw, each row from its own generator.

    The greatest of log-probabilities plus Gumbel noise is a sample. A row's draws then depend on its own
    seed alone, not on what else is in its batch.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def __call__(
        self,
        input_ids: torch.LongTensor,  # noqa: ARG002 - the caller's signature
        scores: torch.FloatTensor,
    ) -> torch.FloatTensor:
        uniform = torch.stack(
            [torch.rand(scores.shape[1], generator=generator) for generator in self._generators]
        )
        noise = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float32).tiny)))
        return scores.float() + noise.to(scores.device)  # type: ignore[return-value]


def _sampling(model: Any, generation: GenerationConfig, rows: int) -> LogitsProcessorList:  # noqa: ANN401
    processors = LogitsProcessorList()
    if not generation.do_sample:
        return processors
    defaults = model.generation_config
    temperature = _first_set(generation.temperature, defaults.temperature)
    top_k = _first_set(generation.top_k, defaults.top_k)
    top_p = _first_set(generation.top_p, defaults.top_p)
    if temperature is not None:
        processors.append(TemperatureLogitsWarper(float(temperature)))
    if top_k is not None and top_k > 0:
        processors.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1:
        processors.append(TopPLogitsWarper(float(top_p)))
    generators = [torch.Generator() for _ in range(rows)]
    for generator in generators:
        if generation.seed is None:
            generator.seed()
        else:
            generator.manual_seed(generation.seed)
    processors.append(_GumbelChoice(generators))
    return processors


def _first_set(asked: float | None, default: float | None) -> Any:  # noqa: ANN401 - int stays int
    return default if asked is None else asked


def _cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    places = [text.index(mark) for mark in stop if mark in text]
    return (text[: min(places)], True) if places else (text, False)


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:  # noqa: ANN401 - foreign objects
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
    return text


def _known_id(tokenizer: Any, token: str) -> int | None:  # noqa: ANN401 - foreign objects
    token_id: int | None = tokenizer.convert_tokens_to_ids(token)
    return None if token_id == tokenizer.unk_token_id else token_id
