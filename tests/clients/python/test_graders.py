"""What graders say about answers: right ones, wrong ones, and code that does what it should not."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.scripted_gateway import Asked, Reply, completion, scripted_gateway
from turngate import Row, grader, graders
from turngate.datasets import final_answer
from turngate.errors import GradingFailed
from turngate.graders import Grader
from turngate.graders.sandbox import Limits, isolation, run_tests
from turngate.graders.text import last_number

PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@pytest.fixture(scope="module")
def math() -> Grader:
    return graders.math()


def row(answer: str, **fields: object) -> Row:
    return Row("1", "What?", answer, fields)


@pytest.mark.parametrize(
    ("grade", "answer", "expected", "worth"),
    [
        (graders.exact(), " Paris \n", "paris", 1),
        (graders.exact(), "It is so.\n#### Paris", "Paris", 1),
        (graders.exact(), "Paris, I think", "Paris", 0),
        (graders.numeric(), "He pays $1,234.50 in all.", "1234.5", 1),
        (graders.numeric(), "3/4", "0.75", 1),
        (graders.numeric(), "first 5, then 7", "5", 0),
        (graders.numeric(), "x = \u22123", "-3", 1),
        (graders.numeric(), "1e3", "1000", 1),
        (graders.numeric(), "1e999999999", "1", 0),
        (graders.numeric(), "none", "5", 0),
        (graders.numeric(relative=0.1), "95", "100", 1),
        (graders.json_schema(PERSON), '```json\n{"age": 3}\n```', "", 1),
        (graders.json_schema(PERSON), '{"age": "3"}', "", 0),
        (graders.json_schema(PERSON), "three", "", 0),
    ],
)
def test_an_answer_is_worth(grade: Grader, answer: str, expected: str, worth: float) -> None:
    """Each grader finds the answer in what a model writes around it."""
    assert grade.grade(answer, row(expected)) == worth


@pytest.mark.parametrize(
    ("answer", "expected", "worth"),
    [
        (r"So it is \boxed{\frac{2}{4}}.", "1/2", 1),
        (r"$x = 0.5$", r"\frac{1}{2}", 1),
        (r"\boxed{(1, 2)}", "(1,2)", 1),
        (r"\boxed{2\sqrt{2}}", r"\sqrt{8}", 1),
        (r"\boxed{3}", "4", 0),
        ("no idea", "4", 0),
        ("The answer is 18.", "18", 1),
    ],
)
def test_equal_mathematics_is_equal(math: Grader, answer: str, expected: str, worth: float) -> None:
    """Spellings of one value are one answer."""
    assert math.grade(answer, row(expected)) == worth


def test_a_formula_that_never_ends_is_stopped() -> None:
    """It is worth nothing, and the next answer is graded by a new process."""
    grade = graders.math(timeout=5.0)
    began = time.monotonic()

    assert grade.grade(r"\boxed{9^{9^{9^{9^{9}}}}}", row("7")) == 0
    assert grade.grade(r"\boxed{\frac{14}{2}}", row("7.0")) == 1
    assert time.monotonic() - began < 60


def test_a_right_answer_stays_right_when_the_process_is_killed() -> None:
    """The pair is asked again: what killed the process may have nothing to do with it."""
    grade, others = graders.math(), workers()
    assert grade.grade(r"\boxed{\frac{14}{2}}", row("7.0")) == 1

    (worker,) = workers() - others
    os.kill(worker, signal.SIGKILL)

    assert grade.grade(r"\boxed{\frac{14}{2}}", row("7.0")) == 1


def workers() -> set[int]:
    """Our processes that compare formulas."""
    return {number for number in processes("math_worker.py") if parent(number) == os.getpid()}


def processes(word: str) -> set[int]:
    """Those with the word in their command."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if word.encode() in (place / "cmdline").read_bytes():
                found.add(int(place.name))
    return found


def parent(number: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "It is {}.", "${}", "#### {:,}"]))
def test_every_whole_number_is_found(number: int, form: str) -> None:
    """However it is written, it is read exactly."""
    assert last_number(final_answer(form.format(number))) == Fraction(number)


CODE = "```python\ndef add(a, b):\n    return a + b\n```"
TESTS = ["assert add(1, 2) == 3", "assert add(1, 1) == 3"]


def test_code_is_worth_the_tests_that_it_passes() -> None:
    """All of them, or with `partial` their share; the last block is the answer."""
    answer = f"First try:\n```python\nadd = None\n```\nBetter:\n{CODE}"

    assert graders.unit_tests().grade(answer, row("", tests=TESTS[0])) == 1
    assert graders.unit_tests().grade(answer, row("", tests=TESTS)) == 0
    assert graders.unit_tests(partial=True).grade(answer, row("", tests=TESTS)) == 0.5
    with pytest.raises(GradingFailed, match="neither a test nor a list"):
        graders.unit_tests().grade(answer, row("", tests=5))


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "raise SystemExit",
        "while True: pass",
        "import time; time.sleep(60)",
        "x = bytearray(10**10)",
        "open('big', 'wb').write(b'0' * 10**9)",
        "import os, sys; os.write(int(sys.argv[1]), b'1 1 1 1')",
        "import os; os.mkfifo('output'); raise SystemExit",
        "import os; os.symlink('/dev/zero', 'output'); raise SystemExit",
    ],
    ids=["exit", "leave", "spin", "sleep", "memory", "disk", "guess", "pipe", "zeros"],
)
def test_code_that_misbehaves_passes_nothing_and_ends(code: str) -> None:
    """It is stopped within its limits, and no trick counts as a pass."""
    began = time.monotonic()

    ran = run_tests(code, ["assert True"], limits=Limits(seconds=2, memory_mib=512))

    assert ran.passed == 0
    assert time.monotonic() - began < 30


def test_code_cannot_have_another_file_shown_as_its_output(tmp_path: Path) -> None:
    """What is shown is what the code printed, whatever it puts into its directory."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    code = f"import os; os.symlink({str(secret)!r}, 'output'); print('mine')"

    assert run_tests(code, ["assert True"], limits=Limits()).output == "mine\n"


CHILD = "import os, subprocess; {}subprocess.Popen(['sleep', '{}'], start_new_session={}); {}"


@pytest.mark.parametrize("end", ["raise SystemExit", "while True: pass"])
@pytest.mark.parametrize("leave", ["", "os.setsid(); "])
@pytest.mark.parametrize("new_session", [False, True])
def test_no_process_outlives_the_run(leave: str, end: str, new_session: bool) -> None:
    """Neither one that left the process group nor one that leads a session of its own; without namespaces, the group ends."""
    if "--pid" not in isolation() and (leave or new_session):
        pytest.skip("this machine has no namespaces for us")
    seconds = f"{60 + random.random()}"

    ran = run_tests(
        CHILD.format(leave, seconds, new_session, end), ["assert True"], limits=Limits(seconds=1)
    )

    assert ran.passed == 0
    assert processes(seconds) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_as_root_a_warning_says_that_the_code_keeps_its_rights(tmp_path: Path) -> None:
    """A Python in a directory of root's own cannot be run by `nobody`."""
    tmp_path.chmod(0o700)
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    run = "from turngate.graders.sandbox import *; print(run_tests('', ['pass'], limits=Limits()))"

    ran = subprocess.run(
        [python, "-c", run],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "passed=1" in ran.stdout
    assert "the code of answers runs as root" in ran.stderr


def test_the_sandbox_holds_no_secret_and_reaches_nobody() -> None:
    """Its environment is empty, its directory is fresh, and where namespaces are to be had there is no network."""
    names = {"HOME", "PATH", "OMP_NUM_THREADS", "LC_CTYPE"}  # the last is set by Python itself
    looks = [
        f"import os; assert set(os.environ) <= {names}",
        "import os; assert os.listdir('.') == []",
        "import os; assert os.environ['HOME'] == os.getcwd()",
    ]
    if isolation():
        looks.append("import socket; assert [n for _, n in socket.if_nameindex()] == ['lo']")
    if "--mount-proc" in isolation():
        looks.append("import os; assert [p for p in os.listdir('/proc') if p.isdigit()] == ['1']")

    ran = run_tests("", looks, limits=Limits())

    assert ran.output == ""
    assert ran.passed == len(looks)


async def test_a_judge_names_a_score() -> None:
    """It sees question, reference and answer; its last score counts, and none is an error."""
    said = iter(["It fits.\nSCORE: 0.2\nNo: SCORE: 0.75", "Nice work!"])

    def answer(asked: Asked) -> Reply:
        return completion({"content": next(said)})

    async with scripted_gateway(answer) as endpoint:
        judge = graders.judge(f"{endpoint.root}/v1", model="m", api_key="k", max_retries=0)
        score = await judge.score("42", Row("1", "What is 6 * 7?", "42"))
        with pytest.raises(GradingFailed, match="named no `SCORE: x`"):
            await judge.score("42", Row("1", "What is 6 * 7?", "42"))

    assert score == 0.75
    assert endpoint.paths()[0] == "/v1/chat/completions"
    assert endpoint.asked[0].headers["authorization"] == "Bearer k"
    shown = endpoint.asked[0].body["messages"][1]["content"]
    assert all(part in shown for part in ("What is 6 * 7?", "<reference>\n42", "<answer>\n42"))


async def test_a_grader_of_ones_own_may_block_or_be_awaited() -> None:
    """Both are used alike, from blocking code and from a loop; what is no number is refused."""

    @grader
    def short(answer: str, row: Row) -> float:
        return len(answer) < 5

    @grader
    async def long(answer: str, row: Row) -> float:
        await asyncio.sleep(0)
        return len(answer) >= 5

    @grader
    def wrong(answer: str, row: Row) -> float:
        return json.loads("null")

    assert (short.name, short.grade("ab", row("")), await short.score("abcdef", row(""))) == (
        "short",
        1,
        0,
    )
    assert (
        await asyncio.to_thread(long.grade, "abcdef", row("")) == long.grade("abcdef", row("")) == 1
    )
    with pytest.raises(GradingFailed, match="wrong returned None"):
        wrong.grade("a", row(""))
