"""The requests of the soak: good ones with their answers, bad ones with their status, and clients that go."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import cv2
import numpy as np

from gemma4_block.cli.workflows import WorkflowRunner, one_step_workflow
from gemma4_block.demo.scenes import draw_scene

MAX_REQUEST_BYTES = 3_000_000
TOKEN = "rosebud"  # noqa: S105 - of the soak alone
_SCENES = 4
_OUTPUTS = {"answer": "output", "error": "error_status", "reason": "finish_reason"}
_TASKS: Mapping[str, Mapping[str, object]] = {
    "caption": {"task_type": "caption"},
    "question": {"task_type": "unconstrained", "prompt": "What shapes are in the picture?"},
    "classes": {"task_type": "classification", "classes": ["red circle", "blue square", "green star"]},
    "boxes": {"task_type": "object-detection", "classes": ["red circle", "blue square"]},
    "count": {"task_type": "counting", "classes": ["red circle"]},
    # Nothing else may follow: the demo would ramble, and what it rambles hangs on the last bit of a sum.
    "structure": {
        "task_type": "structured-answering",
        "prompt": "Which one of these classes fits the image best: circle, square, star, triangle?",
        "output_structure": {
            "type": "object",
            "properties": {"class_name": {"enum": ["circle", "square", "star", "triangle"]}},
            "required": ["class_name"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A request, and what has to come of it.

    Attributes:
        kind: Its name in the table.
        body: Of the request.
        path: Where it goes.
        headers: More than the usual ones, or others.
        status: What the reply has to have; None where the client does not wait for one.
        outputs: What the reply has to say; None for anything.
        leaves_after_s: When the client goes; None where it waits.
        sends_share: How much of the body it sends before that.

    """

    kind: str
    body: bytes
    path: str = "/workflows/run"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = 200
    outputs: object = None
    leaves_after_s: float | None = None
    sends_share: float = 1.0


def good_shots() -> list[Shot]:
    """Return a request for every task and scene and some with several images, each with its answers.

    They are answered here, one after the other, before the server is asked.
    """
    shots = []
    for name, fields in _TASKS.items():
        specification = _specification(**fields)
        runner = WorkflowRunner(specification, init_parameters={})
        images = [_scene(seed) for seed in range(_SCENES)]
        for sent in (*images, images[:3]):
            inputs: dict[str, object] = {"image": sent}
            kind = f"{name}, 3 images" if isinstance(sent, list) else name
            shots.append(Shot(kind=kind, body=_encode(specification, inputs), outputs=runner.run(inputs)))
    return shots


def bad_shots() -> list[Shot]:
    """Return requests that are refused, each with the status that the documentation says."""
    image = _scene(0)
    good = _encode(_specification(), {"image": image})

    def step(kind: str, status: int, **fields: object) -> Shot:
        body = _encode(_specification(**fields), {"image": image})
        return Shot(kind=kind, body=body, status=status)

    def picture(kind: str, value: str) -> Shot:
        body = _encode(_specification(), {"image": {"type": "base64", "value": value}})
        return Shot(kind=kind, body=body, status=400)

    webhook = {"type": "roboflow_core/webhook_sink@v1", "name": "w", "url": "http://127.0.0.1:9"}
    outgoing = {**_specification(), "steps": [webhook], "outputs": []}
    return [
        step("unknown task", 400, task_type="nonsense"),
        step("unknown model", 422, model_version="gemma-5"),
        step("model that is not here", 422, model_version="gemma-4-e2b-it"),
        step("folder of the machine", 422, model_version="/etc"),
        step("long prompt", 400, prompt="x" * 30_000),
        step("too many tokens", 400, max_new_tokens=100_000),
        step("remote schema", 400, task_type="structured-answering", output_structure=_REMOTE_SCHEMA),
        picture("no picture", base64.b64encode(b"nothing").decode()),
        picture("cut picture", str(image["value"])[:400]),
        picture("pickle", base64.b64encode(b"\x80\x04N.").decode()),
        picture("path", "/etc/passwd"),
        picture("address", "http://127.0.0.1:9/a.png"),
        Shot(kind="no image", body=_encode(_specification(), {}), status=400),
        Shot(kind="call out", body=_encode(outgoing, {}), status=400),
        Shot(kind="no JSON", body=b'{"specification":', status=422),
        Shot(kind="deep JSON", body=b"[" * 100_000, status=400),
        Shot(kind="long body", body=bytes(MAX_REQUEST_BYTES + 1), status=413),
        Shot(kind="other name", body=good, status=421, headers={"Host": "other.example"}),
        Shot(kind="other site", body=good, status=403, headers={"Origin": "http://other.example"}),
        Shot(kind="no token", body=good, status=401, headers={"Authorization": "Bearer guess"}),
        Shot(kind="no route", body=good, status=404, path="/a/b/c/d/e"),
    ]


def leaving_shots(random: Random) -> list[Shot]:
    """Return requests of clients that go: while they are answered without end, while they send, before."""
    endless = _encode(_specification(temperature=50.0, max_new_tokens=4000), {"image": _scene(1)})
    many = _encode(_specification(temperature=50.0, max_new_tokens=4000), {"image": [_scene(1)] * 8})

    def leave(kind: str, body: bytes, share: float) -> Shot:
        after_s = random.uniform(0.05, 2)
        return Shot(kind=kind, body=body, status=None, leaves_after_s=after_s, sends_share=share)

    return [
        leave("goes while answered", endless, 1),
        leave("goes while answered, 8 images", many, 1),
        leave("goes while it sends", many, 0.5),
        leave("goes without a word", many, 0),
    ]


def draw_shots(random: Random, good: list[Shot], bad: list[Shot]) -> Callable[[], Shot]:
    """Return what draws the next request: three of five are good, one is bad, one is left."""

    def draw() -> Shot:
        lot = random.random()
        if lot < 0.6:
            return random.choice(good)
        return random.choice(bad if lot < 0.8 else leaving_shots(random))

    return draw


_REMOTE_SCHEMA = {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}


def _specification(**fields: object) -> dict[str, object]:
    basic = {"task_type": "caption", "model_version": "gemma-4-demo"}
    return one_step_workflow({**basic, **fields}, outputs=_OUTPUTS)


def _scene(seed: int) -> dict[str, object]:
    scene = draw_scene(np.random.default_rng(seed))
    _, png = cv2.imencode(".png", scene.image[..., ::-1])
    return {"type": "base64", "value": base64.b64encode(png.tobytes()).decode()}


def _encode(specification: object, inputs: object) -> bytes:
    return json.dumps({"specification": specification, "inputs": inputs}).encode()
