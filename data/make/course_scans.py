"""Turns a drawn page into a scan: turned a little, blurred, noisy, grey, and without a text layer."""

from __future__ import annotations

import io
import random

from course_domain import SEED
from reportlab.lib.utils import ImageReader

ENLARGE = 1.4  # scan pixels per pixel at which the small profile sees the page
QUALITY = 38


def scan(pdf: bytes, size: tuple[int, int], name: str) -> ImageReader:
    """Scan the only page of `pdf`; `size` is (width, height) in page pixels. One `name`, one scan."""
    import numpy as np
    import pypdfium2
    from PIL import Image, ImageFilter

    rng = random.Random(f"{SEED}/scan/{name}")
    document = pypdfium2.PdfDocument(pdf)
    scale = size[0] * ENLARGE / document[0].get_width()
    image = document[0].render(scale=scale, grayscale=True).to_pil().convert("L")
    document.close()
    image = image.rotate(rng.uniform(-1, 1), Image.Resampling.BICUBIC, fillcolor=235)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.5)))
    pixels = np.asarray(image, dtype=np.float32)
    shade = np.linspace(rng.uniform(0.93, 1.0), rng.uniform(0.93, 1.0), pixels.shape[1], dtype=np.float32)
    grain = np.random.default_rng(rng.randrange(2**32)).integers(-3, 4, pixels.shape)
    noisy = 8 + 0.95 * pixels * shade[None, :] + grain
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype("uint8")).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    buffer.seek(0)
    return ImageReader(buffer)
