"""Row W11 asks all engines the same, in the forms that each of them takes."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import pytest

from tests.benchmarks.cpu_engines import CASES, CpuEngines, answers, find_converted, time_cpu_engines
from tests.benchmarks.endless import build_endless
from tests.benchmarks.floors import Floors
from tests.benchmarks.llama_process import LlamaServer
from tests.benchmarks.machine import Machine
from tests.benchmarks.openvino_contestant import Pipelines
from tests.benchmarks.reports import Turns
from tests.benchmarks.workloads import photo

MACHINE = Machine(
    cpu="any", kind="avx2", threads=1, dtype="float32", gemm_flops=1e11, gemv_bytes=1e10, read_bytes=2e10
)


class Handler(BaseHTTPRequestHandler):
    """Answers as the server of llama.cpp does, with as many tokens as were asked for."""

    def do_POST(self) -> None:
        """Keep what was sent, and answer."""
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Server)
        self.server.sent.append(sent)
        said = json.dumps({"usage": {"completion_tokens": sent["max_tokens"]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Keeps the bodies of all requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sent: list[dict[str, Any]] = []


@pytest.fixture
def server() -> Iterator[Server]:
    """A running one."""
    made = Server()
    Thread(target=made.serve_forever).start()
    yield made
    made.shutdown()
    made.server_close()


def test_nothing_is_asked_twice() -> None:
    """Neither texts nor pictures, and texts differ from their beginning on."""
    drawn = [case.draw(seed) for case in CASES for seed in range(3)]
    texts = [text.split(".")[0] for texts, images in drawn if not images for text in texts]

    assert [case.questions for case in CASES] == [1, 8, 1, 1]
    assert len(texts) == 3 * (1 + 8)
    assert len(set(texts[3:])) == 3 * 8
    assert len({image.tobytes() for _, images in drawn[6:9] for image in images}) == 3


def test_an_engine_that_cannot_answer_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """One of the others, by name; ours is what the benchmark is about."""

    def end() -> None:
        raise RuntimeError("exit code -8")

    assert answers("OpenVINO int8", lambda: None)
    assert not answers("OpenVINO fp16", end)
    assert capsys.readouterr().err == "OpenVINO fp16 is left out of W11: exit code -8\n"
    with pytest.raises(RuntimeError, match="-8"):
        answers("ours", end)


def test_llama_gets_texts_and_the_same_pixels(server: Server) -> None:
    """Every question is a request that reads its prompt anew and never ends early; pictures lose nothing."""
    llama = LlamaServer(f"http://127.0.0.1:{server.server_port}")
    image = photo(0)

    assert llama.ask(["a", "b", "c"], [], max_new_tokens=5) == [5, 5, 5]
    assert llama.ask(["what?"], [image], max_new_tokens=6) == [6]
    assert sorted(body["messages"][0]["content"][0]["text"] for body in server.sent[:3]) == ["a", "b", "c"]
    picture, text = server.sent[3]["messages"][0]["content"]
    png = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert text == {"type": "text", "text": "what?"}
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), 1)[..., ::-1], image)
    for body in server.sent:
        assert (body["temperature"], body["ignore_eos"], body["cache_prompt"]) == (0, True, False)


def test_openvino_reads_the_budget_from_its_files(tmp_path: Path) -> None:
    """Both files of a copy have it, and the weights are not copied."""
    exported, scratch = tmp_path / "exported", tmp_path / "scratch"
    exported.mkdir()
    scratch.mkdir()
    (exported / "preprocessor_config.json").write_text('{"max_soft_tokens": 280, "a": 1}')
    (exported / "processor_config.json").write_text('{"image_processor": {"max_soft_tokens": 280}}')
    (exported / "model.bin").write_bytes(b"weights")
    copy = Pipelines(exported, 1, scratch).copy(140)

    assert json.loads((copy / "preprocessor_config.json").read_text()) == {"max_soft_tokens": 140, "a": 1}
    assert json.loads((copy / "processor_config.json").read_text()) == {
        "image_processor": {"max_soft_tokens": 140}
    }
    assert (copy / "model.bin").is_symlink()
    assert (copy / "model.bin").read_bytes() == b"weights"


def test_ours_takes_part_in_every_case(tmp_path: Path) -> None:
    """A report for each case, with as many tokens as the others write."""
    directory = build_endless("e2b", tmp_path / "e2b")
    which = CpuEngines(openvino_python=None, llama=None, precisions=("none",), converted=tmp_path)
    reports = time_cpu_engines(which, Floors(directory, MACHINE), directory, Turns(most=1), threads=1)
    lines = [json.loads(report.to_line()) for report in reports]

    assert [(line["row"], line["case"], line["budget"]) for line in lines] == [
        ("W11", "text", 140),
        ("W11", "eight texts", 140),
        ("W11", "image at 140", 140),
        ("W11", "image at 280", 280),
    ]
    assert all(list(line["seconds"]) == ["ours", "ours none"] for line in lines)
    assert all(line["floor_s"] > 0 for line in lines)


def test_another_checkpoint_is_converted_anew(tmp_path: Path) -> None:
    """What a run leaves for the next is named after the config."""
    which = CpuEngines(openvino_python=None, llama=None, precisions=(), converted=tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)

    assert find_converted(which, tmp_path / "one") != find_converted(which, tmp_path / "two")
