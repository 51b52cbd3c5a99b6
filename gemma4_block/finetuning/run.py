"""A whole fine-tuning: check the examples, judge the model, train an adapter, judge again."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gemma4_block.contract import LocalModel, Quantization
from gemma4_block.engine.pool import find_reference
from gemma4_block.errors import ConfigurationError
from gemma4_block.finetuning.dataset import Dataset, Example
from gemma4_block.finetuning.plan import Plan
from gemma4_block.finetuning.results import Comparison, Judgement, Watcher
from gemma4_block.finetuning.wording import Wording
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    from gemma4_block.engine.loading import Checkpoint
    from gemma4_block.finetuning.judging import Judge
    from gemma4_block.finetuning.lessons import Lessons

_RUN: Final = "run"
_BEFORE: Final = "before.json"
_REPORT: Final = "report.json"


def finetune(
    dataset: Dataset,
    output: Path,
    *,
    model_version: str,
    quantization: Quantization,
    wording: Wording,
    plan: Plan,
    settings: Settings,
    watcher: Watcher,
) -> Comparison:
    """Train an adapter for a model of this machine.

    Args:
        dataset: To learn from and to judge by.
        output: Folder for the adapter. It also gets `report.json`, and `run` with all that is needed to go
            on where a run was cut off.
        model_version: Of the base.
        quantization: Precision of the base.
        wording: What all questions have in common.
        plan: How to train.
        settings: The operator's.
        watcher: Is told how far it is.

    Returns:
        How good the model was, and is.

    Raises:
        ConfigurationError: An example is not as it must be, or the model cannot be trained here.
        CheckpointError: The model is not on this machine, or damaged.

    """
    # torch, and what trains with it, is imported when there is something to train.
    from gemma4_block.finetuning.judging import Judge
    from gemma4_block.finetuning.lessons import Lessons
    from gemma4_block.finetuning.trainer import AdapterTrainer

    checkpoint = _load_base(model_version, quantization, settings)
    lessons = Lessons(
        checkpoint,
        wording,
        max_pixels=settings.max_image_pixels,
        vision_cache_bytes=settings.vision_cache_bytes,
    )
    _check(lessons, (*dataset.train, *dataset.valid), watcher)
    trainer = AdapterTrainer(checkpoint, lessons, dataset.train, plan, output / _RUN)
    judge = Judge(checkpoint, lessons, dataset.valid, settings)
    # A new adapter changes nothing yet.
    before = _judge_once(judge, output / _RUN / _BEFORE, watcher)
    watcher.begin("training", trainer.steps, trainer.step)
    trainer.train(watcher.advance)
    watcher.begin("judging the adapter", 1)
    after = judge.judge()
    watcher.advance()
    trainer.adapter.save(output, base=model_version)
    report = {"base": model_version, "plan": asdict(plan), "before": asdict(before), "after": asdict(after)}
    (output / _REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    return Comparison(examples=dataset.valid, before=before, after=after)


def _load_base(model_version: str, quantization: Quantization, settings: Settings) -> "Checkpoint":
    from gemma4_block.engine.hardware import find_device
    from gemma4_block.engine.loading import LoadOptions, load_checkpoint

    reference = find_reference(model_version, quantization, settings)
    if not isinstance(reference, LocalModel) or reference.adapter is not None:
        raise ConfigurationError(
            f"model_version is {model_version}, which runs on a server or has an adapter already; an adapter "
            "is trained on weights of this machine. Name a base."
        )
    options = LoadOptions(
        device=find_device(settings.device),
        dtype=settings.dtype,
        quantization=reference.quantization,
        is_trained=True,
    )
    return load_checkpoint(reference.directory, options)


def _check(lessons: "Lessons", examples: Sequence[Example], watcher: Watcher) -> None:
    watcher.begin("checking the examples", len(examples))
    for example in examples:
        for _ in lessons.prepare([lessons.word(example)]):
            watcher.advance()


def _judge_once(judge: "Judge", path: Path, watcher: Watcher) -> Judgement:
    """Judge, or take what an earlier run has found."""
    watcher.begin("judging the base", 1)
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        found = Judgement(exact=known["exact"], loss=known["loss"], answers=tuple(known["answers"]))
    else:
        found = judge.judge()
        path.write_text(json.dumps(asdict(found), ensure_ascii=False), encoding="utf-8")
    watcher.advance()
    return found
