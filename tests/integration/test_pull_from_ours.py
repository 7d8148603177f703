"""One installation pulls from another one's library, by the hub's routes that it serves."""

from __future__ import annotations

from pathlib import Path

from tests.support.shelves import card, of_directory, pulled, pulled_directory, serving, today, write_checkpoint

from changeover.core.settings import SourceSettings
from changeover.library.artifacts import Artifact, HubSource
from changeover.library.catalogue import Catalogue
from changeover.library.fetch.access import Access, Patience
from changeover.library.first_pull import choose
from changeover.library.pull import Silent, artifact_path, module_of, pull
from changeover.library.serve.repositories import Repositories, stored_in


def elsewhere(artifact: Artifact, repository: str, file: str | None = None) -> Artifact:
    """The artifact as another installation's card would have it."""
    source = HubSource(repository=repository, revision=artifact.sha256[:40], file=file)
    return artifact.model_copy(update={"sources": (source,)})


def test_weights_come_from_another_installations_library_over_a_cut(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    single = pulled(tmp_path, theirs, "Q8_0", padding=3 << 20)
    several = pulled_directory(write_checkpoint(tmp_path / "checkpoint"), theirs)
    cards = {"small": card("small", [single]), "checkpoint": card("checkpoint", [several])}
    with serving(lambda: Repositories(Catalogue(cards), None, stored_in(theirs), today)) as served:
        sources = SourceSettings(online=True, hub_endpoint=served.address, timeout_s=5)
        access = Access(sources=sources, patience=Patience(first_wait_s=0.01))
        served.cut_after = 1 << 20
        path = pull(elsewhere(single, "changeover/small", "small.Q8_0.gguf"), ours, Silent(), access)
        assert path.read_bytes() == artifact_path(single, theirs).read_bytes()
        ranges = [headers.get("range") for _, where, headers in served.asked if where.endswith(".gguf")]
        assert len(ranges) == 2
        assert ranges[0] is None
        assert ranges[1] is not None
        place = pull(elsewhere(several, "changeover/checkpoint"), ours, Silent(), access)
        assert of_directory(place).sha256 == several.sha256
        listing = module_of("hub").list_files("changeover/checkpoint", several.sha256[:40], access)
    taken = {file.path: file.sha256 for file in choose(listing, None).taken}
    assert taken == {file.path: file.sha256 for file in several.files if file.path in taken}
    assert "model.safetensors" in taken
