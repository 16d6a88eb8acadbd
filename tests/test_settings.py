"""helpers.settings: what it fills in, what it refuses and in which words, and how settings change."""

import pytest

from helpers import settings
from helpers.settings import TIERS, Settings

NUMBER = "a number above 0"
WHOLE = "a whole number above 0"
WRONG = [
    ("embedding_model", "", "a string that is not empty"),
    ("embedding_model", 5, "a string that is not empty"),
    ("name", None, "a string that is not empty"),
    ("reranker_model", ["a"], "a string that is not empty or None"),
    ("min_pixels", 0, WHOLE),
    ("max_pixels", "64", WHOLE),
    ("dtype", "int3", "one of float32, bfloat16, float16"),
    ("matryoshka_dims", [0, -5], "a list of whole numbers above 0"),
    ("matryoshka_dims", [64, 32.0], "a list of whole numbers above 0"),
    ("matryoshka_dims", [], "a list of whole numbers above 0"),
    ("matryoshka_dims", 64, "a list of whole numbers above 0"),
    ("matryoshka_weights", [1, -1], "a list of numbers of 0 or more or None"),
    ("matryoshka_weights", [float("nan")], "a list of numbers of 0 or more or None"),
    ("train_rows", -5, f"{WHOLE} or None"),
    ("hard_negatives", 5, "a whole number from 0 to 4"),
    ("hard_negatives", -1, "a whole number from 0 to 4"),
    ("batch_size", 2.5, WHOLE),
    ("batch_size", 64.0, WHOLE),
    ("batch_size", "64", WHOLE),
    ("batch_size", True, WHOLE),
    ("batch_size", 0, WHOLE),
    ("batch_size", None, WHOLE),
    ("cached_loss", 1, "True or False"),
    ("cached_loss", "no", "True or False"),
    ("mini_batch_size", -5, WHOLE),
    ("scale", 0, NUMBER),
    ("scale", True, NUMBER),
    ("learning_rate", float("nan"), f"{NUMBER} or None"),
    ("learning_rate", float("inf"), f"{NUMBER} or None"),
    ("learning_rate", "1e-4", f"{NUMBER} or None"),
    ("num_train_epochs", 0, f"{NUMBER} or None"),
    ("warmup", "abc", "a number from 0 to below 1"),
    ("warmup", 1, "a number from 0 to below 1"),
    ("warmup", -0.1, "a number from 0 to below 1"),
    ("adapter_rank", 2.5, f"{WHOLE} or None"),
    ("adapter_learning_rate", -5, NUMBER),
    ("adapter_layers", "q_proj", "a list of strings"),
    ("adapter_layers", ["q_proj", 1], "a list of strings"),
    ("seed", -1, "a whole number of 0 or more"),
    ("reranker_batch_size", 1.5, WHOLE),
    ("reranker_margin", -0.05, "a number of 0 or more or None"),
    ("candidates", "abc", WHOLE),
    ("tier", "8gb", "one of 16gb, 24gb, 80gb or None"),
    ("cut_sizes", 3, "one of 1, 2, 4, 8, 16 or None"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG)
def test_a_value_that_cannot_be_meant_is_named_in_one_sentence(name, value, wanted):
    with pytest.raises(ValueError) as caught:
        Settings(**{"embedding_model": "model", name: value})
    assert str(caught.value) == f"{name} must be {wanted}, not {value!r}."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"matryoshka_weights": [1, 2]}, "matryoshka_weights must be 7 numbers.*not 2"),
        ({"batch_size": 1}, "batch_size must be at least 2, not 1: the pages of other rows"),
        ({"max_pixels": 900}, "max_pixels must be at least 1024, not 900: one visual token"),
        ({"min_pixels": 4096, "max_pixels": 2048}, "max_pixels must be at least 4096, not 2048"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Settings("model", **values)
    with pytest.raises(ValueError, match=message):
        Settings("model").changed(**values)


def test_only_the_model_has_to_be_named():
    own = Settings("model")
    assert (own.name, own.learning_rate, own.num_train_epochs) == ("own", 2e-5, 1.0)
    assert own.matryoshka_weights == (1,) * len(own.matryoshka_dims)
    assert not (own.needs_gpu or own.needs_hub or own.dataset or own.tier)
    with pytest.raises(TypeError):
        Settings()


def test_lists_become_tuples_and_whole_numbers_pass_for_numbers():
    own = Settings("model", matryoshka_dims=[64, 32], matryoshka_weights=[1, 0.5], scale=20, warmup=0)
    assert (own.matryoshka_dims, own.matryoshka_weights) == ((64, 32), (1, 0.5))
    assert Settings("model", adapter_layers=["qkv"]).adapter_layers == ("qkv",)


def test_an_adapter_brings_its_learning_rate_and_passes():
    own = Settings("model", adapter_rank=8, adapter_epochs=3)
    assert (own.learning_rate, own.num_train_epochs) == (own.adapter_learning_rate, 3)
    assert Settings("model", adapter_rank=8, learning_rate=1e-5).learning_rate == 1e-5
    plain = Settings("model", learning_rate=5e-5)
    assert plain.changed(adapter_rank=8).learning_rate == plain.adapter_learning_rate
    assert plain.changed(adapter_rank=8, num_train_epochs=1).num_train_epochs == 1
    kept = Settings("model", adapter_rank=8, learning_rate=1e-5).changed(batch_size=16)
    assert kept.learning_rate == 1e-5, "an adapter that was there before changes nothing"
    assert kept.changed(adapter_learning_rate=3e-4).learning_rate == 3e-4


def test_overrides_of_none_leave_all_as_it_is():
    own = Settings("model", tier="80gb")
    assert own.changed(batch_size=None, seed=None) == own
    assert own.changed(matryoshka_dims=[64, 32]).matryoshka_weights == (1, 1)
    with pytest.raises(TypeError, match="no setting 'batchsize'.*batch_size"):
        own.changed(batchsize=8)
    with pytest.raises(ValueError, match="no tier '8gb'. Set TIER to one of: 16gb, 24gb, 80gb"):
        own.changed(tier="8gb")


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_changes_only_settings_that_have_one(tier):
    own = Settings("model")
    assert own.changed(tier=tier) == own
    tiered = Settings("model", tier="80gb").changed(tier=tier)
    assert (tiered.tier, tiered.adapter_rank) == (tier, TIERS[tier].get("adapter_rank"))


def test_training_settings_tell_runs_apart():
    found = Settings("model").training_settings()
    assert found["seed"] == 12 and "batch_size" in found
    assert not [name for name in found if name.startswith(("reranker", "needs"))]


def test_path_is_a_folder_or_a_hub_id(monkeypatch, tmp_path):
    (tmp_path / "project" / "models" / "own").mkdir(parents=True)
    monkeypatch.setattr(settings, "_PROJECT", tmp_path / "project")
    own = Settings("models/own", vlm_model="Qwen/Qwen3-VL-2B-Instruct")
    below = str(tmp_path / "project" / "models" / "own")
    assert own.path(own.embedding_model) == own.path(below) == below
    assert own.path(own.vlm_model) == own.vlm_model
    monkeypatch.chdir(tmp_path / "project" / "models")
    assert own.path("own") == below
    assert own.models == ("models/own", own.vlm_model, own.reranker_model)


def test_what_a_tier_changes_can_be_given_at_once():
    """As README's Copy says."""
    small_card = Settings(embedding_model="some/model", **TIERS["24gb"])
    assert (small_card.adapter_rank, small_card.learning_rate) == (32, small_card.adapter_learning_rate)
