"""Convert the images of callers to RGB uint8 by declared rules, or refuse them."""

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from gemma4_block.contract import RgbImage
from gemma4_block.errors import ConfigurationError, PromptError

if TYPE_CHECKING:
    import torch

ColorOrder = Literal["rgb", "bgr"]

# A float picture in 0-1 may overshoot a little after a resize; one in 0-255 that stays below this is black.
_UNIT_RANGE_MAX = 1.5
# A picture in 0-255 that stays below this is all but black; normalised ones, in units of standard deviation,
# end far below it.
_DARKEST_BYTES_MAX = 16
_UINT16_PER_UINT8 = 257
# Cameras with 12 bits write them into the lower bits of 16.
_TWELVE_BITS_MAX = 4095


def to_rgb(image: "npt.NDArray[Any] | torch.Tensor", color_order: ColorOrder) -> RgbImage:
    """Return an image as `(H, W, 3)` uint8 RGB.

    Rules: grey is repeated; an alpha channel is blended over white; bool is 0 or 255; uint16 is divided by
    257; floats up to 1.5 are 0-1, larger ones 0-255; other integers must be 0-255. What would turn out black
    by them because it means something else is refused: uint16 that holds 12 bits or fewer, and floats that
    are neither 0-1 nor reach 16.

    Args:
        image: Numpy `(H, W)` or `(H, W, 1 | 3 | 4)`, or a tensor `(H, W)` or `(1 | 3 | 4, H, W)`.
        color_order: Order of the colour channels in `image`; alpha is last.

    Returns:
        An array that may share memory with the caller's.

    Raises:
        PromptError: The shape, size or values cannot be an image.
        ConfigurationError: The colour order is neither of the two.

    """
    if color_order not in get_args(ColorOrder):
        raise ConfigurationError(
            f"The colour order is {color_order!r}; it must be rgb or bgr, in small letters."
        )
    array = _as_height_width_channels(image)
    if 0 in array.shape:
        raise PromptError(f"The image has shape {array.shape}: it holds no pixels. Send at least 1 x 1.")
    array = _as_uint8(array)
    channels = array.shape[2]
    if channels == 1:
        return np.repeat(array, 3, axis=2)
    colors = array[..., :3] if color_order == "rgb" else array[..., 2::-1]
    if channels == 4:  # noqa: PLR2004 - colours and alpha
        alpha = array[..., 3:].astype(np.float32) / 255
        colors = np.rint(colors * alpha + 255 * (1 - alpha)).astype(np.uint8)
    # torch warns of arrays that are read-only, as those of Pillow's images are.
    return np.require(colors, requirements=["C_CONTIGUOUS", "WRITEABLE"])


def _as_height_width_channels(image: "npt.NDArray[Any] | torch.Tensor") -> npt.NDArray[Any]:
    if isinstance(image, np.ma.MaskedArray):
        raise PromptError("The image has a mask. Say what its hidden pixels are, as in `image.filled(0)`.")
    if isinstance(image, np.ndarray):
        # A file in memory, or a matrix, is an array with manners of its own.
        array, is_tensor = np.asarray(image), False
    elif hasattr(image, "detach"):
        array, is_tensor = _read_tensor(image), True
    else:
        raise PromptError(
            f"The image is a {type(image).__name__}; it must be a numpy array (H, W, 3) "
            "or a tensor (3, H, W)."
        )
    given = array.shape
    if array.ndim == 2:  # noqa: PLR2004 - grey
        return array[..., None]
    if is_tensor and array.ndim == 3 and given[0] in (1, 3, 4):  # noqa: PLR2004
        return np.moveaxis(array, 0, -1)
    if not is_tensor and array.ndim == 3 and given[2] in (1, 3, 4):  # noqa: PLR2004
        return array
    allowed = "(H, W) or (1 | 3 | 4, H, W)" if is_tensor else "(H, W) or (H, W, 1 | 3 | 4)"
    raise PromptError(
        f"The image has shape {given}; a {'tensor' if is_tensor else 'numpy array'} must be {allowed}."
    )


def _read_tensor(image: "torch.Tensor") -> npt.NDArray[Any]:
    tensor = image.detach()
    try:
        # Numpy has no bfloat16.
        array: npt.NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
    except (NotImplementedError, RuntimeError, TypeError) as error:
        # Torch has many kinds of tensors that hold no plain numbers: sparse, quantized, of no device.
        raise PromptError(
            f"The tensor is {tensor.dtype}, {tensor.layout}, on {tensor.device}, and has no pixels to read: "
            f"{error}. Give a dense one of real numbers."
        ) from error
    return array


def _as_uint8(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        _refuse_few_bits(array)
        return (array // _UINT16_PER_UINT8).astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise PromptError(f"The image's values are {array.dtype}; they must be numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise PromptError("The image holds NaN or infinite values; replace them before asking.")
    given = low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and high <= _UNIT_RANGE_MAX:
        low, high, array = low * 255, high * 255, array * 255.0
        high = min(high, 255.0)
    is_between = array.dtype.kind == "f" and _UNIT_RANGE_MAX < high < _DARKEST_BYTES_MAX
    if is_between or low < -_UNIT_RANGE_MAX or high > 255 + _UNIT_RANGE_MAX:
        raise PromptError(
            f"The image's values run from {given[0]:g} to {given[1]:g} as {array.dtype}; they must be 0-255, "
            "or 0-1 as floats, or uint16. Send a picture as it was before it was normalised."
        )
    rounded: npt.NDArray[np.uint8] = np.rint(np.clip(array, 0, 255)).astype(np.uint8)
    return rounded


def _refuse_few_bits(array: npt.NDArray[np.uint16]) -> None:
    high = int(array.max())
    if 0 < high <= _TWELVE_BITS_MAX:
        raise PromptError(
            f"The image's values run from {array.min()} to {high} as uint16, whose white is 65535, so it "
            "would be black. If it holds 8 bits, send it as uint8; if 12, multiply it by 16."
        )
