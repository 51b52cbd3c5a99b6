"""The tasks as methods of the model, on the demo checkpoint and with an engine that follows a script."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image as PillowImage
from supervision import Classifications, Detections, box_iou_batch

from gemma4_block import Gemma4HF, GenerationConfig, TaskOptions
from gemma4_block.contract import Answer
from gemma4_block.demo.scenes import Scene, draw_number, draw_scene
from gemma4_block.engine import compat
from gemma4_block.errors import AnswerError, ConfigurationError, Gemma4BlockError, PromptError
from gemma4_block.testing import Line, ScriptedEngine

CLASSES = ["red circle", "purple star", "blue star"]
CAPTION = "1 blue star, 1 purple star."


@pytest.fixture(scope="module")
def model() -> Gemma4HF:
    """The demo model, which truly answers."""
    return Gemma4HF.from_pretrained("gemma-4-demo", device="cpu")


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A blue star and a purple one."""
    return draw_scene(np.random.default_rng(0), shape_count=2)


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[Gemma4HF, ScriptedEngine]]]:
    """Build models whose engine follows a script, and the engine."""
    models: list[Gemma4HF] = []

    def build(*lines: Line, image_seq_length: int | None = None) -> tuple[Gemma4HF, ScriptedEngine]:
        model = Gemma4HF.from_pretrained(
            "gemma-4-demo", device="cpu", gemma_image_seq_length=image_seq_length
        )
        model.engine.close()
        models.append(model)
        engine = ScriptedEngine(lines)
        model.engine = engine  # type: ignore[assignment]
        return model, engine

    yield build
    for model in models:
        model.engine.close()


def grey(height: int = 8, width: int = 8) -> npt.NDArray[np.uint8]:
    """Return a picture without anything on it."""
    return np.full((height, width, 3), 128, np.uint8)


def ways(scene: Scene, folder: Path) -> dict[str, compat.Image]:
    """Return a scene in every form that is taken."""
    image = PillowImage.fromarray(scene.image)
    image.save(folder / "scene.png")
    return {
        "text path": str(folder / "scene.png"),
        "path": folder / "scene.png",
        "pillow": image,
        "palette": image.convert("P", palette=PillowImage.Palette.ADAPTIVE, colors=256),
        "bgr array": np.ascontiguousarray(scene.image[..., ::-1]),
        "rgb tensor": torch.from_numpy(scene.image).permute(2, 0, 1),
    }


@pytest.mark.parametrize("way", ["text path", "path", "pillow", "palette", "bgr array", "rgb tensor"])
def test_every_form_of_an_image_shows_the_same(
    model: Gemma4HF, scene: Scene, tmp_path: Path, way: str
) -> None:
    """Files and Pillow's images know their colours; unless it is said an array is BGR, a tensor RGB."""
    assert model.caption(ways(scene, tmp_path)[way]) == CAPTION


def test_the_colour_order_may_be_said(model: Gemma4HF, scene: Scene) -> None:
    """With the wrong one, blue is red."""
    assert model.caption(scene.image, input_color_format="rgb") == CAPTION
    assert model.caption(scene.image) == "1 purple star, 1 red star."


def test_detections_are_boxes_in_pixels_with_names_and_measured_confidences(model: Gemma4HF) -> None:
    """A class's id is its place in the list; what is not there has no box."""
    scene = draw_scene(np.random.default_rng(1), shape_count=2)
    classes = ["red circle", "purple star", "orange triangle"]
    found = model.detect(scene.image, classes, input_color_format="rgb")

    assert isinstance(found, Detections)
    assert found.class_id is not None
    assert found.confidence is not None
    assert {classes[number] for number in found.class_id} == {"purple star", "orange triangle"}
    assert found.data["class_name"].tolist() == [classes[number] for number in found.class_id]
    assert ((found.confidence > 0) & (found.confidence < 1)).all()
    truth = {shape.label: shape.box_xyxy_px for shape in scene.shapes}
    for box, name in zip(found.xyxy, found.data["class_name"], strict=True):
        ((overlap,),) = box_iou_batch(box[None], np.array([truth[name]]))
        # The boxes of so small a model are coarse; another shape's would not overlap at all.
        assert overlap > 0.4


def test_nothing_found_is_an_empty_set_of_detections(
    scripted: Callable[..., tuple[Gemma4HF, object]],
) -> None:
    """It has all columns, so that it joins with others and can be drawn."""
    model, _ = scripted("[]")
    found = model.detect(grey(), ["cat"])

    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)
    assert len(Detections.merge([found, found])) == 0


def test_a_classification_has_the_probability_of_every_class(model: Gemma4HF, scene: Scene) -> None:
    """In the order given; the likeliest is the answer."""
    crop = next(shape for shape in scene.shapes if shape.label == "blue star")
    left, top, right, bottom = (round(side) for side in crop.box_xyxy_px)
    names = ["red circle", "blue star", "green square"]
    found = model.classify(scene.image[top:bottom, left:right], names, input_color_format="rgb")

    assert isinstance(found, Classifications)
    assert found.class_id.tolist() == [0, 1, 2]
    assert found.confidence is not None
    assert 0.99 < found.confidence.sum() <= 1
    (best,), (confidence,) = found.get_top_k(1)
    assert names[best] == "blue star"
    assert confidence > 0.9


def test_counting_gives_a_number_for_each_class(model: Gemma4HF, scene: Scene) -> None:
    """Zero is a number too."""
    assert model.count(scene.image, CLASSES, input_color_format="rgb") == {
        "red circle": 0,
        "purple star": 1,
        "blue star": 1,
    }


def test_text_is_read(model: Gemma4HF) -> None:
    """The demo model reads numbers."""
    assert model.read_text(draw_number(np.random.default_rng(2), value=915).image) == "915"


@pytest.mark.parametrize(
    ("schema", "prompt", "expected"),
    [
        ({"star": {"type": "boolean"}}, "Is there a star?", {"star": True}),
        ({"type": "boolean"}, "Is there a red circle?", False),
    ],
)
def test_facts_come_in_the_form_asked_for(
    model: Gemma4HF, scene: Scene, schema: dict[str, object], prompt: str, expected: object
) -> None:
    """By fields or by a JSON Schema, with a question or without."""
    assert model.extract(scene.image, schema, prompt=prompt, input_color_format="rgb") == expected  # type: ignore[arg-type]
    assert isinstance(model.extract(scene.image, {"color": ["red", "blue"]}), dict)


def test_a_list_gives_a_list_with_errors_in_their_places(model: Gemma4HF, scene: Scene) -> None:
    """One image that cannot be read takes nothing from the others."""
    first, second, third = model.caption([scene.image, "missing.png", np.zeros((0, 4, 3), np.uint8)])
    assert first == "1 purple star, 1 red star."
    assert isinstance(second, PromptError)
    assert "There is no image file missing.png." in str(second)
    assert isinstance(third, PromptError)
    assert model.detect([], ["cat"]) == []


def test_a_list_is_one_call_of_the_engine(
    scripted: Callable[..., tuple[Gemma4HF, ScriptedEngine]],
) -> None:
    """The images of a list share a batch, and an answer that says nothing takes only its own place."""
    model, engine = scripted('{"cat": 2}', "two cats", '{"cat": 3}')
    first, second, third = model.count([grey(), grey(), grey()], ["cat"])

    assert [len(call.prompts) for call in engine.calls] == [3]
    assert (first, third) == ({"cat": 2}, {"cat": 3})
    assert isinstance(second, AnswerError)
    assert (second.answer, second.task) == ("two cats", "counting")


def cut(text: str) -> Answer:
    """Return an answer that ran into its limit."""
    return Answer(
        text=text, thinking="", finish_reason="length", input_tokens=9, output_tokens=4, image_tokens=4
    )


BOX = '[{"box_2d": [10, 10, 500, 500], "label": "cat"}'


@pytest.mark.parametrize(
    ("line", "ask", "words"),
    [
        (cut("A cat on a"), lambda model: model.caption(grey()), "cut off at max_new_tokens"),
        (cut("EXIT"), lambda model: model.read_text(grey()), "cut off at max_new_tokens"),
        (cut(BOX), lambda model: model.detect(grey(), ["cat"]), "The boxes are those that were complete"),
        ("a cat", lambda model: model.detect(grey(), ["cat"]), "cat"),
        ('{"class_name": "dog"}', lambda model: model.classify(grey(), ["cat"]), "must be one of cat"),
        ('{"cat": "many"}', lambda model: model.count(grey(), ["cat"]), "no whole number for cat"),
        (cut('{"a": 1'), lambda model: model.extract(grey(), {"a": "b"}), "cut off at max_new_tokens"),
        ("no form", lambda model: model.extract(grey(), {"a": "b"}), "JSON"),
    ],
    ids=["caption", "text", "part of the boxes", "no boxes", "stranger", "no number", "part", "no JSON"],
)
def test_what_is_no_whole_answer_is_an_error_that_keeps_it(
    scripted: Callable[..., tuple[Gemma4HF, ScriptedEngine]],
    line: Line,
    ask: Callable[[Gemma4HF], object],
    words: str,
) -> None:
    """A value has no place to say that it is a part, so a part is not returned as one."""
    model, _ = scripted(line)
    with pytest.raises(AnswerError, match=words) as caught:
        ask(model)
    assert caught.value.answer == (line.text if isinstance(line, Answer) else line)


def test_options_reach_the_engine(scripted: Callable[..., tuple[Gemma4HF, ScriptedEngine]]) -> None:
    """Budget, system prompt and generation are those of the call."""
    model, engine = scripted("a", "b")
    generation = GenerationConfig(max_new_tokens=7, do_sample=True, temperature=0.5, seed=1)
    options = TaskOptions(image_seq_length=1120, system_prompt="Be brief.", generation=generation)
    model.caption(grey(), options=options)
    model.caption(grey())

    said, plain = engine.prompts
    assert (said.image_seq_length, said.system) == (1120, "Be brief.")
    assert (plain.image_seq_length, plain.system) == (70, None)
    assert [call.generation for call in engine.calls] == [
        generation,
        GenerationConfig(max_new_tokens=512, do_sample=False),
    ]


def test_the_budget_suits_the_task_unless_the_model_was_loaded_with_one(
    scripted: Callable[..., tuple[Gemma4HF, ScriptedEngine]],
) -> None:
    """Small print wants more than a caption, a small crop less; what was said at loading holds for all."""
    large = grey(1500, 2000)
    free, free_engine = scripted("a", "b", "c")
    free.read_text(large)
    free.caption(large)
    free.read_text(grey())
    bound, bound_engine = scripted("a", "b", image_seq_length=280)
    bound.read_text(large)
    bound.read_text(grey(), options=TaskOptions(image_seq_length=70))

    assert [prompt.image_seq_length for prompt in free_engine.prompts] == [1120, 140, 70]
    assert [prompt.image_seq_length for prompt in bound_engine.prompts] == [280, 70]


def test_the_prompt_of_a_form_stands_before_it(
    scripted: Callable[..., tuple[Gemma4HF, ScriptedEngine]],
) -> None:
    """The caller's words come first, then the keys."""
    model, engine = scripted('{"color": "red"}')
    assert model.extract(grey(), {"color": "color of the car"}, prompt="Look at the left car.") == {
        "color": "red"
    }
    assert engine.prompts[0].text == (
        'Look at the left car.\nAnswer about the image in JSON with these keys. "color": color of the car'
    )


def test_a_program_may_name_more_classes_than_a_request(
    scripted: Callable[..., tuple[Gemma4HF, ScriptedEngine]],
) -> None:
    """The operator's limit on classes is for requests, which come from anybody."""
    model, _ = scripted("[]")
    assert len(model.detect(grey(), [f"class {number}" for number in range(300)])) == 0


WRONG: dict[str, tuple[Callable[[Gemma4HF], object], str]] = {
    "classes as text": (lambda model: model.detect(grey(), "cat"), "classes is a str; it must be a list"),
    "classes as number": (lambda model: model.count(grey(), 3), "classes is a int"),  # type: ignore[call-overload]
    "no classes": (lambda model: model.classify(grey(), []), "needs classes, and there are none"),
    "a class of another type": (lambda model: model.detect(grey(), ["a", 1]), "Class 2 is a int"),  # type: ignore[list-item]
    "a blank class": (lambda model: model.detect(grey(), ["a", " "]), "Class 2 of 2 is blank"),
    "a class twice": (lambda model: model.classify(grey(), ["a", "a"]), "'a' is there twice"),
    "a number for an image": (lambda model: model.caption(5), "The image is a int"),  # type: ignore[call-overload]
    "no image": (lambda model: model.caption(None), "The image is a NoneType"),  # type: ignore[call-overload]
    "an address": (lambda model: model.caption("https://x/y.png"), "is an address"),
    "a tuple of images": (lambda model: model.caption((grey(),)), "The image is a tuple"),  # type: ignore[call-overload]
    "a batch in a tensor": (lambda model: model.caption(torch.zeros(2, 3, 4, 4)), "has shape"),
    "an order of colours": (
        lambda model: model.caption(grey(), input_color_format="RGB"),  # type: ignore[call-overload]
        "must be rgb or bgr",
    ),
    "a schema as text": (lambda model: model.extract(grey(), "color"), "schema is a str"),  # type: ignore[call-overload]
    "an empty schema": (lambda model: model.extract(grey(), {}), "needs an output_structure"),
    "a schema that is no JSON": (lambda model: model.extract(grey(), {"a": {1, 2}}), "schema is no JSON"),  # type: ignore[dict-item]
    "a number for a field": (lambda model: model.extract(grey(), {"a": 1}), "the field 'a' is 1"),
    "a schema that cannot be held": (
        lambda model: model.extract(grey(), {"type": "object", "properties": {"x": {"type": "nonsense"}}}),
        "JSON Schema",
    ),
    "a number for a prompt": (
        lambda model: model.extract(grey(), {"a": "b"}, prompt=5),  # type: ignore[call-overload]
        "The prompt is a int",
    ),
    "options of another kind": (
        lambda model: model.caption(grey(), options={"image_seq_length": 70}),  # type: ignore[call-overload]
        "options is a dict; it must be TaskOptions",
    ),
    "a budget that Gemma does not know": (
        lambda _: TaskOptions(image_seq_length=100),
        "image_seq_length is 100",
    ),  # type: ignore[arg-type]
    "a budget as text": (lambda _: TaskOptions(image_seq_length="70"), "image_seq_length is '70'"),  # type: ignore[arg-type]
    "a system prompt of another type": (lambda _: TaskOptions(system_prompt=1), "system_prompt is a int"),  # type: ignore[arg-type]
    "a generation of another type": (lambda _: TaskOptions(generation={}), "generation is a dict"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("ask", "words"), WRONG.values(), ids=WRONG)
def test_arguments_that_cannot_work_are_refused_in_our_words(
    model: Gemma4HF, ask: Callable[[Gemma4HF], object], words: str
) -> None:
    """Nothing ends in somebody else's AttributeError or TypeError, and nothing is asked."""
    with pytest.raises((ConfigurationError, PromptError), match=words) as caught:
        ask(model)
    assert isinstance(caught.value, Gemma4BlockError)


def test_the_class_of_before_is_part_of_it(model: Gemma4HF, scene: Scene) -> None:
    """`prompt`, its stages and `answer` are there, with the signatures that people know."""
    assert isinstance(model, compat.Gemma4HF)
    assert model.prompt(scene.image, "What is in the picture?", input_color_format="rgb") == [CAPTION]
