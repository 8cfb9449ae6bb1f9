"""The model families, from a dialogue in each one's own template (`tests/family_table.py`)."""

from docs.generate.markdown import table
from tests.family_table import HEAD, families

INTRO = r"""---
hide: [toc]
---
# Model families

Templates, tokenizers and parsers are the model's own; the gateway reads them without torch or transformers. The families below were tried: each row is the result of a dialogue
in the family's own chat template, played when this page is built.

*Bridged* means: the next call continues the stored token ids, and only what is new is encoded. *A branch* means: the template shows the history differently from how it was sampled, so
the call starts a branch at the first difference and costs what comes after it ([token exactness](../concepts/token-exactness.md)).

"""
OUTRO = r"""

\* This template was written for the test, in the format that the family documents; the others are the templates that models ship with.

Any other model works by a generic rule: its template is tried at start, markup that it shares with these families is read, and the rest is text. The gateway says so in its log, and
`GET /v1/models/policy` shows it under `rendering`. To give a model family a record of its own, see [how to add a model family](../extend/model-family.md).
"""


def page() -> str:
    return INTRO + table(HEAD, families()) + OUTRO
