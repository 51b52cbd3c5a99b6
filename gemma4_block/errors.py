"""The errors of this package, one small tree; a message says what was given, what is allowed, what to do."""


class Gemma4BlockError(Exception):
    """Anything that this package refuses or fails at."""


class ConfigurationError(Gemma4BlockError, ValueError):
    """A setting, field or option that cannot work, found before any work was done."""


class CheckpointError(Gemma4BlockError):
    """Weights that are missing, incomplete, damaged or not a Gemma 4 model."""


class ModelNotFoundError(CheckpointError):
    """A known model that is nowhere on this machine, not even in part."""


class PromptError(Gemma4BlockError, ValueError):
    """One prompt that cannot be asked: its image or its text is unusable. Its neighbours are not affected."""


class EngineError(Gemma4BlockError, RuntimeError):
    """The engine failed at work it should be able to do."""


class EngineBusyError(EngineError):
    """So much waits already that more would wait in vain; the same can be asked again later."""


class OutOfMemoryError(EngineError):
    """The device has too little memory for a model, or even for one prompt."""


class EngineLoadingError(EngineError):
    """The model is still loading; the same request works later."""


class AnswerError(Gemma4BlockError):
    """The model answered, but the answer does not say what its task needs.

    Args:
        message: What is wrong with the answer.
        answer: The raw answer.
        task: The task that could not read it.

    """

    def __init__(self, message: str, *, answer: str, task: str) -> None:
        super().__init__(message)
        self.answer = answer
        self.task = task


class MismatchError(AnswerError):
    """The answer is whole, but does not match the JSON Schema that it was asked for."""
