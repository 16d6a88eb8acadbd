"""The metrics against a hand-computed example, trec_eval and sentence-transformers' own evaluator."""

import math

import numpy as np
import pytest

from helpers import evaluation
from tools import spread
from tools.stored import rank_stored


def random_run(seed, queries=40, pages=60, relevant=3):
    """Scores without ties, and one to `relevant` relevant pages per query."""
    generator = np.random.default_rng(seed)
    page_ids = [f"d{page:03d}-p01" for page in range(pages)]
    run, truth = {}, {}
    for query in range(queries):
        scores = generator.permutation(pages) / pages
        run[f"q{query}"] = {page_id: float(score) for page_id, score in zip(page_ids, scores)}
        truth[f"q{query}"] = set(
            generator.choice(page_ids, size=generator.integers(1, relevant + 1), replace=False)
        )
    return run, truth


def test_hand_computed_example():
    run = {"q": {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}}
    relevant = {"q": {"b", "d"}}
    dcg = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 / math.log2(2) + 1 / math.log2(3)
    assert evaluation.ndcg(run, relevant)["q"] == pytest.approx(dcg / ideal)
    assert evaluation.ndcg(run, relevant, k=1)["q"] == 0
    assert evaluation.mrr(run, relevant)["q"] == pytest.approx(1 / 2)
    assert evaluation.recall(run, relevant, k=2)["q"] == pytest.approx(1 / 2)
    assert evaluation.map_(run, relevant)["q"] == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_no_relevant_page_found_scores_zero():
    run, relevant = {"q": ["a", "b"]}, {"q": {"z"}, "never asked": {"a"}}
    for metric in (evaluation.ndcg, evaluation.mrr, evaluation.recall, evaluation.map_):
        assert metric(run, relevant) == {"q": 0.0, "never asked": 0.0}


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_trec_eval(seed):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    run, relevant = random_run(seed)
    judged = {query_id: dict.fromkeys(pages, 1) for query_id, pages in relevant.items()}
    names = {"ndcg_cut_10": evaluation.ndcg, "recall_10": evaluation.recall, "map_cut_100": evaluation.map_}
    theirs = pytrec_eval.RelevanceEvaluator(
        judged, {"ndcg_cut.10", "recall.10", "map_cut.100", "recip_rank"}
    ).evaluate(run)
    for name, metric in names.items():
        for query_id, value in metric(run, relevant).items():
            assert value == pytest.approx(theirs[query_id][name], abs=1e-6)
    for query_id, value in evaluation.mrr(run, relevant, k=100).items():
        assert value == pytest.approx(theirs[query_id]["recip_rank"], abs=1e-6)


def test_agrees_with_sentence_transformers_ties_included():
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    run, relevant = random_run(7)
    run = {
        query_id: {page: round(score, 1) for page, score in pages.items()} for query_id, pages in run.items()
    }
    pages = {page: page for page in run["q0"]}
    evaluator = InformationRetrievalEvaluator({query: query for query in run}, pages, relevant)
    hits = [
        [{"corpus_id": page, "score": score} for page, score in run[query].items()]
        for query in evaluator.queries_ids
    ]
    theirs = evaluator.compute_metrics(hits)
    assert evaluation.mean(evaluation.ndcg(run, relevant)) == pytest.approx(theirs["ndcg@k"][10], abs=1e-6)
    assert evaluation.mean(evaluation.mrr(run, relevant)) == pytest.approx(theirs["mrr@k"][10], abs=1e-6)
    assert evaluation.mean(evaluation.map_(run, relevant)) == pytest.approx(theirs["map@k"][100], abs=1e-6)
    assert evaluation.mean(evaluation.recall(run, relevant)) == pytest.approx(
        theirs["recall@k"][10], abs=1e-6
    )


def test_ties_do_not_depend_on_dictionary_order():
    relevant = {"q": {"b"}}
    assert evaluation.mrr({"q": {"b": 1.0, "a": 1.0}}, relevant) == evaluation.mrr(
        {"q": {"a": 1.0, "b": 1.0}}, relevant
    )
    embeddings = np.ones((3, 4))
    assert list(evaluation.rank(embeddings[:1], embeddings, ["q"], ["c", "a", "b"])["q"]) == ["a", "b", "c"]


def test_rank_is_cosine_and_cuts_dimensions_first():
    query, pages = [[1.0, 0.0, 5.0]], [[10.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert list(evaluation.rank(query, pages, ["q"], ["near", "far"], dim=2)["q"].items())[0] == ("near", 1.0)
    assert list(evaluation.rank(query, pages, ["q"], ["far", "near"], k=1)["q"]) == ["near"]


def test_rank_takes_bfloat16_tensors():
    import torch

    ranked = evaluation.rank(torch.eye(2, dtype=torch.bfloat16), torch.eye(2), ["q", "r"], ["a", "b"])
    assert [next(iter(pages)) for pages in ranked.values()] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0]], [[1.0]], ["q", "r"], ["a"]), "1 query embeddings and 2 query ids"),
        (([[1.0]], [[1.0], [1.0]], ["q"], ["a", "a"]), "page id 'a' is there twice"),
        (([[1.0]], [[1.0, 2.0]], ["q"], ["a"]), "1 dimensions and pages 2"),
        (([[1.0], [float("nan")]], [[1.0]], ["q", "r"], ["a"]), "embedding of query 'r' holds .* not finite"),
        (([[1.0]], [[float("inf")]], ["q"], ["a"]), "embedding of page 'a' holds .* not finite"),
        (([1.0], [[1.0]], ["q"], ["a"]), "shape"),
    ],
)
def test_rank_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluation.rank(*arguments)


def test_metrics_refuse_missing_judgements():
    with pytest.raises(ValueError, match="No relevant pages are given"):
        evaluation.ndcg({"q": ["a"]}, {})
    with pytest.raises(ValueError, match="no relevant page"):
        evaluation.ndcg({"q": ["a"]}, {"q": set()})
    with pytest.raises(ValueError, match="NaN"):
        evaluation.ndcg({"q": {"a": float("nan")}}, {"q": {"a"}})


@pytest.mark.parametrize(
    ("run", "relevant", "message"),
    [
        ({"q": ["a", "b", "a"]}, {"q": {"a"}}, "run of query 'q' holds page 'a' twice"),
        ({"q": ["a"]}, {"q": "ab"}, "are a set of ids, not 'ab'"),
        ({"q": ["a", 7]}, {"q": {"a"}}, "Page ids of the query 'q' are 7 in the run"),
        ({"q": ["a", "7"]}, {"q": {"a": 1, 7: 1}}, "7 among the relevant ones: make both strings"),
        ({7: ["a"]}, {"7": {"a"}}, "such as 7. Query ids are strings on both sides, or integers"),
    ],
)
def test_metrics_name_the_first_offender(run, relevant, message):
    for metric in (evaluation.ndcg, evaluation.mrr, evaluation.recall, evaluation.map_):
        with pytest.raises(ValueError, match=message):
            metric(run, relevant)
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        evaluation.ndcg({"q": ["a"]}, {"q": {"a"}}, k=0)


def test_fewer_pages_than_k_are_all_kept():
    assert list(evaluation.rank([[1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]], ["q"], ["a", "b"], k=10)["q"]) == [
        "b",
        "a",
    ]
    assert evaluation.rank([[1.0, 0.0]], [[0.0, 0.0]], ["q"], ["a"])["q"] == {"a": 0.0}


def test_bootstrap_covers_the_normal_interval():
    values = np.random.default_rng(0).normal(0.5, 0.2, size=400)
    interval = evaluation.bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.002)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.002)
    assert interval == evaluation.bootstrap(values)
    drawn = np.random.default_rng(12).integers(400, size=(10_000, 400))  # the resamplings written out
    ends = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    assert interval[1:] == pytest.approx(ends, abs=1e-12)


def test_an_interval_of_equal_values_is_that_value():
    assert evaluation.bootstrap([0.5]) == evaluation.bootstrap([0.5] * 7) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="one value per query"):
        evaluation.bootstrap([])


def test_intervals_and_verdicts_are_worded_in_one_place():
    assert f"{evaluation.Interval(0.331, 0.3, 0.3624):+.3f}" == "+0.331, 95 % interval +0.300 to +0.362"
    assert f"{evaluation.Interval(0.5, 0.4, 0.6)}" == "0.500, 95 % interval 0.400 to 0.600"
    assert evaluation.Interval(1, 0.5, 2).verdict("A", "B").startswith("A is ahead of B")
    assert evaluation.Interval(-1, -2, -0.5).verdict("A", "B").startswith("A is behind B")
    assert "neither A nor B" in evaluation.Interval(1, -0.5, 2).verdict("A", "B")


def test_first_rank():
    run = {"a": {"p1": 0.1, "p2": 0.9, "p3": 0.5}, "b": ["p1", "p2"]}
    relevant = {"a": {"p1", "p3"}, "b": {"p9"}, "c": {"p1"}}
    assert evaluation.first_rank(run, relevant) == {"a": 2, "b": 3, "c": 1}


def test_paired_bootstrap_is_b_minus_a_by_query():
    a = {f"q{index}": index / 100 for index in range(100)}
    b = {query: value + 0.1 for query, value in reversed(a.items())}
    assert evaluation.paired_bootstrap(a, b) == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="same queries"):
        evaluation.paired_bootstrap(a, {"q0": 1.0})


@pytest.mark.parametrize("seed", range(3))
def test_graded_ndcg_agrees_with_trec_eval(seed):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    run, relevant = random_run(seed, relevant=15)
    generator = np.random.default_rng(seed)
    graded = {
        query_id: {page: int(generator.integers(1, 4)) for page in sorted(pages)}
        for query_id, pages in relevant.items()
    }
    theirs = pytrec_eval.RelevanceEvaluator(graded, {"ndcg_cut.10"}).evaluate(run)
    for query_id, value in evaluation.ndcg(run, graded).items():
        assert value == pytest.approx(theirs[query_id]["ndcg_cut_10"], abs=1e-6)
    assert evaluation.recall(run, graded) == evaluation.recall(run, relevant)
    with pytest.raises(ValueError, match="grade of the query 'q' is not above 0"):
        evaluation.ndcg({"q": ["a"]}, {"q": {"a": 0}})


def embeddings(pages=200, queries=30, size=64, seed=0):
    """Pages, queries that are noisy copies of the first ones, and the ids of both."""
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(pages, size)).astype(np.float32)
    asked = matrix[:queries] + 2.5 * generator.normal(size=(queries, size)).astype(np.float32)
    return asked, matrix, [f"q{i}" for i in range(queries)], [f"p{i:03d}" for i in range(pages)]


def test_stored_in_fewer_bits():
    given = embeddings()
    truth = {f"q{i}": {f"p{i:03d}"} for i in range(30)}
    exact = evaluation.rank(*given, k=10)
    assert rank_stored(*given, "float32", k=10) == exact
    scores = {
        precision: evaluation.mean(evaluation.ndcg(rank_stored(*given, precision, k=10), truth))
        for precision in ("float32", "int8", "binary", "binary, rescored")
    }
    assert scores["int8"] == pytest.approx(scores["float32"], abs=0.02)
    assert scores["binary"] < scores["binary, rescored"] < scores["float32"]
    coarse = rank_stored(*given, "int8", k=10)
    for query_id, pages in exact.items():
        for page in set(pages) & set(coarse[query_id]):
            assert coarse[query_id][page] == pytest.approx(pages[page], abs=0.02)
    bits = rank_stored(*given, "binary", k=200, dim=16)
    page = given[1][:, :16] > 0
    assert bits["q3"] == {f"p{i:03d}": float((page[i] == (given[0][3, :16] > 0)).sum()) for i in range(200)}
    with pytest.raises(ValueError, match="no precision 'int4'"):
        rank_stored(*given, "int4")


def test_one_more_run_falls_within_the_margin_nineteen_times_in_twenty():
    drawn = np.random.default_rng(3).normal(0.6, 0.01, size=(4000, 6))
    inside = [abs(run - np.mean(five)) < spread.prediction_margin(five) for *five, run in drawn]
    assert 0.93 < np.mean(inside) < 0.97
    pairs = [abs(np.mean(new) - np.mean(old)) < spread.prediction_margin(old, more=2)
             for old, new in zip(drawn[:, :4], drawn[:, 4:])]  # fmt: skip
    assert 0.93 < np.mean(pairs) < 0.97
    with pytest.raises(ValueError, match="at least two runs"):
        spread.prediction_margin([0.6])
    with pytest.raises(ValueError, match="between 0 and 1, not 95"):
        spread.prediction_margin([0.6, 0.7], level=95)


def test_detectable_difference_is_found_four_times_in_five():
    generator = np.random.default_rng(2)
    zero = {f"q{i}": 0.0 for i in range(100)}
    sample = {query: float(value) for query, value in zip(zero, generator.normal(size=100))}
    smallest = spread.detectable_difference(zero, sample)
    assert spread.detectable_difference(zero, sample, queries=400) == pytest.approx(smallest / 2)
    scatter = np.std(list(sample.values()), ddof=1)
    found = 0
    for _ in range(400):
        drawn = generator.normal(smallest, scatter, size=100)
        found += abs(drawn.mean()) > 1.96 * drawn.std(ddof=1) / 10
    assert 0.7 < found / 400 < 0.9


def test_dot_products_and_cosines():
    pages_, queries_ = np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 1.0]])
    ids = ["q"], ["long", "near"]
    assert evaluation.rank(queries_, pages_, *ids, similarity="dot") == {"q": {"long": 6.0, "near": 3.0}}
    assert list(evaluation.rank(queries_, pages_, *ids)["q"]) == ["near", "long"]
    with pytest.raises(ValueError, match="no similarity 'angle'"):
        evaluation.rank(queries_, pages_, *ids, similarity="angle")


def test_ids_of_two_types_are_no_silent_zero():
    with pytest.raises(ValueError, match="'q' are 7 in the run and '7' among the relevant"):
        evaluation.ndcg({"q": {7: 0.5}}, {"q": {"7"}})
    assert evaluation.ndcg({"q": {7: 0.5}}, {"q": {7}}) == {"q": 1.0}
