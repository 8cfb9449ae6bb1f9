"""The search recipe: the index against its formula, and a hunt of more than a hundred turns on a real gateway."""

import asyncio
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients.examples.search_agent.agent import MAX_TURNS, search_and_answer
from clients.examples.search_agent.bm25 import K1, B, Index
from clients.examples.search_agent.corpus import Corpus, treasure_hunt
from deploy.demo.starter.starter import create_untrained
from tests.clients.recipe_stage import stage
from tests.gateways import StartGateway
from turngate import Episode, Row, graders, rollouts

CLUES = 105
LAST_TOKENS = 1500  # in which the last search and its result stand


def test_scores_follow_the_formula() -> None:
    """Two documents with one word of the query each, in the order of the scores worked out by hand."""
    texts = ["red red house", "blue house with a long long name"]

    def score(times: int, length: int) -> float:
        idf = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
        mean = (3 + 7) / 2
        return idf * times * (K1 + 1) / (times + K1 * (1 - B + B * length / mean))

    assert score(2, 3) > score(1, 7)
    assert Index(texts).search("blue red", 5) == [0, 1]
    assert Index(texts).search("NAME", 5) == [1]
    assert Index(texts).search("green", 5) == []
    assert Index([]).search("green", 5) == []


def test_a_hunt_can_be_followed_to_its_end() -> None:
    """A search for each place finds the document with the next one first, and the last holds the answer."""
    corpus, hunt = treasure_hunt(7, CLUES)
    place = re.search(r"from the (.*?)\. What", hunt["question"])[1]
    for _ in range(CLUES - 1):
        place = next_place(corpus.search(place), place)

    assert f"[{place}] A note lies here. The treasure is number {hunt['answer']}." in (
        corpus.search(place)
    )


def test_a_corpus_of_ones_own_is_read(tmp_path: Path) -> None:
    """Documents come from a file of JSON lines."""
    file = tmp_path / "documents.jsonl"
    file.write_text(json.dumps({"title": "Tea", "text": "Green."}) + "\n\n")

    corpus = Corpus.load(str(file))

    assert corpus.search("tea") == "[Tea] Green."
    assert corpus.search("coffee") == "nothing found"


def test_a_hunt_that_no_episode_can_end_is_refused() -> None:
    """A search for each clue and an answer do not fit into an episode's turns; the message says how many clues do."""
    command = [sys.executable, "-m", "clients.examples.search_agent", "--clues", str(MAX_TURNS)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)

    assert refused.returncode == 2
    assert f"a hunt has 1 to {MAX_TURNS - 1}" in refused.stderr


@pytest.fixture
def roomy_dir(tmp_path: Path) -> Path:
    """The demo's untrained model with room for a long conversation."""
    directory = tmp_path / "roomy"
    create_untrained(directory, seed=0)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2**17}))
    return directory


async def test_more_than_a_hundred_turns_train_as_one_sequence(
    start_gateway: StartGateway, roomy_dir: Path
) -> None:
    """A policy that follows every clue is rewarded, and each of its tokens trains once, in one row."""
    corpus, hunt = treasure_hunt(7, CLUES)

    @graders.exact()
    def agent(episode: Episode, row: Row) -> str:
        return search_and_answer(episode, row, corpus)

    async with stage(start_gateway, roomy_dir, seek, last_tokens=LAST_TOKENS) as turngate:
        (attempt,) = await asyncio.to_thread(
            rollouts, [hunt], agent, group_size=1, progress=None, turngate=turngate
        )
        shown = await asyncio.to_thread(turngate.get_episode, attempt.episode)
        (sequence,) = await asyncio.to_thread(turngate.sequences, attempt.episode)

    assert (attempt.reward, attempt.answer) == (1.0, hunt["answer"])
    assert len(shown.turns) == CLUES + 1
    assert sum(sequence.action_mask) == sum(sum(turn.output_tokens) for turn in shown.turns)


def seek(prompt: str) -> str:
    """Search for the place named last, or say the number of the treasure."""
    treasure = re.search(r"The treasure is number (\d+)", prompt)
    if treasure:
        return treasure[1]
    queries = re.findall(r'"query": "(.*?)"', prompt)
    start = re.search(r"from the (.*?)\. What", prompt)
    place = next_place(prompt, queries[-1]) if queries else start[1]
    call = json.dumps({"name": "search", "arguments": {"query": place}})
    return f"<tool_call>\n{call}\n</tool_call>"


def next_place(found: str, place: str) -> str:
    return re.search(rf"\[{place}\] A note lies here. The next clue is at the (.*?)\.", found)[1]
