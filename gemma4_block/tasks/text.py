"""Wording of the tasks whose answer is plain text."""

CAPTION = "Describe the image in one short sentence."
DETAILED_CAPTION = "Describe the image in detail."
OCR = "Read the text in the image. Answer with the text only."


def short_answer(question: str) -> str:
    """Word a question so that the answer is a word or a short phrase."""
    return f"{question}\nAnswer with a word or a short phrase."
