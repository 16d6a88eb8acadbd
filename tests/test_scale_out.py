"""Several processes: shared negatives give the loss and the gradient of one process with the larger batch."""

import json
import os
import subprocess
import sys

import pytest

from helpers.course.profiles import ROOT
from tests.conftest import with_pages

SCRIPT = str(ROOT / "tools" / "scale_out.py")


def run(runs, processes: int, *arguments: str) -> dict:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = os.environ | {"VDR_COURSE_RUNS": str(runs), "HF_HUB_OFFLINE": "1"}
    command = [*launcher, SCRIPT, "--steps", "2", *arguments]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_processes_with_shared_negatives_equal_one_with_twice_the_batch(tmp_path, small_pages):
    runs = with_pages(tmp_path / "runs", small_pages)
    one = run(runs, 1, "--batch", "8")
    two = run(runs, 2, "--batch", "4", "--gather")
    apart = run(runs, 2, "--batch", "4")
    assert (one["processes"], two["processes"], apart["processes"]) == (1, 2, 2)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert two["gradient_norms"] == pytest.approx(one["gradient_norms"], rel=1e-2)
    assert apart["losses"][0] < two["losses"][0], "without sharing, a query sees half as many wrong pages"


def test_a_batch_of_one_is_refused():
    shown = subprocess.run([sys.executable, SCRIPT, "--batch", "1"], capture_output=True, text=True)
    assert shown.returncode == 2
    assert "--batch must be at least 2" in shown.stderr
