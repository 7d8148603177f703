"""Where the library is read from: a project's own cards and policy, or, outside of one, the cards as they ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from changeover.core.marks import Marks, marks_of
from changeover.core.settings import Project, cache_directory, find_project
from changeover.library.catalogue import PULLED, Catalogue
from changeover.library.licences.policy import Policy, load_policy


@dataclass(frozen=True)
class LibraryFiles:
    """The files of the library, for whoever reads them now or again later."""

    project: Project | None
    """None: the library as it ships, without a policy."""

    @classmethod
    def at(cls, directory: Path) -> LibraryFiles:
        """For the project that a directory lies in; as they ship where it lies in none.

        Raises:
            ConfigError: The project's settings are wrong.
        """
        return cls(find_project(directory))

    @property
    def cache(self) -> Path:
        """Where weights are kept."""
        return cache_directory() if self.project is None else self.project.cache

    def catalogue(self) -> Catalogue:
        """Read the cards.

        Raises:
            ConfigError: One is wrong.
        """
        return Catalogue.load() if self.project is None else Catalogue.load(self.project.cards)

    def policy(self) -> Policy | None:
        """Read the policy; None where there is none.

        Raises:
            ConfigError: It is wrong.
        """
        return None if self.project is None else load_policy(self.project.policy)

    def marks(self) -> Marks:
        """What tells whether cards or the policy were changed since the last look."""
        if self.project is None:
            return ()
        cards = self.project.cards
        return marks_of([self.project.policy, *sorted(cards.glob("*.toml")), *sorted(cards.glob(f"{PULLED}/*.toml"))])
