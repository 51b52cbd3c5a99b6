"""Tell the model what the images of a question are called."""


def name_images(question: str, count: int) -> str:
    r"""Put the names of the images before a question about them.

    The model sees the images before the text, without names; their order is all that tells them apart.

    Args:
        question: May speak of image 1, image 2 and so on.
        count: How many images there are, 1 or more.

    Returns:
        The question with the names before it.

    >>> name_images("Which car is red?", 3)
    'There are 3 images: image 1, image 2, image 3, in this order.\nWhich car is red?'
    >>> name_images("Which car is red?", 1)
    'There is 1 image: image 1.\nWhich car is red?'
    """
    names = ", ".join(f"image {number}" for number in range(1, count + 1))
    naming = (
        f"There is 1 image: {names}." if count == 1 else f"There are {count} images: {names}, in this order."
    )
    return f"{naming}\n{question}"
