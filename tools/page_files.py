"""Picture files handed to the library by their paths: only those that it opens as the page they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.inputs import plain_page, read_otherwise


def page_paths(files: Sequence[str | Path]) -> list[str]:
    """The paths, once it is sure that the library opens each as a picture and shows it as `plain_page` does.

    By its path the library opens a file of few formats only; the name of another is embedded as text.

    Raises:
        ValueError: a file that it would not open, or show otherwise, and how to save it; or no page.
    """
    from PIL import ExifTags, Image
    from sentence_transformers.base.modality import infer_modality

    files = [files] if isinstance(files, (str, Path)) else files
    for file in dict.fromkeys(map(str, files)):
        plain_page(file)
        with Image.open(file) as image:
            deep = ";16" in str(image.tile)  # bits of a colour; said before the picture is read
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            still = image.format in ("PNG", "JPEG", "WEBP") and getattr(image, "n_frames", 1) == 1
            misread = deep or turned or read_otherwise(image) or not still
        if misread or infer_modality(file) != "image":
            raise ValueError(
                f"By its path the library would not read {file} as the page that it shows. Save it as PNG: "
                f"plain_page({file!r}).save({str(Path(file).with_suffix('.png'))!r})."
            )
    return list(map(str, files))
