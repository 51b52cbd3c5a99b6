"""Whatever is given for an image becomes RGB or is refused; a seed that failed stays as an `example`."""

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from gemma4_block.errors import PromptError
from gemma4_block.images import ColorOrder, to_rgb

SIDES = st.integers(0, 5) | st.sampled_from([1, 3, 4])
SHAPES = st.lists(SIDES, max_size=5).map(tuple) | st.tuples(SIDES, SIDES, st.sampled_from([1, 3, 4]))
DTYPES = (
    arrays_of.scalar_dtypes()
    | arrays_of.array_dtypes()
    | st.sampled_from([np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32), np.dtype(object)])
)
TORCH_DTYPES = [
    *(torch.uint8, torch.uint16, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn),
    *(torch.complex64, torch.complex128),
]


@st.composite
def arrays(draw: st.DrawFn) -> npt.NDArray[np.generic]:
    """Draw an array of any kind, shape, values, strides and byte order."""
    dtype, shape = draw(DTYPES), draw(SHAPES)
    if dtype.hasobject:
        array: npt.NDArray[np.generic] = np.full(shape, draw(st.sampled_from([None, 1, "a"])), dtype)  # type: ignore[arg-type]
    else:
        array = draw(arrays_of.arrays(dtype, shape))
    match draw(
        st.sampled_from(["plain", "turned", "every second", "backwards", "read-only", "one value", "masked"])
    ):
        case "turned":
            array = array.T
        case "every second" if array.ndim:
            array = array[::2]
        case "backwards" if array.ndim:
            array = array[::-1]
        case "read-only":
            array.flags.writeable = False
        case "one value" if array.ndim >= 2 and array.size:
            array = np.broadcast_to(array.reshape(-1)[:1], array.shape)
        case "masked" if not array.dtype.hasobject:
            # numpy warns where a field in float16 cannot hold its own filling.
            with np.errstate(over="ignore"):
                return np.ma.masked_array(array, mask=draw(st.booleans()))
    return array


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Draw a tensor of any kind, shape, values and layout."""
    dtype, shape = draw(st.sampled_from(TORCH_DTYPES)), draw(SHAPES)
    values = draw(arrays_of.arrays(np.float64, shape, elements=st.floats(-3, 300, width=32)))
    tensor = torch.from_numpy(values).to(dtype)
    match draw(st.sampled_from(["plain", "turned", "sparse", "meta", "with gradient"])):
        case "turned" if tensor.ndim:
            return tensor.permute(*reversed(range(tensor.ndim)))
        case "sparse" if dtype == torch.float32:
            return tensor.to_sparse()
        case "meta":
            return tensor.to("meta")
        case "with gradient" if dtype.is_floating_point:
            return tensor.requires_grad_()
    return tensor


@settings(deadline=None, max_examples=300)
@given(image=arrays() | tensors(), order=st.sampled_from(["rgb", "bgr"]))
def test_any_array_becomes_rgb_or_is_refused(
    image: "npt.NDArray[np.generic] | torch.Tensor", order: ColorOrder
) -> None:
    """No other error comes out, and what comes out is a picture of the same size."""
    given_shape = tuple(image.shape)
    try:
        rgb = to_rgb(image, order)
    except PromptError:
        return
    assert type(rgb) is np.ndarray
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert rgb.flags.writeable
    height, width, channels = rgb.shape
    assert channels == 3
    assert height
    assert width
    assert (height, width) in {given_shape[:2], given_shape[-2:]}


@settings(deadline=None, max_examples=200)
@given(
    image=st.none()
    | st.integers()
    | st.text()
    | st.binary()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
    | st.just(object())
)
def test_anything_else_is_refused(image: object) -> None:
    """What is no array and no tensor is no image."""
    try:
        to_rgb(image, "rgb")  # type: ignore[arg-type]
    except PromptError as error:
        assert type(image).__name__ in str(error)  # noqa: PT017 - the error is what is tested
    else:
        raise AssertionError("it was taken for an image")
