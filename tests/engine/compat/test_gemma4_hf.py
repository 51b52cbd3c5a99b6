"""The class users know: what the existing implementation gets wrong is right here."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, GenerationConfig, Prompt, RgbImage
from gemma4_block.demo.scenes import draw_crop, draw_number, draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.compat.arguments import fill_generation
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.settings import Settings, get_generation_defaults
from tests.demo_copies import copy_demo
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.rooms import make_inputs, prepare
from tests.miniatures import save_adapter

COUNT = "How many shapes are there?"

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)


@pytest.fixture
def _fresh_defaults() -> Iterator[None]:
    get_generation_defaults.cache_clear()
    yield
    get_generation_defaults.cache_clear()


@pytest.fixture(scope="module")
def all_budgets(tmp_path_factory: pytest.TempPathFactory) -> Gemma4HF:
    """A model that was trained for all budgets, as Google's are."""
    return Gemma4HF.from_pretrained(copy_demo(tmp_path_factory.mktemp("models") / "demo"), device="cpu")


def _answers(engine: Gemma4HF, prompts: list[Prompt], **options: object) -> list[Answer]:
    answers = engine.answer(prompts, GenerationConfig(**options))  # type: ignore[arg-type]
    assert all(isinstance(answer, Answer) for answer in answers)
    return answers  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("budget", "expected"), [(None, 63), (70, 63), (140, 130), (280, 266), (560, 540), (1120, 1064)]
)
def test_the_budget_of_a_call_changes_the_number_of_image_tokens(
    all_budgets: Gemma4HF, budget: int | None, expected: int
) -> None:
    """640 x 480 pixels become the numbers that the processor's arithmetic gives."""
    image = np.full((480, 640, 3), 240, dtype=np.uint8)
    (answer,) = _answers(
        all_budgets,
        [Prompt(text=COUNT, images=(image,), image_seq_length=budget)],  # type: ignore[arg-type]
        max_new_tokens=1,
    )

    assert expected == answer.image_tokens
    inputs = all_budgets.pre_process_generation(image, COUNT, image_seq_length=budget)
    assert expected == int((inputs["input_ids"] == 109).sum())


def test_the_budget_of_loading_is_used_where_a_call_names_none(picture: RgbImage, tmp_path: Path) -> None:
    """`gemma_image_seq_length` reaches the images."""
    directory = copy_demo(tmp_path / "demo")
    loaded = Gemma4HF.from_pretrained(directory, device="cpu", gemma_image_seq_length=140)
    inputs = loaded.pre_process_generation(picture, COUNT)

    assert 70 < int((inputs["input_ids"] == 109).sum()) <= 140


@pytest.mark.parametrize("budget", [0, 300, 69, True])
def test_a_budget_that_gemma_4_does_not_know_is_refused_before_loading(budget: int) -> None:
    """The message lists the five."""
    with pytest.raises(ConfigurationError, match="70, 140, 280, 560, 1120"):
        Gemma4HF.from_pretrained("/nowhere", gemma_image_seq_length=budget)


def test_a_reply_ends_at_the_turn_token_although_the_tokenizer_s_eos_is_another(
    engine: Gemma4HF, picture: RgbImage
) -> None:
    """The stop ids are those of the generation config, the tokenizer and `<turn|>` together."""
    inputs = engine.pre_process_generation(picture, COUNT)
    generated = engine.generate(inputs, max_new_tokens=60)

    assert generated.shape[1] < 10
    assert generated[0, -1] == 106
    (answer,) = _answers(engine, [Prompt(text=COUNT, images=(picture,))], max_new_tokens=60)
    assert answer.finish_reason == "stop"
    assert answer.output_tokens == generated.shape[1]


def test_a_cut_reply_says_length(engine: Gemma4HF, picture: RgbImage) -> None:
    """Running into max_new_tokens is no regular end."""
    prompt = Prompt(text="Describe the image.", images=(picture,))
    (cut,) = _answers(engine, [prompt], max_new_tokens=3)
    (whole,) = _answers(engine, [prompt], max_new_tokens=60)

    assert (cut.finish_reason, cut.output_tokens) == ("length", 3)
    assert whole.text.startswith(cut.text)
    assert whole.finish_reason == "stop"


def test_thoughts_are_returned_apart(engine: Gemma4HF, picture: RgbImage) -> None:
    """With thinking on, the answer holds no thought and the thought no control token."""
    prompt = Prompt(text="Describe the image.", images=(picture,))
    (thinking,) = _answers(engine, [prompt], max_new_tokens=80, enable_thinking=True)
    (plain,) = _answers(engine, [prompt], max_new_tokens=80)

    assert plain.thinking == ""
    assert thinking.thinking
    assert "thought" not in thinking.thinking
    assert thinking.thinking not in thinking.text
    assert "<" not in thinking.thinking + thinking.text
    assert engine.prompt(picture, "Describe the image.", "rgb", enable_thinking=True, max_new_tokens=80) == [
        engine.answer(
            [
                Prompt(
                    text="Describe the image.",
                    images=(picture,),
                    system=get_generation_defaults().system_prompt,
                )
            ],
            GenerationConfig(max_new_tokens=80, enable_thinking=True),
        )[0].text  # type: ignore[union-attr]
    ]


def test_the_raw_reply_is_there_for_who_asks(engine: Gemma4HF, picture: RgbImage) -> None:
    """`skip_special_tokens=False` keeps every control token."""
    (raw,) = engine.prompt(picture, COUNT, "rgb", skip_special_tokens=False, enable_thinking=True)

    assert raw.startswith("<|channel>thought\n")
    assert raw.endswith("<turn|>")


def test_a_list_is_one_question_for_prompt_and_many_for_answer(engine: Gemma4HF, picture: RgbImage) -> None:
    """`prompt` shows all images to one question; `answer` asks each."""
    inputs = engine.pre_process_generation([picture, picture, picture], COUNT)
    tokens_of_one = int((engine.pre_process_generation(picture, COUNT)["input_ids"] == 109).sum())

    assert 3 * tokens_of_one == int((inputs["input_ids"] == 109).sum())
    assert len(engine.prompt([picture, picture], COUNT)) == 1
    assert len(engine.answer([Prompt(text=COUNT, images=(picture,))] * 3, GenerationConfig())) == 3


@pytest.mark.parametrize("form", ["array", "tensor", "batch of one", "list"])
def test_every_input_form_shows_the_same_picture(engine: Gemma4HF, picture: RgbImage, form: str) -> None:
    """Arrays are BGR and tensors RGB unless `input_color_format` says otherwise."""
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)
    images = {
        "array": picture[..., ::-1],
        "tensor": tensor,
        "batch of one": tensor[None],
        "list": [picture[..., ::-1]],
    }[form]
    expected = engine.pre_process_generation(picture, COUNT, "rgb")["pixel_values"]

    assert torch.equal(expected, engine.pre_process_generation(images, COUNT)["pixel_values"])


def test_the_colour_format_reaches_the_pixels(engine: Gemma4HF, picture: RgbImage) -> None:
    """The wrong order shows another picture."""
    as_rgb = engine.pre_process_generation(picture, COUNT, "rgb")["pixel_values"]
    as_bgr = engine.pre_process_generation(picture, COUNT, "bgr")["pixel_values"]

    assert not torch.equal(as_rgb, as_bgr)


def test_a_system_prompt_after_the_mark_is_obeyed(engine: Gemma4HF) -> None:
    """What follows the first mark, further marks included, is the system prompt."""
    scene = draw_crop(np.random.default_rng(11))
    (french,) = engine.prompt(scene.image, "Describe the image.<system_prompt>Answer in French.", "rgb")
    (english,) = engine.prompt(scene.image, "Describe the image.", "rgb")
    inputs = engine.pre_process_generation(scene.image, "A<system_prompt>B<system_prompt>C")

    assert french != english
    assert "B<system_prompt>C" in engine.engine.checkpoint.tokenizer.decode(inputs["input_ids"][0])


def test_no_prompt_asks_for_a_description(engine: Gemma4HF, picture: RgbImage) -> None:
    """The default question comes from the environment's defaults, written once."""
    asked = engine.pre_process_generation(picture)["input_ids"]
    written = engine.pre_process_generation(picture, "Describe what you see in this image.")["input_ids"]

    assert torch.equal(asked, written)


@pytest.mark.usefixtures("_fresh_defaults")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGE_PROMPT", "What is it?"),
        ("SYSTEM_PROMPT", "Be brief."),
        ("ENABLE_THINKING", "true"),
    ],
)
def test_defaults_of_the_environment_reach_the_prompt(
    engine: Gemma4HF, picture: RgbImage, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Each `INFERENCE_MODELS_GEMMA4_DEFAULT_*` changes what is asked."""
    before = engine.pre_process_generation(picture)["input_ids"]
    monkeypatch.setenv(f"INFERENCE_MODELS_GEMMA4_DEFAULT_{name}", value)
    get_generation_defaults.cache_clear()

    assert not torch.equal(before, engine.pre_process_generation(picture)["input_ids"])


@pytest.mark.usefixtures("_fresh_defaults")
def test_defaults_of_the_environment_reach_the_generation(
    engine: Gemma4HF, picture: RgbImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """max_new_tokens and skip_special_tokens are read where a call does not say."""
    monkeypatch.setenv("INFERENCE_MODELS_GEMMA4_DEFAULT_MAX_NEW_TOKENS", "2")
    monkeypatch.setenv("INFERENCE_MODELS_GEMMA4_DEFAULT_SKIP_SPECIAL_TOKENS", "false")
    get_generation_defaults.cache_clear()
    generated = engine.generate(engine.pre_process_generation(picture, "Describe the image."))

    assert generated.shape[1] == 2
    assert engine.post_process_generation(torch.tensor([[106]])) == ["<turn|>"]


def test_unknown_options_raise(engine: Gemma4HF, picture: RgbImage) -> None:
    """A misspelt option is an error, not a silence."""
    with pytest.raises(TypeError, match="max_tokens"):
        engine.prompt(picture, COUNT, max_tokens=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="load_in_8bit"):
        Gemma4HF.from_pretrained(DEMO_CHECKPOINT, load_in_8bit=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"do_sample": True, "temperature": 0.0}, "temperature is 0.0.*0.001 to 100"),
        ({"temperature": 0.5}, "sampling is off"),
        ({"top_p": 0.9}, "sampling is off"),
        ({"seed": 1}, "sampling is off"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0.*1 or more"),
        ({"do_sample": True, "top_p": 1.5}, "top_p is 1.5"),
        ({"do_sample": True, "top_k": 0}, "top_k is 0"),
        ({"do_sample": True, "seed": -1}, "seed is -1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"stop": ("",)}, "stop"),
        ({"stop": "square"}, "stop is 'square'.*tuple"),
        ({"do_sample": True, "temperature": 1e-40}, "temperature is 1e-40"),
        ({"repetition_penalty": 1e-300}, "repetition_penalty is 1e-300"),
    ],
)
def test_impossible_options_raise_before_any_work(options: dict[str, object], words: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(ConfigurationError, match=words):
        GenerationConfig(**options)  # type: ignore[arg-type]


def test_a_seed_repeats_a_draw_whatever_is_beside_it(engine: Gemma4HF, picture: RgbImage) -> None:
    """A row draws from its own generator: alone or in a batch, the same seed gives the same answer."""
    prompt = Prompt(text="Tell me a story about it", images=(picture,))
    other = Prompt(text=COUNT, images=(draw_number(np.random.default_rng(1)).image,))
    options = {"max_new_tokens": 24, "do_sample": True, "temperature": 3.0, "seed": 5}
    (alone,) = _answers(engine, [prompt], **options)
    together = _answers(engine, [other, prompt, other], **options)
    seeds = {_answers(engine, [prompt], **{**options, "seed": seed})[0].text for seed in range(6)}

    assert alone == together[1]
    assert len(seeds) > 1


@pytest.mark.parametrize(("option", "value"), [("temperature", 0.01), ("top_k", 1), ("top_p", 1e-6)])
def test_each_sampling_option_can_force_the_likeliest_answer(
    engine: Gemma4HF, picture: RgbImage, option: str, value: float
) -> None:
    """At its extreme each option alone removes all chance, so each reaches the draw."""
    prompt = Prompt(text="Describe the image.", images=(picture,))
    (greedy,) = _answers(engine, [prompt], max_new_tokens=30)
    hot: dict[str, object] = {"max_new_tokens": 30, "do_sample": True, "temperature": 8.0, "seed": 3}
    (wild,) = _answers(engine, [prompt], **hot, top_k=1000, top_p=1.0)
    (forced,) = _answers(engine, [prompt], **{**hot, option: value})

    assert wild.text != greedy.text
    assert greedy.text == forced.text


def test_a_stop_text_ends_the_answer_before_it(engine: Gemma4HF, picture: RgbImage) -> None:
    """Rows that met a stop text end; others go on to their own end."""
    prompt = Prompt(text="Describe the image.", images=(picture,))
    (whole,) = _answers(engine, [prompt], max_new_tokens=60)
    assert ", " in whole.text
    (stopped,) = _answers(engine, [prompt], max_new_tokens=60, stop=(",",))

    assert whole.text.split(",")[0] == stopped.text
    assert stopped.finish_reason == "stop"
    assert stopped.output_tokens < whole.output_tokens


def test_a_repetition_penalty_reaches_the_choice(engine: Gemma4HF, picture: RgbImage) -> None:
    """A strong penalty changes the answer."""
    prompt = Prompt(text="Describe the image.", images=(picture,))
    (plain,) = _answers(engine, [prompt], max_new_tokens=30)
    (penalised,) = _answers(engine, [prompt], max_new_tokens=30, repetition_penalty=9.0)

    assert plain.text != penalised.text


def test_a_prompt_that_fails_leaves_its_neighbours_alone(engine: Gemma4HF, picture: RgbImage) -> None:
    """Errors stand in their own place, in order."""
    good = Prompt(text=COUNT, images=(picture,))
    empty = Prompt(text="  ", images=(picture,))
    no_pixels = Prompt(text=COUNT, images=(np.zeros((0, 4, 3), np.uint8),))
    long = Prompt(text="a" * 20_001)
    answers = engine.answer([empty, good, no_pixels, long, good], GenerationConfig())

    assert [PromptError, Answer, PromptError, PromptError, Answer] == [type(answer) for answer in answers]
    assert answers[1] == answers[4] == engine.answer([good], GenerationConfig())[0]


def test_no_prompts_give_no_answers(engine: Gemma4HF) -> None:
    """An empty call is answered with an empty list."""
    assert engine.answer([], GenerationConfig()) == []


def test_attention_is_sdpa(engine: Gemma4HF) -> None:
    """Eager is slow and flash attention cannot do heads of 512."""
    assert engine.engine.checkpoint.model.module.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "mode", ["stretch", "letterbox", "letterbox-reflect-edges", "center-crop", "fit-longer-edge"]
)
def test_the_package_s_resize_mode_is_applied(tmp_path: Path, picture: RgbImage, mode: str) -> None:
    """inference_config.json goes through the host's own code and changes what is seen."""
    directory = tmp_path / "package"
    shutil.copytree(DEMO_CHECKPOINT, directory)
    wide = np.concatenate([picture, picture], axis=1)
    config = {
        "image_pre_processing": {},
        "network_input": {
            "training_input_size": {"height": 192, "width": 96},
            "dynamic_spatial_size_supported": False,
            "color_mode": "rgb",
            "resize_mode": mode,
            "padding_value": 0,
            "input_channels": 3,
        },
    }
    (directory / "inference_config.json").write_text(json.dumps(config), encoding="utf-8")
    loaded = Gemma4HF.from_pretrained(directory, device="cpu")
    plain = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu")
    seen = loaded.pre_process_generation(wide, COUNT, "rgb")
    asked = plain.pre_process_generation(wide, COUNT, "rgb")

    assert not torch.equal(seen["pixel_values"], asked["pixel_values"])
    if mode != "fit-longer-edge":
        # 96 x 192 pixels: 4 x 8 soft tokens scaled up to the budget of 70 keep the shape of 1 to 2.
        positions = seen["image_position_ids"][0]
        assert positions[:, 1].max() > 1.8 * positions[:, 0].max()


def test_the_size_of_a_call_replaces_that_of_the_package(tmp_path: Path, picture: RgbImage) -> None:
    """`image_size` is width and height, handed to the host's preprocessing."""
    directory = tmp_path / "package"
    shutil.copytree(DEMO_CHECKPOINT, directory)
    config = {
        "image_pre_processing": {},
        "network_input": {
            "training_input_size": {"height": 192, "width": 96},
            "dynamic_spatial_size_supported": True,
            "dynamic_spatial_size_mode": {"type": "any-size"},
            "color_mode": "rgb",
            "resize_mode": "stretch",
            "input_channels": 3,
        },
    }
    (directory / "inference_config.json").write_text(json.dumps(config), encoding="utf-8")
    engine = Gemma4HF.from_pretrained(directory, device="cpu")
    tall = engine.pre_process_generation(picture, COUNT)["image_position_ids"][0]
    wide = engine.pre_process_generation(picture, COUNT, image_size=(192, 96))["image_position_ids"][0]

    assert tall[:, 1].max() > tall[:, 0].max()
    assert wide[:, 0].max() > wide[:, 1].max()


def test_batched_answers_equal_single_ones_in_float32(engine: Gemma4HF) -> None:
    """24 prompts of mixed sizes, budgets, image counts and lengths, one by one and together."""
    rng = np.random.default_rng(12)
    scenes = [draw(rng).image for draw in (draw_scene, draw_crop, draw_number) for _ in range(4)]
    texts = ["Describe the image.", COUNT, "Read the number.", "What color is the shape? " + "Really? " * 9]
    prompts = [
        Prompt(
            text=texts[index % 4],
            images=tuple(scenes[(index + offset) % 12] for offset in range((1, 0, 2, 1, 3, 1)[index % 6])),
            system=None if index % 3 else "Answer in French.",
            image_seq_length=(70, 140, 70)[index % 3],
        )
        for index in range(24)
    ]
    together = _answers(engine, prompts, max_new_tokens=24)
    alone = [_answers(engine, [prompt], max_new_tokens=24)[0] for prompt in prompts]

    assert len({answer.text for answer in alone}) > 6
    assert alone == together


@pytest.mark.parametrize("length", [96, 97, 128, 129, 161])
def test_padded_lengths_around_multiples_of_32_are_exact(
    engine: Gemma4HF, picture: RgbImage, length: int
) -> None:
    """A fault of sdpa with left padding was reported for lengths of 32 k + 1; this version is free of it."""
    short = Prompt(text=COUNT, images=(picture,))
    (prepared,) = prepare(engine.engine, short)
    tokens = len(prepared.input_ids)
    long = Prompt(text=COUNT + "1" * (length - tokens), images=(picture,))
    checkpoint = engine.engine.checkpoint
    batch = prepare(engine.engine, short, long)
    inputs = make_inputs(checkpoint, *batch)
    assert inputs["input_ids"].shape == (2, length)
    model = checkpoint.model.module
    with torch.inference_mode():
        padded = model(**inputs).logits[0, -1]
        single = model(**make_inputs(checkpoint, batch[0])).logits[0, -1]

    # Measured: below 1e-5; a fault changes logits by whole units.
    torch.testing.assert_close(padded, single, atol=1e-3, rtol=0)


def test_a_budget_of_300_raises_before_any_prompt_is_asked(picture: RgbImage) -> None:
    """A prompt that cannot be asked cannot be made."""
    with pytest.raises(ConfigurationError, match="300"):
        Prompt(text=COUNT, images=(picture,), image_seq_length=300)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [np.zeros(5, np.uint8), None, "picture.png"], ids=["1-D", "None", "text"])
def test_what_is_no_image_fails_alone(engine: Gemma4HF, picture: RgbImage, image: object) -> None:
    """The neighbour is answered."""
    prompts = [Prompt(text=COUNT, images=(image,)), Prompt(text=COUNT, images=(picture,))]  # type: ignore[arg-type]
    answers = engine.answer(prompts, GenerationConfig())

    assert [PromptError, Answer] == [type(answer) for answer in answers]


@pytest.mark.parametrize("where", ["text", "system"])
def test_half_a_surrogate_pair_fails_alone(engine: Gemma4HF, where: str) -> None:
    """JSON can carry what no tokenizer takes."""
    broken = Prompt(**{"text": COUNT, where: "a\ud800b"})
    answers = engine.answer([broken, Prompt(text=COUNT)], GenerationConfig(max_new_tokens=4))

    assert isinstance(answers[0], PromptError)
    assert "surrogate" in str(answers[0])
    assert isinstance(answers[1], Answer)


def test_a_prompt_longer_than_the_context_fails_alone(engine: Gemma4HF) -> None:
    """The demo reads 8,192 tokens; three bytes a character make more of 5,000."""
    answers = engine.answer(
        [Prompt(text="\u6c49" * 5000), Prompt(text=COUNT)], GenerationConfig(max_new_tokens=4)
    )

    assert "8192" in str(answers[0])
    assert isinstance(answers[1], Answer)


def test_threads_may_ask_at_once(engine: Gemma4HF, picture: RgbImage) -> None:
    """Eight threads render, encode and decode together: no error, and each gets its own answers."""
    texts = [COUNT, "Describe the image.", "<turn|> What color is it?", "Read the number."]
    config = GenerationConfig(max_new_tokens=6)
    prompts = [[Prompt(text=text, system="Be brief.", images=(picture,))] * 6 for text in texts * 2]
    expected = [engine.answer(batch, config) for batch in prompts]
    with ThreadPoolExecutor(max_workers=8) as threads:
        found = list(threads.map(lambda batch: engine.answer(batch, config), prompts))

    assert expected == found


def test_the_batch_size_of_the_operator_bounds_each_generation(picture: RgbImage) -> None:
    """No pass of the model has more rows, however many prompts wait."""
    checkpoint = load_checkpoint(DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu")))
    engine = Gemma4HF(checkpoint, settings=Settings(max_batch_size=3))
    rows: list[int] = []

    def count(_: torch.nn.Module, __: object, inputs: dict[str, torch.Tensor]) -> None:
        rows.append(len(inputs["position_ids"]))

    checkpoint.model.module.get_decoder().register_forward_pre_hook(count, with_kwargs=True)
    answers = engine.answer([Prompt(text=COUNT, images=(picture,))] * 14, GenerationConfig(max_new_tokens=2))

    assert max(rows) == 3
    assert len({str(answer) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_new_tokens", 3),
        ("do_sample", True),
        ("temperature", 0.7),
        ("top_p", 0.8),
        ("top_k", 7),
        ("repetition_penalty", 1.3),
        ("seed", 11),
        ("stop", ("x",)),
    ],
)
def test_each_option_of_prompt_reaches_the_generation(
    engine: Gemma4HF, picture: RgbImage, monkeypatch: pytest.MonkeyPatch, option: str, value: object
) -> None:
    """What the runner is given is what the caller said."""
    given: list[GenerationConfig] = []
    generate = engine.engine.generate_from_inputs

    def record(
        inputs: dict[str, torch.Tensor], generation: GenerationConfig, **options: float | None
    ) -> torch.Tensor:
        given.append(generation)
        return generate(inputs, replace(generation, max_new_tokens=1), **options)

    monkeypatch.setattr(engine.engine, "generate_from_inputs", record)
    options: dict[str, object] = (
        {"do_sample": True} if option in {"temperature", "top_p", "top_k", "seed"} else {}
    )
    engine.prompt(picture, COUNT, **{**options, option: value})  # type: ignore[arg-type]

    assert value == getattr(given[0], option)


@pytest.mark.usefixtures("_fresh_defaults")
@pytest.mark.parametrize(
    ("name", "value", "option", "expected"),
    [
        ("DO_SAMPLE", "true", "do_sample", True),
        ("TEMPERATURE", "0.4", "temperature", 0.4),
        ("TOP_P", "0.6", "top_p", 0.6),
        ("TOP_K", "9", "top_k", 9),
    ],
)
def test_each_sampling_default_of_the_environment_reaches_the_generation(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, option: str, expected: object
) -> None:
    """With sampling on, what a call leaves open is the environment's."""
    monkeypatch.setenv("INFERENCE_MODELS_GEMMA4_DEFAULT_DO_SAMPLE", "true")
    monkeypatch.setenv(f"INFERENCE_MODELS_GEMMA4_DEFAULT_{name}", value)
    get_generation_defaults.cache_clear()
    filled = fill_generation(
        max_new_tokens=None,
        do_sample=None,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=None,
        seed=None,
        stop=(),
    )

    assert expected == getattr(filled, option)


@pytest.mark.parametrize("form", ["RGB", "gbr"])
def test_an_unknown_colour_format_is_refused(engine: Gemma4HF, picture: RgbImage, form: str) -> None:
    """It is not taken for BGR."""
    with pytest.raises(ConfigurationError, match=form):
        engine.prompt(picture, COUNT, form)  # type: ignore[arg-type]


def test_an_image_size_without_anything_to_replace_is_refused(engine: Gemma4HF, picture: RgbImage) -> None:
    """The knob belongs to inference_config.json."""
    with pytest.raises(ConfigurationError, match="inference_config"):
        engine.pre_process_generation(picture, COUNT, image_size=(96, 96))


def test_the_embedded_model_is_loaded_by_its_id() -> None:
    """`gemma-4-demo` is accepted wherever a model id is."""
    loaded = Gemma4HF.from_pretrained("gemma-4-demo", device="cpu")
    assert loaded.engine.capabilities.image_seq_lengths == (70, 140, 280)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        pytest.param([[]], {}, PromptError, "list of images is empty", id="no image"),
        pytest.param([IMAGE, 5], {}, PromptError, "The prompt is a int; it must be text", id="no text"),
        pytest.param(
            [IMAGE], {"max_new_tokens": "8"}, ConfigurationError, "max_new_tokens is '8'", id="no number"
        ),
        pytest.param([IMAGE], {"max_new_tokens": True}, ConfigurationError, "a whole number", id="a boolean"),
        pytest.param(
            [IMAGE],
            {"do_sample": True, "temperature": "hot"},
            ConfigurationError,
            "temperature is 'hot'; it must be a number",
            id="no temperature",
        ),
        pytest.param([IMAGE], {"do_sample": 1}, ConfigurationError, "do_sample is 1", id="no boolean"),
    ],
)
def test_arguments_of_wrong_types_are_refused_in_words(
    engine: Gemma4HF, arguments: list[object], options: dict[str, object], error: type[Exception], words: str
) -> None:
    """Each is an error of this package that says what was given and what is allowed."""
    with pytest.raises(error, match=words):
        engine.prompt(*arguments, **options)  # type: ignore[arg-type]


def test_a_number_of_numpy_is_a_number(engine: Gemma4HF) -> None:
    """Programs that reckon with arrays need not convert."""
    assert engine.prompt(IMAGE, "Hello", max_new_tokens=np.int64(2))  # type: ignore[arg-type]


def test_a_number_of_tokens_cannot_be_left_open() -> None:
    """Only fields whose default is None may be None."""
    with pytest.raises(ConfigurationError, match="max_new_tokens is None; it must be a whole number"):
        GenerationConfig(max_new_tokens=None)  # type: ignore[arg-type]


def test_an_adapter_loads_without_a_folder_of_its_base(tmp_path: Path, picture: RgbImage) -> None:
    """What peft writes is enough where its config names a base that is here."""
    save_adapter(DEMO_CHECKPOINT, tmp_path, base_name="gemma-4-demo", lora_alpha=256)
    prompt = Prompt(text="Describe the image.", images=(picture,))
    answers = [
        Gemma4HF.from_pretrained(directory, device="cpu").answer([prompt], GenerationConfig(max_new_tokens=9))
        for directory in (tmp_path, DEMO_CHECKPOINT)
    ]
    assert answers[0] != answers[1]
