"""The same questions to the model of this process and to vLLM: the same answers, or a reason and a measure.

`make test-vllm` installs vLLM into an environment of its own and runs this; where that is missing, all is
skipped. PARITY_URL names a server that runs already, for who works on this.
"""

import os
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Timer

import pytest

import gemma4_block.demo
from gemma4_block.contract import Answer, GenerationConfig, JsonSchema, LocalModel, Prompt
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import load_local
from gemma4_block.engine.remote import RemoteEngine, connect
from gemma4_block.engine.remote.plain_text import neutralise
from gemma4_block.errors import PromptError
from gemma4_block.servers import Server
from gemma4_block.settings import Settings
from gemma4_block.tasks import TASKS, Detections
from tests.parity.cases import BoxCase, Case, find_box_cases, find_cases
from tests.parity.likeness import TOLERANCE, numbers, without_numbers
from tests.parity.vllm_server import MODEL, PYTHON, running_vllm

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
CASES = {f"{case.group}: {case.name}": case for case in find_cases()}

needs_vllm = pytest.mark.skipif(
    not PYTHON.exists() and "PARITY_URL" not in os.environ, reason="make test-vllm installs vLLM"
)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEngine]:
    """The embedded checkpoint in this process."""
    settings = Settings(device="cpu", dtype="float32")
    engine = load_local(LocalModel(directory=DEMO_CHECKPOINT, quantization="none"), settings)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where vLLM serves the embedded checkpoint."""
    if "PARITY_URL" in os.environ:
        yield os.environ["PARITY_URL"]
        return
    with running_vllm(DEMO_CHECKPOINT, tmp_path_factory.mktemp("vllm") / "log") as started:
        yield started


@pytest.fixture(scope="module")
def remote(url: str, local: LocalEngine) -> Iterator[RemoteEngine]:
    """The same model there; both move a budget that it was not trained for alike."""
    trained = local.capabilities.image_seq_lengths
    engine = connect(Server(model_id=MODEL, urls=(url,), model=MODEL, image_seq_lengths=trained))
    yield engine
    engine.close()


@dataclass(kw_only=True)
class Row:
    """A group of cases in the table of docs/servers.md."""

    cases: int = 0
    same_texts: int = 0
    largest_difference: float = 0.0


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, Row]]:
    """The measured table; it is printed at the end, for docs/servers.md."""
    rows: dict[str, Row] = defaultdict(Row)
    yield rows
    lines = [
        f"| {group} | {row.cases} | {row.same_texts} | {row.largest_difference:.0e} |"
        for group, row in rows.items()
    ]
    print("", "| asked | cases | same texts | probabilities differ by |", *lines, sep="\n")  # noqa: T201


@dataclass(kw_only=True)
class BoxRow:
    """The boxes of all pictures, and how many of them have a confidence on the server."""

    boxes: int = 0
    measured: int = 0
    largest_difference: float = 0.0


@pytest.fixture(scope="module")
def boxes() -> Iterator[BoxRow]:
    """The measured row; it is printed at the end, for docs/servers.md."""
    row = BoxRow()
    yield row
    print("", "| boxes | with confidences | that differ by |", sep="\n")  # noqa: T201
    print(f"| {row.boxes} | {row.measured} | {row.largest_difference:.0e} |")  # noqa: T201


def answer(engine: LocalEngine | RemoteEngine, case: Case) -> Answer | PromptError:
    """Return the answer to one case."""
    (found,) = engine.answer([case.prompt], case.generation)
    return found


def break_up(case: Case) -> Case:
    """Return the case with the spaces in its control tokens that a server is sent."""
    prompt = case.prompt
    system = None if prompt.system is None else neutralise(prompt.system)
    return replace(case, prompt=replace(prompt, text=neutralise(prompt.text), system=system))


def read_confidences(found: Answer, case: BoxCase) -> list[float | None]:
    """Return the confidence of each box of an answer."""
    predictions = TASKS["object-detection"].read(found, case.request).predictions
    assert isinstance(predictions, Detections)
    return [item.confidence for item in predictions.items]


@needs_vllm
@pytest.mark.parametrize("name", CASES)
def test_both_engines_answer_alike(
    local: LocalEngine, remote: RemoteEngine, table: dict[str, Row], name: str
) -> None:
    """To the letter, in every field; or as the case says."""
    case, row = CASES[name], table[CASES[name].group]
    here, there = answer(local, case), answer(remote, case)
    assert isinstance(here, Answer), here
    assert isinstance(there, Answer), there
    if case.exactness == "broken up":
        extra = there.input_tokens - here.input_tokens
        assert 1 <= extra <= 2 * str((case.prompt.text, case.prompt.system)).count("<")
        here = answer(local, break_up(case))
        assert isinstance(here, Answer), here
    row.cases += 1
    row.same_texts += there.text == here.text
    if case.exactness == "repeats":
        assert there == answer(remote, case)
        return
    assert without_numbers(there) == without_numbers(here)
    differences = [abs(one - other) for one, other in zip(numbers(here), numbers(there), strict=True)]
    row.largest_difference = max([row.largest_difference, *differences])
    assert row.largest_difference < TOLERANCE


@needs_vllm
@pytest.mark.parametrize("case", find_box_cases(), ids=lambda case: case.name)
def test_boxes_are_as_sure_there_as_here(
    local: LocalEngine, remote: RemoteEngine, boxes: BoxRow, case: BoxCase
) -> None:
    """Though the server says how likely tokens were among those that the grammar allows."""
    prompt, row = TASKS["object-detection"].ask(case.request), boxes
    (here,), (there,) = (engine.answer([prompt], case.generation) for engine in (local, remote))
    assert isinstance(here, Answer)
    if case.generation.enable_thinking and not here.thinking:
        # VLLM holds no answer to its schema where a model that may think does not; docs/servers.md says so.
        return
    assert isinstance(there, Answer)
    assert without_numbers(there) == without_numbers(here)
    expected, actual = read_confidences(here, case), read_confidences(there, case)
    row.boxes += len(expected)
    row.measured += len(actual) - actual.count(None)
    differences = [
        abs(one - other)
        for one, other in zip(expected, actual, strict=True)
        if one is not None and other is not None
    ]
    row.largest_difference = max([row.largest_difference, *differences])

    assert None not in expected
    assert not differences or max(differences) < TOLERANCE


@needs_vllm
@pytest.mark.parametrize("reason", ["deadline", "cancelled"])
def test_what_is_given_up_is_ended_on_the_server(remote: RemoteEngine, url: str, reason: str) -> None:
    """VLLM's own count of what it works on falls to nothing."""
    endless = JsonSchema(text='{"type": "string", "pattern": "^[a-z]{3000}$"}')
    prompts = [Prompt(text="Go on.", constraint=endless)] * 3
    generation, cancelled = GenerationConfig(max_new_tokens=3900), Event()
    if reason == "cancelled":
        Timer(2, cancelled.set).start()
    deadline = time.monotonic() + (2 if reason == "deadline" else 600)
    answers = remote.answer(prompts, generation, deadline=deadline, cancelled=cancelled)

    assert [answer.finish_reason for answer in answers if isinstance(answer, Answer)] == [reason] * 3
    until = time.monotonic() + 10
    while count_running(url) and time.monotonic() < until:
        time.sleep(0.1)
    assert count_running(url) == 0


def count_running(url: str) -> float:
    """Return how many requests vLLM works on, or has waiting."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics") as page:  # noqa: S310 - ours
        text = page.read().decode()
    found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", text, re.MULTILINE)
    assert found
    return sum(map(float, found))


def test_the_table_is_long_enough_and_says_each_thing_once() -> None:
    """At least 120 rows; runs without vLLM."""
    cases = find_cases()

    assert len(cases) >= 120
    assert len(CASES) == len(cases)
