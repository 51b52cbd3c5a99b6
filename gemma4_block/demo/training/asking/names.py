"""What things are called, one and several of them, in English and in French."""

from gemma4_block.demo.scenes import COLORS, SHAPE_KINDS
from gemma4_block.demo.training.drawing import EVERYDAY_KINDS

SHAPE_LABELS = tuple(f"{color} {kind}" for color in COLORS for kind in SHAPE_KINDS)
LABELS = (*SHAPE_LABELS, *EVERYDAY_KINDS)
KINDS = (*SHAPE_KINDS, *EVERYDAY_KINDS)

FOREIGN = (
    "airplane", "ambulance", "ant", "anvil", "arrow", "axe", "ball", "banana", "barrel", "basket", "bear",
    "bed", "bee", "bench", "boat", "boot", "bow", "box", "brush", "bucket", "bus", "butterfly", "button",
    "cactus", "camera", "candle", "carrot", "chicken", "coin", "computer", "cow", "crab", "crane", "crown",
    "cube", "curtain", "cylinder", "desk", "diamond", "drill", "drum", "duck", "elephant", "fence", "flag",
    "fork", "fox", "frog", "glove", "goat", "guitar", "hammer", "hat", "heart", "helmet", "hexagon", "horse",
    "jacket", "ladder", "lamp", "laptop", "lemon", "lion", "lizard", "lock", "mirror", "motorcycle", "mouse",
    "mushroom", "nail", "necklace", "onion", "oven", "owl", "painting", "pallet", "pants", "parcel",
    "pear", "pen", "pencil", "piano", "pig", "pillow", "pipe", "pizza", "potato", "rabbit", "ring", "river",
    "road", "rocket", "rose", "sandwich", "saw", "scissors", "screw", "shark", "sheep", "ship", "shirt",
    "shoe", "shovel", "skateboard", "snake", "sofa", "spider", "spoon", "suitcase", "sun", "sword", "table",
    "tent", "tie", "tiger", "tire", "tomato", "toothbrush", "towel", "train", "truck", "vase", "violin",
    "wallet", "watch", "whale", "wolf", "zebra", "hard hat", "fire extinguisher", "stop sign",
    "traffic light", "pink circle", "black square", "white star", "gray triangle", "brown circle",
)  # fmt: skip
"""Classes that no picture of the training shows; none of them is a colour too, as an orange would be."""

_FRENCH_COLOR = {
    "blue": "bleu", "green": "vert", "orange": "orange", "purple": "violet", "red": "rouge",
    "yellow": "jaune",
}  # fmt: skip
_FRENCH_FEMININE = {"bleu": "bleue", "vert": "verte", "violet": "violette"}
_FRENCH_KIND = {
    "circle": "cercle", "square": "carré", "star": "étoile", "triangle": "triangle", "apple": "pomme",
    "backpack": "sac à dos", "bicycle": "vélo", "bird": "oiseau", "book": "livre", "bottle": "bouteille",
    "car": "voiture", "cat": "chat", "chair": "chaise", "clock": "horloge", "cup": "tasse", "dog": "chien",
    "fish": "poisson", "flower": "fleur", "house": "maison", "key": "clé", "person": "personne",
    "phone": "téléphone", "tree": "arbre", "umbrella": "parapluie",
}  # fmt: skip
_FRENCH_PLURAL = {"oiseau": "oiseaux", "sac à dos": "sacs à dos"}


def plural(name: str) -> str:
    """Return the English plural of a class."""
    if name in {"fish", "sheep", "pants", "scissors"}:
        return name
    if name.endswith("leaf"):
        return f"{name[:-1]}ves"
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}{'es' if name.endswith(('s', 'x', 'sh', 'ch')) else 's'}"


def with_article(name: str) -> str:
    """Return `a red circle`, `an apple`."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def count_english(count: int, label: str) -> str:
    """Return a group of things as descriptions name it."""
    return f"{count} {label if count == 1 else plural(label)}"


def count_french(count: int, kind: str, color: str | None) -> str:
    """Return a group of things as French descriptions name it."""
    noun = _FRENCH_KIND[kind]
    if count > 1:
        noun = _FRENCH_PLURAL.get(noun, f"{noun}s")
    if color is None:
        return f"{count} {noun}"
    adjective = _FRENCH_COLOR[color]
    if kind == "star":
        adjective = _FRENCH_FEMININE.get(adjective, adjective)
    # The colour orange does not change in the plural.
    return f"{count} {noun} {adjective}{'s' if count > 1 and adjective != 'orange' else ''}"


def french_color(color: str) -> str:
    """Return the French name of a colour."""
    return _FRENCH_COLOR[color]


def french_kind(kind: str) -> str:
    """Return the French name of a kind."""
    return _FRENCH_KIND[kind]
