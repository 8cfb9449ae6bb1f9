"""`turngate eval`: how good the served policy is on a data set, by the Python client."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.connect.arguments import optional_command_of
from deploy.cli.connection import DataDir, Gateway, address_of
from deploy.errors import EvaluationFailed, SettingsInvalid
from deploy.extras import require_extras
from deploy.stack.secrets import ADMIN_KEY
from deploy.terminal import Output

if TYPE_CHECKING:
    from turngate import EvaluationResult
    from turngate.rollouts.estimates import Estimate

PROJECT_KEY = "TURNGATE_API_KEY"


def evaluate(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(
            help="JSON Lines, JSON, Parquet, a directory of them, or OWNER/NAME on the hub"
        ),
    ],
    *,
    agent: Annotated[
        str | None,
        typer.Option(
            help="MODULE:NAME of a function; default: the command after --, else one chat turn"
        ),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(
            help="exact, numeric, math, unit_tests, or MODULE:NAME; default: the agent's own, else exact"
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="attempts at each row")] = 1,
    k: Annotated[
        list[int] | None,
        typer.Option(min=1, help="report pass@k; repeatable; default: 1 and the samples"),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="episodes at a time")] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="the first rows only")] = None,
    split: Annotated[
        str | None, typer.Option(help="of a directory or a data set on the hub")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="of a directory or a data set on the hub")
    ] = None,
    question: Annotated[str | None, typer.Option(help="the field of the question")] = None,
    answer: Annotated[str | None, typer.Option(help="the field of the answer")] = None,
    hold: Annotated[
        bool, typer.Option(help="pin the policy meanwhile, for which the key needs the scope admin")
    ] = True,
    resume: Annotated[
        Path | None, typer.Option(help="a file from which an interrupted evaluation goes on")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="write every attempt there, as JSON Lines")
    ] = None,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    key: Annotated[
        str | None,
        typer.Option(
            envvar=[PROJECT_KEY, ADMIN_KEY], help="default: the admin key of the running stack"
        ),
    ] = None,
) -> None:
    """Play a data set with held-out episodes, which never train, and report pass@k with 95 % intervals.

    A command after -- plays each row as a process of its own, with the question in place of {question}:
    turngate eval test.jsonl -- python agent.py "{question}"
    """
    require_extras("turngate eval", "client")
    import turngate  # noqa: PLC0415 - an extra
    from deploy.cli.evaluation.named import grader_of, imported, one_turn  # noqa: PLC0415

    output: Output = context.obj
    command = optional_command_of(context)
    if command and agent:
        raise SettingsInvalid("name the agent with --agent or as a command after --, not both")
    ks = k or sorted({1, samples})
    if max(ks) > samples:
        raise SettingsInvalid(
            f"--k {max(ks)} needs as many attempts at each row: --samples {max(ks)}"
        )
    player = command or (imported(agent) if agent else one_turn)
    graded = grader or (None if agent else "exact")
    root, own_key = address_of(data_dir, gateway, key)
    try:
        rows = turngate.load_rows(
            dataset, question=question, answer=answer, config=config, split=split, limit=limit
        )
        with turngate.Turngate(root, own_key) as client:
            result = turngate.evaluate(
                rows,
                player,
                grader=grader_of(graded),
                samples=samples,
                concurrency=concurrency,
                hold=hold,
                resume=resume,
                turngate=client,
            )
        content = _content(result, ks)
    except turngate.TurngateError as error:
        raise EvaluationFailed(str(error)) from error
    if out is not None:
        result.table.write(out)
    output.result(content, result.text(k) if k else str(result))


def _content(result: "EvaluationResult", ks: list[int]) -> dict[str, object]:
    return {
        "rows": len(result.table.by_row),
        "attempts": len(result.table),
        "errors": len(result.table.errors),
        "policy_versions": list(result.versions),
        "mean_reward": _estimate(result.mean_reward),
        "pass_at": {str(k): _estimate(result.pass_at(k)) for k in ks},
    }


def _estimate(estimate: "Estimate") -> dict[str, float | None]:
    """JSON has no infinity, which bounds the mean of a single row."""
    bounds = {"low": estimate.low, "high": estimate.high}
    finite = {name: bound if math.isfinite(bound) else None for name, bound in bounds.items()}
    return {"value": estimate.value, **finite}
