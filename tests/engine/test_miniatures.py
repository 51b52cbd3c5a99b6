"""Any Gemma 4 checkpoint directory works: the E2B, 12B, 26B-A4B and 31B architectures at small size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint
from gemma4_block.errors import ConfigurationError
from tests.miniatures import Shape, build_miniature

SHAPES: tuple[Shape, ...] = ("e2b", "12b", "26b-a4b", "31b")


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[Shape, Path]:
    """One checkpoint directory of each shape."""
    folder = tmp_path_factory.mktemp("miniatures")
    return {shape: build_miniature(shape, folder / shape) for shape in SHAPES}


def _prompts() -> list[Prompt]:
    rng = np.random.default_rng(5)
    images = [draw_scene(rng, shape_count=2).image for _ in range(7)]
    texts = ["What is it?", "Describe the image. " + "Please. " * 12, "Count"]
    counts = (1, 0, 2, 1, 1, 3, 1)
    return [
        Prompt(
            text=texts[index % 3],
            images=tuple(images[:count]),
            system="Be brief." if index % 2 else None,
            image_seq_length=140 if index == 3 else 70,
        )
        for index, count in enumerate(counts)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_batched_answers_equal_single_ones(directories: dict[Shape, Path], shape: Shape) -> None:
    """Mixed image counts, lengths and budgets: one batch or one by one, in float32 the same tokens."""
    engine = Gemma4HF.from_pretrained(directories[shape], device="cpu")
    config = GenerationConfig(max_new_tokens=12)
    together = engine.answer(_prompts(), config)
    alone = [engine.answer([prompt], config)[0] for prompt in _prompts()]

    assert all(isinstance(answer, Answer) for answer in together)
    assert len({answer.text for answer in together}) > 3  # type: ignore[union-attr]
    assert alone == together


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_equal_those_of_plain_transformers(directories: dict[Shape, Path], shape: Shape) -> None:
    """Our rendering, preprocessing and loading give the tokens of the documented two calls."""
    image = draw_scene(np.random.default_rng(2)).image
    processor = AutoProcessor.from_pretrained(directories[shape])
    model = AutoModelForMultimodalLM.from_pretrained(directories[shape], dtype="float32")
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "Hello"}]}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        enable_thinking=False,
    )
    with torch.inference_mode():
        expected = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    engine = Gemma4HF.from_pretrained(directories[shape], device="cpu")
    prepared = engine._service._preparer.prepare(
        0, Prompt(text="Hello", images=(image,)), enable_thinking=False
    )
    generated = engine.generate(engine._service.pad([prepared]), max_new_tokens=16)

    assert expected[0].tolist() == [*prepared.input_ids, *generated[0].tolist()]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_stop_ids_are_known_though_files_disagree(directories: dict[Shape, Path], shape: Shape) -> None:
    """`<eos>` from the tokenizer, the three of generation_config.json, and the end of the turn."""
    engine = Gemma4HF.from_pretrained(directories[shape], device="cpu")

    assert engine._service._vocabulary.stop_ids == {1, 50, 106}
    assert engine._service._vocabulary.pad_id == 0


@pytest.mark.parametrize(
    ("shape", "is_causal"), [("e2b", True), ("12b", False), ("26b-a4b", False), ("31b", False)]
)
def test_image_tokens_see_each_other_where_the_architecture_says_so(
    directories: dict[Shape, Path], shape: Shape, *, is_causal: bool
) -> None:
    """`mm_token_type_ids` reaches the model: without it only the causal E2B stays the same."""
    engine = Gemma4HF.from_pretrained(directories[shape], device="cpu")
    image = draw_scene(np.random.default_rng(2)).image
    inputs = dict(engine.pre_process_generation(image, "Hello"))
    model = engine._service._passes.model
    with torch.inference_mode():
        given = model(**inputs).logits
        inputs.pop("mm_token_type_ids")
        missing = model(**inputs).logits

    assert is_causal == torch.allclose(given, missing, atol=1e-5)


@pytest.mark.parametrize("shape", ["12b", "26b-a4b", "31b"])
def test_an_empty_thought_in_the_prompt_is_no_thought_of_the_answer(
    directories: dict[Shape, Path], shape: Shape
) -> None:
    """Large models' templates close an empty channel when thinking is off; the answer starts clean."""
    engine = Gemma4HF.from_pretrained(directories[shape], device="cpu")
    inputs = engine.pre_process_generation(np.zeros((64, 64, 3), np.uint8), "Hello")

    assert inputs["input_ids"][0, -1] == 101
    (answer,) = engine.answer([Prompt(text="Hello")], GenerationConfig(max_new_tokens=4))
    assert isinstance(answer, Answer)


def test_four_bits_of_the_mixture_of_experts_are_refused(directories: dict[Shape, Path]) -> None:
    """The 26B-A4B shape is recognised from its config."""
    options = LoadOptions(device=torch.device("cpu"), quantization="nf4")

    with pytest.raises(ConfigurationError, match="experts"):
        load_checkpoint(directories["26b-a4b"], options)
