"""The paper whose study this project repeats: cited in one way wherever it is named."""

from __future__ import annotations

TITLE = (
    "The Impact of Generalization Techniques on the Interplay Among Privacy, Utility, and Fairness in Image "
    "Classification"
)
AUTHORS = ("Ahmad Hassanpour", "Amir Zarei", "Khawla Mallat", "Anderson Santana de Oliveira", "Bian Yang")
VENUE = "Proceedings on Privacy Enhancing Technologies (PETS) 2025"
ARXIV = "2412.11951"
URL = f"https://arxiv.org/abs/{ARXIV}"

SHORT = "Hassanpour et al. 2025"
"""How the paper is named after its first mention."""

CITATION = f"{', '.join(AUTHORS[:-1])} and {AUTHORS[-1]}: {TITLE}. {VENUE}, arXiv:{ARXIV}."
"""The whole reference, without its link (``URL``)."""
