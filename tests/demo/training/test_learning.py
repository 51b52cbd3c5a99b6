"""The trainer: its model, its schedule; it learns, resumes where it stopped, ends where told, and exports."""

import dataclasses
import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Gemma4TextConfig, GemmaTokenizer

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.demo.training.__main__ import main
from gemma4_block.demo.training.learning import Plan, Settings, Start, Trainer, train
from gemma4_block.demo.training.learning.architecture import build_config, build_model, build_tokenizer
from gemma4_block.demo.training.learning.batches import build_batch, draw_batch
from gemma4_block.demo.training.learning.heads import _place_loss
from gemma4_block.demo.training.learning.scoring import score
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF

PLAN = Plan(
    tower_steps=2,
    tower_curriculum_steps=1,
    curriculum_steps=1,
    rows=(2, 2, 2),
    tower_rows=(2, 2, 2),
    odds=(0.6, 0.2, 0.2),
)


@pytest.fixture(scope="module")
def tokenizer() -> GemmaTokenizer:
    """Return the tokenizer of the training."""
    return build_tokenizer(0)


def test_layers_are_ordered_as_those_of_e2b() -> None:
    """Sliding, then full, last among those that own keys and values; the rest share those of these two."""
    text = build_config().text_config
    assert isinstance(text, Gemma4TextConfig)
    assert text.layer_types is not None
    owners = text.layer_types[: -text.num_kv_shared_layers]
    assert owners[-2:] == ["sliding_attention", "full_attention"]
    assert text.layer_types == ["sliding_attention", "sliding_attention", "full_attention"] * 3
    assert text.num_kv_shared_layers == 3


def test_the_model_fits_into_the_wheel() -> None:
    """At most six million parameters, which are twelve megabytes in bfloat16."""
    assert sum(parameter.numel() for parameter in build_model(0).parameters()) <= 6_000_000


@pytest.mark.slow
def test_the_tokenizer_keeps_digits_and_capitals_apart(tokenizer: GemmaTokenizer) -> None:
    """Pictures are read letter by letter; what is often said is one token; ids are Google's."""
    assert tokenizer.tokenize("KJ-205") == ["K", "J", "-", "2", "0", "5"]
    assert tokenizer.tokenize('[{"box_2d": [70') == ['[{"box_2d":▁[', "7", "0"]
    assert tokenizer.tokenize("backpack") == ["backpack"]
    assert tokenizer.convert_tokens_to_ids(["<bos>", "<|turn>", "<|image|>"]) == [2, 105, 109]
    assert tokenizer.decode(tokenizer.encode("Ça va, 日本?", add_special_tokens=False)) == "Ça va, 日本?"
    assert len(tokenizer) == 1536


@pytest.mark.parametrize(
    ("step", "end", "expected"),
    [
        (0, None, 2e-5),
        (99, None, 2e-3),
        (1499, None, 2e-3),
        (1500, None, 2e-5),
        (100_000, None, 2e-3),
        (9_000, 10_000, 1e-3),
        (7_000, 10_000, 2e-3),
        (10_000, 10_000, 0.0),
    ],
)
def test_the_rate_rises_stays_and_falls_once_an_end_is_set(
    step: int, end: int | None, expected: float
) -> None:
    """Warm-up at the start of both stages, then constant; over the last 2,000 steps down to nothing."""
    assert Plan(tower_steps=1500).rate(step, end, 2_000) == pytest.approx(expected)


def test_the_rate_rises_where_a_training_starts_from_a_checkpoint() -> None:
    """Its optimizers know nothing, whatever the number of the step."""
    plan = Plan(tower_steps=1500)
    rates = [plan.rate(step, None, 0, start=9_000) for step in (9_000, 9_049, 9_099, 10_000)]
    assert rates == pytest.approx([2e-5, 1e-3, 2e-3, 2e-3])


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (250, 0.5), (500, 1.0), (1499, 1.0), (1500, 0.3), (1700, 0.8), (2000, 1.0)],
)
def test_pictures_get_harder_in_both_stages(step: int, expected: float) -> None:
    """From one large thing to everything; the second stage begins with few things."""
    assert Plan(tower_steps=1500).difficulty(step) == pytest.approx(expected)


@pytest.mark.slow
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, tokenizer: GemmaTokenizer
) -> None:
    """Two steps of the tower and two of the whole model; stopped after each, nothing differs."""
    whole = Trainer(PLAN, tokenizer)
    losses = [whole.learn(draw_batch(PLAN, tokenizer, step)) for step in range(4)]
    assert ["answers" in found for found in losses] == [False, False, True, True]
    assert ["read_ranks" in found for found in losses] == [False, False, True, True]

    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for step in range(1, 5):
        resumed = train(PLAN, Settings(directory=tmp_path, stop_after_s=0, log_every=1))
        assert resumed.step == step
    weights = resumed.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in whole.model.state_dict().items())
    assert all(torch.equal(resumed.average[name], value) for name, value in whole.average.items())
    batch = draw_batch(PLAN, tokenizer, 4)
    assert resumed.learn(batch) == whole.learn(batch)
    pages = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [page["step"] for page in pages] == [1, 2, 3, 4]
    assert pages[3]["answers"] == pytest.approx(losses[3]["answers"], abs=1e-4)


@pytest.mark.slow
def test_a_training_whose_file_is_gone_starts_from_its_checkpoint(
    tmp_path: Path, tokenizer: GemmaTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its weights and its tokenizer, heads that have learnt, and pictures that come next."""
    monkeypatch.setattr("gemma4_block.demo.training.learning.trainer._HEADS_STEPS", 6)
    earlier = Trainer(PLAN, tokenizer)
    earlier.export(tmp_path / "checkpoint")
    plan = dataclasses.replace(PLAN, learning_rate=0.0)
    start = Start(checkpoint=tmp_path / "checkpoint", step=30)
    started = train(plan, Settings(directory=tmp_path / "run", stop_after_s=0), start=start)
    assert started.step == 31
    assert started.tokenizer.get_vocab() == tokenizer.get_vocab()
    for name, value in earlier.model.named_parameters():
        assert torch.equal(started.model.get_parameter(name), value.bfloat16().float()), name
        assert torch.equal(started.average[name], started.model.get_parameter(name))
    batch = draw_batch(PLAN, tokenizer, 40)
    untaught, taught = earlier.losses(batch), started.losses(batch)
    assert taught["kinds"] < 0.8 * untaught["kinds"]

    resumed = train(plan, Settings(directory=tmp_path / "run", stop_after_s=0), start=start)
    assert resumed.step == 32


@pytest.mark.slow
def test_an_export_may_lie_between_the_earlier_weights_and_the_new_ones(
    tmp_path: Path, tokenizer: GemmaTokenizer
) -> None:
    """So much of each parameter is new."""
    earlier, later = Trainer(PLAN, tokenizer), Trainer(dataclasses.replace(PLAN, seed=1), tokenizer)
    earlier.export(tmp_path / "earlier")
    later.export(tmp_path / "mixed", earlier=tmp_path / "earlier", share=0.75)
    mixed = load_file(tmp_path / "mixed" / "model.safetensors")
    for name, new in later.average.items():
        expected = 0.75 * new + 0.25 * earlier.average[name].bfloat16().float()
        torch.testing.assert_close(mixed[name].float(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "arguments", [["--share", "0.5"], ["--share", "1.5", "--start", "checkpoint", "9"]], ids=["alone", "more"]
)
def test_a_share_of_nothing_is_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is trained."""
    monkeypatch.setattr("sys.argv", ["training", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()


@pytest.mark.slow
def test_a_training_ends_where_it_is_told(tmp_path: Path, tokenizer: GemmaTokenizer) -> None:
    """It takes so many more steps at a falling rate, also after it was resumed."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    assert train(PLAN, Settings(directory=tmp_path, stop_after_s=0), finish_in=2).step == 1
    ended = train(PLAN, Settings(directory=tmp_path))
    assert (ended.step, ended.is_over) == (2, True)
    assert train(PLAN, Settings(directory=tmp_path)).step == 2
    assert {group["lr"] for optimizer in ended.optimizers for group in optimizer.param_groups} == {
        PLAN.rate(1, 2, 2)
    }


@pytest.mark.slow
def test_the_heads_learn_what_lies_under_soft_tokens() -> None:
    """Twenty steps on the same pictures lower each loss of the heads."""
    trainer = Trainer(Plan(warm_up_steps=1, learning_rate=5e-3), GemmaTokenizer())
    batch = build_batch(np.random.default_rng(0), 70, 4, 0.5)
    losses = [trainer.learn(batch) for _ in range(20)]
    always = {"kinds", "colors", "centers", "thing_orders", "ranks", "hundreds", "tens", "edges", "places"}
    assert set(losses[0]) == always | {"chars", "letter_orders"}
    assert all(losses[-1][name] < 0.9 * loss for name, loss in losses[0].items())


@pytest.mark.slow
def test_scores_are_those_of_the_averaged_weights(
    tokenizer: GemmaTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By kind of question and budget; the weights that learn are left as they were."""
    monkeypatch.setattr("gemma4_block.demo.training.learning.scoring._BATCHES", (2, 1, 1))
    trainer = Trainer(PLAN, tokenizer)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    tower = score(trainer)
    assert {"kinds@70", "chars@140", "tens@280"} <= set(tower)
    trainer.step = PLAN.tower_steps
    found = score(trainer)
    assert {"describe@70", "detect@70", "detect digits@70"} <= set(found)
    assert all(0 <= value <= 1 for value in found.values())
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.slow
def test_an_export_is_a_readable_bfloat16_checkpoint_with_measured_clamps(
    tmp_path: Path, tokenizer: GemmaTokenizer
) -> None:
    """The engine loads what was written; every clamp has finite bounds, lower below upper."""
    Trainer(dataclasses.replace(PLAN), tokenizer).export(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}
    assert (tmp_path / "model.safetensors").stat().st_size <= 12_000_000
    tensors = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    for side in ("input", "output"):
        lows = [tensor for name, tensor in sorted(tensors.items()) if name.endswith(f"{side}_min")]
        highs = [tensor for name, tensor in sorted(tensors.items()) if name.endswith(f"{side}_max")]
        # Seven layers in each of six blocks of the tower.
        assert len(lows) == len(highs) == 42
        assert all(
            bool(low.isfinite() and high.isfinite() and low < high)
            for low, high in zip(lows, highs, strict=True)
        )
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["trained_image_seq_lengths"] == [
        70,
        140,
        280,
    ]

    model = Gemma4HF.from_pretrained(tmp_path, "cpu")
    for length in (70, 280):
        image = np.zeros((100, 300, 3), dtype=np.uint8)
        prompt = Prompt(text="Describe the image.", images=(image,), image_seq_length=length)
        (answer,) = model.answer([prompt], GenerationConfig(max_new_tokens=2))
        assert isinstance(answer, Answer)
        assert answer.output_tokens >= 1


def test_a_place_that_is_nearly_right_costs_little() -> None:
    """Nothing where it is right as far as neighbours go, and more the further it is off."""
    places = torch.arange(101).float()
    losses = [
        float(_place_loss((-0.5 * ((places - said) / 1.5) ** 2)[None], torch.tensor([50.0])))
        for said in (50, 51, 54, 70)
    ]
    assert losses == pytest.approx([0.0, 0.222, 3.556, 88.889], abs=1e-3)
