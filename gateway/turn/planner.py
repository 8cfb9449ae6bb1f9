"""What to ask an engine for: the request's options checked against the model, as one sampling job."""

import re

import numpy as np

from gateway.attach.attachment import Attachment
from gateway.errors import BadRequest, ContextOverflow
from gateway.parsing.output_reader import OutputReader
from gateway.request.minted_ids import new_turn_id
from gateway.request.request import Request
from gateway.turn.grammar import after_thought, grammar
from gateway.turn.running_turn import Call
from gateway.turn.sampler import Job
from gateway.turn.sampling_parameters import engine_parameters, request_flags
from rollout.engine.engine import Capabilities
from rollout.engine.generation import SamplingParameters
from rollout.engine.grammar import AfterThought, Grammar
from rollout.episode.turn import FLAGGED
from rollout.settings import FlaggedTokens
from rollout.tokenizer.tokenizer import Tokenizer

BIASED_ID = re.compile("[0-9]{1,9}")


class Planner:
    def __init__(
        self,
        tokenizer: Tokenizer,
        capabilities: Capabilities,
        *,
        reader: OutputReader,
        max_output_tokens: int,
        max_call_tokens: int,
        flagged_tokens: FlaggedTokens,
    ) -> None:
        self._tokenizer = tokenizer
        self._reader = reader
        self._capabilities = capabilities
        self._max_output_tokens = max_output_tokens
        self._max_call_tokens = max_call_tokens
        self._refuses_flagged = flagged_tokens == "refuse"

    def job(self, call: Call, attachment: Attachment) -> Job:
        """Raises BadRequest for what no engine could do."""
        request = call.request
        self._check_ids(request.sampling, attachment)
        max_tokens = self._max_tokens(request, attachment.prompt.num_tokens)
        rules = self._grammar(request, attachment, max_tokens)
        return Job(
            turn_id=new_turn_id(),
            model=call.model,
            affinity=call.address.episode_id,
            cache_salt=call.cache_salt,
            encoded_prompt=attachment.prompt.encoded(),
            images=tuple(image.url for image in request.images),
            expanded_prompt=attachment.prompt.ids.tolist() if request.images else None,
            num_prompt_tokens=attachment.prompt.num_tokens,
            max_tokens=max_tokens,
            parameters=engine_parameters(
                request.sampling,
                max_tokens=max_tokens,
                max_top_k=self._capabilities.max_top_k,
                grammar=rules,
            ),
            top_logprobs=request.top_logprobs,
            sampling_logprobs=request.sampling.is_truncated,
            flags=request_flags(request, rules, num_forced=attachment.forced),
            stop_ids=self._stop_ids(request.sampling),
            notes=_notes(request.sampling, max_tokens),
        )

    def check_trainable(self, job: Job) -> None:
        """Raises BadRequest for sampling that this deployment does not train on; a side call may use any sampling."""
        if not self._refuses_flagged:
            return
        flags = [str(flag.name).lower() for flag in job.flags & FLAGGED]
        if flags:
            raise BadRequest(
                f"tokens sampled this way are not trained here ({', '.join(flags)}): leave out grammars, penalties, "
                "top_p, top_k, min_p and temperature 0, or mark the call with X-Turngate-Turn-Kind: side",
                code="sampling_not_trainable",
            )

    def _grammar(self, request: Request, attachment: Attachment, max_tokens: int) -> Grammar | None:
        rules = grammar(request, self._reader.call_format)
        if rules is not None and type(rules) not in self._capabilities.grammars:
            raise BadRequest(
                f"the engines here enforce no {type(rules).__name__} grammar; leave it out",
                code="unsupported_value",
            )
        if rules is None or attachment.prefill or AfterThought not in self._capabilities.grammars:
            return rules
        return after_thought(
            rules,
            self._reader.reasoning_format,
            prompt_tail=attachment.tail,
            max_tokens=max_tokens,
        )

    def _stop_ids(self, asked: SamplingParameters) -> frozenset[int]:
        ends = frozenset() if asked.ignore_eos else self._tokenizer.eos_ids
        return ends | frozenset(asked.stop_token_ids)

    def _check_ids(self, asked: SamplingParameters, attachment: Attachment) -> None:
        """An id outside the vocabulary stops the engine for every caller."""
        limit = self._tokenizer.vocab_size
        # As unsigned numbers negative ids are large ones.
        if attachment.context.view(np.uint32).max(initial=0) >= limit:
            raise self._outside("messages")
        if not all(0 <= id_ < limit for id_ in asked.stop_token_ids):
            raise self._outside("stop_token_ids")
        for key in asked.logit_bias or ():
            if not (BIASED_ID.fullmatch(key) and int(key) < limit):
                raise self._outside("logit_bias")

    def _outside(self, name: str) -> BadRequest:
        return BadRequest(
            f"{name} has token ids outside the model's vocabulary of {self._tokenizer.vocab_size}",
            param=name,
            code="invalid_token_ids",
        )

    def _max_tokens(self, request: Request, num_prompt_tokens: int) -> int:
        """As many as are asked for and as the context has room for."""
        context = self._tokenizer.context_length
        room = context - num_prompt_tokens
        if room < 1:
            raise ContextOverflow(
                f"this model's context length is {context} tokens; the messages hold {num_prompt_tokens}, which leaves "
                "no room for an answer: shorten them",
                param="messages",
            )
        share = self._max_call_tokens // request.num_outputs
        wanted = min(request.sampling.max_tokens or 0, room)
        if wanted > share:
            raise BadRequest(
                f"n * max_tokens is {request.num_outputs * wanted}, more than the {self._max_call_tokens} tokens "
                "that one call may sample here; lower one of the two",
                param="n",
                code="value_too_large",
            )
        return wanted or max(1, min(room, self._max_output_tokens, share))


def _notes(asked: SamplingParameters, max_tokens: int) -> tuple[str, ...]:
    if asked.max_tokens is None or asked.max_tokens <= max_tokens:
        return ()
    return (f"max_tokens {asked.max_tokens} was lowered to {max_tokens}: the context ends there",)
