"""What is taken for an image, and what is refused."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gemma4_block.errors import PromptError
from gemma4_block.images import to_rgb

RED_RGB = np.array([[[200, 30, 10]]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(np.array([[7]], dtype=np.uint8), [7, 7, 7], id="grey HxW"),
        pytest.param(np.array([[[7]]], dtype=np.uint8), [7, 7, 7], id="grey HxWx1"),
        pytest.param(RED_RGB, [200, 30, 10], id="rgb"),
        pytest.param(np.array([[[200, 30, 10, 255]]], dtype=np.uint8), [200, 30, 10], id="opaque"),
        pytest.param(np.array([[[200, 30, 10, 0]]], dtype=np.uint8), [255, 255, 255], id="transparent"),
        pytest.param(np.array([[[56320, 5120, 65535]]], dtype=np.uint16), [219, 19, 255], id="uint16"),
        pytest.param(np.zeros((1, 1, 3), np.uint16), [0, 0, 0], id="black uint16"),
        pytest.param(np.array([[[0, 0, 4096]]], dtype=np.uint16), [0, 0, 15], id="dark uint16"),
        pytest.param(np.array([[[True, False, True]]]), [255, 0, 255], id="bool"),
        pytest.param(np.array([[[16.0, 0.0, 1.0]]]), [16, 0, 1], id="dark float 0-255"),
        pytest.param(np.array([[[0.5, 0.0, 1.0]]]), [128, 0, 255], id="float 0-1"),
        pytest.param(np.array([[[0.5, 0.0, 1.01]]]), [128, 0, 255], id="float 0-1 with overshoot"),
        pytest.param(np.array([[[100.4, 0.0, 255.0]]]), [100, 0, 255], id="float 0-255"),
        pytest.param(np.array([[[100, 0, 255]]], dtype=np.int64), [100, 0, 255], id="int64"),
        pytest.param(
            torch.tensor([[[200]], [[30]], [[10]]], dtype=torch.uint8), [200, 30, 10], id="tensor CHW"
        ),
        pytest.param(torch.tensor([[[7]]], dtype=torch.uint8), [7, 7, 7], id="tensor 1xHxW"),
        pytest.param(torch.ones(3, 1, 1, dtype=torch.uint8), [1, 1, 1], id="almost black tensor"),
        pytest.param(torch.full((3, 1, 1), 0.5, dtype=torch.bfloat16), [128, 128, 128], id="bfloat16 tensor"),
    ],
)
def test_every_declared_form_becomes_rgb(
    image: "npt.NDArray[np.generic] | torch.Tensor", expected: list[int]
) -> None:
    """Shapes and value ranges are read by declared rule, never guessed from one pixel."""
    rgb = to_rgb(image, "rgb")

    assert rgb.dtype == np.uint8
    assert expected == rgb[0, 0].tolist()


@pytest.mark.parametrize("alpha", [(), (255,)], ids=["3 channels", "4 channels"])
def test_bgr_is_swapped_with_and_without_alpha(alpha: tuple[int, ...]) -> None:
    """Colour order is honoured for three and for four channels."""
    image = np.array([[[10, 30, 200, *alpha]]], dtype=np.uint8)

    assert to_rgb(image, "bgr")[0, 0].tolist() == [200, 30, 10]


def test_a_picture_can_be_handed_to_torch_without_a_warning() -> None:
    """Of a read-only array a copy is made; another one may share its memory."""
    read_only = RED_RGB.copy()
    read_only.flags.writeable = False
    writable = RED_RGB.copy()

    assert torch.from_numpy(to_rgb(read_only, "rgb")).tolist() == RED_RGB.tolist()
    assert np.shares_memory(to_rgb(writable, "rgb"), writable)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        pytest.param(np.zeros((0, 5, 3), np.uint8), "no pixels", id="0xN"),
        pytest.param(np.zeros((5, 0, 3), np.uint8), "no pixels", id="Nx0"),
        pytest.param(np.zeros(5, np.uint8), r"shape \(5,\)", id="one axis"),
        pytest.param(np.zeros((3, 8, 9), np.uint8), r"shape \(3, 8, 9\)", id="numpy CHW"),
        pytest.param(np.zeros((8, 9, 2), np.uint8), r"\(8, 9, 2\)", id="two channels"),
        pytest.param(torch.zeros(8, 9, 3, dtype=torch.uint8), r"tensor must be", id="tensor HWC"),
        pytest.param(np.array([[[0.1, np.nan, 0.2]]]), "NaN", id="NaN"),
        pytest.param(np.array([[[0.1, np.inf, 0.2]]]), "infinite", id="infinite"),
        pytest.param(np.array([[[-40.0, 0.0, 200.0]]]), "-40", id="negative"),
        pytest.param(np.array([[[0, 0, 256]]], dtype=np.int32) * 2, "512", id="too large"),
        pytest.param(
            np.array([[[-1.2, 0.0, 2.6]]], dtype=np.float32), "from -1.2 to 2.6 as float32", id="normalised"
        ),
        pytest.param(
            torch.tensor([[[0.0]], [[0.4]], [[9.0]]]), "from 0 to 9 as float32", id="neither 0-1 nor 0-255"
        ),
        pytest.param(np.array([[[-1.0, 0.0, 1.0]]]), "from -1 to 1 as float64", id="float -1 to 1"),
        pytest.param(np.array([[[0, 9, 4095]]], dtype=np.uint16), "from 0 to 4095 as uint16", id="12 bits"),
        pytest.param(np.array([[[0, 9, 255]]], dtype=np.uint16), "send it as uint8", id="8 bits in uint16"),
        pytest.param(np.array([["a"]]), "numbers", id="text"),
        pytest.param(np.ma.masked_array(RED_RGB, mask=True), r"filled\(0\)", id="masked"),
        pytest.param(torch.zeros(3, 4, 4).to_sparse(), "no pixels to read", id="sparse tensor"),
        pytest.param(torch.zeros(3, 4, 4, device="meta"), "no pixels to read", id="tensor of no device"),
        pytest.param("picture.png", "str", id="path"),
        pytest.param(None, "NoneType", id="None"),
    ],
)
def test_what_cannot_be_an_image_is_refused_with_what_was_given(image: object, words: str) -> None:
    """The message names the shape, type or values."""
    with pytest.raises(PromptError, match=words):
        to_rgb(image, "rgb")  # type: ignore[arg-type]
