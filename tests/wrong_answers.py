"""Three wrong answers to each exercise, which its check has to reject, and the cell that proves it.

An answer stands where the notebook says "your turn", after the solution has run there; so it may use what
the solution has left. Each is a mistake that a reader could make: off by one, the other way round, the wrong
unit.
"""

import contextlib
import inspect
import io

#: Notebook -> for each of its exercises, three wrong answers.
WRONG = {
    "00_start_here": [
        [
            "mrr = sum(1 / rank for rank in ranks)",
            "mrr = len(ranks) / sum(ranks)",
            "mrr = sum(1 / (rank + 1) for rank in ranks) / len(ranks)",
        ],
        [
            "neighbor = page_ids[0]",
            "neighbor = page_ids[model.similarity(page_embeddings[:1], page_embeddings)[0].argsort()[0]]",
            "closest = model.similarity(page_embeddings[:1], page_embeddings)[0].argsort(descending=True)\n"
            "neighbor = page_ids[closest[2]]",
        ],
    ],
    "01_load_models": [
        [
            "answer = (640 // 16) * (480 // 16)",
            "answer = (640 // 28) * (480 // 28)",
            "answer = 640 // 32 + 480 // 32",
        ],
        ["limit = 450", "limit = 450 * 16 * 16", "limit = 450 * 28 * 28"],
    ],
    "02_build_dataset": [
        [
            'fixed = wrong.remove_columns("query_id")',
            'fixed = wrong.select_columns(["query", "image", "negative_1", "negative_0"])',
            'fixed = data["train"].select_columns(there[:6])',
        ],
        [
            'share = sum(by_page[query["page_ids"][0]][1]["scanned"] for query in queries)',
            'scans = [by_page[query["page_ids"][0]][1]["scanned"] for query in queries]\n'
            "share = 100 * sum(scans) / len(scans)",
            'scans = [by_page[query["page_ids"][0]][1]["scanned"] for query in queries]\n'
            "share = 1 - sum(scans) / len(scans)",
        ],
    ],
    "03_choose_loss": [
        [
            "perfect = 0.0",
            "perfect = np.log(1 + 4 * np.exp(-20))",
            "perfect = np.log(1 + 3 * np.exp(-1))",
        ],
        [
            "symmetric = by_hand",
            "symmetric = by_hand + (logits.T.logsumexp(dim=1) - logits.diagonal()).mean().item()",
            "symmetric = (logits.T.logsumexp(dim=1) - logits.diagonal()).mean().item()",
        ],
    ],
    "04_train_embedding": [
        [
            'prompt_tokens = model.preprocess([query], prompt=prompts["query"])["input_ids"].shape[1]',
            'prompt_tokens = len(prompts["query"].split())',
            'prompt_tokens = without["input_ids"].shape[1] - with_prompt["input_ids"].shape[1]',
        ],
        [
            "newly_first = sum(after == 1 for before, after in places.values())",
            "newly_first = sum(before > after for before, after in places.values())",
            "newly_first = sum(before == 1 < after for before, after in places.values())",
        ],
    ],
    "05_evaluate": [
        [
            "return sum(page in relevant for page in order[:k]) / len(relevant)",
            "return sum(page in relevant for page in order[: k + 1]) / k",
            "return sum(page in relevant for page in order[:k])",
        ],
        [
            "quarter = gain",
            "one, other = ({query: scores[name][query] for query in few} for name in paths)\n"
            "quarter = evaluation.paired_bootstrap(other, one, seed=profile.seed)",
            "others = query_ids[-len(few) :]\n"
            "one, other = ({query: scores[name][query] for query in others} for name in paths)\n"
            "quarter = evaluation.paired_bootstrap(one, other, seed=profile.seed)",
        ],
    ],
    "06_train_reranker": [
        [
            "fused = {}\n"
            "for query in candidates:\n"
            "    ranks = [{page: i for i, page in enumerate(evaluation.ordered(run[query]))}\n"
            "             for run in (candidates, trained)]\n"
            "    fused[query] = {page: sum(1 / (60 + rank[page]) for rank in ranks)\n"
            "                    for page in candidates[query]}",
            "fused = {query: {page: 1 / (60 + i) for i, page in enumerate(evaluation.ordered(order), 1)}\n"
            "         for query, order in trained.items()}",
            "fused = {query: {page: candidates[query][page] + trained[query][page] for page in order}\n"
            "         for query, order in candidates.items()}",
        ],
        [
            "half = {query: list(order) for query, order in candidates.items()}",
            "half = {query: evaluation.ordered(trained[query]) for query in candidates}",
            "half = {}\n"
            "for query, order in candidates.items():\n"
            "    half[query] = sorted(list(order)[:5], key=trained[query].get) + list(order)[5:]",
        ],
    ],
    "07_distill": [
        [
            "smallest = shown.sums[0] - max(shown.sums[1:])",
            "smallest = (shown.sums[0] - min(shown.sums[1:])) / weight",
            "smallest = (max(shown.sums[1:]) - shown.sums[0]) / weight",
        ],
        [
            'halfway = states["distilled"]',
            'halfway = {name: tensor + states["distilled"][name] for name, tensor in middle.items()}',
            "halfway = halves",
        ],
    ],
    "08_late_interaction": [
        [
            "mean_maxsim = by_hand / len(page_vectors)",
            "mean_maxsim = (query_vectors @ page_vectors.T).max(dim=0).values.mean()",
            "mean_maxsim = (query_vectors @ page_vectors.T).mean()",
        ],
        [
            'gigabytes = [1e6 * bytes_per_page[name] / 1e6 for name in ("float32", small_index)]',
            'gigabytes = [1e6 * bytes_per_page[name] / 2**30 for name in ("float32", small_index)]',
            'gigabytes = [1e6 * bytes_per_page[name] / 1e9 for name in (small_index, "float32")]',
        ],
    ],
    "09_search": [
        [
            "largest = min(store.documents().items(), key=lambda item: item[1])",
            'largest = ("no such document", max(store.documents().values()))',
            "largest = (max(store.documents()), len(store))",
        ],
        [
            "halved = [hit.page_id for hit in store.search(dense_queries[0], top_k=4)]",
            "halved = page_ids[:5]",
            "halved = [hit.page_id for hit in store.search(dense_queries[1], top_k=5)]",
        ],
    ],
    "10_your_own_pdfs": [
        [
            'lost = len(right_first("bm25") - right_first("finetuned")) / len(eval_queries)',
            'lost = len(right_first("finetuned") - right_first("bm25"))',
            'lost = right_first("bm25") - right_first("finetuned")',
        ],
    ],
    "appendix_ablations": [
        [
            'speeds = [rows[row]["pages_per_second"] for row in sizes.values()]',
            "all_sizes = [rows[row] for row in sizes.values()]\n"
            'speeds = [row["tokens_per_page"] / row["pages_per_second"] for row in all_sizes]',
            "three = list(sizes.values())[1:]\n"
            'speeds = [rows[row]["tokens_per_page"] * rows[row]["pages_per_second"] for row in three]',
        ],
        [
            "chosen = shares[max(range(len(shares)), key=lambda i: lines[OTHER][i])]",
            'chosen = shares[max(range(len(shares)), key=lambda i: lines["dev"][i])]',
            "chosen = max(near, key=lambda i: lines[OTHER][i])",
        ],
    ],
    "appendix_build_models": [
        [
            "centred = mixed - mixed.mean(axis=0)",
            "centred = mixed.copy()\ncentred[is_text] -= mixed[is_text].mean(axis=0)",
            "centred = np.zeros_like(mixed)",
        ],
        [
            'graded = rows.select_columns(["query", "image", "score"])',
            'graded = rows.select_columns(["image", "query", "similarity"])\n'
            'graded = graded.rename_column("similarity", "score")',
            'graded = rows.rename_column("similarity", "scores").remove_columns("page_id")',
        ],
    ],
    "appendix_lora": [
        [
            "beside = 16 * 2048 * 6144",
            "beside = 2 * 16 * (2048 + 6144)",
            "beside = 2048 * 6144",
        ],
    ],
    "appendix_sabotage": [
        [
            'unnoticed = {name for name, run in faults.items() if run["dev_ndcg@10"] < middle - margin}',
            'unnoticed = {name for name, run in faults.items() if run["dev_ndcg@10"] > base}',
            'unnoticed = sum(run["dev_ndcg@10"] > middle - margin for run in faults.values())',
        ],
        ["ratio = leak / middle", "ratio = (middle - base) / leak", "ratio = 100 * leak / (middle - base)"],
    ],
    "appendix_scale_out": [
        ["wrong_pages = 8 * 64 * 2", "wrong_pages = 8 * 64 - 1", "wrong_pages = 64 * 2 - 1"],
        [
            "still_same = same",
            "agree = [set(best[query]) == set(at_once[query]) for query in query_ids]\n"
            "still_same = sum(agree) / len(agree)",
            "still_same = sum(set(best[query]) != set(at_once[query]) for query in query_ids)",
        ],
    ],
    "appendix_small_checkpoint": [
        [
            "visual_tokens = (224 // 16) * (320 // 16)",
            "visual_tokens = (224 // 28) * (320 // 28)",
            "visual_tokens = 224 // 32 + 320 // 32",
        ],
        ["worth = right - wrong", "worth = wrong", "worth = right"],
    ],
}


def _judged(source: str, names: dict) -> str:
    """Run a check with a wrong answer in a copy of the namespace: "rejected", or what it did instead."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(source, dict(names))
    except AssertionError as fault:
        return "rejected" if str(fault).startswith("Not yet") else f"an AssertionError that says: {fault}"
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
    return f"not rejected, it said: {said.getvalue().strip()}"


def proof(number: int, sources: list[str]) -> str:
    """Return the cell that runs an exercise's check with each wrong answer, and prints `proven(number)`.

    It goes right below the solved exercise, and leaves no name behind but two modules of the library.
    """
    return (
        f"import contextlib, io\n\n\n{inspect.getsource(_judged)}\n\n"
        f"_found = [_judged(source, globals()) for source in {sources!r}]\n"
        f'print("Exercise {number} rejects", _found.count("rejected"), "of", len(_found), "wrong answers")\n'
        'print(*(one for one in _found if one != "rejected"), sep="\\n")\n'
        "del _judged, _found\n"
    )


def proven(number: int) -> str:
    """Return what the cell prints if all is well."""
    return f"Exercise {number} rejects 3 of 3 wrong answers"
