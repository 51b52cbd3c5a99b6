"""An adapter that is trained here learns, goes on where it was cut off, and answers wherever it is loaded."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gemma4_block.contract import Answer, GenerationConfig
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.errors import ConfigurationError
from gemma4_block.finetuning import Comparison, Dataset, Plan, Wording, finetune
from gemma4_block.finetuning.lessons import Lessons
from gemma4_block.finetuning.trainer import AdapterTrainer
from gemma4_block.settings import Settings
from gemma4_block.tasks import TASKS

from .conftest import DEMO_CHECKPOINT

WORDING = Wording(task=TASKS["unconstrained"])
PLAN = Plan(epochs=2, batch_size=2, learning_rate=1e-2, rank=4)
SETTINGS = Settings(dtype="float32", device="cpu")


class _CutError(Exception):
    """Cuts a training off."""


class _Listener:
    """Keeps what it is told; cuts off after so many losses."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.stages: list[tuple[str, int, int]] = []
        self.losses: list[float] = []
        self._stop_after = stop_after

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        self.stages.append((stage, total, done))

    def advance(self, loss: float | None = None) -> None:
        if loss is not None:
            self.losses.append(loss)
            if len(self.losses) == self._stop_after:
                raise _CutError


def _trainer(
    load: Callable[[], Checkpoint], dataset: Dataset, folder: Path, plan: Plan = PLAN
) -> AdapterTrainer:
    checkpoint = load()
    lessons = Lessons(checkpoint, WORDING, max_pixels=10**6, vision_cache_bytes=10**7)
    return AdapterTrainer(checkpoint, lessons, dataset.train, plan, folder, save_every_steps=2)


def _finetune(dataset: Dataset, output: Path, listener: _Listener, plan: Plan = PLAN) -> Comparison:
    return finetune(
        dataset,
        output,
        model_version="gemma-4-demo",
        quantization="none",
        wording=WORDING,
        plan=plan,
        settings=SETTINGS,
        watcher=listener,
    )


def test_the_right_answers_become_likely(dataset: Dataset, tmp_path: Path) -> None:
    """On pictures that were not learnt from; a report says how likely, and everything is told on the way."""
    listener = _Listener()
    comparison = _finetune(dataset, tmp_path, listener, replace(PLAN, epochs=10))
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))

    assert comparison.after.loss < 0.5 * comparison.before.loss
    assert listener.losses[-1] < 0.5 * listener.losses[0]
    assert report["after"]["loss"] == comparison.after.loss
    assert report["plan"]["epochs"] == 10
    assert listener.stages == [
        ("checking the examples", 8, 0),
        ("judging the base", 1, 0),
        ("training", 30, 0),
        ("judging the adapter", 1, 0),
    ]


def test_only_the_adapter_learns(load: Callable[[], Checkpoint], dataset: Dataset, tmp_path: Path) -> None:
    """Every weight of the base is as it was, and the adapter is of the language model alone."""
    trainer = _trainer(load, dataset, tmp_path)
    base = load().model.module.state_dict()
    trainer.train(lambda _: None)
    trainer.adapter.save(tmp_path / "adapter", base="gemma-4-demo")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")

    assert {name.split(".")[3] for name in tensors} == {"language_model"}
    assert {tensor.shape[0] for name, tensor in tensors.items() if "lora_A" in name} == {PLAN.rank}
    changed = {
        name.replace(".base_layer", ""): tensor
        for name, tensor in trainer.adapter.adapted.base_model.model.state_dict().items()
        if "lora_" not in name
    }
    assert all(torch.equal(tensor, base[name]) for name, tensor in changed.items())


def test_a_run_that_was_cut_off_goes_on_to_the_same_adapter(
    load: Callable[[], Checkpoint], dataset: Dataset, tmp_path: Path
) -> None:
    """With the weights, the optimizer, the rate and the order of examples that it had."""
    whole = _trainer(load, dataset, tmp_path / "whole")
    whole.train(lambda _: None)
    listener = _Listener(stop_after=3)
    with pytest.raises(_CutError):
        _trainer(load, dataset, tmp_path / "cut").train(listener.advance)

    resumed = _trainer(load, dataset, tmp_path / "cut")

    assert [path.name for path in (tmp_path / "cut").glob("step-*")] == ["step-2"]
    assert resumed.step == 2
    resumed.train(lambda _: None)
    expected = whole.adapter.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.adapter.state_dict().items())


def test_a_run_does_not_go_on_with_other_options(
    load: Callable[[], Checkpoint], dataset: Dataset, tmp_path: Path
) -> None:
    """What was changed is named."""
    _trainer(load, dataset, tmp_path)

    with pytest.raises(ConfigurationError, match=r"holds a run with other options: .*'rank': 4"):
        _trainer(load, dataset, tmp_path, replace(PLAN, rank=8))


def test_what_is_judged_before_is_kept_for_the_run_that_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    """By then the adapter has learnt something."""
    first = _finetune(dataset, tmp_path, _Listener())
    shutil.rmtree(tmp_path / "run" / "step-6")
    again = _finetune(dataset, tmp_path, _Listener())

    assert again == first


def test_a_step_of_several_passes_learns_the_same(
    load: Callable[[], Checkpoint], dataset: Dataset, tmp_path: Path
) -> None:
    """Examples weigh the same however they are put into passes, in the last step of an epoch too."""
    plans = (replace(PLAN, batch_size=4), replace(PLAN, batch_size=1, gradient_accumulation_steps=4))
    losses: list[list[float]] = [[], []]
    for number, plan in enumerate(plans):
        _trainer(load, dataset, tmp_path / str(number), plan).train(losses[number].append)

    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"learning_rate": 1e-3}], ids=lambda changed: next(iter(changed))
)
def test_another_plan_learns_otherwise(
    load: Callable[[], Checkpoint], dataset: Dataset, tmp_path: Path, changed: dict[str, float]
) -> None:
    """Seed and rate are not only written down."""
    found = []
    for number, plan in enumerate((PLAN, replace(PLAN, **changed))):
        trainer = _trainer(load, dataset, tmp_path / str(number), plan)
        trainer.train(lambda _: None)
        found.append(torch.cat([tensor.flatten() for tensor in trainer.adapter.state_dict().values()]))

    assert not torch.allclose(found[0], found[1])


def test_the_adapter_answers_elsewhere_as_it_was_judged(dataset: Dataset, tmp_path: Path) -> None:
    """Loaded beside its base, it says what the report says."""
    comparison = _finetune(dataset, tmp_path, _Listener(), replace(PLAN, epochs=10))
    (tmp_path / "base").symlink_to(DEMO_CHECKPOINT)
    loaded = Gemma4HF.from_pretrained(tmp_path, device="cpu", dtype=torch.float32)
    lessons = Lessons(loaded.engine.checkpoint, WORDING, max_pixels=10**6, vision_cache_bytes=10**7)

    answers = loaded.answer(
        [lessons.word(example).prompt for example in dataset.valid],
        GenerationConfig(max_new_tokens=20, do_sample=False),
    )

    assert [one.text if isinstance(one, Answer) else str(one) for one in answers] == list(
        comparison.after.answers
    )


def test_a_picture_that_cannot_be_read_is_named(dataset: Dataset, tmp_path: Path) -> None:
    """With the line of the dataset, before anything is trained."""
    picture = tmp_path / "a.png"
    picture.write_bytes(b"no picture")
    broken = replace(dataset.valid[0], image=picture, place="valid/annotations.jsonl, line 1")

    with pytest.raises(ConfigurationError, match=r"annotations\.jsonl, line 1: .*a\.png cannot be read"):
        _finetune(replace(dataset, valid=(broken,)), tmp_path / "out", _Listener())


def test_an_adapter_is_not_trained_on_an_adapter(dataset: Dataset, tmp_path: Path) -> None:
    """It would belong to weights that are nowhere."""
    _finetune(dataset, tmp_path / "first", _Listener(), replace(PLAN, epochs=1))
    (tmp_path / "first" / "base").symlink_to(DEMO_CHECKPOINT)

    with pytest.raises(ConfigurationError, match="has an adapter already"):
        finetune(
            dataset,
            tmp_path / "second",
            model_version="first",
            quantization="none",
            wording=WORDING,
            plan=PLAN,
            settings=Settings(device="cpu", model_roots=(tmp_path, DEMO_CHECKPOINT)),
            watcher=_Listener(),
        )
