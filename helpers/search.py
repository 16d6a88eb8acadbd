"""Pages in a vector store: Qdrant, embedded in this process or on a server, by the same calls.

A store keeps of each page a vector `dense`, if wanted the vectors `late` that MaxSim compares, and what is
known of the page. It belongs to one model: `made_by` says which, and another's vectors are refused.

A document is written as a new *generation*, which no search sees until it is whole. One write of the
collection's metadata then shows it and hides the old one: a process that is killed leaves either. Several
processes may search a server's store; one at a time writes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import NAMESPACE_URL, uuid4, uuid5

import numpy as np

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models
    from sentence_transformers import SentenceTransformer

_NUMBERS = 500_000  # of vectors in one request: 10 MB as JSON, where a server takes 32
_FIELDS = {"document_id": "keyword", "generation": "keyword", "date": "datetime", "text": "text"}


class Hit(NamedTuple):
    """A page that was found. `score` is a cosine; of `late` vectors MaxSim, a sum over the query's tokens."""

    page_id: str
    score: float
    document_id: str
    number: int
    text: str
    date: str | None


def connect(
    path: str | Path | None = None, url: str | None = None, api_key: str | None = None, timeout: int = 30
) -> QdrantClient:
    """A client of the store in the folder `path`, made where there is none, or of the server at `url`.

    A folder's store searches exactly, and one process at a time has it open. Its points are pickled: open no
    folder of a stranger, for that runs what is in it. `timeout` is in seconds, a request.

    Raises:
        ValueError: both or neither of `path` and `url`; a path that is no store. RuntimeError: another
            process has it open. ConnectionError, TimeoutError, PermissionError: the server's part.
    """
    from qdrant_client import QdrantClient

    if (path is None) == (url is None):
        raise ValueError("Name either path, a folder, or url, a server such as http://localhost:6333.")
    if path is None:
        client = QdrantClient(url=url, api_key=api_key, timeout=timeout, check_compatibility=False)
        with _answers(url):
            client.get_collections()
        return client
    folder = Path(path)
    if folder.exists() and not (folder / "meta.json").is_file() and (folder.is_file() or [*folder.iterdir()]):
        raise ValueError(f"{folder} is no store: name the folder of one, or one that is new or empty.")
    try:
        return QdrantClient(path=str(folder))
    except RuntimeError as error:
        raise RuntimeError(
            f"{folder} is open in another process or kernel. Close it there with client.close(), or give the "
            "pages to a server, which many can search: connect(url=...)."
        ) from error
    except Exception as error:  # SQLite's, pickle's, JSON's, pydantic's
        raise ValueError(f"{folder} is no store, or a damaged one: build it anew in a new folder.") from error


@contextmanager
def _answers(where: str | None) -> Iterator[None]:
    """What a server's failures mean, in a sentence."""
    from httpx import TimeoutException
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except ResponseHandlingException as error:
        if isinstance(error.source, TimeoutException):
            raise TimeoutError(f"{where} did not answer in time: connect(url, timeout=120) waits.") from error
        raise ConnectionError(
            f"Nothing answers at {where}. To start one: docker run -p 6333:6333 qdrant/qdrant"
        ) from error
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            raise PermissionError(f"{where} refuses the key: give it as api_key to connect().") from error
        raise


def made_by(model: SentenceTransformer, max_pixels: int, dimensions: int | None = None) -> dict[str, Any]:
    """What a store's vectors hang on: weights, prompts, pixels of a page, and the first `dimensions` of an
    embedding, or all. Weights are hashed as bfloat16: a model loaded in 16 bits searches what it made in 32.

    Raises:
        ValueError: `dimensions` that the model does not have.
    """
    import torch
    import xxhash

    whole = model.get_embedding_dimension()
    if dimensions is not None and not 1 <= dimensions <= whole:
        raise ValueError(f"dimensions is {dimensions}: an embedding of this model has 1 to {whole}.")
    digest = xxhash.xxh3_64()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        rounded = weight.detach().to("cpu", torch.bfloat16).contiguous()
        digest.update(rounded.view(torch.int16).numpy().tobytes())
    prompts = {task: model.prompts.get(task) for task in ("query", "document")}
    return {"weights": digest.hexdigest(), "prompts": prompts, "max_pixels": max_pixels,
            "dimensions": dimensions or whole}  # fmt: skip


class PageStore:
    """A collection of pages. `sizes` has the dimensions of its vectors: `dense`, and maybe `late`."""

    def __init__(self, client: QdrantClient, made_by: Mapping[str, Any], name: str = "pages") -> None:
        """Open a store that `build` has made.

        Raises:
            FileNotFoundError: there is none of this name. ValueError: another model made it.
        """
        self.client, self.name = client, name
        if not self._ask(client.collection_exists):
            raise FileNotFoundError(f"There is no collection {name!r} here: PageStore.build makes it.")
        kept = self._ask(client.get_collection).config
        other = (kept.metadata or {}).get("made_by") or {}
        if unlike := [f"{key} {other.get(key)!r}, not {value!r}" for key, value in made_by.items()
                      if other.get(key) != value]:  # fmt: skip
            raise ValueError(
                f"Another model made the store {name!r}: {'; '.join(unlike)}. Search it with that model, or "
                "build one under another name."
            )
        self.sizes = {vector: params.size for vector, params in kept.params.vectors.items()}
        self._rescored = kept.quantization_config is not None
        if local := getattr(client._client, "collections", {}).get(name):
            # It commits each row. Not to wait for the disk is many times as fast: a killed process loses
            # nothing, a power cut may cost the folder.
            local.storage.storage.execute("PRAGMA synchronous = OFF")

    @classmethod
    def build(
        cls, client: QdrantClient, made_by: Mapping[str, Any], late: int | None = None, name: str = "pages",
        **server: Any,
    ) -> PageStore:  # fmt: skip
        """Make a store without pages, and open it.

        Args:
            made_by: as the function returns it; its `dimensions` are those of `dense`.
            late: dimensions of each of a page's vectors for MaxSim; None: the store has none.
            server: what a server's `create_collection` takes besides, such as `quantization_config`,
                `shard_number` and `replication_factor`. A folder's store makes nothing of it.

        Raises:
            ValueError: there is a collection of this name.
        """
        from qdrant_client import models

        vectors = {"dense": models.VectorParams(size=made_by["dimensions"], distance=models.Distance.COSINE)}
        if late is not None:  # no graph of single tokens, for MaxSim orders what `dense` finds
            several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
            vectors["late"] = models.VectorParams(
                size=late, distance=models.Distance.COSINE, multivector_config=several,
                hnsw_config=models.HnswConfigDiff(m=0))  # fmt: skip
        with _answers(name):
            if client.collection_exists(name):
                raise ValueError(
                    f"There is a collection {name!r} already: PageStore(client, made_by) opens it."
                )
            told = {"made_by": dict(made_by), "hidden": []}
            client.create_collection(name, vectors_config=vectors, metadata=told, **server)
        store = cls(client, made_by, name)
        store.index_fields()
        return store

    def index_fields(self) -> None:
        """Let a server find documents, dates and words without reading all pages."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Payload indexes have no effect")  # in a folder's store
            for field, kind in _FIELDS.items():
                self._ask(self.client.create_payload_index, field_name=field, field_schema=kind)

    def __len__(self) -> int:
        """The number of pages that a search sees."""
        return self._ask(self.client.count, count_filter=self._filter(), exact=True).count

    def documents(self) -> dict[str, int]:
        """The documents that a search sees -> the number of their pages."""
        counted = self._ask(
            self.client.facet, key="document_id", facet_filter=self._filter(), limit=10_000_000, exact=True
        )
        return {hit.value: hit.count for hit in counted.hits}

    def add(self, pages: Sequence[Mapping], dense, late=None, progress: bool = False) -> None:
        """Add documents. Cut off, it leaves whole ones, and `documents` says which.

        Args:
            pages: each with `page_id`, `document_id`, `number`; if known `text`, and `date` as "2024-05-31".
            dense: (pages, dimensions). late: of each page (vectors, dimensions).
            progress: draw a bar.

        Raises:
            ValueError: a page id twice; a document that the store has; vectors of another number or size,
                with NaN, or of length 0.
        """
        from tqdm.auto import tqdm

        rows = self._rows(pages, dense, late)
        if had := set(rows) & set(self.documents()):
            raise ValueError(f"The store has the document {min(had)!r} already: replace() writes it anew.")
        self._forget(self._hidden())  # what a write that was cut off has left
        for document in tqdm(rows, unit="document", disable=not progress):
            self._write(rows[document])

    def replace(self, pages: Sequence[Mapping], dense, late=None) -> None:
        """Write one document's pages instead of those that the store has of it, if any; else as `add`."""
        rows = self._rows(pages, dense, late)
        if len(rows) != 1:
            raise ValueError(f"replace() takes the pages of one document, not of {len(rows)}.")
        self._forget(self._hidden())
        ((document, of_one),) = rows.items()
        self._write(of_one, self._generation(document))

    def delete(self, document_id: str) -> None:
        """Take a document out.

        Raises:
            KeyError: the store does not have it.
        """
        self._forget(self._hidden())
        if not (old := self._generation(document_id)):
            raise KeyError(f"The store has no document {document_id!r}.")
        self._write([], old)

    def search(
        self, dense: np.ndarray | None = None, late: np.ndarray | None = None, top_k: int = 10,
        candidates: int = 100, **only: Any,
    ) -> list[Hit]:  # fmt: skip
        """The best pages for a query, best first: fewer than `top_k` where the store or the filter has fewer.

        Args:
            dense: (dimensions,) late: (tokens, dimensions). With both, MaxSim orders the best `candidates`
                by `dense`; `late` alone scores every page.
            only: `document`, an id or several; `since` and `until`, dates that are both included (a page
                without a date is left out); `contains`, words that the page's text has, all of them.

        Raises:
            ValueError: neither vector, or one as in `add`; `top_k` or `candidates` below 1.
        """
        from qdrant_client import models

        if min(top_k, candidates) < 1:
            raise ValueError(f"top_k is {top_k} and candidates {candidates}: ask for one page at least.")
        given = {name: vector for name, vector in (("dense", dense), ("late", late)) if vector is not None}
        vectors = {name: self._checked(name, [vector])[0].tolist() for name, vector in given.items()}
        if not vectors:
            raise ValueError("search() needs a query's vectors: dense, late, or both.")
        using, chosen, ahead, params = list(vectors)[-1], self._filter(**only), None, None
        if self._rescored:
            bits = models.QuantizationSearchParams(rescore=True, oversampling=4)
            params = models.SearchParams(quantization=bits)
        if len(vectors) == 2:
            ahead = models.Prefetch(
                query=vectors["dense"], using="dense", limit=max(candidates, top_k), filter=chosen,
                params=params)  # fmt: skip
        found = self._ask(
            self.client.query_points, query=vectors[using], using=using, prefetch=ahead, query_filter=chosen,
            limit=top_k, search_params=params)  # fmt: skip
        told = [(point.score, point.payload) for point in found.points]
        return [Hit(of["page_id"], score, of["document_id"], of["number"], of["text"], of["date"])
                for score, of in told]  # fmt: skip

    def _ask(self, call, **arguments):
        """The answer of one of the client's calls about this collection."""
        with _answers(f"the server of {self.name!r}"):
            return call(collection_name=self.name, **arguments)

    def _checked(self, name: str, vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
        if name not in self.sizes:
            raise ValueError(
                f"The store has no {name} vectors: PageStore.build({name}=...) makes place for them."
            )
        rows = [np.asarray(vector, dtype=np.float32) for vector in vectors]
        for row in rows:
            if row.ndim != 1 + (name == "late") or row.shape[-1] != self.sizes[name] or not row.size:
                raise ValueError(
                    f"{name} has shape {row.shape}, where the store has {self.sizes[name]} dimensions."
                )
            if not np.isfinite(row).all() or not np.linalg.norm(row, axis=-1).all():
                raise ValueError(
                    f"{name} has NaN, an infinite number, or a vector of length 0: encode it anew."
                )
        return rows

    def _rows(self, pages, dense, late) -> dict[str, list[tuple[Mapping, dict[str, np.ndarray]]]]:
        """Document -> its pages with their vectors, checked."""
        ids = [page["page_id"] for page in pages]
        if twice := [page for page, times in Counter(ids).items() if times > 1]:
            raise ValueError(f"The page {twice[0]!r} comes {ids.count(twice[0])} times.")
        given = {name: rows for name, rows in (("dense", dense), ("late", late)) if rows is not None}
        vectors = {name: self._checked(name, rows) for name, rows in given.items()}
        if set(vectors) != set(self.sizes) or any(len(rows) != len(ids) for rows in vectors.values()):
            had = " and ".join(f"{len(rows)} {name}" for name, rows in vectors.items())
            raise ValueError(f"{had} vectors for {len(ids)} pages: each needs {' and '.join(self.sizes)}.")
        found: dict[str, list] = {}
        for place, page in enumerate(pages):
            of_page = {name: rows[place] for name, rows in vectors.items()}
            found.setdefault(str(page["document_id"]), []).append((page, of_page))
        return found

    def _write(self, rows: Sequence[tuple[Mapping, Mapping]], old: Sequence[str] = ()) -> None:
        """Write a document, hidden until it is whole, then show it instead of the generations `old`."""
        from qdrant_client import models

        generation = uuid4().hex
        self._hide([generation])
        numbers = sum(map(np.size, rows[0][1].values())) if rows else 1
        step = max(1, min(256, _NUMBERS // numbers))
        for part in (rows[start : start + step] for start in range(0, len(rows), step)):
            points = [
                models.PointStruct(
                    id=str(uuid5(NAMESPACE_URL, f"{page['page_id']} {generation}")),
                    vector={name: vector.tolist() for name, vector in vectors.items()},
                    payload={
                        "page_id": str(page["page_id"]), "document_id": str(page["document_id"]),
                        "number": int(page["number"]), "text": str(page.get("text") or ""),
                        "date": page.get("date"), "generation": generation,
                    },
                )
                for page, vectors in part
            ]  # fmt: skip
            self._ask(self.client.upsert, points=points, wait=True)
        self._hide(old)
        self._forget(old)

    def _forget(self, generations: Iterable[str]) -> None:
        if generations:
            self._ask(self.client.delete, points_selector=_of("generation", generations), wait=True)
            self._hide(())

    def _hidden(self) -> list[str]:
        return self._ask(self.client.get_collection).config.metadata["hidden"]

    def _hide(self, generations: Iterable[str]) -> None:
        self._ask(self.client.update_collection, metadata={"hidden": list(generations)})

    def _generation(self, document: str) -> list[str]:
        """The generation of a document that a search sees, if there is one."""
        found, _ = self._ask(self.client.scroll, scroll_filter=self._filter(document=document), limit=1)
        return [point.payload["generation"] for point in found]

    def _filter(self, document=None, since=None, until=None, contains=None) -> models.Filter:
        """What a search sees, and of that what is asked for."""
        from qdrant_client import models

        wanted = []
        if document is not None:
            wanted += _of("document_id", [document] if isinstance(document, str) else document).must
        if since is not None or until is not None:
            wanted.append(models.FieldCondition(key="date", range=models.DatetimeRange(gte=since, lte=until)))
        if contains is not None:
            wanted.append(models.FieldCondition(key="text", match=models.MatchText(text=contains)))
        return models.Filter(must=wanted, must_not=_of("generation", self._hidden()).must)


def _of(field: str, values: Iterable[str]) -> models.Filter:
    from qdrant_client import models

    return models.Filter(must=[models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))])
