"""helpers.copies: the search for near pages finds what comparing all pairs finds."""

import numpy as np

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
