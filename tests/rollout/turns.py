"""Turns for tests: tokens that say who made them, logprobs that differ, versions that cover the output."""

from collections.abc import Sequence

from rollout.episode.turn import Anchor, Media, Output, Turn, VersionInterval, pack_tokens


def output(tokens: Sequence[int], *, version: int = 1, flags: int = 0) -> Output:
    """An output whose logprobs are derived from its tokens."""
    covered = [VersionInterval(version, 0, len(tokens))] if tokens else []
    logprobs = [-1 / (1 + token % 97) for token in tokens]
    return Output.sampled(tokens, logprobs, versions=covered, finish_reason="stop", flags=flags)


def turn(
    turn_id: str,
    context: Sequence[int] = (1, 2, 3),
    *outputs: Output,
    anchor: Anchor | None = None,
    kind: str = "train",
    retry_key: str = "",
    body: str = "",
    created_ms: int = 0,
    media: Sequence[Media] = (),
) -> Turn:
    """A turn with one small output unless others are given."""
    return Turn(
        id=turn_id,
        kind=kind,
        created_ms=created_ms,
        anchor=anchor,
        context=pack_tokens(context),
        outputs=outputs or (output([7, 8]),),
        output_chains=tuple(f"after {turn_id} {index}" for index in range(len(outputs or (0,)))),
        prompt_chain=f"prompt {turn_id}",
        retry_key=retry_key,
        body_digest=f"digest of {body or retry_key}" if retry_key or body else "",
        media=tuple(media),
    )
