"""Do the small checkpoints read? Measures it on pages that they have never seen, and writes it down.

    python data/make/small_checkpoint.py reading                        # generated pages; after `gather`
    python data/make/small_checkpoint.py reading --real ../real_pages   # and PDF files, see below

Figures go to ``reading`` in ``data/checkpoints/small-vlm/training_log.json`` and to the model cards.
Everything is loaded as a user loads it: through Sentence Transformers and ``generate``.

Every set has organisations with made-up names from a seed that no training used, three pages in four among
look-alikes that differ in one thing only: ``seen`` has the typefaces and layouts of pretraining, ``fonts``
other typefaces, ``layouts`` other layouts, ``german`` and ``french`` other words. In the twins one digit
tells two pages apart: the last of the year in the heading, or the last of a figure on the page. A folder
given with ``--real`` holds questions.jsonl beside pdfs/.
"""

from __future__ import annotations

import json
import random
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from helpers import evaluation

from . import places
from .assets import LANGUAGES, read_assets
from .batches import heading
from .canvas import FORMAT_WEIGHTS, FORMATS, Content
from .export import write_reading
from .held_out import HeldOutMaker
from .losses import ASK
from .model import INSTRUCTION, MAX_PIXELS
from .pages import WORDINGS, PageMaker, Sample, figure_query, figure_twins, group_batch, other_digit

SEED = 990_500  # training's are multiples of 1,000 plus a worker's number
BATCH = 25
BEAMS = 4  # half-said texts that are kept while the model reads: letters, once said, cannot be taken back
TWINNED = ("seen", "fonts", "layouts")  # sets with pairs of pages that differ in one digit


def unseen_fonts() -> list[list[str]]:
    """Typefaces that matplotlib brings and that pretraining does not have: four of two designs."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = [["STIXGeneral", "STIXGeneralBol"], ["cmr10", "cmb10"], ["cmss10"], ["cmtt10"]]
    return [[str(folder / f"{name}.ttf") for name in family] for family in names]


def draw(maker: PageMaker, count: int) -> tuple[list[Sample], list[str]]:
    """``count`` pages and, for each, the query that a user may type for it, in any wording."""
    samples, queries = [], []
    while len(samples) < count:
        more = group_batch(maker, min(BATCH, count - len(samples)), groups=0.75)
        samples, queries = samples + more[0], queries + more[1]
    return samples, queries


def pictures(samples: list[Sample]) -> list:
    from PIL import Image

    return [Image.fromarray(sample.pixels) for sample in samples]


def named(samples: list[Sample], seed: int = SEED) -> dict[int, str]:
    """Queries by organisation, topic and period, for the pages that show all three."""
    r = random.Random(seed)
    return {
        i: r.choice(WORDINGS["otp"]).format(o=c.organization, t=c.topic, p=c.period)
        for i, c in enumerate(sample.content for sample in samples)
        if {"organization", "period"} <= c.shown
    }


def embed(retriever, images: list) -> np.ndarray:
    """Embeddings (pages, dimensions)."""
    return retriever.encode_document(images, batch_size=BATCH, show_progress_bar=False)


def embed_texts(retriever, queries: Iterable[str]) -> np.ndarray:
    """Embeddings (queries, dimensions)."""
    return retriever.encode_query(list(queries), batch_size=BATCH, show_progress_bar=False)


def first_ten(retriever, page: np.ndarray, queries: dict[int, str]) -> tuple[dict, dict]:
    """A run, query ``i`` -> its ten best pages with their similarity, and what is right: page ``i``."""
    ids = [str(i) for i in queries]
    run = evaluation.rank(
        embed_texts(retriever, queries.values()), page, ids, list(map(str, range(len(page)))), k=10
    )
    return run, {i: {i} for i in ids}


def retrieval(retriever, page: np.ndarray, queries: dict[int, str]) -> dict[str, float]:
    """NDCG@10 and Recall@1 of finding page ``i`` of the embeddings ``page`` by ``queries[i]``."""
    run, relevant = first_ten(retriever, page, queries)
    return {
        "ndcg@10": evaluation.mean(evaluation.ndcg(run, relevant)),
        "recall@1": evaluation.mean(evaluation.recall(run, relevant, k=1)),
        "queries": len(queries),
    }


def plain(text: str) -> str:
    """As the tokenizer sees a text: one form a character, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def edits(a: str, b: str) -> int:
    """Levenshtein distance: the fewest insertions, deletions and replacements that make ``a`` into ``b``."""
    row = np.arange(len(b) + 1)
    letters = np.array(list(b))
    for i, letter in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (letters != letter))
        row = np.concatenate([[i], best])
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))  # insertions
    return int(row[-1])


def read_aloud(vlm, processor, images: list, request: str = "") -> list[str]:
    """What the model says of each page, its heading or what else it is asked for: beam search."""
    import torch

    said, asked = [], [{"type": "text", "text": request}] if request else []
    system = {"role": "system", "content": INSTRUCTION}
    for start in range(0, len(images), BATCH):
        messages = [
            [
                *([] if request else [system]),
                {"role": "user", "content": [{"type": "image", "image": image}, *asked]},
            ]
            for image in images[start : start + BATCH]
        ]
        inputs = processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        with torch.no_grad():
            out = vlm.generate(**inputs, max_new_tokens=60, num_beams=BEAMS, do_sample=False)
        texts = processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        said += [text.strip() for text in texts]  # a first word has a space before it, like any other
    return said


def error_rate(said: list[str], samples: list[Sample]) -> float:
    """Character error rate: edits from what was said to the heading, per character of the heading."""
    truth = [plain(heading(sample.content)) for sample in samples]
    return sum(edits(plain(a), b) for a, b in zip(said, truth)) / sum(map(len, truth))


def twins(maker: PageMaker, kind: str, count: int) -> tuple[list[list[Sample]], list[str]]:
    """``count`` pairs of pages alike but for one digit, and a query for the first page of each.

    ``kind`` is ``"year"``, where the digit is the last of the year in the heading, or ``"figure"``, where it
    is the last of a figure in the body.
    """
    r, found, queries = maker.rng, [], []
    while len(found) < count:
        size = r.choices(FORMATS, FORMAT_WEIGHTS)[0]
        if kind == "figure":
            pair = figure_twins(maker, size)
            if len(pair) == 2:
                (first, figure), (second, _) = pair
                found.append([first, second])
                queries.append(figure_query(first.content, *figure, r))
            continue
        content = maker.content(period=str(maker.words.year()))
        state = r.getstate()
        first = maker.page(content, size)
        if not {"organization", "period"} <= first.content.shown:
            continue
        fields = content.organization, content.topic, content.period
        changed = Content(*fields[:2], other_digit(content.period, r))
        query = r.choice(WORDINGS["otp"]).format(o=fields[0], t=fields[1], p=fields[2])
        found.append([first, maker.twin(changed, size, state)])
        queries.append(query)
    return found, queries


def told_apart(retriever, reranker, pairs: list[list[Sample]], queries: list[str]) -> dict[str, float]:
    """How often each model scores the right page of a pair higher; chance is 0.5."""
    images = pictures([sample for pair in pairs for sample in pair])
    page = embed(retriever, images).reshape(len(pairs), 2, -1)
    cosine = np.einsum("qd,qpd->qp", embed_texts(retriever, queries), page)
    asked = [(queries[i // 2], image) for i, image in enumerate(images)]
    odds = np.reshape(reranker.predict(asked, batch_size=BATCH, show_progress_bar=False), (-1, 2))
    return {
        "small-embedding": float((cosine[:, 0] > cosine[:, 1]).mean()),
        "small-reranker": float((odds[:, 0] > odds[:, 1]).mean()),
        "pairs": len(pairs),
    }


def reranked(
    retriever, reranker, images: list, page: np.ndarray, queries: dict[int, str]
) -> dict[str, float]:
    """NDCG@10 of the retriever's first ten pages, in its order and in the reranker's."""
    run, relevant = first_ten(retriever, page, queries)
    asked = [(queries[int(query)], images[int(i)]) for query, order in run.items() for i in order]
    odds = iter(reranker.predict(asked, batch_size=BATCH, show_progress_bar=False))
    again = {query: {i: float(next(odds)) for i in order} for query, order in run.items()}
    return {
        "retriever": evaluation.mean(evaluation.ndcg(run, relevant)),
        "reranker": evaluation.mean(evaluation.ndcg(again, relevant)),
        "queries": len(queries),
    }


def real_pages(retriever, folder: Path, max_pixels: tuple[int, ...]) -> dict:
    """NDCG@10 on real PDF files: among the pages of the right document, and among all pages.

    Beside the retriever at each resolution: BM25 on the text layer, and the mean of random orders.
    """
    import bm25s

    from helpers import pages as pdf

    questions = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    files = sorted({question["pdf"] for question in questions})
    texts = {pdf.page_id(f, i): t for f in files for i, t in enumerate(pdf.pdf_texts(folder / "pdfs" / f), 1)}
    ids, queries = list(texts), {str(i): question["query"] for i, question in enumerate(questions)}
    relevant = {
        str(i): {pdf.page_id(question["pdf"], n) for n in question["pages"]}
        for i, question in enumerate(questions)
    }
    document = np.array([pdf.split_page_id(page)[0] for page in ids])
    own = np.stack([document == question["pdf"] for question in questions])

    def ndcg(scores: np.ndarray) -> dict[str, float]:
        report = {}
        for name, allowed in (("one document", own), ("all pages", np.ones_like(own))):
            run = {
                query: {ids[i]: float(row[i]) for i in np.flatnonzero(may)}
                for query, row, may in zip(queries, scores, allowed)
            }
            report[name] = evaluation.mean(evaluation.ndcg(run, relevant))
        return report

    quiet = {"show_progress": False}
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(texts.values()), stopwords="en", **quiet), **quiet)
    words = bm25s.tokenize(list(queries.values()), stopwords="en", return_ids=False, **quiet)
    report = {"bm25": ndcg(np.stack([index.get_scores(row) if row else np.zeros(len(ids)) for row in words]))}
    generator = np.random.default_rng(SEED)
    drawn = [ndcg(generator.random(own.shape)) for _ in range(20)]
    report["random"] = {key: float(np.mean([one[key] for one in drawn])) for key in drawn[0]}
    query = embed_texts(retriever, queries.values())
    for pixels in max_pixels:
        retriever[0].processor.image_processor.size["longest_edge"] = pixels
        parts = []
        for f in files:
            images = pdf.render_pdf(folder / "pdfs" / f, pixels)
            parts.append(retriever.encode_document(images, batch_size=8, show_progress_bar=False))
        report[f"small-embedding, {pixels:,} pixels"] = ndcg(query @ np.concatenate(parts).T)
    retriever[0].processor.image_processor.size["longest_edge"] = MAX_PIXELS
    return report | {"documents": len(files), "pages": len(ids), "queries": len(queries)}


def load():
    """Retriever, reranker, language model and its processor, all in float32 on the CPU."""
    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from transformers import AutoModelForImageTextToText, AutoProcessor

    out, single = places.OUT, {"dtype": torch.float32}
    retriever = SentenceTransformer(str(out / "small-embedding"), device="cpu", model_kwargs=single)
    reranker = CrossEncoder(str(out / "small-reranker"), device="cpu", model_kwargs=single)
    vlm = AutoModelForImageTextToText.from_pretrained(out / "small-vlm", **single).eval()
    return retriever, reranker, vlm, AutoProcessor.from_pretrained(out / "small-vlm")


def measure(models, makers: dict[str, PageMaker], count: int, twin_count: int, rerank_count: int) -> dict:
    """The report on generated pages: each set of ``makers`` with ``count`` pages, some with twins."""
    retriever, reranker, vlm, processor = models
    report = {}
    for name, maker in makers.items():
        started = time.time()
        samples, wordings = draw(maker, count)
        images, queries = pictures(samples), named(samples)
        page = embed(retriever, images)  # once, for every kind of query
        report[name] = {"pages": count} | retrieval(retriever, page, queries)
        report[name]["any wording"] = retrieval(retriever, page, dict(enumerate(wordings)))
        report[name]["heading cer"] = error_rate(read_aloud(vlm, processor, images), samples)
        asked = read_aloud(vlm, processor, images, ASK)
        report[name]["written queries"] = retrieval(retriever, page, dict(enumerate(asked)))
        if rerank_count and name == "seen":
            some = dict(list(queries.items())[:rerank_count])
            report["reranked"] = reranked(retriever, reranker, images, page, some)
        if name in TWINNED:
            report[name]["twins"] = {
                kind: told_apart(retriever, reranker, *twins(maker, kind, twin_count))
                for kind in ("year", "figure")
            }
        print(f"{name}, {time.time() - started:.0f} s: {report[name]}", flush=True)
    return report


def rounded(value):
    """The same report with figures of four digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def read(count: int, twin_count: int, real: Path | None = None) -> None:
    """Measures the shipped checkpoints and writes the figures into log and cards.

    Args:
        count: pages of each set.
        twin_count: pairs of each kind.
        real: a folder with pdfs/ and questions.jsonl, or None.
    """
    words, fonts = read_assets(places.ASSETS)
    makers = {
        "seen": PageMaker(words, fonts, SEED),
        "fonts": PageMaker(words, unseen_fonts(), SEED),
        "layouts": HeldOutMaker(words, fonts, SEED),
    }
    for language in LANGUAGES:
        file = places.ASSETS / f"words_{language}.txt"
        if not file.is_file():
            raise SystemExit(f"{file} is missing: run `python data/make/small_checkpoint.py gather` again")
        makers[language] = PageMaker(file.read_text(encoding="utf-8").split("\n"), fonts, SEED)
    models = load()
    report = measure(models, makers, count, twin_count, rerank_count=200)
    if real:
        report["real pages"] = real_pages(models[0], real, (224 * 320, 448 * 640))
        print("real pages:", report["real pages"], flush=True)
    write_reading(rounded(report))
