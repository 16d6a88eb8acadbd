"""A profile for documents of the reader's own."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

from helpers.collection import Collection
from helpers.course.profiles import ROOT, run_dir
from helpers.settings import Settings


def own_data(profile: Settings, data: str | None = None, pdfs: str | None = None) -> Settings:
    """The profile for a reader's documents: `data`, a collection, or `pdfs`, a folder that one is made of.
    Its runs go to `runs/<profile>-<folder>`. With neither it is the profile as it is.

    Raises:
        ValueError: both, or no such folder. FileNotFoundError: `data` is no collection.
    """
    if data is None and pdfs is None:
        return profile
    if data is not None and pdfs is not None:
        raise ValueError("Set DATA or PDFS, not both.")
    name, given = ("DATA", data) if pdfs is None else ("PDFS", pdfs)
    places = [Path(given).expanduser().absolute(), ROOT / given]
    place = next((place for place in places if place.is_dir()), None)
    if place is None:
        what = "that is a file: give its folder" if places[0].is_file() else "there is no such folder"
        raise ValueError(f"{name} is {given!r}, and {what}. Looked for {places[0]}.")
    if data is not None:
        Collection.load(place)
    place = place.resolve()
    own = re.sub(r"[^\w.-]+", "-", place.name).strip("-.") or "own"
    if (
        pdfs is not None
        and (known := run_dir("collections") / own / "collection.json").is_file()
        and (json.loads(known.read_text(encoding="utf-8"))["source"] != str(place))
    ):
        own += f"-{zlib.crc32(bytes(place)):08x}"  # another folder of that name was here before
    # which other pages answer a query is not known there, so a reranker trains with a margin
    changes = {"reranker_margin": 0.05 if profile.reranker_margin is None else profile.reranker_margin}
    changes |= {"collection": str(place)} if data is not None else {}
    return replace(profile, name=f"{profile.name}-{own}", dataset=None, **changes)
