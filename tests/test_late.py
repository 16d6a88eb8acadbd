"""tools/late.py: vectors in a file, words of a query, and the library's MaxSim beside a plain one."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.course.profiles import get_profile
from tools import late


@pytest.fixture(scope="module")
def model():
    from sentence_transformers import MultiVectorEncoder

    profile = get_profile("small")
    torch.manual_seed(12)
    return MultiVectorEncoder(
        profile.path(profile.embedding_model),
        model_kwargs={"dtype": "float32"},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device="cpu",
    )


@pytest.fixture(scope="module")
def page():
    return Image.fromarray(np.random.default_rng(3).integers(0, 255, (160, 128, 3), dtype=np.uint8))


def unit_vectors(*counts: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    drawn = (torch.randn(count, 16, generator=generator) for count in counts)
    return [torch.nn.functional.normalize(vectors, dim=1) for vectors in drawn]


@pytest.mark.parametrize(
    ("precision", "size", "error"), [("float32", 4, 0), ("float16", 2, 1e-3), ("int8", 1, 5e-3)]
)
def test_bytes_are_those_on_disk_and_pages_may_differ_in_number_of_vectors(tmp_path, precision, size, error):
    pages = unit_vectors(5, 9, 1)
    read, counted = late.write_vectors(pages, precision, tmp_path / "vectors.npy")
    assert [vectors.shape for vectors in read] == [vectors.shape for vectors in pages]
    assert counted * 3 == (tmp_path / "vectors.npy").stat().st_size
    assert 0 < counted * 3 - size * 16 * 15 <= 256, "the numbers, and the header of the file"
    furthest = max((one - other).abs().max().item() for one, other in zip(pages, read))
    assert furthest <= error and (furthest == 0) == (precision == "float32")


def test_a_precision_of_another_name_or_uneven_dimensions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no precision 'int4'"):
        late.write_vectors(unit_vectors(2), "int4", tmp_path / "vectors.npy")
    with pytest.raises(ValueError, match="of \\[8, 16\\] dimensions"):
        late.write_vectors([*unit_vectors(2), torch.ones(3, 8)], "float32", tmp_path / "vectors.npy")
    assert not list(tmp_path.iterdir())


def test_maxsim_by_hand_is_the_librarys_also_for_pages_of_unequal_numbers_of_vectors(model):
    (query,), pages = unit_vectors(4), unit_vectors(5, 9, 1)
    by_hand = [sum(max(float(q @ p) for p in page) for q in query) for page in pages]
    assert np.allclose(model.similarity([query], pages)[0].numpy(), by_hand, atol=1e-5)


def test_the_words_of_a_query_are_whole_and_none_is_of_the_template(model):
    query = "Which accidents did Gochand report in 2015?"
    words = late.words_of(model, query)
    assert [word.strip("?,.") for word, _ in words] == query.lower().replace("?", "").split()
    vectors = model.encode_query([query])[0]
    places = [place for _, place in words]
    assert places == sorted(set(places)) and places[-1] < len(vectors) - 1


def test_a_word_map_peaks_where_the_words_best_vector_stands(model, page):
    """The page's vector at one place is made the word's own: its map is lightest there."""
    query = "accidents report"
    vectors, given = model.encode_query([query])[0], model.encode_document([page])[0].clone()
    inside = late.on_picture(model, page)
    assert len(inside) == len(given) and inside.sum() == (160 // 32) * (128 // 32)
    word, place = late.words_of(model, query)[0]
    given[inside.nonzero()[6, 0]] = vectors[place]  # row 1, column 2 of four columns
    maps = late.word_maps(model, query, page, vectors, given, words=2)
    picture, title, framed = next(found for found in maps if found[1].startswith(f"“{word}”"))
    assert title.endswith("at best 1.00") and not framed and picture.size == page.size
    blank = Image.new("RGB", page.size, "white")
    plain = late.word_maps(model, query, blank, vectors, given, words=2)
    light = np.asarray(next(one for one, name, _ in plain if name == title).convert("L"), dtype=float)
    cells = light.reshape(5, 32, 4, 32).mean(axis=(1, 3))
    assert np.unravel_index(cells.argmax(), cells.shape) == (1, 2)
