"""Queries for pages that came without any: written from the text layer, by a vision-language model here, or
by one behind an OpenAI-compatible endpoint (vLLM, Ollama); and the filter that training queries go through.

    lines = written.from_text(collection, "train")
    write = written.endpoint("http://localhost:8000/v1", "my-vlm")
    lines = written.by_model(collection.corpus("train"), write, Path("written.jsonl"), "my-vlm")
    kept, left_out = written.filtered(lines, runs)

Queries made of a page's own words are found by a search of words: scores on them favour BM25.
"""

from __future__ import annotations

import base64
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from helpers import pages
from helpers.collection import Collection, in_processes, pages_of, read_lines
from helpers.evaluation import ordered
from tools.audit import normalized

REQUEST = "Write a search query for this page."  # what small-vlm has learned to answer
#: For a large model. A query that fits many pages, or that quotes the page, teaches little.
LARGE_REQUEST = (
    "Write one short search query that this page answers and hardly any other page would, as somebody would "
    "type it who works with such documents. Name what it is about and whose it is. Use other words than the "
    "page's where you can. Answer with the query only."
)
_FORMS = (
    ("keywords", "{label} {document}"),
    ("question", "Where does {document} show {label}?"),
    ("question", "What does {document} say about {label}?"),
    ("keywords", "{document}, {label}"),
)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


def from_text(collection: Collection, split: str | None = None, each: int = 2, seed: int = 12) -> list[dict]:
    """Up to `each` queries for every page with a text layer, as lines of queries.jsonl: a heading or a short
    line of the page, with its document's name and year. No model is needed.
    """
    documents = [one for one in collection.documents if split in (None, one.get("split"))]
    documents = [one for one in documents if collection.file(one).suffix.lower() == ".pdf"]
    found = in_processes(pages.pdf_lines, [(collection.file(one),) for one in documents], "Reading headings")
    draw, lines = random.Random(seed), []
    for document, read in zip(documents, found):
        known = [page for page in read if page]
        name = _name(document, known)
        common = Counter(text for _, page in known for text in {normalized(line.text) for line in page})
        for page_id, record in pages_of(document):
            page = read[record["number"] - 1]
            labels = _labels(page[1], common, name) if page else []
            # one heading is asked for in several ways, rather than small type that hardly names the page
            for label, (style, form) in zip([*labels, *labels[:1] * each][:each], draw.sample(_FORMS, each)):
                query = form.format(label=_inside(label) if style == "question" else label, document=name)
                lines.append(
                    {"query": query, "page_ids": [page_id], "style": style, "written_by": "text layer"}
                )
    return _numbered(lines)


def by_model(
    corpus, write: Callable[[object], str], keep: Path, name: str, limit: int | None = None
) -> list[dict]:
    """One query for every page of a corpus, as lines of queries.jsonl, by `write`, which is given a picture.

    Each is kept in the file `keep` as soon as it is written: an interrupted run goes on from there.

    Args:
        name: of the model, which the lines hold.
        limit: only so many pages, spread evenly over the corpus.

    Raises:
        RuntimeError: what `write` raised, with the page.
    """
    from tqdm.auto import tqdm

    done = {line["page_ids"][0]: line for line in read_lines(keep)} if keep.is_file() else {}
    done = {page: line for page, line in done.items() if line["written_by"] == name}
    ids = list(corpus["page_id"])
    rows = (
        range(len(ids)) if not limit or limit >= len(ids) else [i * len(ids) // limit for i in range(limit)]
    )
    keep.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    with keep.open("a", encoding="utf-8") as file:
        for row in tqdm(rows, desc="Writing queries", unit="page"):
            if ids[row] not in done:
                try:
                    query = _one_line(write(corpus[row]["image"]))
                except Exception as error:  # of a model or of the network
                    raise RuntimeError(
                        f"No query for {ids[row]}: {type(error).__name__}: {error}. {len(lines)} are kept in "
                        f"{keep}; run this again to go on."
                    ) from error
                done[ids[row]] = {"query": query, "page_ids": [ids[row]], "written_by": name}
                file.write(json.dumps(done[ids[row]], ensure_ascii=False) + "\n")
                file.flush()
            lines.append(dict(done[ids[row]]))
    return _numbered(lines)


def local_model(path: str, max_pixels: int, min_pixels: int, dtype: str, request: str = REQUEST):
    """A function that asks a vision-language model on this machine for a query to a picture."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from helpers.hardware import device

    writer = AutoModelForImageTextToText.from_pretrained(path, dtype=getattr(torch, dtype)).to(device())
    processor = AutoProcessor.from_pretrained(path, min_pixels=min_pixels, max_pixels=max_pixels)

    def write(picture) -> str:
        content = [{"type": "image", "image": picture}, {"type": "text", "text": request}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        ).to(device())  # fmt: skip
        with torch.no_grad():
            tokens = writer.generate(**inputs, max_new_tokens=40, do_sample=False)
        return processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return write


def endpoint(url: str, model: str, api_key: str | None = None, request: str = LARGE_REQUEST):
    """A function that asks a model behind an OpenAI-compatible endpoint for a query to a picture. Pages
    leave this machine if the endpoint is elsewhere.

    Args:
        url: up to /v1, such as http://localhost:8000/v1 (vLLM) or http://localhost:11434/v1 (Ollama).
    """
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=url, api_key=api_key or "none", timeout=120)

    def write(picture) -> str:
        data = BytesIO()
        picture.convert("RGB").save(data, "JPEG", quality=90)
        shown = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
        content = [{"type": "image_url", "image_url": {"url": shown}}, {"type": "text", "text": request}]
        answer = client.chat_completion([{"role": "user", "content": content}], model=model, max_tokens=60)
        return answer.choices[0].message.content or ""

    return write


def filtered(
    lines: Sequence[dict],
    runs: Mapping[str, Mapping[str, Mapping[str, float]]],
    best: int = 10,
    many: int = 5,
) -> tuple[list[dict], Counter]:
    """Training queries that are worth a row, and how many were left out, by reason.

    Left out are: queries without two words; the same words for another page; those that fit many pages (by
    "bm25", if that is among the runs, more than `many` reach 95 % of the score of the page asked about); and
    those whose page no run finds among its first `best`: the round trip.

    Never filter queries that a system is scored on by what that system finds: what it misses would be gone.

    Args:
        runs: system -> query id -> {page id: score}, over all pages that may be trained on.
    """
    times = Counter(normalized(line["query"]) for line in lines)
    kept, out = [], Counter()
    for line in lines:
        page, own = line["page_ids"][0], line["query_id"]
        ranks = [ordered(run[own]).index(page) + 1 for run in runs.values() if page in run.get(own, ())]
        words = runs.get("bm25", {}).get(own, {})
        fitting = sum(score >= 0.95 * words[page] for score in words.values()) if page in words else 0
        if len(normalized(line["query"]).split()) < 2:
            out["fewer than two words"] += 1
        elif times[normalized(line["query"])] > 1:
            out["the same words for another page"] += 1
        elif fitting > many:
            out["fits many pages"] += 1
        elif runs and min(ranks, default=best + 1) > best:
            out["no search finds its page"] += 1
        else:
            kept.append(line)
    return kept, out


def hard_negatives(
    lines: Sequence[dict],
    run: Mapping[str, Mapping[str, float]],
    same: Sequence[tuple[str, str]] = (),
    margin=0.05,
) -> None:
    """Give each line up to four `negative_ids`: the pages ranked best of those that do not answer it.

    Left out are copies of its pages, and pages that score above (1 - margin) of its own: often right answers
    that nobody marked.

    Args:
        run: query id -> {page id: score}, over all pages that may be trained on.
        same: pairs of page ids that are copies.
    """
    twins: dict[str, set[str]] = {}
    for one, other in same:
        twins.setdefault(one, set()).add(other)
        twins.setdefault(other, set()).add(one)
    for line in lines:
        right = set(line["page_ids"]).union(*(twins.get(page, ()) for page in line["page_ids"]))
        scores = run[line["query_id"]]
        own = max((scores[page] for page in right & set(scores)), default=0.0)
        limit = own - margin * abs(own)
        line["negative_ids"] = [
            page for page in ordered(scores) if page not in right and scores[page] <= limit
        ][:4]


def _name(document: dict, read: Sequence) -> str:
    """A document's name, as its largest type says it on the first page, or its file; and its year."""
    lines = [line for line in (read[0][1] if read else []) if line.level and len(normalized(line.text)) > 2]
    largest = max((line.size for line in lines), default=0.0)
    title = " ".join(line.text for line in lines if line.size > 0.9 * largest)
    if not 3 < len(title) <= 80:
        title = re.sub(r"[\W_]+", " ", Path(document.get("name", document["file"])).stem).strip()
    for source in (title, document["file"].rsplit("/", 1)[-1], " ".join(line.text for line in lines)):
        if year := _YEAR.search(source):
            return title if year[0] in title else f"{title} {year[0]}"
    return title


def _labels(lines: Sequence, common: Counter, name: str) -> list[str]:
    """Headings of a page that no other page of its document has, the largest type first; where there are
    none, a short line that begins with a capital.
    """
    level = [line for line in lines if line.level]
    if not level:
        return []
    body = statistics.median(line.size for line in level for _ in line.text)
    found = []
    for line in level:
        words, letters = normalized(line.text), sum(map(str.isalpha, line.text))
        alone = common[words] == 1 and words not in normalized(name)
        parts = words.split()
        says = len(set(parts)) == len(parts) and any(len(part) > 3 for part in parts)  # not "yes Yes", "of a"
        if alone and says and len(parts) <= 8 and letters >= max(4, 0.6 * len(line.text)):
            found.append((round(line.size / body, 1), line.text.strip(" .:;,")))
    headings = sorted((each for each in found if each[0] >= 1.2), key=lambda each: -each[0])
    short = [text for _, text in found if text[0].isupper() and " " in text]
    return list(dict.fromkeys([text for _, text in headings] or short[:1]))


def _inside(label: str) -> str:
    """A label as it stands within a sentence: a name or an abbreviation keeps its capitals."""
    first, *rest = label.split(" ", 1)
    lower = first[:1].lower() + first[1:] if first[1:].islower() else first
    return " ".join([lower, *rest])


def _one_line(text: str) -> str:
    lines = [line.strip().strip('"').strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""


def _numbered(lines: Sequence[dict]) -> list[dict]:
    return [{"query_id": f"w{number:05d}"} | line for number, line in enumerate(lines, 1)]
