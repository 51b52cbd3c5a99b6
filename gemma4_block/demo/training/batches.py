"""Turn drawn scenes into training batches: pixels, packed dialogues and the truth about every soft token.

One row holds one image and all its questions. A mask lets every question see the image and itself but no
other question, and positions restart after the image, so each is learnt exactly as it is asked later: alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as tvf
from transformers import GemmaTokenizer
from transformers.models.gemma4.image_processing_gemma4 import (
    convert_image_to_patches,
    get_aspect_ratio_preserving_size,
)

from gemma4_block.demo import dialogue, phrases
from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS, RgbImage, Scene, draw_crop, draw_number, draw_scene
from gemma4_block.demo.training.architecture import IMAGE_SEQ_LENGTH, PATCH_SIZE_PX, POOLING_KERNEL_SIZE

IGNORED = -100
KIND_COUNT = 1 + len(COLORS) * len(SHAPE_KINDS) + 10
"""Kinds of soft tokens: background, colour times shape, digits."""
_SOFT_TOKEN_PX = PATCH_SIZE_PX * POOLING_KERNEL_SIZE


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """The truth under each soft token, row by row of the grid; every array starts with the token axis.

    Attributes:
        kinds: `(N,)` int64, 0 background, then `ALL_LABELS`, then digits.
        is_center: `(N,)` float32, 1 where the middle of a shape or digit lies in the token.
        box_digits: `(N, 4, 2)` int64, at centres the hundreds and tens of y1, x1, y2, x2 (0-1000);
            `IGNORED` elsewhere.

    """

    kinds: torch.Tensor
    is_center: torch.Tensor
    box_digits: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Tensors of one training step; `input_ids` is None where only the tower learns.

    Attributes:
        pixel_values: `(B, P, 3 * patch**2)` float32, 0-1, zero-padded to the longest of the batch.
        image_position_ids: `(B, P, 2)` int64, x and y of each patch, -1 for padding.
        truth: Concatenated over the batch's soft tokens.
        input_ids: `(B, L)` int64.
        labels: `(B, L)` int64, the token to predict at each place, `IGNORED` outside answers.
        position_ids: `(B, L)` int64.
        mask: `(B, 1, L, L)` bool, True where the row's token may look.

    """

    pixel_values: torch.Tensor
    image_position_ids: torch.Tensor
    truth: Truth
    input_ids: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    mask: torch.Tensor | None = None


def draw_training_scene(rng: np.random.Generator, difficulty: float) -> Scene:
    """Draw a scene, crop or number; `difficulty` 0 means one large shape, 1 means everything."""
    choice = rng.random()
    if choice < 0.16:
        return draw_number(rng)
    if choice < 0.36:
        return draw_crop(rng)
    most = 1 + round(4 * min(1.0, difficulty))
    low = 0.15 if difficulty >= 1 else 0.15 + 0.15 * (1 - difficulty)
    count = int(rng.integers(0 if rng.random() < 0.3 else 1, most + 1))
    return draw_scene(rng, shape_count=count, diameter=(low, max(0.34, low + 0.1)))


def build_batch(
    rng: np.random.Generator, scenes: Sequence[Scene], tokenizer: GemmaTokenizer | None = None
) -> Batch:
    """Build one step's tensors.

    Args:
        rng: Source of wear, questions and system prompts.
        scenes: One row each.
        tokenizer: None leaves the text out.

    Returns:
        The tensors, one row a scene, on the CPU.

    """
    images = [_patches(rng, scene.image) for scene in scenes]
    longest = max(patches.shape[0] for patches, _ in images)
    pixel_values = torch.zeros(len(images), longest, images[0][0].shape[1])
    position_ids = torch.full((len(images), longest, 2), -1, dtype=torch.long)
    truths = []
    for row, (patches, (grid_height, grid_width)) in enumerate(images):
        pixel_values[row, : patches.shape[0]] = patches
        y, x = torch.meshgrid(torch.arange(grid_height), torch.arange(grid_width), indexing="ij")
        position_ids[row, : patches.shape[0]] = torch.stack([x, y], dim=-1).reshape(-1, 2)
        truths.append(
            _truth(scenes[row], grid_height // POOLING_KERNEL_SIZE, grid_width // POOLING_KERNEL_SIZE)
        )
    truth = Truth(
        kinds=torch.cat([one.kinds for one in truths]),
        is_center=torch.cat([one.is_center for one in truths]),
        box_digits=torch.cat([one.box_digits for one in truths]),
    )
    if tokenizer is None:
        return Batch(pixel_values=pixel_values, image_position_ids=position_ids, truth=truth)
    rows = [
        _pack(rng, scene, tokenizer, one.kinds.shape[0]) for scene, one in zip(scenes, truths, strict=True)
    ]
    return Batch(pixel_values=pixel_values, image_position_ids=position_ids, truth=truth, **_stack_rows(rows))


def _patches(rng: np.random.Generator, image: RgbImage) -> tuple[torch.Tensor, tuple[int, int]]:
    """Wear, resize and cut an image as the processor does; returns patches and their (rows, columns)."""
    if rng.random() < 0.6:
        quality = int(rng.integers(65, 96))
        _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])
    height, width = get_aspect_ratio_preserving_size(
        height=image.shape[0],
        width=image.shape[1],
        patch_size=PATCH_SIZE_PX,
        max_patches=IMAGE_SEQ_LENGTH * POOLING_KERNEL_SIZE**2,
        pooling_kernel_size=POOLING_KERNEL_SIZE,
    )
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
    tensor = tvf.resize(tensor, [height, width], interpolation=tvf.InterpolationMode.BICUBIC, antialias=True)
    scaled = tensor.float() / 255
    if rng.random() < 0.5:
        noise = rng.standard_normal(scaled.shape, dtype=np.float32) * rng.uniform(0.002, 0.02)
        scaled = (scaled + torch.from_numpy(noise)).clamp(0, 1)
    return convert_image_to_patches(scaled, PATCH_SIZE_PX), (height // PATCH_SIZE_PX, width // PATCH_SIZE_PX)


def _truth(scene: Scene, rows: int, columns: int) -> Truth:
    height, width = scene.image.shape[:2]
    kinds = np.zeros((rows, columns), dtype=np.int64)
    is_center = np.zeros((rows, columns), dtype=np.float32)
    box_digits = np.full((rows, columns, 4, 2), IGNORED, dtype=np.int64)
    things = [(1 + dialogue.ALL_LABELS.index(shape.label), shape.box_xyxy_px) for shape in scene.shapes]
    things += [(1 + len(dialogue.ALL_LABELS) + digit.value, digit.box_xyxy_px) for digit in scene.digits]
    center_y = (np.arange(rows) + 0.5) / rows * height
    center_x = (np.arange(columns) + 0.5) / columns * width
    for kind, (x1, y1, x2, y2) in things:
        inset_x, inset_y = 0.08 * (x2 - x1), 0.08 * (y2 - y1)
        inside_y = (center_y > y1 + inset_y) & (center_y < y2 - inset_y)
        inside_x = (center_x > x1 + inset_x) & (center_x < x2 - inset_x)
        row = min(rows - 1, max(0, int((y1 + y2) / 2 / height * rows)))
        column = min(columns - 1, max(0, int((x1 + x2) / 2 / width * columns)))
        kinds[np.ix_(inside_y, inside_x)] = kind
        kinds[row, column] = kind
        is_center[row, column] = 1
        box = np.array(dialogue.scale_box_1000(scene, (x1, y1, x2, y2)))
        box_digits[row, column] = np.stack([box // 100, box // 10 % 10], axis=-1)
    return Truth(
        kinds=torch.from_numpy(kinds.reshape(-1)),
        is_center=torch.from_numpy(is_center.reshape(-1)),
        box_digits=torch.from_numpy(box_digits.reshape(-1, 4, 2)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]


def _pack(rng: np.random.Generator, scene: Scene, tokenizer: GemmaTokenizer, soft_tokens: int) -> _Row:
    is_thinking = rng.random() < 0.2
    language: dialogue.Language = "english"
    system_prompt = ""
    choice = rng.random()
    if choice < 0.14:
        language = "french"
        system_prompt = phrases.FRENCH_SYSTEM_PROMPTS[int(rng.integers(len(phrases.FRENCH_SYSTEM_PROMPTS)))]
    elif choice < 0.34:
        system_prompt = phrases.PLAIN_SYSTEM_PROMPTS[int(rng.integers(len(phrases.PLAIN_SYSTEM_PROMPTS)))]
    image = f"<|image>{'<|image|>' * soft_tokens}<image|>"
    head = "<bos>"
    if system_prompt or is_thinking:
        head += f"<|turn>system\n{'<|think|>' if is_thinking else ''}"
        # A text between special tokens is tokenised on its own, as in the rendered template.
        head += f"\n{system_prompt}" if is_thinking else system_prompt
        head += "<turn|>\n"
    prefix = _encode(tokenizer, f"{head}<|turn>user\n{image}")
    ids, labels = [prefix], [np.full(len(prefix), IGNORED)]
    positions, segments = [np.arange(len(prefix))], [np.zeros(len(prefix), dtype=np.int64)]
    for number, turn in enumerate(dialogue.turns(rng, scene, language), start=1):
        question = _encode(tokenizer, f"{turn.question}<turn|>\n<|turn>model\n")
        thought = f"<|channel>thought\n{turn.thought}<channel|>" if is_thinking else ""
        answer = _encode(tokenizer, f"{thought}{turn.answer}<turn|>")
        part = np.concatenate([question, answer])
        target = np.full(len(part), IGNORED)
        # Each place predicts the next token: the last of the question predicts the answer's first.
        target[len(question) - 1 : -1] = answer
        ids.append(part)
        labels.append(target)
        positions.append(np.arange(len(prefix), len(prefix) + len(part)))
        segments.append(np.full(len(part), number))
    return _Row(
        ids=np.concatenate(ids),
        labels=np.concatenate(labels),
        positions=np.concatenate(positions),
        segments=np.concatenate(segments),
    )


def _encode(tokenizer: GemmaTokenizer, text: str) -> npt.NDArray[np.int64]:
    return np.asarray(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)


def _stack_rows(rows: Sequence[_Row]) -> dict[str, torch.Tensor]:
    longest = max(len(row.ids) for row in rows)
    shape = (len(rows), longest)
    ids, labels = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
    positions, segments = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.from_numpy(row.ids)
        labels[index, :length] = torch.from_numpy(row.labels)
        positions[index, :length] = torch.from_numpy(row.positions)
        segments[index, :length] = torch.from_numpy(row.segments)
    own = segments[:, :, None] == segments[:, None, :]
    shared = (segments[:, None, :] == 0) & (segments[:, :, None] >= 0)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    mask = ((own | shared) & causal)[:, None]
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "mask": mask}
