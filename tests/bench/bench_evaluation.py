"""Evaluation speed: every size of the embedding from one encoding pass, against one evaluator a size.

    python tests/bench/bench_evaluation.py               the dev split, about four minutes on two CPU cores
    python tests/bench/bench_evaluation.py --split eval  the evaluation split
    python tests/bench/bench_evaluation.py --save        and into data/measurements/evaluation_speed.json

The article's way (https://huggingface.co/blog/train-multimodal-sentence-transformers): one
`InformationRetrievalEvaluator` with `truncate_dim` for each of seven sizes, batch size 1; each encodes all
queries and pages again. The course's way, as in notebook 05: encode once, in batches, with the faster vision
tower of `fast_vision`, and cut the arrays. Both score the same weights in the same process. The last
line is a JSON object; `ratio` is the article's time over the course's, `largest_difference` that between the
NDCG@10 of both, over the sizes: more than 1e-4 is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers import evaluation, hardware  # noqa: E402
from helpers.course import ledger  # noqa: E402
from helpers.course.data import load_corpus, load_split  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.dataset import retrieval_task  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools.fast_vision import fast_vision  # noqa: E402
from tools.fine_tune import weights_id  # noqa: E402

FILE = ROOT / "data" / "measurements" / "evaluation_speed.json"
BATCH = 32


def article(model, task, dims) -> dict[int, float]:
    """NDCG@10 by size, each from an evaluator that encodes everything."""
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    found = {}
    for dim in dims:
        evaluator = InformationRetrievalEvaluator(*task, batch_size=1, truncate_dim=dim)
        found[dim] = evaluator(model)[evaluator.primary_metric]
    return found


def course(model, task, dims) -> dict[int, float]:
    """NDCG@10 by size, all from one encoding pass."""
    queries, pages, relevant = task
    shared = {"batch_size": BATCH, "show_progress_bar": False}
    query_embeddings = model.encode_query(list(queries.values()), **shared)
    page_embeddings = model.encode_document(list(pages.values()), **shared)
    ids = list(queries), list(pages)
    return {
        dim: evaluation.mean(
            evaluation.ndcg(evaluation.rank(query_embeddings, page_embeddings, *ids, k=10, dim=dim), relevant)
        )
        for dim in dims
    }


def main() -> int:
    from sentence_transformers import SentenceTransformer

    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--split", choices=("dev", "eval"), default="dev")
    parser.add_argument("--save", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    options = parser.parse_args()
    profile = get_profile("small")
    hardware.keep_freed_memory()
    rows = load_split(profile, options.split)
    task = retrieval_task(rows, load_corpus(profile, options.split), profile.max_pixels)
    sizes = len(profile.matryoshka_dims)
    print(f"{len(task[0])} queries over {len(task[1])} pages, {sizes} sizes", flush=True)
    seconds, scores = {}, {}
    for way in (article, course):
        model = SentenceTransformer(
            profile.path(profile.embedding_model),
            device=hardware.device(),
            model_kwargs={"dtype": "float32", "attn_implementation": hardware.attn_implementation()},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        )
        if way is course:
            fast_vision(model)
        model.encode_document(list(task[1].values())[:BATCH], batch_size=BATCH)  # the first batch is slow
        started = time.perf_counter()
        scores[way.__name__] = way(model, task, profile.matryoshka_dims)
        seconds[way.__name__] = time.perf_counter() - started
        print(f"{way.__name__:8} {seconds[way.__name__]:7.1f} s", flush=True)
    print(f"{'size':>6}{'article':>10}{'course':>10}")
    for dim in profile.matryoshka_dims:
        print(f"{dim:6}{scores['article'][dim]:10.4f}{scores['course'][dim]:10.4f}")
    differences = [abs(scores["article"][dim] - scores["course"][dim]) for dim in profile.matryoshka_dims]
    result = {
        "ratio": round(seconds["article"] / seconds["course"], 3),
        "largest_difference": max(differences),
        "seconds": seconds,
        "queries": len(task[0]),
        "pages": len(task[1]),
        "ndcg@10": scores,
    }
    if options.save:
        made_on = {
            "device": hardware.device_name(),
            "versions": ledger.versions(),
            "checkpoint": weights_id(profile),
        }
        write_json(FILE, result | made_on)
    print(json.dumps(result))
    return 0 if max(differences) <= 1e-4 else 1


if __name__ == "__main__":
    raise SystemExit(main())
