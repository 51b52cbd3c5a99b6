"""`gemma4-block serve` and requests that are not friendly, over HTTP with a server process."""

import base64
import copy
import http.client
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from inference_sdk import InferenceConfiguration, InferenceHTTPClient

import gemma4_block.demo
from gemma4_block.cli.serve import demo_request
from tests.server_process import Server, started, wait_until_answered

pytestmark = pytest.mark.slow

_TOKEN = "rosebud"  # noqa: S105 - of this test alone
_AUTHORIZED = {"Authorization": f"Bearer {_TOKEN}"}
_MOST_REQUESTS = 24
_MOST_BYTES = 20_000_000
# What a pipe holds on Linux.
_PIPE_BYTES = 65_536


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with low limits, a token and local packages, whose output nobody reads."""
    settings = {
        "GEMMA4_BLOCK_TOKEN": _TOKEN,
        "GEMMA4_BLOCK_MAX_REQUESTS": str(_MOST_REQUESTS),
        "GEMMA4_BLOCK_MAX_REQUEST_BYTES": str(_MOST_BYTES),
    }
    folder = tmp_path_factory.mktemp("served")
    options = "--allow-local-packages", "--token", "--allowed-host", "Shapes.Example"
    with started(folder, *options, settings=settings, headers=_AUTHORIZED) as running:
        # The model is loaded before.
        assert running.ask(demo_request()).status == 200
        yield running


def _changed(**fields: object) -> dict[str, object]:
    """Return the demo's request with other fields of its step."""
    request = copy.deepcopy(demo_request())
    request["specification"]["steps"][0].update(fields)  # type: ignore[index]
    return request


def _one_step(step: dict[str, object]) -> dict[str, object]:
    specification = {"version": "1.0", "inputs": [], "steps": [{"name": "s", **step}], "outputs": []}
    return {"specification": specification, "inputs": {}}


def _png(width: int, height: int) -> bytes:
    """Return a black picture, without ever holding its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 3 * width)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_what_is_open_is_said_and_the_operators_token_is_not(server: Server) -> None:
    """The log is read by more people than the environment."""
    assert "Whoever reaches this address and has the token may run workflows here." in server.said
    assert "load models from directories" in server.said
    assert _TOKEN not in server.said


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param("", 401, id="none"),
        pytest.param("Bearer rosebu", 401, id="shorter"),
        pytest.param("Bearer rosebuds", 401, id="longer"),
        pytest.param("Basic rosebud", 401, id="another scheme"),
        pytest.param("Bearer rosebud", 200, id="right"),
    ],
)
def test_only_who_has_the_token_is_answered(server: Server, authorization: str, status: int) -> None:
    """Whatever is asked for."""
    assert server.request("GET", "/info", Authorization=authorization).status == status


def test_the_sdk_sends_the_token_as_its_key(server: Server) -> None:
    """In a header, and not where the host would look for it."""
    client = InferenceHTTPClient(api_url=f"http://127.0.0.1:{server.port}", api_key=_TOKEN)
    client.configure(InferenceConfiguration(api_key_transport="header"))  # pragma: allowlist secret
    request = demo_request()
    image = request["inputs"]["image"]["value"]  # type: ignore[index]
    (row,) = client.run_workflow(specification=request["specification"], images={"image": image})
    assert row["answer"]


@pytest.mark.parametrize("path", ["/healthz", "/readiness"])
def test_health_needs_no_token(server: Server, path: str) -> None:
    """Who watches over servers has none."""
    assert server.request("GET", path, Authorization="").status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:9001", 200, id="loopback"),
        pytest.param("[::1]:9001", 200, id="an address"),
        pytest.param("shapes.example", 200, id="allowed"),
        pytest.param("other.example", 421, id="another name"),
        pytest.param("localhost.other.example", 421, id="below another name"),
    ],
)
def test_a_name_of_somebody_else_is_refused(server: Server, host: str, status: int) -> None:
    """A page could otherwise have its own name lead to this machine."""
    assert server.request("GET", "/info", Host=host).status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        pytest.param("http://localhost", 200, id="allowed"),
        pytest.param("http://other.example", 403, id="another site"),
        pytest.param("null", 403, id="a file"),
    ],
)
def test_a_page_of_another_site_cannot_ask(server: Server, origin: str, status: int) -> None:
    """Not even where a browser asks no permission and only keeps the reply from the page."""
    assert server.request("GET", "/info", Origin=origin).status == status


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({"type": "roboflow_core/webhook_sink@v1", "url": "http://127.0.0.1:9"}, id="webhook"),
        pytest.param({"type": "roboflow_core/email_notification@v2"}, id="e-mail"),
        pytest.param({"type": "roboflow_core/s3_sink@v1"}, id="S3"),
        pytest.param({"type": "roboflow_core/onvif_sink@v1"}, id="cameras"),
        pytest.param({"type": "roboflow_core/roboflow_vision_events@v1"}, id="events"),
        pytest.param({"type": "roboflow_core/openai_compatible@v1"}, id="any server of models"),
        pytest.param({"type": "roboflow_core/anthropic_claude@v5"}, id="models of others"),
        pytest.param(
            {
                "type": "roboflow_core/inner_workflow@v1",
                "execution_mode": "remote_dispatch",
                "remote_target": "http://127.0.0.1:9",
                "workflow_definition": _one_step({})["specification"],
            },
            id="a workflow that is sent elsewhere",
        ),
        pytest.param(
            {
                "type": "roboflow_core/inner_workflow@v1",
                "workflow_definition": _one_step(
                    {"type": "roboflow_core/webhook_sink@v1", "url": "http://127.0.0.1:9"}
                )["specification"],
            },
            id="a webhook in an inner workflow",
        ),
    ],
)
def test_a_workflow_that_calls_out_does_not_compile(server: Server, step: dict[str, object]) -> None:
    """And the message says which switch would allow it."""
    reply = server.ask(_one_step(step))
    assert reply.status == 400
    assert "starting it with --allow-outgoing" in reply.text


def test_an_inner_workflow_that_stays_here_compiles(server: Server) -> None:
    """What is closed is the way out, and not the block."""
    inner = _one_step({"type": "roboflow_core/qr_code_generator@v1", "text": "x"})["specification"]
    step = {"type": "roboflow_core/inner_workflow@v1", "workflow_definition": inner}
    assert server.ask(_one_step(step)).status == 200


def test_local_packages_do_not_open_local_pictures(server: Server, tmp_path: Path) -> None:
    """The host's own routes would draw what they found in a picture, and send it."""
    picture = tmp_path / "private.png"
    picture.write_bytes(_png(64, 64))
    detector = Path(gemma4_block.demo.__file__).parent / "detector"
    body = {"model_id": str(detector)}
    for image, why in (
        ({"type": "file", "value": str(picture)}, "Loading images from local filesystem is disabled."),
        ({"type": "url", "value": f"file://{picture}"}, "Cannot load an image from URL"),
    ):
        reply = server.request(
            "POST",
            "/infer/object_detection",
            json.dumps({**body, "image": image, "visualize_predictions": True}).encode(),
            Content_Type="application/json",
        )
        assert reply.status == 400
        assert why in reply.text


def test_a_body_that_is_too_long_is_refused(server: Server) -> None:
    """Before the host reads it."""
    reply = server.request("POST", "/workflows/run", bytes(_MOST_BYTES + 1))
    assert reply.status == 413
    assert "raise GEMMA4_BLOCK_MAX_REQUEST_BYTES" in reply.text


def test_the_size_of_a_picture_is_known_from_its_header(server: Server) -> None:
    """2.6 MB would become 2.7 GB, and then as much again in a copy."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    request = demo_request()
    request["inputs"] = {
        "image": {"type": "base64", "value": base64.b64encode(_png(30_000, 30_000)).decode()}
    }
    highest = before
    replies: list[int] = []
    asking = threading.Thread(target=lambda: replies.append(server.ask(request).status))
    asking.start()
    while asking.is_alive():
        highest = max(highest, process.memory_info().rss)
        time.sleep(0.005)
    assert replies == [400]
    assert highest - before < 200_000_000


def test_a_refusal_names_no_folder_of_the_operator(server: Server) -> None:
    """A model that is not there was looked for in their home."""
    reply = server.ask(_changed(model_version="gemma-4-e2b-it"))
    assert reply.status == 422
    assert "gemma-4-e2b-it is not on this machine" in reply.text
    for folder in (str(Path.home()), os.environ["MODEL_CACHE_DIR"]):
        assert folder not in reply.text


def test_output_that_nobody_reads_does_not_stop_the_server(server: Server) -> None:
    """Each refusal is one line, and a pipe is full after some hundred."""
    refused = _changed(task_type="nonsense")
    began = time.monotonic()
    for _ in range(_PIPE_BYTES // 200):
        assert server.ask(refused).status == 400
    assert server.ask(demo_request()).status == 200
    assert time.monotonic() - began < 300
    stderr = server.process.stderr
    assert stderr is not None
    log = os.read(stderr.fileno(), 2 * _PIPE_BYTES).decode()
    # It was full, and nothing of it was a traceback.
    assert len(log) > 0.9 * _PIPE_BYTES
    assert "Traceback" not in log
    refusals = [line for line in log.splitlines() if "'unconstrained'" in line]
    assert len(refusals) > 50
    assert all(" WARNING inference: Refused a request: " in line for line in refusals[1:-1])


def test_clients_that_hang_up_leave_the_server_free(server: Server) -> None:
    """Some are told that it is busy, health answers all the time, and a real request soon after."""
    endless = json.dumps(_changed(temperature=50.0, max_new_tokens=4000)).encode()
    connections = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(4 * _MOST_REQUESTS)]
    for connection in connections:
        connection.request(
            "POST", "/workflows/run", endless, {"Content-Type": "application/json", **_AUTHORIZED}
        )
    slowest = 0.0
    for _ in range(10):
        began = time.monotonic()
        assert server.request("GET", "/healthz").status == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.3)
    # They have been told by now, and what the others would get does not matter.
    busy = [reply for reply in map(_peek, connections) if reply.startswith(b"HTTP/1.1 503")]
    for connection in connections:
        connection.close()
    freed = wait_until_answered(server, demo_request(), timeout_s=30)

    assert len(busy) >= _MOST_REQUESTS
    assert b"retry-after: 5" in busy[0]
    assert f"{_MOST_REQUESTS} requests wait already".encode() in busy[0]
    # On a quiet machine both take milliseconds.
    assert slowest < 3
    assert freed < 5


def _peek(connection: http.client.HTTPConnection) -> bytes:
    """Return what has come so far."""
    connection.sock.setblocking(False)  # noqa: FBT003 - the signature is given
    try:
        return connection.sock.recv(4000)
    except BlockingIOError:
        return b""
