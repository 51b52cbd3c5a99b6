"""Checkpoint directories are loaded whole or refused by name."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from gemma4_block.contract import Answer, GenerationConfig, Prompt, RgbImage
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.gemma4.clipped_linear import ClippedLinear
from gemma4_block.engine.hardware import machine
from gemma4_block.engine.loading import LoadOptions, load_checkpoint, slow_precision
from gemma4_block.errors import CheckpointError, ConfigurationError
from tests.engine.conftest import DEMO_CHECKPOINT

OPTIONS = LoadOptions(device=torch.device("cpu"))
# Only the language model: the towers' linears are wrapped and PEFT cannot adapt them.
TARGETS = r".*language_model.*\.(q_proj|up_proj)"


def _edit_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _without_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def _cut_weights(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:10_000])


def _lose_a_tensor(directory: Path) -> None:
    path = directory / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("model.language_model.layers.0.mlp.up_proj.weight")
    save_file(tensors, path, metadata={"format": "pt"})


def _fill_with_zeros(directory: Path) -> None:
    path = directory / "model.safetensors"
    tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _edit_text_config(directory: Path, **changes: object) -> None:
    text = json.loads((directory / "config.json").read_text())["text_config"]
    _edit_config(directory, text_config=text | changes)


def _without_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    (directory / "processor_config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda d: (d / "config.json").unlink(), "config.json", id="no config"),
        pytest.param(lambda d: (d / "config.json").write_text("{"), "config.json", id="damaged config"),
        pytest.param(lambda d: _edit_config(d, model_type="llama"), "llama.*gemma4", id="another model"),
        pytest.param(_without_weights, "no weights", id="no weights"),
        pytest.param(_cut_weights, "model.safetensors cannot be used.*fetch it again", id="cut weights"),
        pytest.param(_lose_a_tensor, "up_proj", id="missing tensor"),
        pytest.param(_without_tokenizer, "processor_config.json", id="no tokenizer"),
        pytest.param(
            lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json is not there", id="no tokenizer.json"
        ),
        pytest.param(_fill_with_zeros, "are zero", id="zeros"),
        pytest.param(
            lambda d: _edit_text_config(d, use_bidirectional_attention="all"),
            "use_bidirectional_attention 'all'",
            id="no generator",
        ),
        pytest.param(
            lambda d: _edit_text_config(d, sliding_window=1), "sliding_window 1, .*2 or more", id="no window"
        ),
        pytest.param(
            lambda d: (d / "inference_config.json").write_text("[]"), "inference_config", id="preprocessing"
        ),
        pytest.param(
            lambda d: (d / "adapter_config.json").write_text("{}"), "base/", id="adapter without base"
        ),
    ],
)
def test_a_damaged_directory_is_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    """The message names the file or tensor and what to do."""
    directory = tmp_path / "checkpoint"
    shutil.copytree(DEMO_CHECKPOINT, directory)
    damage(directory)

    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(directory, OPTIONS)


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(CheckpointError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere", OPTIONS)


def _link_into_hub_cache(cache: Path, hub_id: str) -> None:
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).symlink_to(DEMO_CHECKPOINT)


_LOAD_BY_HUB_ID = """
import sys
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.errors import CheckpointError
try:
    Gemma4HF.from_pretrained(sys.argv[1], device="cpu", local_files_only=sys.argv[2] == "True")
    print("loaded")
except CheckpointError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hub_id", "local_files_only", "words", "asks_the_hub"),
    [
        ("google/gemma-4-E2B-it", True, "loaded", False),
        ("google/gemma-4-E4B-it", True, "hf download google/gemma-4-E4B-it", False),
        ("google/gemma-4-E4B-it", False, "hf download google/gemma-4-E4B-it", True),
    ],
    ids=["cached", "not cached, local", "not cached, hub"],
)
def test_a_hub_id_is_looked_up_and_fetched_only_where_allowed(
    tmp_path: Path, hub_id: str, words: str, *, local_files_only: bool, asks_the_hub: bool
) -> None:
    """`local_files_only` decides whether the hub, here a server of our own, hears of it."""
    _link_into_hub_cache(tmp_path, "google/gemma-4-E2B-it")
    heard: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
        }
        environment |= {
            "HF_HUB_CACHE": str(tmp_path),
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        }
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-W", "ignore", "-c", _LOAD_BY_HUB_ID, hub_id, str(local_files_only)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        hub.shutdown()

    assert words in done.stdout
    assert asks_the_hub == bool(heard)


_OWN_PROCESSOR = """
from transformers import Gemma4Processor


class OwnProcessor(Gemma4Processor):
    pass
"""


@pytest.mark.parametrize(("is_trusted", "expected"), [(False, "Gemma4Processor"), (True, "OwnProcessor")])
def test_a_checkpoint_s_own_code_runs_only_where_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: str, *, is_trusted: bool
) -> None:
    """`trust_remote_code` is off by default and reaches the loaders."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    directory = tmp_path / "checkpoint"
    shutil.copytree(DEMO_CHECKPOINT, directory)
    (directory / "own.py").write_text(_OWN_PROCESSOR)
    path = directory / "processor_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoProcessor": "own.OwnProcessor"}})
    )
    loaded = Gemma4HF.from_pretrained(directory, device="cpu", trust_remote_code=is_trusted)

    assert expected == type(loaded.engine.checkpoint.template._processor).__name__


def test_float16_is_refused_with_the_reason() -> None:
    """The refusal comes before the weights are read."""
    with pytest.raises(ConfigurationError, match="overflows"):
        Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu", dtype=torch.float16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cpu_runs_in_the_precision_asked_for(picture: RgbImage, dtype: torch.dtype) -> None:
    """Weights have the dtype, and an answer comes."""
    engine = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu", dtype=dtype)
    (answer,) = engine.answer([Prompt(text="Shape?", images=(picture,))], GenerationConfig(max_new_tokens=8))

    assert engine.engine.checkpoint.model.module.dtype == dtype
    assert isinstance(answer, Answer)


def _warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == slow_precision.__name__]


def _dtype_of(engine: Gemma4HF) -> torch.dtype:
    found: torch.dtype = engine.engine.checkpoint.model.module.dtype
    return found


@pytest.mark.usefixtures("with_bfloat16")
def test_a_processor_with_bfloat16_keeps_the_checkpoint_s_precision(caplog: pytest.LogCaptureFixture) -> None:
    """The demo's is bfloat16, and there is nothing to warn of."""
    assert _dtype_of(Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu")) == torch.bfloat16
    assert _warnings_of(caplog) == []


def test_a_processor_that_nobody_knows_keeps_the_checkpoint_s_precision(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before torch 2.11 there is nobody to ask."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert _dtype_of(Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu")) == torch.bfloat16
    assert _warnings_of(caplog) == []


@pytest.mark.usefixtures("without_bfloat16")
def test_a_processor_without_bfloat16_loads_in_float32(
    caplog: pytest.LogCaptureFixture, picture: RgbImage
) -> None:
    """The demo fits anywhere, so that there is nothing to warn of; an answer comes."""
    engine = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu")
    (answer,) = engine.answer([Prompt(text="Shape?", images=(picture,))], GenerationConfig(max_new_tokens=8))
    assert _dtype_of(engine) == torch.float32
    assert isinstance(answer, Answer)
    assert _warnings_of(caplog) == []


@pytest.fixture
def _little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Linux say that a container may have 16 MB."""
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "cgroup" / "memory.max").write_text("16384000\n")
    monkeypatch.setattr(machine, "_ROOT", tmp_path)


@pytest.mark.usefixtures("without_bfloat16", "_little_memory")
def test_where_float32_has_no_room_the_log_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    """One warning names the sizes and the way out, and is for `auto` only."""
    assert _dtype_of(Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu")) == torch.bfloat16
    (message,) = _warnings_of(caplog)
    assert str(DEMO_CHECKPOINT) in message
    assert "float32 takes 0.02 GB" in message
    assert "a quarter of the free memory (0.02 GB)" in message
    assert "GEMMA4_BLOCK_DTYPE=float32" in message
    for dtype in ("bfloat16", "float32"):
        Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu", dtype=dtype)
    assert len(_warnings_of(caplog)) == 1


@pytest.mark.usefixtures("without_bfloat16")
def test_the_log_says_what_four_bits_cost_without_bfloat16(caplog: pytest.LogCaptureFixture) -> None:
    """They are multiplied in float32, and slow nevertheless."""
    options = LoadOptions(device=torch.device("cpu"), quantization="nf4")
    model = load_checkpoint(DEMO_CHECKPOINT, options).model.module
    assert model.dtype == torch.float32
    assert model.config.quantization_config.bnb_4bit_compute_dtype == torch.float32
    (message,) = _warnings_of(caplog)
    assert "avx512_bf16" in message


@pytest.mark.usefixtures("with_bfloat16")
def test_four_bits_are_multiplied_in_bfloat16_where_the_processor_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That is what the fast kernels are for."""
    options = LoadOptions(device=torch.device("cpu"), quantization="nf4")
    model = load_checkpoint(DEMO_CHECKPOINT, options).model.module
    assert model.dtype == torch.bfloat16
    assert model.config.quantization_config.bnb_4bit_compute_dtype == torch.bfloat16
    assert _warnings_of(caplog) == []


def test_budgets_are_those_the_checkpoint_was_trained_for(tmp_path: Path) -> None:
    """The demo says 70; a checkpoint that says nothing has all five."""
    directory = tmp_path / "checkpoint"
    shutil.copytree(DEMO_CHECKPOINT, directory)
    _edit_config(directory, trained_image_seq_lengths=None)

    assert load_checkpoint(DEMO_CHECKPOINT, OPTIONS).budgets.trained == (70, 140, 280)
    assert load_checkpoint(directory, OPTIONS).budgets.trained == (70, 140, 280, 560, 1120)


def _save_adapter(directory: Path, *, rank: int = 4) -> None:
    base = load_checkpoint(
        DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu"), dtype="float32")
    ).model.module
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(r=rank, target_modules=TARGETS))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                # So strong that no answer survives it, however well the base was trained.
                parameter.normal_(std=8)
    adapted.save_pretrained(directory)
    shutil.copytree(DEMO_CHECKPOINT, directory / "base")


def test_an_adapter_beside_its_base_changes_the_answers(tmp_path: Path, picture: RgbImage) -> None:
    """The LoRA layout of inference_models loads and is merged."""
    _save_adapter(tmp_path)
    adapted = load_checkpoint(tmp_path, LoadOptions(device=torch.device("cpu"), dtype="float32")).model.module
    base = load_checkpoint(
        DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu"), dtype="float32")
    ).model.module
    name = "model.language_model.layers.0.mlp.up_proj.weight"

    assert type(adapted) is type(base)
    assert not torch.equal(adapted.state_dict()[name], base.state_dict()[name])
    prompt = Prompt(text="Describe the image.", images=(picture,))
    config = GenerationConfig(max_new_tokens=20)
    answers = [
        Gemma4HF.from_pretrained(directory, device="cpu").answer([prompt], config)[0]
        for directory in (tmp_path, DEMO_CHECKPOINT)
    ]
    assert answers[0] != answers[1]


def test_an_adapter_for_another_base_is_refused(tmp_path: Path) -> None:
    """Shapes that do not fit are named, not guessed around."""
    _save_adapter(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {name: tensor.repeat(1, 2) for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})

    with pytest.raises(
        CheckpointError, match=r"adapter_model\.safetensors does not fit.*is asked for.*another base"
    ):
        load_checkpoint(tmp_path, OPTIONS)


def test_four_bits_run_on_the_cpu_and_leave_the_tower_alone(picture: RgbImage) -> None:
    """NF4 reaches the language model's linears only, and answers come."""
    options = LoadOptions(device=torch.device("cpu"), dtype="bfloat16", quantization="nf4")
    loaded = load_checkpoint(DEMO_CHECKPOINT, options)
    kinds = {
        name: type(module).__name__
        for name, module in loaded.model.module.named_modules()
        if "Linear" in type(module).__name__ and not isinstance(module, ClippedLinear)
    }

    assert kinds["model.language_model.layers.0.mlp.up_proj"] == "Linear4bit"
    assert {kind for name, kind in kinds.items() if "language_model" not in name} <= {
        "Linear",
        "PackedLinear",
    }
    (answer,) = Gemma4HF(loaded).answer(
        [Prompt(text="Shape?", images=(picture,))], GenerationConfig(max_new_tokens=8)
    )
    assert isinstance(answer, Answer)


def test_the_caller_s_own_4_bit_settings_win() -> None:
    """`quantization_config` is used as given; `disable_quantization` keeps the precision."""
    from transformers import BitsAndBytesConfig

    own = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="fp4", llm_int8_skip_modules=["lm_head"])
    quantized = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu", quantization_config=own)
    plain = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu", disable_quantization=True)

    assert quantized.engine.checkpoint.model.module.config.quantization_config.bnb_4bit_quant_type == "fp4"
    assert not hasattr(plain.engine.checkpoint.model.module.config, "quantization_config")


def test_an_adapter_stays_on_top_of_4_bit_weights(tmp_path: Path) -> None:
    """Merging would round it away."""
    _save_adapter(tmp_path)
    options = LoadOptions(device=torch.device("cpu"), dtype="bfloat16", quantization="nf4")

    assert type(load_checkpoint(tmp_path, options).model.module).__name__.startswith("Peft")


@pytest.mark.gpu
def test_four_bits_are_the_default_on_a_gpu(picture: RgbImage) -> None:
    """On CUDA the language model is NF4 unless told otherwise. Not run where there is no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    engine = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cuda")
    (answer,) = engine.answer(
        [Prompt(text="What color is the shape?", images=(picture,))], GenerationConfig(max_new_tokens=8)
    )

    assert engine.engine.checkpoint.model.module.is_loaded_in_4bit
    plain = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cuda", disable_quantization=True)
    assert not getattr(plain.engine.checkpoint.model.module, "is_loaded_in_4bit", False)
    assert isinstance(answer, Answer)
