"""Going on with an interrupted run: which checkpoint is used, and that losses are as in a whole run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers import checkpoints
from helpers.course.profiles import ROOT

SETTINGS = {"learning_rate": 1e-3, "dims": (8, 4)}


def write_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"weight": torch.zeros(100)}, checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.zeros(100)}, checkpoint / name)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return checkpoint


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


@pytest.fixture
def interrupted(tmp_path):
    folder = tmp_path / "checkpoints"
    assert checkpoints.begin(folder, SETTINGS) is None
    for step in (10, 20):
        write_checkpoint(folder, step)
    return folder


def test_goes_on_from_the_last_whole_checkpoint(interrupted):
    assert checkpoints.begin(interrupted, SETTINGS).endswith("checkpoint-20")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"])
@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "missing"])
def test_a_half_written_checkpoint_is_passed_over(interrupted, name, damage, capsys):
    if name == "trainer_state.json" and damage is cut:
        (interrupted / "checkpoint-20" / name).write_text('{"global_step": ')
    else:
        damage(interrupted / "checkpoint-20" / name)
    assert checkpoints.begin(interrupted, SETTINGS).endswith("checkpoint-10")
    assert "checkpoint-20 is not whole" in capsys.readouterr().out


def test_a_finished_run_is_not_gone_on_with(interrupted):
    checkpoints.finish(interrupted)
    assert checkpoints.begin(interrupted, SETTINGS) is None
    assert not list(interrupted.glob("checkpoint-*"))


def test_another_runs_checkpoints_are_kept_and_named(interrupted):
    with pytest.raises(
        ValueError, match=r"learning_rate = 0\.001, and this run has 0\.1\. Set RESUME = False"
    ):
        checkpoints.begin(interrupted, SETTINGS | {"learning_rate": 0.1})
    (interrupted / checkpoints._RUN).unlink()
    with pytest.raises(ValueError, match="did not start"):
        checkpoints.begin(interrupted, SETTINGS)
    assert len(list(interrupted.glob("checkpoint-*"))) == 2
    assert checkpoints.begin(interrupted, SETTINGS, resume=False) is None
    assert not list(interrupted.glob("checkpoint-*"))


def test_insisting_on_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint of an interrupted run"):
        checkpoints.begin(tmp_path, SETTINGS, resume=True)


def test_a_folder_without_room_or_access(tmp_path):
    with pytest.raises(OSError, match="MB free"):
        checkpoints.begin(tmp_path, SETTINGS, weights_mb=1e12)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Cannot write into the output folder"):
        checkpoints.begin(tmp_path / "file" / "below", SETTINGS)


# A short training of the small checkpoint in a process of its own, which may be told to kill itself.
TRAINING = """
import json, os, signal, sys
from pathlib import Path
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from transformers import TrainerCallback, set_seed
from helpers import checkpoints
from helpers.course.profiles import get_profile

folder, kill, adapter = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "adapter"
set_seed(3)
profile = get_profile("small")
rows = Dataset.from_dict({name: [f"{name} {i}" for i in range(32)] for name in ("query", "page")})
model = SentenceTransformer(profile.path(profile.embedding_model), device="cpu",
                            model_kwargs={"dtype": torch.float32})
if adapter:
    from peft import LoraConfig, get_peft_model
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    model[0].model = get_peft_model(model[0].model, config)
args = SentenceTransformerTrainingArguments(
    output_dir=str(folder), per_device_train_batch_size=4, max_steps=8, save_strategy="steps", save_steps=2,
    save_total_limit=1, logging_steps=1, learning_rate=1e-4, use_cpu=True, report_to="none", seed=3,
    batch_sampler=BatchSamplers.NO_DUPLICATES, disable_tqdm=True)

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if kill == "step" and state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if kill == "ctrl-c" and state.global_step == 5:
            raise KeyboardInterrupt

trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=rows,
                                     loss=MultipleNegativesRankingLoss(model), callbacks=[Kill()])
if kill == "save":
    whole = torch.save
    def half(content, file, *more, **named):
        whole(content, file, *more, **named)
        if "checkpoint-4" in str(file):
            os.truncate(file, os.path.getsize(file) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    torch.save = half
if adapter:
    checkpoints.adapters_resume(trainer)
start = checkpoints.begin(folder, {"lr": 1e-4})
trainer.train(resume_from_checkpoint=start)
checkpoints.finish(folder)
losses = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
print(json.dumps({"start": start, "losses": losses}))
"""


def train(folder: Path, what: str, kill: str = "never") -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment |= {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", TRAINING, str(folder), kill, what]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    losses = {}
    for what in ("all weights", "adapter"):
        shown = train(tmp_path_factory.mktemp("whole") / "checkpoints", what)
        assert shown.returncode == 0, shown.stderr[-3000:]
        result = json.loads(shown.stdout.splitlines()[-1])
        assert result["start"] is None and len(result["losses"]) == 8
        losses[what] = result["losses"]
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("what", ["all weights", "adapter"])
@pytest.mark.parametrize(
    ("kill", "step"), [("step", 4), ("ctrl-c", 4), ("save", 2)], ids=["sigkill", "ctrl-c", "in-a-save"]
)
def test_a_killed_run_goes_on_to_the_same_losses(kill, step, what, uninterrupted, tmp_path):
    folder = tmp_path / "checkpoints"
    shown = train(folder, what, kill)
    assert shown.returncode in ((1, -signal.SIGINT) if kill == "ctrl-c" else (-signal.SIGKILL,)), shown.stderr
    assert f"checkpoint-{step}" in os.listdir(folder)
    shown = train(folder, what)
    assert shown.returncode == 0, shown.stderr[-3000:]
    result = json.loads(shown.stdout.splitlines()[-1])
    assert result["start"].endswith(f"checkpoint-{step}")
    for number, loss in uninterrupted[what].items():
        assert float(result["losses"][number]) == pytest.approx(float(loss), rel=1e-3), number
