"""docs/glossary.md and the notebooks agree: no entry without a use, no term of theirs without an entry.

What counts as a term is found in the notebooks' Markdown: what stands in italics or bold, abbreviations and
names with digits, names of code that several notebooks write about, and the field's words in `WATCHED`. What
is found so and is no term is listed here with the reason. A list that holds what no notebook has any more
fails, too.
"""

import json
import re
from collections import Counter
from functools import cache
from typing import NamedTuple
from urllib.parse import unquote

import pytest

from helpers.course.profiles import ROOT
from tests.conftest import NOTEBOOKS
from tools.openings import place

GLOSSARY = ROOT / "docs" / "glossary.md"

#: Words of the field that need an entry once a notebook uses them, emphasised or not.
WATCHED = """
ablation, AdamW, adapter, ANN, approximate nearest neighbour, attention, backward pass, baseline, batch,
batch sampler, bfloat16, bi-encoder, binary, BM25, bootstrap, candidate, checkpoint, ColBERT, contrastive
loss, corpus, cosine similarity, cross-encoder, cross-entropy, dimension, distillation, dot product, dual
encoder, embedding, embedding model, epoch, evaluator, false negative, fine-tuning, flash attention,
float16, float32, frozen, fusion, gradient, gradient accumulation, gradient cache, gradient checkpointing,
ground truth, hard negative, HNSW, hub, hybrid search, in-batch negative, InfoNCE, instruction, int8,
interval, jargon, KL divergence, late interaction, leak, learning rate, linear probe, log-odds, logit, LoRA,
MAP, margin, Matryoshka, max_pixels, MaxSim, mini-batch, mining, modality, MRR, multi-vector, multimodal,
NDCG@10, normalization, OCR, optimizer, overfitting, paired, patch, permutation test, pooling, positive,
precision, pretraining, processor, product quantization, prompt, qrels, quantisation, quantization, QLoRA,
recall, reciprocal rank fusion, relevant, reranker, rescored, rescoring, retrieval, retriever, round trip,
Router, scale, score head, seed, sigmoid, softmax, split, student, teacher, temperature, text layer, tier,
token, tokenizer, transformer, vector store, vision encoder, vision-language model, visual document
retrieval, visual token, warm-up, weight, world size
"""

#: Emphasis that stresses a word, a label at the head of a paragraph, or a name of something on the spot.
STRESSED = """
after, another, Another prompt for queries, any wording, Are the tokens the same in training and
evaluation?, Arithmetic, base model scored, before, confused, dev, Did it do anything?, Do images reach the
model?, does this page answer?, dunning, each, encoded, find, First; the truth, five, for this model, fresh,
From a vision-language model., From what the page was made of., How fast was it?, How long will it take; and
does it fit?, in, is, Is a text or page twice in a batch?, its, Its queries, last, lookup, LTI, no, No
prompt in training, not, Nothing learned, order, out, Pages cut off, Pages of dev trained on, paraphrase,
paths, Predict first:, roadmap, say, Schedule, this, Time, trained, trains, A trap., which page answers
best?, whole, with, "Write one question that only this page answers; in an accountant's words.", yet, you,
You need, You will learn
"""

#: Abbreviations and names that a reader of Python and PDF files knows, and names of products.
KNOWN = """
A4, ColPali, CPU, CSV, GB, GPU, JPEG, JSONL, JupyterLab, log2, LTI, MMLongBench, OpenAI, PDF, PIL, PNG,
pypdfium2, PyTorch, Qwen2, Qwen3, RapidOCR, README, REPORT, TSV, URL, v3, ViDoRe, VL, vLLM
"""

#: Names of code that several notebooks write about and that are no terms: methods and columns; splits and
#: profiles, which the entries of these words name.
CODE = "dev, encode_document, encode_query, eval, full, negative_0, small, train"
SEVERAL = 3  # notebooks


def listed(text: str) -> list[str]:
    """The names of a list above; a semicolon stands for a comma within a name."""
    return [" ".join(name.split()).replace(";", ",") for name in text.replace("\n", " ").split(",")]


class Entry(NamedTuple):
    """One term of the glossary."""

    term: str
    also: list[str]
    text: str
    notebook: str
    anchor: str


def entries(text: str) -> list[Entry]:
    """The glossary's entries, in order."""
    found = []
    for block in re.findall(r"^- .*(?:\n  .*)*", text, flags=re.MULTILINE):
        parts = re.fullmatch(
            r"- \*\*(?P<term>[^*]+)\*\*(?: \(also (?P<also>[^)]+)\))?: (?P<text>.+) "
            r"\[[^\]]+\]\(\.\./notebooks/(?P<notebook>\w+)\.ipynb#(?P<anchor>\S+)\)",
            " ".join(block.split()),
        )
        assert parts, f"not of the form `- **term** (also *other*): text [place](link)`: {block}"
        also = re.findall(r"\*([^*]+)\*", parts["also"] or "")
        found.append(Entry(parts["term"], also, parts["text"], parts["notebook"], unquote(parts["anchor"])))
    return found


@cache
def markdown(stem: str) -> str:
    """A notebook's text, without its place on the path, solutions and fenced code."""
    cells = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = text.replace(f"{place(stem)}\n", "")  # names of notebooks
    return re.sub(r"<details>.*?</details>|^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def section(stem: str, anchor: str) -> str:
    """What stands below the heading that an anchor names, up to the next of its rank; "" if there is none.

    The title's section is the whole opening, up to the first heading.
    """
    lines, taken, level = markdown(stem).splitlines(), [], 0
    for line in lines:
        heading = re.match(r"(#+) (.+)", line)
        if heading and level and (len(heading[1]) <= level or level == 1):
            break
        if heading and re.sub(r"[`*]", "", heading[2]).strip().replace(" ", "-") == anchor:
            level = len(heading[1])
        if level:
            taken.append(line)
    return "\n".join(taken)


def uses(text: str, term: str) -> bool:
    """Whether a text uses a term, in the plural or at the head of a sentence, too."""
    parts = [re.escape(part) for part in re.split(r"[-\s_]+", term)]
    ending = "(?:s|es)?" if term[-1].isalpha() else ""
    pattern = r"(?<![\w@])" + r"[-\s_]+".join(parts) + ending + r"(?!\w)"
    return bool(re.search(pattern, plain(text), flags=re.IGNORECASE))


@cache
def plain(text: str) -> str:
    """A text without marks of emphasis and code."""
    return re.sub(r"[*`]", "", text)


def emphasised(text: str) -> set[str]:
    """What stands in italics or bold."""
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "`", text))
    found = re.findall(r"(?<![\w*])\*{1,2}([^*\n]+(?:\n[^*\n]+)?)\*{1,2}(?![\w*])", text)
    names = {" ".join(name.split()) for name in found}
    return {name for name in names if not re.fullmatch(r"\w|BA|\d+\.", name)}  # letters of formulas, numbers


def abbreviations(text: str) -> set[str]:
    """Words with two capitals, or with a capital or small letters and a digit."""
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "`", text))
    found = re.findall(r"\b\w*[A-Z][\w@]*[A-Z0-9][\w@]*\b|\b[a-z]+\d+\b", text)
    return {re.sub(r"s$", "", word) for word in found} - {"BA"}


def code_names(text: str) -> set[str]:
    """Names in the style of code, of an assignment the left side."""
    found = {re.split(r"[=(]", name)[0].strip() for name in re.findall(r"`([^`\n]+)`", text)}
    return {name for name in found if re.fullmatch(r"[A-Za-z_][\w.-]*", name)}


def of_several(texts: dict[str, str]) -> set[str]:
    """The names of code that several notebooks write about."""
    count = Counter(name for text in texts.values() for name in code_names(text))
    return {name for name in count if count[name] >= SEVERAL}


def covered(name: str, terms: list[str]) -> bool:
    """Whether a name is one of the glossary's terms."""
    return any(
        uses(name, term) and len(name) <= len(term) + 2 or name.casefold() == term.casefold()
        for term in terms
    )


def lacking(terms: list[str], texts: dict[str, str]) -> dict[str, list[str]]:
    """Each name of the notebooks that the glossary should explain and does not, and where it stands."""
    apart, missing = {name.casefold() for name in listed(STRESSED) + listed(KNOWN)}, {}
    code = of_several(texts) - set(listed(CODE))
    for stem, text in texts.items():
        names = {name for name in emphasised(text) | abbreviations(text) if name.casefold() not in apart}
        names |= {word for word in listed(WATCHED) if uses(text, word)} | code & code_names(text)
        for name in names:
            if not covered(name, terms):
                missing.setdefault(name, []).append(stem)
    return missing


ENTRIES = entries(GLOSSARY.read_text(encoding="utf-8"))
TERMS = [name for entry in ENTRIES for name in (entry.term, *entry.also)]
TEXTS = {file.stem: markdown(file.stem) for file in NOTEBOOKS}


def test_each_term_is_explained_once_and_in_order():
    folded = [name.casefold() for name in TERMS]
    assert len(folded) == len(set(folded)), sorted(name for name in folded if folded.count(name) > 1)
    order = [entry.term.casefold() for entry in ENTRIES]
    assert order == sorted(order)
    text = GLOSSARY.read_text(encoding="utf-8")
    assert len(ENTRIES) == len(re.findall(r"^- ", text, flags=re.MULTILINE)) > 100


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.term)
def test_an_entry_is_short_and_names_a_section_that_uses_the_term(entry):
    assert 1 <= len(re.findall(r"[.?!](?=\s|$)", entry.text)) <= 2, entry.text
    assert entry.text.endswith(".")
    text = section(entry.notebook, entry.anchor)
    assert text, f"{entry.notebook} has no heading {entry.anchor}"
    assert any(uses(text, name) for name in (entry.term, *entry.also)), f"{entry.anchor} does not use it"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.term)
def test_each_term_is_used_in_a_notebook(entry):
    assert any(uses(text, entry.term) for text in TEXTS.values()), f"no notebook uses {entry.term}"


def test_each_term_of_the_notebooks_is_explained():
    assert not lacking(TERMS, TEXTS), "explain these in docs/glossary.md, or list them here with their reason"


def test_what_is_listed_as_no_term_is_still_there():
    seen = {name.casefold() for text in TEXTS.values() for name in emphasised(text) | abbreviations(text)}
    assert not [name for name in listed(STRESSED) + listed(KNOWN) if name.casefold() not in seen]
    assert set(listed(CODE)) <= of_several(TEXTS)
    assert not [name for name in listed(STRESSED) + listed(KNOWN) + listed(CODE) if name in TERMS]


@pytest.mark.parametrize(
    "planted",
    ["a *frobnication* of pages", "the **frobnication**", "the FROB-score FRB", "ground truth", "QLoRA"],
)
def test_a_term_without_an_entry_is_found(planted):
    assert lacking(TERMS, TEXTS | {"planted": planted})


def test_a_name_of_code_in_several_notebooks_is_found():
    planted = dict.fromkeys(("one", "two", "three"), "the `frob_limit=3`")
    assert lacking(TERMS, TEXTS | planted) == {"frob_limit": ["one", "two", "three"]}


@pytest.mark.parametrize("term", ["BM25", "hard negative", "any-to-any reranker", "LoRA", "visual token"])
def test_an_entry_that_is_taken_out_is_missed(term):
    (entry,) = (entry for entry in ENTRIES if entry.term == term)
    assert lacking([name for name in TERMS if name not in (entry.term, *entry.also)], TEXTS)


def test_an_entry_that_no_notebook_uses_is_found():
    assert not any(uses(text, "frobnication") for text in TEXTS.values())
    assert uses("Hard\nnegatives are", "hard negative") and not uses("hardly negative", "hard negative")
    assert not uses("a mapping", "MAP") and uses("NDCG@10", "NDCG@10")
