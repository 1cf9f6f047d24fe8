from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whole.commandline import Files, make_files
from tests.whole.server import Server


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("log") / "log.txt")
    yield server
    server.close()
