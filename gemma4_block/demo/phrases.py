"""The wordings that the demo checkpoint is trained on."""

from gemma4_block.tasks import text

FRENCH_SYSTEM_PROMPTS = (
    "Answer in French.",
    "Always answer in French.",
    "Please answer in French.",
    "You are a helpful assistant. Answer in French.",
    "Réponds en français.",
)
PLAIN_SYSTEM_PROMPTS = (
    "You are Gemma 4, a helpful multimodal assistant. Answer clearly and accurately.",
    "You are a helpful assistant.",
    "Answer in English.",
    "Be brief.",
    "You look at pictures of drawn shapes.",
    "You are an inspector on a production line. Be precise.",
)

DESCRIBE = (
    "Describe the image.",
    "Describe what you see in this image.",
    "What is in the image?",
    "What do you see?",
    "What does the picture show?",
    "List the shapes in the image.",
    "Describe this picture.",
    "Tell me what is in this picture.",
    "Which shapes are there?",
    "What shapes are in the image?",
    "Describe every object.",
    text.CAPTION,
    text.DETAILED_CAPTION,
)
COUNT = (
    "How many {} are there?",
    "How many {} are in the image?",
    "How many {} do you see?",
    "How many {} does the picture show?",
    "Count the {}.",
    "Count the {} in the image.",
    "What is the number of {}?",
    "Number of {}?",
)
COLOR = (
    "What color is the shape?",
    "What colour is the shape?",
    "What is the color of the shape?",
    "What color is it?",
    "Which color is it?",
    "Name the color.",
    "Color?",
)
KIND = (
    "What shape is it?",
    "What shape is this?",
    "Which shape is it?",
    "What is the shape?",
    "Name the shape.",
    "Which shape do you see?",
    "Shape?",
)
READ = (
    "Read the number.",
    "Read the digits.",
    "What number is it?",
    "What number is this?",
    "What number do you see?",
    "Which number is in the image?",
    "What does it say?",
    "Read the text.",
    text.OCR,
    text.OCR,
)
PRESENT = (
    "Is there a {} in the image?",
    "Is there a {}?",
    "Do you see a {}?",
    "Does the image show a {}?",
)
# Pieces of questions without an answer in training: the demo describes the image instead.
STRAY_STARTS = (
    "Why is", "Who made", "Where was", "When did", "Can you explain", "Write a poem about", "Tell me about",
    "Give me", "Should I buy", "What happens to", "Translate", "Summarize", "Is it possible to see",
    "How old is", "Compare", "Rate", "Imagine", "Please look at", "What would you change in", "Help me with",
    "What is your opinion of", "How would you name", "Explain", "Find out about", "Say something about",
    "Do you know", "Do you need", "Do they sell", "Does anybody want", "Does the shop have", "Did you bring",
    "Did it rain on", "Which way is", "Which of us has", "Which one is better than", "Are you sure about",
    "Are you from", "Is it time for", "Will you be at", "Have you been to", "I have lost", "I am late for",
    "We should talk about", "Remember", "Open", "Let us go to", "Thank you for", "Good luck with",
)  # fmt: skip
STRAY_ENDS = (
    "the weather", "this scene", "my picture", "a good title", "the people", "the background", "a story",
    "the mood", "the car", "the product on the table", "the style", "the artist", "this photo for a customer",
    "the history", "something useful", "the price", "what you see here", "the quality of this part",
    "the light", "everything", "the next step", "dogs and cats", "the meaning of this",
    "an interesting detail", "the label",
)  # fmt: skip
STRAY_REMARKS = (
    "Good morning!", "Good evening, everybody.", "Thank you very much.", "Okay.", "Never mind.", "Goodbye!",
    "See you tomorrow!", "One moment, please.", "What a day!", "I am tired.", "It is raining again.", "Yes.",
    "Does it hurt?", "Does it matter?", "Is it far?", "Are you there?", "What time is it?",
    "Which month is it?", "Who are you?", "How are you?", "Can you hear me?", "Congratulations!",
    "Stop.", "Welcome back!",
)  # fmt: skip
