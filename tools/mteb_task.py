"""The course's evaluation as a task of mteb, the benchmark suite in which page retrievers are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.models import SentenceTransformerEncoderWrapper
    from PIL.Image import Image
    from sentence_transformers import SentenceTransformer


def encoder(
    model: SentenceTransformer, name: str = "course/page-retriever"
) -> SentenceTransformerEncoderWrapper:
    """The model as mteb takes it. Of a model from disk mteb assumes that it reads text only; this says more.

    Args:
        name: what to call it in results, as organization/model.
    """
    from mteb.models import SentenceTransformerEncoderWrapper

    wrapped = SentenceTransformerEncoderWrapper(model)
    about = {"name": name, "revision": "local", "modalities": ["text", "image"]}
    wrapped.mteb_model_meta = wrapped.mteb_model_meta.model_copy(update=about)
    return wrapped


def retrieval_task(
    queries: Mapping[str, str],
    pages: Mapping[str, Image],
    relevant: Mapping[str, set[str]],
    name: str = "CoursePageRetrieval",
) -> AbsTaskRetrieval:
    """A task for `mteb.evaluate(model, task)`: text queries, page images, relevance yes or no.

    Its main score is NDCG@10. Nothing is downloaded: the data is what is passed here.

    Args:
        queries: query id -> text.
        pages: page id -> picture, as `dataset.retrieval_task` gives them.
        relevant: query id -> ids of the pages that answer it.

    Raises:
        ImportError: mteb is not installed, with the command.
    """
    try:
        from mteb import TaskMetadata
        from mteb.abstasks.retrieval import AbsTaskRetrieval
    except ImportError as error:
        raise ImportError('mteb is missing: pip install "mteb>=2.20,<3"') from error
    from datasets import Dataset

    class PageRetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=name,
            description="Text queries, page images: find the page that answers.",
            dataset={"path": "local", "revision": "local"},
            type="DocumentUnderstanding",
            category="t2i",
            modalities=["text", "image"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **kwargs) -> None:
            self.dataset = {
                "default": {
                    "test": {
                        "queries": Dataset.from_dict(
                            {"id": list(map(str, queries)), "text": list(queries.values())}
                        ),
                        "corpus": Dataset.from_dict(
                            {"id": list(map(str, pages)), "image": list(pages.values())}
                        ),
                        "relevant_docs": {
                            str(query): dict.fromkeys(map(str, right), 1) for query, right in relevant.items()
                        },
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return PageRetrieval()
