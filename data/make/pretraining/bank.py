"""Pages full of loose words: the cheapest way to have much to read."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .canvas import load_face
from .words import CHAR_INDEX, Words


def pieces_of(encoding, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Per character of a text that was encoded behind a space: its piece, and its share of it."""
    piece, weight = np.zeros(length, int), np.zeros(length)
    for i, (a, b) in zip(encoding.ids, encoding.offsets):
        a, b = max(a - 1, 0), max(b - 1, 0)  # the leading space
        piece[a:b], weight[a:b] = i, 1 / max(1, b - a)
    return piece, weight


class WordBank:
    """Words drawn once and placed on many pages: the cheapest way to have much to read.

    Every entry is a coverage mask at page resolution with the centre and the class of each of its
    characters and the
    vocabulary pieces they belong to. A twelfth of the bank is redrawn every ``size`` placements.
    """

    def __init__(self, words: Words, fonts: list[list[str]], tokenizer, size: int = 6000):
        self.words, self.fonts, self.tokenizer, self.rng = words, fonts, tokenizer, words.rng
        self.entries = [self.draw() for _ in range(size)]
        self.placed = 0

    def draw(self) -> tuple:
        w, r = self.words, self.rng
        k = r.random()
        s = (
            w.word()
            if k < 0.45
            else w.name()
            if k < 0.65
            else w.number()
            if k < 0.78
            else w.period()
            if k < 0.85
            else w.organization()
            if k < 0.92
            else w.code()
            if k < 0.94
            else w.phrase(2, 4)
        )
        s = s.upper() if r.random() < 0.1 else s.capitalize() if r.random() < 0.3 else s
        scale = r.choice([1, 2, 2, 3])
        family = r.choice(self.fonts)
        size = r.uniform(7.5, 13) if r.random() < 0.75 else r.uniform(12, 20)
        face = load_face(r.choice(family), round(size * scale))
        width, height = int(face.getlength(s)) + 8 * scale, int(face.size * 1.45)
        image = Image.new("L", (width + -width % scale, height + -height % scale))
        dx, dy = r.uniform(1, 4) * scale, r.uniform(0, 1) * scale
        across = face.draw(image, dx, dy, s, 255)
        mask = np.asarray(image.reduce(scale) if scale > 1 else image)[:, :340]
        ys = np.full(len(s), (dy + face.middle) / scale)
        chars = np.array([CHAR_INDEX.get(c, 0) for c in s.lower()])
        encoding = self.tokenizer.backend_tokenizer.encode(" " + s, add_special_tokens=False)
        piece, weight = pieces_of(encoding, len(s))
        keep = (chars > 0) & (across / scale < 340)
        return mask, (across / scale)[keep], ys[keep], chars[keep], piece[keep], weight[keep]

    def page(self, size: tuple[int, int], plain: bool) -> tuple[np.ndarray, tuple]:
        """One page full of words: pixels, and per character its x, y, class, piece and weight."""
        r = self.rng
        w, h = size
        canvas, found, y = np.zeros((h + 40, w + 360), np.uint8), [], r.randint(-3, 4)
        gap = r.choice([1.0, 1.0, 1.15, 1.6])
        while y < h - 8:
            x, line = r.randint(-2, 12), 0
            while x < w - 16:
                mask, cx, cy, *rest = entry = self.entries[r.randrange(len(self.entries))]
                if x + mask.shape[1] > w + 4 and x > 12:
                    if r.random() < 0.6:
                        break
                    x += 30
                    continue
                top = max(y, 0)
                part = canvas[top : top + mask.shape[0], max(x, 0) : max(x, 0) + mask.shape[1]]
                np.maximum(part, mask[: part.shape[0], : part.shape[1]], out=part)
                found.append((cx + max(x, 0), cy + top, *rest))
                x += mask.shape[1] + r.randint(-3, 12)
                line = max(line, entry[0].shape[0])
                self.placed += 1
            y += int((line or 14) * r.uniform(0.82, 1.0) * gap)
        if self.placed > len(self.entries):
            self.placed = 0
            for _ in range(len(self.entries) // 12):
                self.entries[r.randrange(len(self.entries))] = self.draw()
        cover = canvas[:h, :w, None].astype(np.float32) / 255
        dark = not plain and r.random() < 0.2
        level = r.uniform(0, 0.3) if dark else 1.0 if plain or r.random() < 0.5 else r.uniform(0.85, 1)
        tint = 0 if plain else 0.07
        bg = np.array([np.clip(level + r.uniform(-tint, tint), 0, 1) for _ in range(3)], np.float32)
        # Every band of lines has an ink of its own: headings and labels are coloured more often than prose.
        ink = np.empty((h, 1, 3), np.float32)
        top = 0
        while top < h:
            bottom = top + r.randint(14, 90)
            if dark:
                ink[top:bottom] = [r.uniform(0.7, 1) for _ in range(3)]
            elif plain or r.random() < 0.5:
                ink[top:bottom] = r.uniform(0, 0.25)
            else:
                ink[top:bottom] = [r.uniform(0, 0.72) for _ in range(3)]
            top = bottom
        pixels = bg + (ink - bg) * cover
        if not plain and r.random() < 0.3:
            pixels = pixels + np.random.default_rng(r.getrandbits(32)).normal(
                0, r.uniform(0.01, 0.04), (h, w, 1)
            )
        return (np.clip(pixels, 0, 1) * 255).astype(np.uint8), tuple(np.concatenate(c) for c in zip(*found))
