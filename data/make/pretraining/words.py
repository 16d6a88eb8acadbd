"""Words, made-up names, numbers and dates for generated pages, and the characters that their targets know."""

from __future__ import annotations

import random

#: Characters that the patch-level target knows; index 0 is "nothing is written here".
CHARS = " abcdefghijklmnopqrstuvwxyz0123456789.,%$€£-/&:()'+#!?"
CHAR_INDEX = {c: i for i, c in enumerate(CHARS)}


class Words:
    """Draws words, made-up names, numbers and dates from one random generator."""

    ONSETS = (
        "b br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p ph pl pr qu r s sc sh sk sl sm sp st str t "
        "th tr v w y z"
    ).split()
    VOWELS = "a a e e i i o o u ai au ea ee ia ie io oa ou ue y".split()
    CODAS = [
        "",
        "",
        "",
        "",
        "n",
        "r",
        "l",
        "s",
        "t",
        "m",
        "x",
        "nd",
        "rd",
        "st",
        "ck",
        "th",
        "ng",
        "lt",
        "rn",
        "k",
        "p",
    ]
    MONTHS = ("January February March April May June July August September October November December").split()
    SUFFIX = (
        "Group Ltd Inc Corp Institute Partners Holdings Systems Works Trust University Bank Foods Energy "
        "Labs Council "
        "Airlines Media Motors Software Clinic Foundation Society Agency Services Press Studio Museum"
    ).split()
    UNITS = (
        "% kg km m t MW GWh hours days units points EUR USD million thousand bn k people items °C litres"
    ).split()

    def __init__(self, vocabulary: list[str], rng: random.Random):
        self.vocabulary, self.rng = vocabulary, rng
        self.common = vocabulary[:150]

    def word(self) -> str:
        # Skewed to the front: frequent words come more often, rare ones still come.
        return self.vocabulary[int(len(self.vocabulary) * self.rng.random() ** 1.6)]

    def name(self, syllables: int | None = None) -> str:
        r = self.rng
        n = syllables or r.choice([2, 2, 2, 3, 3])
        return "".join(
            r.choice(self.ONSETS) + r.choice(self.VOWELS) for _ in range(n)
        ).capitalize() + r.choice(self.CODAS)

    def organization(self) -> str:
        r = self.rng
        k = r.random()
        if k < 0.62:
            return f"{self.name()} {r.choice(self.SUFFIX) if r.random() < 0.4 else self.word().capitalize()}"
        if k < 0.8:
            return f"{self.name()} {self.name()}"
        if k < 0.92:
            return self.name(3)
        return f"{self.word().capitalize()} {self.word().capitalize()} {self.name()}"

    def phrase(self, low: int = 1, high: int = 3) -> str:
        return " ".join(self.word() for _ in range(self.rng.randint(low, high)))

    def title(self, low: int = 1, high: int = 3) -> str:
        p = self.phrase(low, high)
        k = self.rng.random()
        return p.title() if k < 0.4 else p.upper() if k < 0.5 else p[0].upper() + p[1:]

    def sentence(self, low: int = 5, high: int = 12) -> str:
        r = self.rng
        words = [
            r.choice(self.common) if r.random() < 0.35 else self.word() for _ in range(r.randint(low, high))
        ]
        return (" ".join(words)).capitalize() + "."

    def year(self) -> int:
        return self.rng.randint(1985, 2035) if self.rng.random() < 0.3 else self.rng.randint(2008, 2027)

    def period(self) -> str:
        r, y = self.rng, self.year()
        k = r.random()
        if k < 0.5:
            return str(y)
        if k < 0.64:
            return f"{r.choice(self.MONTHS)} {y}"
        if k < 0.76:
            return f"Q{r.randint(1, 4)} {y}"
        if k < 0.82:
            return f"{y}/{(y + 1) % 100:02d}"
        if k < 0.9:
            return f"{r.randint(1, 28)} {r.choice(self.MONTHS)} {y}"
        if k < 0.95:
            part = r.choice(["quarter", "half", "term"])
            return f"{r.choice(['first', 'second', 'third', 'fourth'])} {part} {y}"
        before = ["FY", f"week {r.randint(1, 52)},", "edition", "version", "spring", "winter"]
        return f"{r.choice(before)} {y}"

    def number(self) -> str:
        r = self.rng
        k = r.random()
        if k < 0.3:
            return str(r.randint(2, 999))
        if k < 0.5:
            return f"{r.uniform(0, 100):.1f}" + r.choice(["", "%", "%", " " + r.choice(self.UNITS)])
        if k < 0.65:
            return f"{r.choice('$€£')}{r.randint(1, 999)}" + r.choice(
                ["", "k", "m", f",{r.randint(0, 999):03d}", ".50"]
            )
        if k < 0.8:
            return f"{r.randint(1, 99)},{r.randint(0, 999):03d}"
        return f"{r.randint(1, 400)} {r.choice(self.UNITS)}"

    def code(self) -> str:
        r = self.rng
        letters = "".join(r.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(r.randint(1, 3)))
        return f"{letters}{r.choice(['-', '', '/', ' '])}{r.randint(1, 99999)}"
