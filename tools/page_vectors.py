"""The base model's embeddings of the bundled evaluation pages, so that notebook 00 searches them at once.

    python tools/page_vectors.py     encode the pages again and write data/vectors/base_pages.npz (a minute)

The file says which weights, prompt and size of page it was made with; another checkpoint's is refused.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course.data import load_collection, load_queries  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.settings import Settings  # noqa: E402

FILE = ROOT / "data" / "vectors" / "base_pages.npz"


def made_by(profile: Settings) -> str:
    """What the embeddings hang on: a digest of the checkpoint's files, and the size of a page."""
    folder = Path(profile.path(profile.embedding_model))
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".json", ".safetensors", ".jinja"):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return f"{digest.hexdigest()[:16]}, {profile.min_pixels} to {profile.max_pixels} pixels"


def load(profile: Settings, file: Path = FILE) -> tuple[list[str], np.ndarray] | None:
    """(page ids, embeddings (pages, dimensions)) of the bundled evaluation pages; None for a profile with
    other data or another model, which has none.

    Raises:
        ValueError: the file is of another checkpoint, or of other pages.
    """
    if (
        profile.dataset
        or profile.collection
        or profile.embedding_model != get_profile("small").embedding_model
    ):
        return None
    with np.load(file, allow_pickle=False) as kept:
        ids, vectors, maker = list(map(str, kept["page_ids"])), kept["vectors"], str(kept["made_by"])
    asked_for = {page for query in load_queries("eval") for page in query["page_ids"]}
    if maker != made_by(profile) or not asked_for.issubset(ids):
        raise ValueError(
            f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file} is of another checkpoint, or "
            "of other pages. Make it anew: python tools/page_vectors.py"
        )
    return ids, vectors.astype(np.float32)


def main() -> None:
    from sentence_transformers import SentenceTransformer

    from helpers.hardware import attn_implementation
    from tools.fast_vision import fast_vision

    profile = get_profile("small")
    corpus = load_collection(profile).corpus("eval")
    model = SentenceTransformer(
        profile.path(profile.embedding_model),
        model_kwargs={"dtype": profile.dtype, "attn_implementation": attn_implementation()},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device="cpu",
    )
    fast_vision(model)
    vectors = model.encode_document(corpus["image"][:], batch_size=16, show_progress_bar=True)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        FILE, page_ids=corpus["page_id"][:], vectors=vectors.astype(np.float16), made_by=made_by(profile)
    )
    print(f"{FILE.relative_to(ROOT)}: {vectors.shape[0]:,} pages, {FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
