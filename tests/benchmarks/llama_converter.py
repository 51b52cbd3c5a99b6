"""Run the converter of llama.cpp, and write how many patches to a side of an image become one token.

It leaves that out, and the server takes 3 for it, as the published models have. Runs in the environment of
the converter, with its repository on the path.
"""

import convert_hf_to_gguf
from conversion.gemma import Gemma4VisionAudioModel

_write = Gemma4VisionAudioModel.set_gguf_parameters


def _write_all(model: Gemma4VisionAudioModel) -> None:
    _write(model)
    model.gguf_writer.add_vision_projector_scale_factor(model.hparams_vision["pooling_kernel_size"])


Gemma4VisionAudioModel.set_gguf_parameters = _write_all
convert_hf_to_gguf.main()
