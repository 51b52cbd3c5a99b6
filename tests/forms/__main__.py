"""Draw the forms of the blocks anew, into docs/forms."""

from tests.forms.pictures import PICTURES, picture_of

for path, manifest in PICTURES.items():
    path.write_text(picture_of(manifest), encoding="utf-8")
    print(path)  # noqa: T201 - a command
