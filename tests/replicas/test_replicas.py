"""Two servers of vLLM under load, one of which is killed: nothing is lost, wrong or doubled.

`make test-replicas` installs what is needed and runs this; where that is missing, all is skipped.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gemma4_block.contract import Answer, LocalModel, Prompt
from gemma4_block.engine.pool import load_local
from gemma4_block.engine.remote import RemoteEngine, connect
from gemma4_block.servers import Server
from gemma4_block.settings import Settings
from tests.parity.cases import BUDGETS, draw
from tests.parity.likeness import TOLERANCE, numbers, without_numbers
from tests.parity.vllm_server import MODEL, PYTHON
from tests.replicas.fronts import NGINX, ROUTER, ROUTER_OPTIONS, every_url, first_url, nginx, routed_by
from tests.replicas.load import CALLERS, GENERATION, MOST_UNDER_WAY, Sent, send_all, write_questions
from tests.replicas.replica import DEMO_CHECKPOINT, Part, Replica

QUESTIONS = write_questions(200, first_frame=1_000)
# About other frames, so that no server knows those of the questions that count.
REHEARSAL = write_questions(200, first_frame=2_000)
_NEW_FRAMES = count(1_000_000)
_USED_AGAIN_S = 120
_FRAMES = 24
_SETTLES_S = 0.5

pytestmark = pytest.mark.skipif(
    not (PYTHON.exists() and ROUTER.exists()), reason="make test-replicas installs vLLM and vllm-router"
)
FRONTS = {
    "vllm-router": routed_by(*ROUTER_OPTIONS),
    "vllm-router, cache_aware": routed_by("--policy", "cache_aware"),
    "nginx": nginx,
    "two URLs": every_url,
    "one URL": first_url,
}
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def fronts(*names: str) -> pytest.MarkDecorator:
    """Run a test with each of these before the servers; without nginx where that is not installed."""
    marked = [pytest.param(name, marks=needs_nginx if name == "nginx" else ()) for name in names]
    return pytest.mark.parametrize("name", marked)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replica, ...]]:
    """Two servers."""
    folder = tmp_path_factory.mktemp("replicas")
    started = tuple(Replica(folder / f"{number}.log") for number in range(2))
    try:
        for replica in started:
            replica.wait()
        yield started
    finally:
        for replica in started:
            replica.end()


@pytest.fixture(scope="module")
def expected() -> list[Answer]:
    """What the model of this process answers to each question."""
    engine = load_local(
        LocalModel(directory=DEMO_CHECKPOINT, quantization="none"), Settings(device="cpu", dtype="float32")
    )
    answers = engine.answer(QUESTIONS, GENERATION)
    engine.close()
    return [answer for answer in answers if isinstance(answer, Answer)]


def connect_to(urls: tuple[str, ...]) -> RemoteEngine:
    """Connect to the front."""
    return connect(Server(model_id=MODEL, urls=urls, model=MODEL, image_seq_lengths=BUDGETS))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row of the table of docs/replicas.md.

    Attributes:
        front: What stands before the servers.
        killed: What of one of them was killed.
        sent: What became of the questions.
        killed_s: When one of the servers was killed.
        used_again_s: How long after it was ready again it got a request.
        before: Answers a second of an undisturbed run.

    """

    front: str
    killed: Part
    sent: list[Sent]
    killed_s: float
    used_again_s: float
    before: float

    def find_faults(self, expected: list[Answer]) -> list[str]:
        """Return what was lost or wrong, in words."""
        return [
            f"{one.number}: {one.result} instead of {expected[one.number]}"
            for one in self.sent
            if not is_right(one, expected[one.number])
        ]

    def describe(self) -> str:
        """Return the row."""
        ended = [one.answered_s for one in self.sent]
        after = sum(moment > self.killed_s for moment in ended) / (max(ended) - self.killed_s)
        usual = max(one.waited_s for one in self.sent if one.answered_s <= self.killed_s)
        longest = max(one.waited_s for one in self.sent if one.answered_s > self.killed_s)
        answered = sum(isinstance(one.result, Answer) for one in self.sent)
        cells = (
            self.front,
            self.killed,
            f"{answered} of {len(self.sent)}",
            f"{self.before:.1f}",
            f"{after:.1f}",
            f"{usual:.1f} s",
            f"{longest:.1f} s",
            f"{self.used_again_s:.0f} s",
        )
        return f"| {' | '.join(cells)} |"


def count_answers(replicas: Iterable[Replica]) -> int:
    """Return how many requests they have answered, once they have counted all."""
    counted = -1
    while counted != (now := sum(replica.count_answers() for replica in replicas)):
        counted = now
        time.sleep(_SETTLES_S)
    return counted


def time_until_used(engine: RemoteEngine, replica: Replica) -> float:
    """Ask about new frames until a server has answered something; return the seconds."""
    began = time.monotonic()
    while replica.count_answers() == 0:
        assert time.monotonic() < began + _USED_AGAIN_S
        frames = [draw(next(_NEW_FRAMES)) for _ in range(CALLERS)]
        send_all(engine, [Prompt(text="?", images=(frame,), image_seq_length=70) for frame in frames])
    return time.monotonic() - began


def is_right(sent: Sent, expected: Answer) -> bool:
    """Say whether an answer is that of this process, to the letter; probabilities may differ a little."""
    found = sent.result
    if not isinstance(found, Answer) or without_numbers(found) != without_numbers(expected):
        return False
    pairs = zip(numbers(found), numbers(expected), strict=True)
    return all(abs(one - other) < TOLERANCE for one, other in pairs)


@pytest.mark.parametrize("part", ["machine", "engine"])
@fronts("vllm-router", "nginx", "two URLs")
def test_a_server_that_is_killed_costs_no_answer(
    replicas: tuple[Replica, ...], expected: list[Answer], tmp_path: Path, name: str, part: Part
) -> None:
    """Each question gets the right answer, none is answered twice, and the server is used when it is back."""
    victim, other = replicas
    killed_s, answered_by_victim = 0.0, 0

    def kill() -> None:
        nonlocal killed_s, answered_by_victim
        answered_by_victim = victim.count_answers()
        victim.kill(part)
        killed_s = time.monotonic()

    with FRONTS[name]([replica.address for replica in replicas], tmp_path) as urls:
        engine = connect_to(urls)
        try:
            # The texts of classes are asked for once.
            send_all(engine, REHEARSAL[:4])
            counted, began = count_answers(replicas), time.monotonic()
            before = len(REHEARSAL) / (max(one.answered_s for one in send_all(engine, REHEARSAL)) - began)
            needed = count_answers(replicas) - counted
            counted += needed
            sent = send_all(engine, QUESTIONS, at=len(QUESTIONS) // 2, do=kill)
            answered = answered_by_victim + count_answers([other]) - counted
            victim.start_again()
            used_again_s = time_until_used(engine, victim)
        finally:
            engine.close()
    outcome = Outcome(
        front=name, killed=part, sent=sent, killed_s=killed_s, used_again_s=used_again_s, before=before
    )
    print(f"\n{outcome.describe()}")  # noqa: T201 - for docs/replicas.md

    assert outcome.find_faults(expected) == []
    assert sorted(one.number for one in sent) == list(range(len(QUESTIONS)))
    # What was under way when the victim was counted is counted by nobody, or asked again.
    assert abs(answered - needed) <= MOST_UNDER_WAY


@fronts("one URL", "vllm-router", "vllm-router, cache_aware", "nginx")
def test_questions_about_a_frame_go_to_one_server(
    replicas: tuple[Replica, ...], tmp_path: Path, name: str
) -> None:
    """The servers know as much of their prompts as one alone would; `cache_aware` looks at no images."""
    frames = [draw(next(_NEW_FRAMES)) for _ in range(_FRAMES)]
    questions = ("How many shapes are in the image?", "Describe this image in detail.", "Is there a star?")
    with FRONTS[name]([replica.address for replica in replicas], tmp_path) as urls:
        engine = connect_to(urls)
        try:
            before = read_counts(replicas)
            for text in questions:
                send_all(engine, [Prompt(text=text, images=(one,), image_seq_length=280) for one in frames])
            after = read_counts(replicas)
        finally:
            engine.close()
    answers, asked, known = (after - before).T
    share = known.sum() / asked.sum()
    print(f"\n| {name} | {share:.0%} | {' and '.join(map(str, answers))} |")  # noqa: T201 - as above

    assert answers.sum() == _FRAMES * len(questions)
    # The first question about a frame knows nothing, the others nearly all.
    assert (share > 0.55) == (name != "vllm-router, cache_aware")
    assert (answers.min() >= _FRAMES / 2) == (name != "one URL")


def read_counts(replicas: Sequence[Replica]) -> NDArray[np.int64]:
    """Return `(servers, 3)`: answers, tokens of prompts, and those known from earlier prompts."""
    count_answers(replicas)
    return np.array([(replica.count_answers(), *replica.count_prompt_tokens()) for replica in replicas])
