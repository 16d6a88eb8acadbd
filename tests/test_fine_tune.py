"""tools/fine_tune.py, which sweeps, seeds and benchmarks repeat, trains as notebook 04 does."""

import json

import pytest
from transformers import TrainerCallback

from helpers.course.data import load_queries
from helpers.course.profiles import get_profile
from tests.conftest import COURSE
from tools.fine_tune import _without, fine_tune, unseen_terms, whole_training


class UntilFirstLog(TrainerCallback):
    """Stops a training at its first report, and keeps it."""

    def on_log(self, args, state, control, logs, **kwargs):
        if "loss" in logs:
            self.step, self.loss = state.global_step, float(logs["loss"])
            control.should_training_stop = True


@pytest.mark.slow
def test_the_first_steps_are_those_of_notebook_04(course):
    (last,) = (course.folder / "04_train_embedding" / "checkpoints").glob("checkpoint-*")
    history = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    first = next(entry for entry in history if "loss" in entry)
    stopped = UntilFirstLog()
    profile = get_profile("small", **COURSE)
    fine_tune(whole_training(profile), callbacks=[stopped])
    assert stopped.step == first["step"] >= 2
    assert stopped.loss == pytest.approx(float(first["loss"]), rel=1e-3)


def test_rows_can_do_without_a_third_of_the_terms():
    from datasets import Dataset

    queries = {query["query_id"]: set(query["jargon"]) for query in load_queries("train")}
    train = Dataset.from_dict({"query_id": list(queries)})
    unseen = unseen_terms(12)
    assert len(unseen) == len(set().union(*queries.values())) // 3
    without = _without("terms", train, 12)["query_id"]
    assert {query for query, terms in queries.items() if not terms & unseen} == set(without)
    as_many = _without("rows", train, 12)["query_id"]
    assert len(as_many) == len(without) and any(queries[query] & unseen for query in as_many)
