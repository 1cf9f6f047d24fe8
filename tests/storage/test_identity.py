from __future__ import annotations

import functools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from stimopt.storage.identity import (
    DifferentRun,
    as_json,
    digest,
    function_name,
    require_same,
    sha256_of_file,
)


def test_the_first_difference_is_named_and_the_network_comes_first() -> None:
    same = {"network_hash": "a", "dt": 0.01, "seeds": [0, 1]}
    require_same(same, dict(same), "result.h5")
    with pytest.raises(DifferentRun, match=r"expected dt = 0\.01 as in result\.h5, got 0\.02; set"):
        require_same(same, {**same, "dt": 0.02, "seeds": []}, "result.h5")
    with pytest.raises(DifferentRun, match="network_hash"):
        require_same(same, {**same, "dt": 0.02, "network_hash": "b"}, "result.h5")


def test_a_setting_that_one_side_lacks_is_a_difference() -> None:
    for stored, wanted in (({"dt": 1}, {}), ({}, {"dt": 1})):
        with pytest.raises(DifferentRun, match="dt"):
            require_same(stored, wanted, "here")


def test_long_values_are_cut_in_the_message() -> None:
    with pytest.raises(DifferentRun) as error:
        require_same({"items": list(range(1000))}, {}, "here")
    assert len(str(error.value)) < 300


def test_a_digest_tells_values_shapes_and_types_apart() -> None:
    ones = torch.ones(2, 3)
    assert digest(ones) == digest(ones.clone()) and len(digest(ones)) == 12
    others = [ones.T, ones.double(), ones + torch.eye(2, 3), ones[:, :2]]
    assert len({digest(ones), digest(ones, None), *map(digest, others)}) == 6


class Doubler:
    def __call__(self, x: float) -> float:
        return 2 * x


@dataclass
class Multiplier:
    by: float
    then: Callable[[float], float]

    def __call__(self, x: float) -> float:
        return self.then(self.by * x)


def test_options_of_a_callable_are_part_of_its_name() -> None:
    assert function_name(Multiplier(3, math.sqrt)) == (
        f"{__name__}.Multiplier(by=3, then=<built-in function sqrt>)"
    )
    names = {function_name(Multiplier(by, lambda x: x)) for by in (2, 2, 3)}
    assert len(names) == 2, "without the address of the lambda"


def test_lambdas_are_told_apart_by_what_they_do() -> None:
    def made(scale: float) -> Any:
        return [lambda x: x + 1, lambda x: x + 2, lambda x: scale * x]

    names = [function_name(each) for each in made(1.0)]
    assert len(set(names)) == 3 and all("<lambda> " in name for name in names)
    assert names == [function_name(each) for each in made(2.0)]


def test_function_names_are_the_same_in_another_process() -> None:
    assert function_name(json.dumps) == "json.dumps"
    assert function_name(Doubler()) == f"{__name__}.Doubler"
    assert function_name(functools.partial(Doubler.__call__, 1, x=2)) == (
        f"{__name__}.Doubler.__call__(1, x=2)"
    )
    code = (
        "import functools, json; from stimopt.storage.identity import function_name;"
        "print(function_name(functools.partial(json.dumps, indent=2)))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.strip() == "json.dumps(indent=2)"


def test_settings_in_json_are_the_same_as_those_read_again() -> None:
    given = {"function": math.sqrt, "path": Path("a/b"), "pair": (1, 2.5), "none": None}
    read = {"function": "math.sqrt", "path": "a/b", "pair": [1, 2.5], "none": None}
    assert as_json(given) == as_json(read) == read


def test_the_sha256_of_files_is_that_of_the_tools_of_a_system(tmp_path: Path) -> None:
    # echo -n abc | sha256sum
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "one").write_bytes(b"abc")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "2").write_bytes(b"c")
    (folder / "1").write_bytes(b"ab")
    assert sha256_of_file(tmp_path / "one") == sha256_of_file(folder) == abc
