"""`turngate policy`: the published policies, their scores on held-out episodes, and export of their weights."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Column, Table

from deploy.cli.connection import AdminKey, DataDir, Gateway, ask
from deploy.errors import PolicyUnavailable
from deploy.gateway_api.policy import Policy, best_of, export, parse_policies
from deploy.terminal import Output

app = typer.Typer(help="List policies, name the best, export one.", no_args_is_help=True)


@app.command("list")
def list_policies(
    context: typer.Context,
    *,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    admin_key: AdminKey = None,
) -> None:
    """List the policies that are on disk or were evaluated, the newest first; as JSON, every one ever published."""
    output: Output = context.obj
    content = _ask(data_dir, gateway, admin_key)
    policies = parse_policies(content)
    listed = [policy for policy in policies if policy.is_on_disk or policy.evaluation]
    output.result(content, _table(listed))
    if len(listed) < len(policies):
        output.note(f"gone and never evaluated: {len(policies) - len(listed)}")


@app.command()
def best(
    context: typer.Context,
    *,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    admin_key: AdminKey = None,
) -> None:
    """Name the best policy on disk."""
    content = _ask(data_dir, gateway, admin_key)
    _show(context.obj, content, best_of(parse_policies(content)))


@app.command("export")
def export_policy(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="to create; it must not exist")],
    *,
    version: Annotated[int | None, typer.Option(min=0, help="the best by default")] = None,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    admin_key: AdminKey = None,
) -> None:
    """Copy a policy to a Hugging Face directory, from which `turngate up --model` can start another run."""
    output: Output = context.obj
    content = _ask(data_dir, gateway, admin_key)
    policies = parse_policies(content)
    policy = best_of(policies) if version is None else _find(policies, version)
    export(policy, out)
    output.result({"version": policy.version, "path": str(out.absolute())}, str(out.absolute()))


def _ask(data_dir: Path | None, gateway: str | None, key: str | None) -> dict[str, Any]:
    return ask(lambda http: http.policies(), data_dir=data_dir, gateway=gateway, key=key)


def _find(policies: list[Policy], version: int) -> Policy:
    for policy in policies:
        if policy.version == version:
            return policy
    raise PolicyUnavailable(f"there is no policy {version}; `turngate policy list` shows them")


def _show(output: Output, content: dict[str, Any], policy: Policy) -> None:
    (shown,) = (given for given in content["data"] if given["version"] == policy.version)
    assert policy.evaluation is not None, "the best was evaluated"
    output.result(shown, f"v{policy.version}  {policy.evaluation.score}  {policy.path}")


def _table(policies: list[Policy]) -> Table:
    path = Column("path", overflow="fold")  # its end is the version
    table = Table("policy", "held-out reward", "is", path, box=box.SIMPLE_HEAD)
    for policy in policies:
        score = policy.evaluation.score if policy.evaluation else ""
        marks = {"best": policy.is_best, "served": policy.is_active, "gone": not policy.is_on_disk}
        state = ", ".join(mark for mark, holds in marks.items() if holds)
        table.add_row(f"v{policy.version}", score, state, policy.path)
    return table
