"""Embed the pages of many documents with Ray Data, on the cores or GPUs of one machine or of a cluster.

    pip install "ray[data]>=2.51,<3"
    python tools/embed_many.py data --first 8 --out runs/vectors
    python tools/embed_many.py SHARED/reports --out SHARED/vectors --address auto --actors 16 --gpus 1

Each document gets a file, written when the last of its pages has come, whole or not at all: a run that was
cut off embeds, started again, the documents without one, or with one that is older. Only this needs Ray.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL.Image import frombytes
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.collection import Collection  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import replacing, write_json  # noqa: E402
from helpers.inputs import plain_page  # noqa: E402
from helpers.pages import page_id, render_page  # noqa: E402
from helpers.search import made_by  # noqa: E402
from tools.own_process import told  # noqa: E402

INSTALL = 'pip install "ray[data]>=2.51,<3"'
_COLUMNS = ("document_id", "number", "fault", "embedding")  # of what actors return


def read(folder: Path, document_id: str) -> tuple[list[str], np.ndarray]:
    """Page ids and embeddings, (pages, dimensions) in float32, of a document that `embed` has written."""
    with np.load(folder / f"{document_id}.npz") as arrays:
        return [page_id(document_id, number) for number in arrays["numbers"].tolist()], arrays["embeddings"]


def embed(
    documents: dict[str, tuple[Path, list[int]]], folder: Path, model: str, fingerprint: dict, loading: dict,
    actors: int = 2, gpus: float = 0, batch_size: int = 16,
) -> dict[str, str]:  # fmt: skip
    """Embed the documents that have no file in `folder`, or one that is older than they are; return what is
    wrong with those that have a page that cannot be read: they get no file, and the others go on.

    A Ray that runs already, after `ray.init(address="auto")`, is used and left running; else one is started
    here and ended. Pages are drawn by tasks on cores, or by the actors where these take a core each.

    Args:
        documents: id -> its file, the numbers of its pages (from 1).
        model: as SentenceTransformer takes it, on every machine. loading: its other arguments.
        fingerprint: of the model, by `search.made_by`; its pixels and dimensions are taken.
        actors: processes that load the model. gpus: of each; 0: each takes a core.

    Raises:
        ModuleNotFoundError: no Ray. ValueError: another's folder, too many actors. RuntimeError: one failed.
    """
    ray = _ray()
    if not (note := folder / "made_by.json").is_file():
        write_json(note, fingerprint)
    elif json.loads(note.read_text(encoding="utf-8")) != fingerprint:
        raise ValueError(f"{folder} has another model's embeddings: name a new folder, or use that model.")
    made = {file.stem: file.stat().st_mtime for file in folder.glob("*.npz")}
    left = {name: len(numbers) for name, (source, numbers) in documents.items()
            if made.get(name, 0) < (source.stat().st_mtime if source.is_file() else 1)}  # fmt: skip
    rows = [{"document_id": name, "file": str(documents[name][0]), "number": number}
            for name in left for number in documents[name][1]]  # fmt: skip
    print(f"{len(documents) - len(left)} of {len(documents)} documents are skipped: they have their file.",
          f"To embed: {len(left)}, {len(rows):,} pages.", flush=True)  # fmt: skip
    if not rows:
        return {}
    found, faults = {name: {} for name in left}, {}
    parts = min(10_000, -(-len(rows) // batch_size))
    if ours := not ray.is_initialized():
        ray.init(num_cpus=None if gpus else 1 + actors, include_dashboard=False, configure_logging=False,
                 log_to_driver=False, object_store_memory=300_000_000)  # fmt: skip  # bytes of drawn pages
    try:
        unit, wanted = "GPU" if gpus else "CPU", min(actors, parts) * (gpus or 1)
        if (there := ray.cluster_resources().get(unit, 0)) < wanted:
            raise ValueError(f"Actors ask for {wanted:g} {unit}s, and Ray has {there:g}: take fewer.")
        pages = ray.data.from_items(rows, override_num_blocks=parts)
        course = {"env_vars": {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', ROOT)}"}}
        drawn = pages.map(_draw, fn_args=(fingerprint["max_pixels"],), num_cpus=1, runtime_env=course)
        vectors = drawn.map_batches(
            _Embedder, fn_constructor_args=(model, fingerprint["dimensions"], loading),
            compute=ray.data.ActorPoolStrategy(size=min(actors, parts)), batch_size=batch_size,
            runtime_env=course, num_gpus=gpus, num_cpus=0 if gpus else 1)  # fmt: skip
        bar = tqdm(total=len(rows), unit="page")
        for batch in vectors.iter_batches(batch_size=None):  # as they come, not in order
            for name, number, fault, vector in zip(*(batch[column] for column in _COLUMNS)):
                found[name][int(number)] = vector
                faults |= {name: fault} if fault else {}
                if len(found[name]) == left[name]:
                    numbers, whole = zip(*sorted(found.pop(name).items()))
                    if name not in faults:
                        with replacing(folder / f"{name}.npz") as file, file.open("wb") as target:
                            np.savez(target, numbers=numbers, embeddings=np.stack(whole))
            bar.update(len(batch["number"]))
    except ray.exceptions.RayError as error:
        said = re.findall(r"^\S*Error: .*", str(error), re.MULTILINE)[-1:] or [type(error).__name__]
        raise RuntimeError(f"Embedding stopped, and goes on if started again. {said[0]}") from error
    finally:
        if ours:
            ray.shutdown()
    return faults


def _draw(row: dict, max_pixels: int) -> dict:
    """A page's row with its picture, RGB, or with what is wrong with it."""
    file, picture, fault = Path(row["file"]), None, ""
    try:
        is_pdf = file.suffix.lower() == ".pdf"
        picture = render_page(file, row["number"], max_pixels) if is_pdf else plain_page(file, max_pixels)
    except (OSError, ValueError, IndexError) as error:
        fault = str(error)
    width, height, pixels = (*picture.size, picture.tobytes()) if picture else (0, 0, b"")
    return row | {"width": width, "height": height, "pixels": pixels, "fault": fault}


class _Embedder:
    """An actor: one model, loaded once, for batches of rows that `_draw` returned."""

    def __init__(self, model: str, dimensions: int, loading: dict) -> None:
        from sentence_transformers import SentenceTransformer

        from tools.fast_vision import fast_vision

        self.model = SentenceTransformer(model, truncate_dim=dimensions, **loading)
        fast_vision(self.model)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        drawn = batch["fault"] == ""
        sizes = zip(batch["width"][drawn], batch["height"][drawn], batch["pixels"][drawn])
        pictures = [frombytes("RGB", (int(width), int(height)), pixels) for width, height, pixels in sizes]
        vectors = np.zeros((len(drawn), self.model.get_embedding_dimension()), dtype=np.float32)
        if pictures:
            vectors[drawn] = self.model.encode_document(
                pictures, batch_size=len(pictures), show_progress_bar=False
            )
        return {name: batch[name] for name in _COLUMNS[:3]} | {"embedding": vectors}


def _ray() -> ModuleType:
    """Ray, without its reports to its makers, its bars and its news."""
    if find_spec("ray") is None:
        raise ModuleNotFoundError(f"Ray is not installed; embedding on several machines needs it: {INSTALL}")
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal", RAY_DATA_LOG_LEVEL="ERROR")
    import ray.data

    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", help="a folder with documents.jsonl, as notebook 10 makes it, or data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the embeddings")
    parser.add_argument("--first", type=int, help="only so many documents")
    parser.add_argument("--profile", default="small", help="whose model and pixels (default: small)")
    parser.add_argument("--model", help="another one than the profile's")
    parser.add_argument("--actors", type=int, default=2, help="processes that load the model (default: 2)")
    parser.add_argument("--gpus", type=float, default=0, help="of each actor (default: 0, a core instead)")
    parser.add_argument("--address", help="of a Ray that runs, such as auto; else one is started")
    given = parser.parse_args(arguments)
    if given.actors < 1:
        parser.error("--actors must be at least 1")
    try:
        ray, profile, collection = _ray(), get_profile(given.profile), Collection.load(given.collection)
        documents = {
            one["document_id"]: (collection.file(one).resolve(), [page["number"] for page in one["pages"]])
            for one in collection.documents[: given.first]
        }
        from sentence_transformers import SentenceTransformer  # takes seconds

        model = profile.path(given.model or profile.embedding_model)
        pixels = {"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels}
        loading = {"model_kwargs": {"dtype": profile.dtype}, "processor_kwargs": pixels}
        fingerprint = made_by(SentenceTransformer(model, device="cpu", **loading), profile.max_pixels)
        if given.address:
            ray.init(given.address, log_to_driver=False)
        faults = embed(documents, given.out, model, fingerprint, loading, given.actors, given.gpus)
    except (ModuleNotFoundError, OSError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    sys.stderr.writelines(f"left out {name}: {fault}\n" for name, fault in faults.items())
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(told(main))
