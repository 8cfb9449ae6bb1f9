"""The end check: after the last fault everything settles, and what was acknowledged is there once."""

import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.history import History
from tests.chaos.journal import AckedReward, AckedTurn, Journal
from tests.chaos.service import SETTINGS, Service

QUIET_SECONDS = 120.0
AT_ONCE = 8
GROUPS_PER_BATCH = int(SETTINGS["TURNGATE_TRAINER_GROUPS_PER_BATCH"])


@dataclass
class Findings:
    """What is wrong, each with its id; all empty after a good run."""

    lost_turns: list[str] = field(default_factory=list)
    lost_rewards: list[str] = field(default_factory=list)
    wrong_tokens: list[str] = field(default_factory=list)
    trained_twice: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    audited: list[str] = field(default_factory=list)
    audit: str = ""

    @property
    def offenders(self) -> list[str]:
        named = {
            "lost turn": self.lost_turns,
            "lost reward": self.lost_rewards,
            "wrong tokens": self.wrong_tokens,
            "trained twice": self.trained_twice,
            "not settled": self.unsettled,
            "miscounted": self.miscounted,
            "audit": self.audited,
        }
        return [f"{kind}: {each}" for kind, found in named.items() for each in found]


class Check:
    def __init__(self, service: Service, journal: Journal, history: History) -> None:
        self._service, self._journal, self._history = service, journal, history
        self._findings = Findings()
        self._turns_of: dict[str, list[AckedTurn]] = {}
        self._rewards_of: dict[str, list[AckedReward]] = {}
        for turn in journal.turns:
            self._turns_of.setdefault(turn.episode, []).append(turn)
        for reward in journal.rewards:
            self._rewards_of.setdefault(reward.episode, []).append(reward)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._http = httpx.AsyncClient(
            base_url=service.ready.base_url.removesuffix("/v1"),
            headers={"authorization": f"Bearer {service.ready.admin_key}"},
            trust_env=False,
            timeout=60,
        )

    async def run(self) -> Findings:
        async with self._http:
            await self._until_quiet()
            await asyncio.gather(*(self._episode(each) for each in self._by_episode()))
            self._findings.trained_twice = await self._history.trained_twice()
            await self._audit()
            await self._add_up()
        return self._findings

    async def _until_quiet(self) -> None:
        """Everything runs, and the groups that are left do not make a batch."""
        deadline = asyncio.get_running_loop().time() + QUIET_SECONDS
        while not await self._is_quiet():
            if asyncio.get_running_loop().time() > deadline:
                self._findings.unsettled.append(f"after {QUIET_SECONDS:g} s: {await self._state()}")
                return
            await asyncio.sleep(1)

    async def _is_quiet(self) -> bool:
        try:
            training = (await self._http.get("/v1/training")).raise_for_status().json()
        except httpx.HTTPError:
            return False
        running = all(p["state"] == "ready" for p in self._service.processes.values())
        backlog = training["backlog"]
        return running and backlog["claimed"] + backlog["ready"] < GROUPS_PER_BATCH

    async def _state(self) -> str:
        states = {name: p["state"] for name, p in self._service.processes.items()}
        return f"{states} {(await self._http.get('/v1/training')).text}"

    def _by_episode(self) -> list[str]:
        acked = self._turns_of.keys() | self._rewards_of.keys()
        return sorted(acked - self._journal.deleted)

    async def _episode(self, episode: str) -> None:
        async with self._places:
            reply = await self._http.get(f"/v1/episodes/{episode}")
            turns = self._turns_of.get(episode, [])
            if reply.status_code != 200:
                why = f"{episode}: {reply.status_code}"
                self._findings.lost_turns += [f"{why} {each.turn}" for each in turns]
                return
            detail = reply.json()
            if detail["history"] is not None:  # else its data has expired
                await self._turns(detail, turns)
                self._rewards(detail)
            self._findings.statuses[detail["disposition"] or detail["status"]] += 1

    async def _turns(self, detail: dict[str, Any], turns: list[AckedTurn]) -> None:
        recorded = {turn["id"]: turn for turn in detail["turns"]}
        for each in turns:
            if each.turn not in recorded:
                self._findings.lost_turns.append(f"{each.episode} {each.turn} ({detail['status']})")
            elif each.tokens:
                count = recorded[each.turn]["output_tokens"]
                if count != [len(each.tokens)]:
                    self._findings.wrong_tokens.append(
                        f"{each.turn}: {count}, not {len(each.tokens)}"
                    )
        if any(each.tokens for each in turns):
            await self._tokens(detail["id"], [each for each in turns if each.tokens])

    async def _tokens(self, episode: str, turns: list[AckedTurn]) -> None:
        reply = await self._http.get(f"/v1/episodes/{episode}", params={"view": "tokens"})
        if reply.status_code != 200:
            return
        sampled: dict[str, list[int]] = {}
        for span in reply.json()["data"]:
            if span["kind"] == "sampled":
                sampled.setdefault(span["turn_id"], []).extend(span["tokens"])
        for each in turns:
            if each.turn in sampled and sampled[each.turn] != list(each.tokens or ()):
                self._findings.wrong_tokens.append(f"{each.episode} {each.turn}: other ids")

    def _rewards(self, detail: dict[str, Any]) -> None:
        recorded = {reward["name"]: reward["value"] for reward in detail["rewards"]}
        for each in self._rewards_of.get(detail["id"], []):
            if recorded.get(each.name) != each.value:
                self._findings.lost_rewards.append(
                    f"{each.episode} {each.name}: {recorded.get(each.name)}, not {each.value}"
                )

    async def _audit(self) -> None:
        """`turngate audit`, with what was acknowledged."""
        journal = ["--journal", self._journal.file] if self._journal.file.exists() else []
        audit = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli", "audit", "--output", "json"),
            *("--data-dir", self._service.data_dir, *journal),
            env=os.environ | {"TURNGATE_DATABASE_URL": self._service.ledger_url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await audit.communicate()
        try:
            report = json.loads(out)
        except ValueError:
            self._findings.audited.append(f"cannot audit: {err.decode()[-2000:]}")
            return
        offenders = report.pop("offenders")
        self._findings.audited += [str(offender) for offender in offenders]
        self._findings.audit = f"audit: {len(offenders)} offenders; {report}"

    async def _add_up(self) -> None:
        """Opened = live + trained + discarded, and the metric says so at every gateway."""
        for url in self._service.ready.metrics_urls[:2]:
            text = (await self._http.get(url)).text
            samples = dict(
                line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
            )
            opened = float(samples.get("turngate_episodes_opened_total", "nan"))
            ended = sum(
                float(v) for k, v in samples.items() if k.startswith("turngate_episodes_total{")
            )
            live = sum(
                float(v) for k, v in samples.items() if k.startswith("turngate_episodes_live{")
            )
            if opened != ended + live:
                self._findings.miscounted.append(
                    f"{opened:g} opened, {ended:g} ended, {live:g} live"
                )
