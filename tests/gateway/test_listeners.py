"""The two ports of a gateway are taken together or not at all."""

from pathlib import Path

import psutil
import pytest

from gateway.listeners import Sockets, bind
from gateway.settings import Settings
from tests.gateways import ADMIN_KEY


def test_a_metrics_port_that_is_taken_leaves_no_socket_open(tmp_path: Path) -> None:
    """The port of the API is free again while the error is told."""
    with bind("127.0.0.1", 0) as other:
        other.listen()
        settings = Settings(
            redis_url="redis://127.0.0.1:9",
            model_dir=tmp_path,
            weights_dir=tmp_path,
            engines="http://127.0.0.1:9",
            engine_admin_key="engine-admin-key",
            admin_key=ADMIN_KEY,
            host="127.0.0.1",
            port=0,
            metrics_port=other.getsockname()[1],
        )
        before = psutil.Process().num_fds()
        with pytest.raises(OSError, match="cannot listen"):
            Sockets.bind(settings)
        assert psutil.Process().num_fds() == before
