"""What the host pays for listing this plugin."""

import subprocess
import sys


def test_loading_the_blocks_imports_no_model_library() -> None:
    """A server that lists the plugin loads transformers, peft and bitsandbytes with the first model only."""
    code = (
        "import sys, gemma4_block; gemma4_block.load_blocks(); "
        "print(sorted({'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)))"
    )
    assert _run(code) == "[]"


def test_importing_the_package_imports_neither_the_host_nor_torch() -> None:
    """Whoever imports the package for one of its other rooms does not wait for the host."""
    code = (
        "import sys, gemma4_block; "
        "print(sorted({'inference', 'roboflow_workflows', 'torch', 'numpy'} & set(sys.modules)))"
    )
    assert _run(code) == "[]"


def test_listing_the_names_of_the_package_imports_nothing() -> None:
    """A shell that completes `gemma4_block.` shows Gemma4HF and does not wait for it."""
    code = (
        "import sys, gemma4_block; "
        "print('Gemma4HF' in dir(gemma4_block), 'Gemma4HF' in vars(gemma4_block), 'torch' in sys.modules)"
    )
    assert _run(code) == "True False False"


def test_the_class_is_imported_with_its_libraries_when_it_is_asked_for() -> None:
    """`from gemma4_block import Gemma4HF` is the first line of a program, and enough."""
    code = (
        "import sys; from gemma4_block import Gemma4HF; "
        "print(Gemma4HF.__name__, sorted({'inference', 'transformers'} & set(sys.modules)))"
    )
    assert _run(code) == "Gemma4HF ['transformers']"


def _run(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]
