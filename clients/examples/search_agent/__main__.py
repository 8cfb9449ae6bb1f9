"""Trains an agent that searches a corpus on this machine.

python -m clients.examples.search_agent --corpus documents.jsonl --questions questions.jsonl
python -m clients.examples.search_agent --clues 100      # treasure hunts of a hundred searches, made on the spot
"""

import argparse

from clients.examples.search_agent.agent import MAX_TURNS, search_and_answer
from clients.examples.search_agent.corpus import Corpus, treasure_hunt
from turngate import Episode, Row, graders, rollouts


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an agent that searches.")
    parser.add_argument("--corpus", help="JSON Lines of {title, text}")
    parser.add_argument("--questions", help="JSON Lines of {question, answer}")
    parser.add_argument("--clues", type=int, default=10, help="of a hunt, without a corpus")
    options = parser.parse_args()
    if bool(options.corpus) != bool(options.questions):
        parser.error("--corpus and --questions go together")
    # A turn for each clue, and one for the answer.
    if not 1 <= options.clues < MAX_TURNS:
        parser.error(f"--clues is {options.clues}; a hunt has 1 to {MAX_TURNS - 1}")
    if options.corpus:
        corpus, dataset = Corpus.load(options.corpus), options.questions
    else:
        corpus, question = treasure_hunt(0, options.clues)
        dataset = [question]

    @graders.exact()
    def agent(episode: Episode, row: Row) -> str:
        return search_and_answer(episode, row, corpus)

    print(rollouts(dataset, agent))  # noqa: T201


if __name__ == "__main__":
    main()
