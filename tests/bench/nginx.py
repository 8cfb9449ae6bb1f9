"""nginx on one core: as a plain proxy, the floor of every comparison, and as an engine that costs next to nothing."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.bench.processes import free_port, process, wait_for_port
from tests.bench.responder import Replies
from tests.bench.stand import Target

PROXY = """proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;"""


@contextlib.contextmanager
def nginx(directory: Path, engine_port: int, *, path: str = "/generate") -> Iterator[Target]:
    """It proxies straight to the engine: no rendering, no tokens, no record."""
    with _running(directory, engine_port, f"location / {{ {PROXY} }}") as (port, pid):
        yield Target("nginx, plain proxy", port, pid, {}, path=path)


@contextlib.contextmanager
def nginx_engine(directory: Path, engine_port: int, replies: Replies) -> Iterator[Target]:
    """It answers `/generate` with the same whole reply from a file, and asks the engine for the rest."""
    (directory / "generate").write_bytes(replies.whole.partition(b"\r\n\r\n")[2])
    # nginx refuses to answer a POST from a file, and may answer the refusal with it.
    answer = f"root {directory}; default_type application/json; error_page 405 =200 $uri;"
    locations = f"location = /generate {{ {answer} }} location / {{ {PROXY} }}"
    with _running(directory, engine_port, locations) as (port, pid):
        yield Target("engine", port, pid, {}, path="/generate")


@contextlib.contextmanager
def _running(directory: Path, engine_port: int, locations: str) -> Iterator[tuple[int, int]]:
    port, log, configuration = free_port(), directory / "nginx.log", directory / "nginx.conf"
    configuration.write_text(
        f"""daemon off; master_process off; pid {directory}/nginx.pid; error_log {log};
        events {{}}
        http {{
          access_log off; client_body_buffer_size 1m; client_max_body_size 64m; keepalive_requests 1000000000;
          client_body_temp_path {directory}; proxy_temp_path {directory};
          upstream engine {{ server 127.0.0.1:{engine_port}; keepalive 64; keepalive_requests 1000000000; }}
          server {{ listen 127.0.0.1:{port}; {locations} }}
        }}"""
    )
    with process(["nginx", "-c", str(configuration)], log) as pid:
        wait_for_port(port, log)
        yield port, pid
