"""helpers.copies: the search for near pages finds what comparing all pairs finds."""

import datasets
import numpy as np
import pytest
from PIL import Image

from helpers import copies


def test_near_rows_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    b = rng.uniform(0, 255, (30, 64)).astype(np.float32)
    a = np.concatenate([b[:5] + rng.uniform(-0.5, 0.5, (5, 64)), b[5:10] + 3]).astype(np.float32)
    b = np.concatenate([b, b[:2] + 0.3]).astype(np.float32)  # a second near one for two of them
    every = np.abs(a[:, None] - b).mean(axis=2)
    for row, (found, distances) in zip(every, copies._near_rows(a, b), strict=True):
        wanted = [place for place in np.argsort(row) if row[place] < copies.NEAR]
        assert found.tolist() == wanted
        assert np.allclose(distances, row[wanted])
    assert (every < copies.NEAR).sum() == 7
    assert [len(found) for found, _ in copies._near_rows(a, b, near=0)] == [0] * 10


@pytest.mark.parametrize("as_files", [True, False])
def test_batches_are_those_of_the_library(as_files, tmp_path):
    """Twelve rows of six pages, two of them in files of other names."""
    import torch
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    pages = [Image.new("L", (40, 40), 40 * number) for number in (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5)]
    if as_files:
        paths = [str(tmp_path / f"{number}.png") for number in range(12)]
        for page, path in zip(pages, paths):
            page.save(path)
        pages = paths
    rows = datasets.Dataset.from_dict({"query": [f"q{i // 2}" for i in range(12)], "image": pages})
    rows = rows.cast_column("image", datasets.Image())

    def batches(sampler):
        options = {"batch_size": 4, "drop_last": False, "seed": 3, "generator": torch.Generator()}
        return list(sampler(rows, **options))

    made = batches(copies.no_duplicates)
    if not as_files:  # the library tells equal files of two names apart
        assert made == batches(NoDuplicatesBatchSampler)
    assert all(len({i % 6 for i in batch}) == len({i // 2 for i in batch}) == len(batch) for batch in made)
