"""What the agent searches: a corpus from a file, or a treasure hunt whose clues lead from one document to the next.

A hunt of a hundred clues cannot be answered in fewer than a hundred searches, however good the model is.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from clients.examples.search_agent.bm25 import Index

COLORS = """amber azure black brown coral gold green ivory jade olive orange pearl pink plum red ruby silver
violet white yellow""".split()  # noqa: SIM905 - shorter to read
PLACES = [
    "arch",
    "barn",
    "bridge",
    "cellar",
    "dune",
    "fort",
    "gate",
    "harbor",
    "inn",
    "lodge",
    "mill",
    "pier",
    "quarry",
    "tower",
    "well",
]
SNIPPETS = 3
SNIPPET_LENGTH = 240


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    text: str


class Corpus:
    def __init__(self, documents: list[Document]) -> None:
        self.documents = documents
        # A word of the title counts three times.
        self._index = Index(
            [f"{each.title} {each.title} {each.title} {each.text}" for each in documents]
        )

    @classmethod
    def load(cls, path: str) -> "Corpus":
        """From a file with a JSON object `{title, text}` a line."""
        with Path(path).open() as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        return cls([Document(row["title"], row["text"]) for row in rows])

    def search(self, query: str) -> str:
        """The best documents' titles and first words, as the tool shows them."""
        found = [self.documents[place] for place in self._index.search(query, SNIPPETS)]
        lines = [f"[{document.title}] {document.text[:SNIPPET_LENGTH]}" for document in found]
        return "\n".join(lines) or "nothing found"


def treasure_hunt(seed: int, clues: int) -> tuple[Corpus, dict[str, str]]:
    """A question whose answer stands in the last of `clues` documents; each names the place of the next."""
    random = Random(seed)  # noqa: S311 - repeatable on purpose
    places = [f"{color} {place}" for color in COLORS for place in PLACES]
    path = random.sample(places, clues)
    treasure = f"{random.randrange(1000, 10000)}"
    hints = [f"The next clue is at the {following}." for following in path[1:]]
    documents = [
        Document(place, f"A note lies here. {hint}")
        for place, hint in zip(path, [*hints, f"The treasure is number {treasure}."], strict=True)
    ]
    documents += [
        Document(place, "Nothing but dust.") for place in places if place not in set(path)
    ]
    random.shuffle(documents)
    question = f"Follow the clues from the {path[0]}. What is the number of the treasure?"
    return Corpus(documents), {"id": f"hunt-{seed}", "question": question, "answer": treasure}
