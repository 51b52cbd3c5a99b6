"""Run the converter of llama.cpp, and write how many patches to a side of an image become one token.

It leaves that out, and the server takes 3 for it, as the published models have. Runs in the environment of
the converter, with its repository on the path.
"""

from typing import Any


def main() -> None:
    """Convert what the command line says."""
    # Who collects tests imports this file where there is no llama.cpp.
    import convert_hf_to_gguf
    from conversion.gemma import Gemma4VisionAudioModel

    write = Gemma4VisionAudioModel.set_gguf_parameters

    def write_all(model: Any) -> None:  # noqa: ANN401 - the converter has no types here
        write(model)
        model.gguf_writer.add_vision_projector_scale_factor(model.hparams_vision["pooling_kernel_size"])

    Gemma4VisionAudioModel.set_gguf_parameters = write_all
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
