"""The agent runtimes that the gateway knows, from their one table."""

from docs.generate.markdown import table
from gateway.finding.runtimes import OTHER, RUNTIMES, Runtime

INTRO = """---
hide: [toc]
---
# Agent runtimes

What the gateway knows of runtimes, so that they need no setting for it: how each is recognized, with which headers it names its sessions, and which of its calls are no work on the task
([how a call finds its episode](../concepts/finding-the-episode.md)). Every other client works too; `other` is what is known of all. To add one, add an entry to `gateway/finding/runtimes.py`.

"""
HEAD = ("runtime", "recognized by", "its session", "its agents", "side calls")


def page() -> str:
    return INTRO + table(HEAD, [_row(runtime) for runtime in (*RUNTIMES, OTHER)])


def _row(runtime: Runtime) -> tuple[str, ...]:
    marks = [
        *(f"user agent `{agent}…`" for agent in runtime.agents),
        *(f"header `{name.decode()}`" for name in runtime.own_headers),
        *(f"“{words}”" for words in runtime.says),
        *([f"tools {', '.join(sorted(runtime.tools))}"] if runtime.tools else []),
    ]
    sessions = [f"`{name.decode()}`" for name in runtime.sessions]
    if runtime.counts_cache_key:
        sessions.append("`prompt_cache_key`")
    return (
        f"`{runtime.name}`",
        ", ".join(marks),
        ", ".join(sessions),
        ", ".join(f"`{name.decode()}`" for name in runtime.threads),
        ", ".join(dict.fromkeys(rule.what for rule in runtime.side_calls)),
    )
