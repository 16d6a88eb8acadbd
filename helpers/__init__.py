"""What a notebook needs around the Sentence Transformers calls: page pictures, checks, metrics, figures.

One file a stage, to be copied whole: nothing here reads `helpers/course`, where the course has its profiles,
documents and results. Heavy imports (torch, datasets, matplotlib) are inside functions, so `import helpers`
costs next to nothing.
"""

import sys


class _NoCourse:
    """Asked last, so only where `helpers/course` is not there: says what a copied notebook is to do."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "helpers.course":
            raise ModuleNotFoundError(
                "This project has no helpers/course: delete `from helpers.course import begin` and the line "
                "`... = begin(...)`, and write `from helpers.settings import Settings` and "
                "`profile = Settings(embedding_model=...)` instead; README's Copy lists all lines.",
                name=name,
            )


sys.meta_path.append(_NoCourse)
