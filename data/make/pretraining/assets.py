"""Words and fonts: collected once, then read by whoever draws pages."""

from __future__ import annotations

import codecs
import shutil
from pathlib import Path

from . import places

LANGUAGES = {"german": "de", "french": "fr"}  # never trained on: words for ``reading``
#: Stems that have no place on a page for readers to look at.
RUDE = codecs.decode(
    "shpx fuvg ovgpu cvff phag qvpx pbpx cbea frk fyhg juber anmv avtt snt encr nff ahqr gvgf obbo "
    "cravf intvan onfgneq",
    "rot13",
).split()
#: Debian package and folder under /usr/share/fonts -> families, each with its regular and bold file.
FONT_FILES = {
    ("fonts-liberation", "truetype/liberation"): """
        liberation-sans          LiberationSans-Regular.ttf        LiberationSans-Bold.ttf
        liberation-serif         LiberationSerif-Regular.ttf       LiberationSerif-Bold.ttf
        liberation-mono          LiberationMono-Regular.ttf        LiberationMono-Bold.ttf
        liberation-narrow        LiberationSansNarrow-Regular.ttf  LiberationSansNarrow-Bold.ttf
        liberation-sans-italic   LiberationSans-Italic.ttf         LiberationSans-BoldItalic.ttf
        liberation-serif-italic  LiberationSerif-Italic.ttf        LiberationSerif-BoldItalic.ttf
    """,
    ("fonts-urw-base35", "opentype/urw-base35"): """
        nimbus-sans   NimbusSans-Regular.otf    NimbusSans-Bold.otf
        nimbus-roman  NimbusRoman-Regular.otf   NimbusRoman-Bold.otf
        nimbus-mono   NimbusMonoPS-Regular.otf  NimbusMonoPS-Bold.otf
        schoolbook    C059-Roman.otf            C059-Bold.otf
        palladio      P052-Roman.otf            P052-Bold.otf
        gothic        URWGothic-Book.otf        URWGothic-Demi.otf
        bookman       URWBookman-Light.otf      URWBookman-Demi.otf
    """,
    ("fonts-dejavu-core", "truetype/dejavu"): """
        dejavu-sans   DejaVuSans.ttf      DejaVuSans-Bold.ttf
        dejavu-serif  DejaVuSerif.ttf     DejaVuSerif-Bold.ttf
        dejavu-mono   DejaVuSansMono.ttf  DejaVuSansMono-Bold.ttf
    """,
    ("fonts-dejavu-extra", "truetype/dejavu"): """
        dejavu-condensed  DejaVuSansCondensed.ttf  DejaVuSansCondensed-Bold.ttf
    """,
    ("fonts-open-sans", "truetype/open-sans"): """
        open-sans  OpenSans-Regular.ttf  OpenSans-Bold.ttf
    """,
    ("fonts-lato", "truetype/lato"): """
        lato  Lato-Regular.ttf  Lato-Bold.ttf
    """,
    ("fonts-roboto-unhinted", "truetype/roboto/unhinted/RobotoTTF"): """
        roboto  Roboto-Regular.ttf  Roboto-Bold.ttf
    """,
    ("fonts-crosextra-carlito", "truetype/crosextra"): """
        carlito  Carlito-Regular.ttf  Carlito-Bold.ttf
    """,
    ("fonts-crosextra-caladea", "truetype/crosextra"): """
        caladea  Caladea-Regular.ttf  Caladea-Bold.ttf
    """,
    ("fonts-cantarell", "opentype/cantarell"): """
        cantarell  Cantarell-Regular.otf  Cantarell-Bold.otf
    """,
    ("fonts-ebgaramond", "opentype/ebgaramond"): """
        garamond  EBGaramond12-Regular.otf  EBGaramond12-Bold.otf
    """,
    ("fonts-linuxlibertine", "opentype/linux-libertine"): """
        libertine  LinLibertine_R.otf  LinLibertine_RB.otf
        biolinum   LinBiolinum_R.otf   LinBiolinum_RB.otf
    """,
    ("fonts-freefont-ttf", "truetype/freefont"): """
        freesans   FreeSans.ttf   FreeSansBold.ttf
        freeserif  FreeSerif.ttf  FreeSerifBold.ttf
    """,
    ("fonts-noto-core", "truetype/noto"): """
        noto-sans   NotoSans-Regular.ttf   NotoSans-Bold.ttf
        noto-serif  NotoSerif-Regular.ttf  NotoSerif-Bold.ttf
    """,
}
#: family -> (regular file, bold file or None, Debian package).
FONTS: dict[str, tuple[str, str | None, str]] = {
    family: (f"/usr/share/fonts/{folder}/{regular}", f"/usr/share/fonts/{folder}/{bold}", package)
    for (package, folder), families in FONT_FILES.items()
    for family, regular, bold in map(str.split, families.strip().splitlines())
}


def gather(words: int = 9000) -> None:
    """Collects words and fonts in ``runs/pretraining/assets``, small enough to travel."""
    missing = sorted(
        {
            package
            for regular, bold, package in FONTS.values()
            for f in (regular, bold)
            if f and not Path(f).is_file()
        }
    )
    if missing:
        raise SystemExit(f"fonts are missing: apt-get install {' '.join(missing)}")
    try:
        from wordfreq import top_n_list
    except ImportError:
        raise SystemExit(
            "the word list is missing: pip install 'wordfreq>=3.1,<4' (57 MB, and only needed here)"
        ) from None
    (places.ASSETS / "fonts").mkdir(parents=True, exist_ok=True)
    for name, (regular, bold, _) in FONTS.items():
        shutil.copyfile(regular, places.ASSETS / "fonts" / f"{name}__a{Path(regular).suffix}")
        if bold:
            shutil.copyfile(bold, places.ASSETS / "fonts" / f"{name}__b{Path(bold).suffix}")
    chosen = [
        w
        for w in top_n_list("en", words * 2)
        if w.isascii()
        and w.isalpha()
        and (len(w) > 2 or w in ("of", "in", "to", "at", "by", "on"))
        and not any(stem in w for stem in RUDE)
    ]
    (places.ASSETS / "words.txt").write_text("\n".join(chosen[:words]), encoding="utf-8")
    for language, code in LANGUAGES.items():
        foreign = [w for w in top_n_list(code, words) if w.isalpha() and len(w) > 2]
        (places.ASSETS / f"words_{language}.txt").write_text("\n".join(foreign), encoding="utf-8")
    where = places.ASSETS.relative_to(places.ROOT)
    print(f"{len(chosen[:words])} words, {len(FONTS)} font families in {where}")


def read_assets(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Words and font families of a folder that ``small_checkpoint.py gather`` filled.

    Returns the words, most frequent first, and per family its regular and (where there is one) bold file.
    Raises FileNotFoundError naming what is missing and the command that makes it.
    """
    words = folder / "words.txt"
    fonts = sorted((folder / "fonts").glob("*.?tf"))
    if not words.is_file() or not fonts:
        raise FileNotFoundError(
            f"{folder} holds no words.txt and fonts/: run `python data/make/small_checkpoint.py gather` first"
        )
    families: dict[str, list[str]] = {}
    for f in fonts:
        families.setdefault(f.stem.split("__")[0], []).append(str(f))
    return words.read_text(encoding="utf-8").split("\n"), [
        sorted(v, key=lambda f: "__b" in f) for v in families.values()
    ]


def check_fonts() -> None:
    """Stops if words or a font family of ``FONTS`` are not there."""
    try:
        _, fonts = read_assets(places.ASSETS)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
    there = {Path(files[0]).stem.split("__")[0] for files in fonts}
    packages = sorted({package for name, (*_, package) in FONTS.items() if name not in there})
    if packages:
        raise SystemExit(
            f"{places.ASSETS / 'fonts'} lacks font families: apt-get install {' '.join(packages)}, then run "
            f"`python data/make/small_checkpoint.py gather` again"
        )
