"""An engine's answer as it arrives, decoded and checked.

SGLang streams either the new tokens or all tokens so far, depending on how it was started, and repeats the last token
when it aborts a waiting request. `completion_tokens` tells which of an event's tokens are new, so this module does not depend on that.
"""

from collections.abc import Iterator

import msgspec

from rollout.engine.errors import EngineAborted, EngineError, EngineGarbled, EngineRejected
from rollout.engine.generation import Chunk, Finish, TopLogprob
from rollout.episode.turn import VersionInterval


class _Logprob(msgspec.Struct, array_like=True, gc=False):
    value: float
    token: int


class _Span(msgspec.Struct, gc=False):
    version: str
    start: int
    end: int


class _Ending(msgspec.Struct, gc=False):
    type: str
    matched: int | str | None = None
    message: str = ""
    status_code: int | None = None


class _Meta(msgspec.Struct):
    completion_tokens: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    weight_version: str = ""
    finish_reason: _Ending | None = None
    weight_versions: list[_Span] = []
    output_token_logprobs: list[_Logprob] = []
    output_top_logprobs: list[list[_Logprob]] | None = None
    output_token_sampling_logprobs: list[float] | None = None


class _Failure(msgspec.Struct):
    message: str = ""
    code: int = 400


class _Event(msgspec.Struct):
    output_ids: list[int] = []
    prompt_token_ids: list[int] | None = None
    meta_info: _Meta | None = None
    error: _Failure | str | None = None


_decoder = msgspec.json.Decoder(_Event)


class Answer:
    """An answer as far as it has arrived, checked against itself; contradictions are errors, never repaired."""

    def __init__(
        self,
        engine: str,
        *,
        vocab_size: int | None = None,
        needs_sampling_logprobs: bool = False,
        expanded_ids: list[int] | None = None,
    ) -> None:
        self.engine = engine
        self.is_finished = False
        self._vocab_size = vocab_size
        self._needs_sampling_logprobs = needs_sampling_logprobs
        self._expanded_ids = expanded_ids
        self._ids: list[int] = []
        self._logprobs: list[float] = []
        self._top_logprobs: list[list[TopLogprob]] | None = None
        self._sampling_logprobs: list[float] | None = None
        self._has_details = needs_sampling_logprobs
        self._versions: list[VersionInterval] = []  # without the one that goes on
        self._version = 0
        self._version_name: str | None = None  # of the one that goes on
        self._version_start = 0
        self._finish: Finish | None = None
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._taken = 0

    @property
    def partial(self) -> Chunk:
        """Everything so far."""
        return self._since(0)

    def take(self) -> Chunk:
        """What arrived since the last call."""
        chunk = self._since(self._taken)
        self._taken = len(self._ids)
        return chunk

    def add(self, data: bytes) -> None:
        """Take in one event of a stream, or an unstreamed answer."""
        try:
            event = _decoder.decode(data)
        except msgspec.DecodeError as error:
            raise self.garbled(f"{error} in {data[:200]!r}") from error
        if event.error is not None:
            raise self._refusal(event.error)
        if event.meta_info is None:
            raise self.garbled(f"no meta_info in {data[:200]!r}")
        if self._expanded_ids is not None and event.prompt_token_ids != self._expanded_ids:
            raise self.garbled("it made another prompt of the images than the one to be recorded")
        self._extend(event.output_ids, event.meta_info)
        if event.meta_info.finish_reason is not None:
            self._end(event.meta_info.finish_reason, event.meta_info.weight_versions)

    def garbled(self, what: str) -> EngineGarbled:
        """An error that names the engine and keeps what was received."""
        return EngineGarbled(self.engine, what, self.partial)

    def _since(self, start: int) -> Chunk:
        top, sampling = self._top_logprobs, self._sampling_logprobs
        return Chunk(
            ids=self._ids[start:],
            logprobs=self._logprobs[start:],
            top_logprobs=None if top is None else top[start:],
            sampling_logprobs=None if sampling is None else sampling[start:],
            finish=self._finish,
            versions=tuple(self._intervals()),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
        )

    def _extend(self, ids: list[int], meta: _Meta) -> None:
        """`ids` end at token number `completion_tokens`; those that arrived before are skipped."""
        total, known = meta.completion_tokens, len(self._ids)
        logprobs = meta.output_token_logprobs
        if known + len(ids) != total or len(logprobs) != len(ids):
            ids, logprobs = self._new(ids, meta)
        self._prompt_tokens, self._cached_tokens = meta.prompt_tokens, meta.cached_tokens
        if not ids:
            return
        if [logprob.token for logprob in logprobs] != ids:
            raise self.garbled("the logprobs are of other tokens than the ids")
        self._check_ids(ids)
        if (
            self._has_details
            or meta.output_top_logprobs is not None
            or meta.output_token_sampling_logprobs is not None
        ):
            self._check_details(meta, len(ids))
            self._extend_details(meta, len(ids))
        if meta.weight_version != self._version_name:
            self._change_version(meta.weight_version)
        self._ids += ids
        self._logprobs += [logprob.value for logprob in logprobs]

    def _new(self, ids: list[int], meta: _Meta) -> tuple[list[int], list[_Logprob]]:
        """Those of an event that shows earlier ones too."""
        total, logprobs = meta.completion_tokens, meta.output_token_logprobs
        start, known = total - len(ids), len(self._ids)
        if not 0 <= start <= known <= total:
            raise self.garbled(f"{len(ids)} ids up to token {total} follow {known}")
        if len(logprobs) not in (len(ids), total):
            raise self.garbled(f"{len(logprobs)} logprobs for {len(ids)} ids")
        return ids[known - start :], logprobs[len(logprobs) - (total - known) :]

    def _check_ids(self, ids: list[int]) -> None:
        """One id outside the vocabulary, sent back in the next prompt, would bring an engine down."""
        limit = self._vocab_size
        if limit is not None and not (min(ids) >= 0 and max(ids) < limit):
            raise self.garbled(f"a sampled id is outside the vocabulary of {limit}")

    def _check_details(self, meta: _Meta, new: int) -> None:
        """Every token has the details that were asked for, and the same ones as the first token."""
        if self._needs_sampling_logprobs and meta.output_token_sampling_logprobs is None:
            raise self.garbled(
                "no sampling logprobs, and under truncation the others are of another distribution"
            )
        for known, values in (
            (self._top_logprobs, meta.output_top_logprobs),
            (self._sampling_logprobs, meta.output_token_sampling_logprobs),
        ):
            if self._ids and (known is None) != (values is None):
                raise self.garbled("only some tokens have extra logprobs")
            if values is not None and len(values) < new:
                raise self.garbled(f"{len(values)} extra logprobs for {new} tokens")

    def _extend_details(self, meta: _Meta, new: int) -> None:
        self._has_details = True
        if meta.output_top_logprobs is not None:
            tops = meta.output_top_logprobs[-new:]
            self._top_logprobs = (self._top_logprobs or []) + [
                [(top.value, top.token) for top in candidates] for candidates in tops
            ]
        if meta.output_token_sampling_logprobs is not None:
            values = meta.output_token_sampling_logprobs[-new:]
            self._sampling_logprobs = (self._sampling_logprobs or []) + values

    def _change_version(self, name: str) -> None:
        """Each event names one version; the last event gives the exact intervals."""
        version = policy_version(name)
        if self._version_name is None or version != self._version:
            self._versions = [*self._intervals()]
            self._version, self._version_start = version, len(self._ids)
        self._version_name = name

    def _intervals(self) -> Iterator[VersionInterval]:
        yield from self._versions
        if self._version_name is not None:
            yield VersionInterval(self._version, self._version_start, len(self._ids))

    def _end(self, ending: _Ending, spans: list[_Span]) -> None:
        self.is_finished = True
        if spans:
            self._versions, self._version_name = self._checked_versions(spans), None
        if ending.type == "abort":
            code = ending.status_code or 0
            if 400 <= code < 500:
                raise EngineRejected(self.engine, ending.message)
            raise EngineAborted(self.engine, ending.message, self.partial)
        self._finish = Finish(ending.type, ending.matched)

    def _checked_versions(self, spans: list[_Span]) -> list[VersionInterval]:
        """Without a gap, from the first token to the last."""
        versions = [VersionInterval(policy_version(s.version), s.start, s.end) for s in spans]
        bounds = [0, *(interval.end for interval in versions)]
        if [interval.start for interval in versions] != bounds[:-1] or bounds[-1] != len(self._ids):
            raise self.garbled(f"versions {versions} do not cover {len(self._ids)} tokens")
        return versions

    def _refusal(self, error: _Failure | str) -> EngineError:
        self.is_finished = True
        if isinstance(error, str):
            return EngineRejected(self.engine, error)
        if error.code >= 500:
            return EngineAborted(self.engine, error.message, self.partial)
        return EngineRejected(self.engine, error.message)


def policy_version(name: str) -> int:
    """SGLang's name of the weights as a policy version; a name that is no number means the starter's."""
    return int(name) if name.isdecimal() else 0
