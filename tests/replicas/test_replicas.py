"""Two servers of vLLM under load, one of which is killed: nothing is lost, wrong or doubled.

`make test-replicas` installs what is needed and runs this; where that is missing, all is skipped.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from gemma4_block.contract import Answer, LocalModel, Prompt, RgbImage
from gemma4_block.engine.pool import load_local
from gemma4_block.engine.remote import RemoteEngine, connect
from gemma4_block.servers import Server
from gemma4_block.settings import Settings
from tests.parity.cases import BUDGETS, draw
from tests.parity.likeness import TOLERANCE, numbers, without_numbers
from tests.parity.vllm_server import MODEL, PYTHON
from tests.replicas.fronts import NGINX, ROUTER, ROUTER_OPTIONS, every_url, first_url, nginx, routed_by
from tests.replicas.load import CALLERS, GENERATION, Sent, send_all, write_questions
from tests.replicas.replica import DEMO_CHECKPOINT, Replica

QUESTIONS = write_questions(200)
_SEEDS = count(1_000_000)
_USED_AGAIN_S = 120
_FRAMES = 24

pytestmark = pytest.mark.skipif(
    not (PYTHON.exists() and ROUTER.exists()), reason="make test-replicas installs vLLM and vllm-router"
)
FRONTS = {"vllm-router": routed_by(*ROUTER_OPTIONS), "nginx": nginx, "two URLs": every_url}
GATHERING = {
    "one server": first_url,
    "vllm-router, sticky_least_loaded": routed_by(*ROUTER_OPTIONS),
    "vllm-router, cache_aware": routed_by("--policy", "cache_aware"),
    "nginx": nginx,
}
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def mark_nginx(names: Iterable[str]) -> list[ParameterSet]:
    """Skip what needs nginx where there is none."""
    return [pytest.param(name, marks=needs_nginx if name == "nginx" else ()) for name in names]


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
    """A row of the table of docs/scaling.md.

    Attributes:
        front: What stands before the servers.
        sent: What became of the questions.
        killed_s: When one of the servers was killed.
        used_again_s: How long after it was ready again it got a request.
        before: Answers a second of an undisturbed run.

    """

    front: str
    sent: list[Sent]
    killed_s: float
    used_again_s: float
    before: float

    def find_faults(self, expected: list[Answer]) -> list[str]:
        """Return what was lost, doubled or wrong, in words."""
        times = Counter(one.number for one in self.sent)
        faults = [f"{number}: answered {count} times" for number, count in times.items() if count != 1]
        faults += [f"{number}: lost" for number in range(len(QUESTIONS)) if number not in times]
        return faults + [
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
        cells = (
            f"{len(self.sent)} of {len(QUESTIONS)}",
            f"{usual:.1f} s",
            f"{longest:.1f} s",
            f"{self.before:.1f}",
            f"{after:.1f}",
            f"{self.used_again_s:.0f} s",
        )
        return f"| {self.front} | {' | '.join(cells)} |"


def count_answers(replicas: Iterable[Replica]) -> int:
    """Return how many requests they have answered."""
    return sum(replica.count_answers() for replica in replicas)


def ask_about(engine: RemoteEngine, frame: RgbImage) -> None:
    """Ask one question after the other about a frame."""
    for text in ("How many shapes are in the image?", "Describe this image in detail.", "Is there a star?"):
        engine.answer([Prompt(text=text, images=(frame,), image_seq_length=280)], GENERATION)


def time_until_used(engine: RemoteEngine, replica: Replica) -> float:
    """Ask about new frames until a server has answered something; return the seconds."""
    began = time.monotonic()
    while replica.count_answers() == 0:
        assert time.monotonic() < began + _USED_AGAIN_S
        send_all(engine, [Prompt(text="?", images=(draw(next(_SEEDS)),), image_seq_length=70)] * CALLERS)
    return time.monotonic() - began


def is_right(sent: Sent, expected: Answer) -> bool:
    """Say whether an answer is that of this process, to the letter; probabilities may differ a little."""
    found = sent.result
    if not isinstance(found, Answer) or without_numbers(found) != without_numbers(expected):
        return False
    pairs = zip(numbers(found), numbers(expected), strict=True)
    return all(abs(one - other) < TOLERANCE for one, other in pairs)


@pytest.mark.parametrize("name", mark_nginx(FRONTS))
def test_a_server_that_is_killed_costs_no_answer(
    replicas: tuple[Replica, ...], expected: list[Answer], tmp_path: Path, name: str
) -> None:
    """Each question has one answer, the right one, and the server is used again when it is back."""
    victim, other = replicas
    killed_s, answered_by_victim = 0.0, 0

    def kill() -> None:
        nonlocal killed_s, answered_by_victim
        answered_by_victim = victim.count_answers()
        victim.kill()
        killed_s = time.monotonic()

    with FRONTS[name]([replica.address for replica in replicas], tmp_path) as urls:
        engine = connect_to(urls)
        try:
            # What is remembered of classes is the same in both of the runs that are compared.
            send_all(engine, QUESTIONS[:4])
            began, counted = time.monotonic(), count_answers(replicas)
            send_all(engine, QUESTIONS)
            before = len(QUESTIONS) / (time.monotonic() - began)
            needed = count_answers(replicas) - counted
            counted_before = count_answers(replicas)
            sent = send_all(engine, QUESTIONS, at=len(QUESTIONS) // 2, do=kill)
            answered = other.count_answers() + answered_by_victim - counted_before
            victim.start_again()
            victim.wait()
            used_again_s = time_until_used(engine, victim)
        finally:
            engine.close()
    outcome = Outcome(front=name, sent=sent, killed_s=killed_s, used_again_s=used_again_s, before=before)
    print(f"\n{outcome.describe()}")  # noqa: T201 - for docs/scaling.md

    assert outcome.find_faults(expected) == []
    # What the victim answered after it was counted is missing; what is done twice would be too much.
    assert needed - len(QUESTIONS) / 10 <= answered <= needed


@pytest.mark.parametrize("name", mark_nginx(GATHERING))
def test_questions_about_a_frame_go_to_one_server(
    replicas: tuple[Replica, ...], tmp_path: Path, name: str
) -> None:
    """They know as much of their prompts as one server alone would, and both have something to do."""
    # Nobody has seen them.
    frames = [draw(next(_SEEDS)) for _ in range(_FRAMES)]
    before = [(replica.count_answers(), *replica.count_prompt_tokens()) for replica in replicas]
    with GATHERING[name]([replica.address for replica in replicas], tmp_path) as urls:
        engine = connect_to(urls)
        try:
            with ThreadPoolExecutor(CALLERS) as pool:
                list(pool.map(lambda frame: ask_about(engine, frame), frames))
        finally:
            engine.close()
    after = [(replica.count_answers(), *replica.count_prompt_tokens()) for replica in replicas]
    answers, tokens, known = zip(
        *(
            [late - early for early, late in zip(*pair, strict=True)]
            for pair in zip(before, after, strict=True)
        ),
        strict=True,
    )
    print(  # noqa: T201 - for docs/scaling.md
        f"\n| {name} | {sum(known) / sum(tokens):.0%} | {' and '.join(map(str, answers))} |"
    )
