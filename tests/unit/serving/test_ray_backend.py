from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.library.gguf_builder import build

from changeover.core.errors import EngineError
from changeover.core.settings import EngineHome
from changeover.serving.backends import BACKENDS, LocalBackend, describe, usable_cores
from changeover.serving.backends.ray import RayBackend
from changeover.serving.homes import Homes
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(build())
    return path


@pytest.fixture
def backend(tmp_path: Path) -> RayBackend:
    """With a home that has a package named `ray`, which is all that is looked at."""
    packages = tmp_path / "home" / "lib" / "python3.11" / "site-packages" / "ray-2.60.0.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.60.0\n")
    python = str(tmp_path / "home" / "bin" / "python")
    return RayBackend(Homes(declared={"ray": EngineHome(python=python)}), {"local": LocalBackend()})


def plan(weights: Path, **options: Json) -> EnginePlan:
    return EnginePlan(
        deployment="d", backend="ray", model="card", artifact=weights, weights_digest="a" * 64, options=options
    )


def told(backend: RayBackend, of: EnginePlan) -> dict[str, Any]:
    environment: Any = backend.launch(of).config["environment"]
    return json.loads(environment["CHANGEOVER_RAY"])


def test_a_replica_starts_its_engine_as_the_supervisor_would(backend: RayBackend, weights: Path) -> None:
    launch = told(backend, plan(weights, options={"slots": 3}))["launch"]
    alone = LocalBackend().launch(
        EnginePlan(
            deployment="d",
            backend="local",
            model="card",
            artifact=weights,
            weights_digest="a" * 64,
            options={"slots": 3, "threads": 1},
        )
    )

    assert launch["argv"] == list(alone.argv)
    assert launch["config"] == alone.config
    assert launch["environment"] == alone.environment


def test_what_answers_is_the_engine_whoever_schedules_it(backend: RayBackend, weights: Path) -> None:
    part = backend.describe(plan(weights))

    assert part.engine == describe(EnginePlan(deployment="d", backend="local", model="m", artifact=weights)).engine
    assert part == backend.describe(plan(weights, ongoing_requests=9, most_replicas=3)), "how many changes no answer"
    assert part != backend.describe(plan(weights, options={"slots": 1}))
    assert part.profile["endpoints"] == ["chat", "completions", "responses", "messages"]


def test_it_does_what_its_engine_does(backend: RayBackend, weights: Path) -> None:
    assert backend.capabilities_of(plan(weights)) == LocalBackend.capabilities
    assert BACKENDS["ray"].capabilities.chat
    assert BACKENDS["ray"].capabilities.key


def test_as_many_replicas_as_asked_for_unless_there_may_be_more(backend: RayBackend, weights: Path) -> None:
    fixed = told(backend, plan(weights))["scale"]
    assert fixed["num_replicas"] == 1
    assert "autoscaling_config" not in fixed

    moving = told(backend, plan(weights, most_replicas=4, ongoing_requests=2, upscale_delay_s=3))["scale"]
    assert "num_replicas" not in moving
    assert moving["autoscaling_config"]["min_replicas"] == 1
    assert moving["autoscaling_config"]["max_replicas"] == 4
    assert moving["autoscaling_config"]["target_ongoing_requests"] == 2


def test_more_replicas_than_the_machine_has_cores_are_refused_before_ray_waits_for_them(
    backend: RayBackend, weights: Path
) -> None:
    many = plan(weights, replicas=usable_cores() + 1)

    with pytest.raises(EngineError, match="Ask for fewer `replicas` or `cores`"):
        backend.launch(many)
    assert "cores" in backend.missing(many)[0].what
    backend.launch(plan(weights, replicas=usable_cores() + 1, address="head:6379", token_file="/etc/ray-token"))


def test_ray_asks_for_a_token_and_sends_nothing_home(backend: RayBackend, weights: Path) -> None:
    config = backend.launch(plan(weights)).config
    environment: Any = config["environment"]

    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "{folder}/token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["CHANGEOVER_RAY_KEY"] == "{secret}"
    assert "{secret}" not in environment["CHANGEOVER_RAY"] + str(config["argv"])


def test_a_ray_that_is_not_installed_is_missing_with_a_remedy(weights: Path) -> None:
    without = RayBackend(Homes(declared={"ray": EngineHome(python=sys.executable)}), {"local": LocalBackend()})

    assert without.missing(None)[0].what == "the package `ray`"
    with pytest.raises(EngineError, match="changeover engines install ray"):
        without.launch(plan(weights))
