"""What a plan is made on: the library, the machine, and what runs on it. Looked at once; planning itself looks at nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from changeover.app.installation import Installation, homes_of, open_installation, was_started
from changeover.app.library_files import LibraryFiles
from changeover.app.room import running
from changeover.app.tunings import Tunings, tunings_here
from changeover.core.clock import SystemClock
from changeover.core.settings import EngineSettings
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected, detect
from changeover.library.licences.licensing import Licensing
from changeover.serving.backends import BACKENDS, Backend, backends_in
from changeover.serving.eviction import Tenant
from changeover.serving.homes import Homes
from changeover.serving.memory import budget_bytes
from changeover.serving.options import BackendName
from changeover.serving.queries import all_deployments
from changeover.serving.tuned import KeptTuning


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Everything that planning looks at."""

    catalogue: Catalogue
    licensing: Licensing
    cache: Path
    budget: int
    """Memory for all engines of this machine, bytes."""
    engines: EngineSettings = field(default_factory=EngineSettings)
    homes: Homes = field(default_factory=Homes)
    backends: Mapping[BackendName, Backend] = field(default_factory=lambda: BACKENDS)
    held: Sequence[Tenant] = ()
    """What runs here and needs memory."""
    tunings: Tunings = field(default_factory=dict[tuple[str, str], KeptTuning])
    """What was found for models on this machine."""
    detected: Detected = field(default_factory=lambda: Detected((), ()))
    variables: frozenset[str] = frozenset()
    """Names of the environment variables that are set."""

    def without(self, deployment: str | None) -> Ground:
        """The same, as if a deployment were stopped."""
        return replace(self, held=[each for each in self.held if each.name != deployment])


def ground_of(installation: Installation) -> Ground:
    """Look at an installation and at the machine that it is on."""
    project = installation.project
    with installation.store.read() as connection:
        rows = all_deployments(connection)
        held, tunings = running(installation, connection, rows), tunings_here(installation, connection)
    return Ground(
        catalogue=installation.catalogue,
        licensing=Licensing(installation.catalogue, installation.policy, installation.clock.now().date()),
        cache=project.cache,
        budget=budget_bytes(project.settings.engines.memory_gib),
        engines=project.settings.engines,
        homes=installation.homes,
        backends=installation.backends,
        held=held,
        tunings=tunings,
        detected=detect(installation.catalogue.accelerators()),
        variables=frozenset(os.environ),
    )


def ground_at(directory: Path) -> Ground:
    """As `ground_of`, for whatever a directory lies in: no project, or one that was never started, has nothing that runs.

    Raises:
        ConfigError: A declaration is wrong.
    """
    files = LibraryFiles.at(directory)
    if files.project is not None and was_started(files.project):
        installation = open_installation(files.project)
        try:
            return ground_of(installation)
        finally:
            installation.store.close()
    catalogue = files.catalogue()
    settings = EngineSettings() if files.project is None else files.project.settings.engines
    homes = Homes(managed=files.cache / "engines") if files.project is None else homes_of(files.project)
    return Ground(
        catalogue=catalogue,
        licensing=Licensing(catalogue, files.policy(), SystemClock().now().date()),
        cache=files.cache,
        budget=budget_bytes(settings.memory_gib),
        engines=settings,
        homes=homes,
        backends=backends_in(homes),
        detected=detect(catalogue.accelerators()),
        variables=frozenset(os.environ),
    )
