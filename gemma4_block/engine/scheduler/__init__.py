"""Which sequences the model works on next: requests, sequences, admission, fairness, the thread."""

from gemma4_block.engine.scheduler.admission import Admission
from gemma4_block.engine.scheduler.loop import Worker
from gemma4_block.engine.scheduler.request import Outcome, Request
from gemma4_block.engine.scheduler.scheduler import Scheduler
from gemma4_block.engine.scheduler.sequence import Sequence, State

__all__ = ["Admission", "Outcome", "Request", "Scheduler", "Sequence", "State", "Worker"]
