"""Say which sequences are prefilled and decoded next: requests, admission, fairness, the model's thread."""

from gemma4_block.engine.scheduler.admission import Admission
from gemma4_block.engine.scheduler.loop import Worker
from gemma4_block.engine.scheduler.request import Outcome, Request
from gemma4_block.engine.scheduler.scheduler import Scheduler
from gemma4_block.engine.scheduler.sequence import Sequence, State

__all__ = ["Admission", "Outcome", "Request", "Scheduler", "Sequence", "State", "Worker"]
