"""The hub's own routes, asked by the hub's own client over real sockets."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tests.support.processes import COMMAND, begin, end_of
from tests.support.projects import open_written, write_project
from tests.support.shelves import REVISION, Served, card, pulled, pulled_directory, serving, today, write_checkpoint

from changeover.app.library_files import LibraryFiles
from changeover.app.library_server import Doorkeeper, ServedLibrary
from changeover.core.clock import SystemClock
from changeover.core.settings import open_project
from changeover.gateway.keys import issue_key, revoke_key
from changeover.library.catalogue import PULLED, Catalogue
from changeover.library.licences.policy import Policy
from changeover.library.serve.repositories import Repositories, stored_in

SAFETENSORS = "changeover/checkpoint"
GGUF = "changeover/small"
VENDOR = "Vendor/Small-GGUF"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def policy() -> Policy | None:
    return None


@pytest.fixture
def repositories(tmp_path: Path, cache: Path, policy: Policy | None) -> Repositories:
    """A card with two quantisations, one also known to a hub; one with a directory; one with nothing here."""
    four, eight = pulled(tmp_path, cache, "Q4_K_M", hub=VENDOR, padding=3 << 20), pulled(tmp_path, cache, "Q8_0")
    weights = pulled_directory(write_checkpoint(tmp_path / "checkpoint"), cache)
    absent = four.model_copy(update={"sha256": "0" * 64})
    cards = [
        card("small", [four, eight], repositories=("Vendor/Small",)),
        card("checkpoint", [weights], vendor="Another"),
        card("absent", [absent]),
    ]
    return Repositories(Catalogue({each.id: each for each in cards}), policy, stored_in(cache), today)


@pytest.fixture
def hub(repositories: Repositories) -> Generator[Served]:
    with serving(lambda: repositories) as served:
        yield served


@pytest.fixture
def fetch(hub: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Download one file into a cache of the client's own."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)

    def fetch(repository: str, file: str, **more: Any) -> Path:
        return Path(hf_hub_download(repository, file, endpoint=hub.address, cache_dir=tmp_path / "client", **more))

    return fetch


def raw(hub: Served, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    """Ask without any client's help: status, headers in lower case, body."""
    connection = http.client.HTTPConnection(hub.address.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_a_file_is_downloaded_under_the_commit_of_its_artifact(
    fetch: Callable[..., Path], repositories: Repositories
) -> None:
    found = fetch(GGUF, "small.Q4_K_M.gguf")
    repository = repositories.find(GGUF)
    assert repository is not None
    commit = repository.find("Q4_K_M")
    assert commit is not None
    assert hashlib.sha256(found.read_bytes()).hexdigest() == commit.files["small.Q4_K_M.gguf"].sha256
    assert found.parent.name == commit.id == repository.main.id
    assert found.resolve().name == commit.files["small.Q4_K_M.gguf"].sha256, "the client names its copy by the tag"


def test_quantisations_are_branches(fetch: Callable[..., Path], hub: Served) -> None:
    assert fetch(GGUF, "small.Q8_0.gguf", revision="Q8_0").read_bytes().endswith(b"Q8_0")
    with pytest.raises(EntryNotFoundError):
        fetch(GGUF, "small.Q8_0.gguf")
    refs = HfApi(hub.address).list_repo_refs(GGUF)
    assert [branch.name for branch in refs.branches] == ["main", "Q4_K_M", "Q8_0"]
    assert refs.branches[0].target_commit == refs.branches[1].target_commit


def test_a_card_answers_to_its_repositories_names_whatever_their_case(fetch: Callable[..., Path]) -> None:
    assert fetch("vendor/small", "small.Q4_K_M.gguf").stat().st_size > 3 << 20


def test_a_hubs_own_commit_is_served_under_the_files_names_there(fetch: Callable[..., Path], hub: Served) -> None:
    found = fetch(VENDOR, "there-Q4_K_M.gguf", revision=REVISION)
    assert found.parent.name == REVISION
    assert HfApi(hub.address).model_info(VENDOR).sha == REVISION


def test_a_directory_comes_whole_with_what_lies_further_down(hub: Served, tmp_path: Path) -> None:
    found = Path(snapshot_download(SAFETENSORS, endpoint=hub.address, cache_dir=tmp_path / "client"))
    names = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert names == {"config.json", "model.safetensors", "extra/note.txt"}
    for name in names:
        assert (found / name).read_bytes() == (tmp_path / "checkpoint" / name).read_bytes()


def test_a_model_is_described_with_commit_files_and_digests(hub: Served) -> None:
    info = HfApi(hub.address).model_info(SAFETENSORS, files_metadata=True)
    assert info.id == SAFETENSORS
    assert info.private is False
    assert info.siblings is not None
    [config] = [each for each in info.siblings if each.rfilename == "config.json"]
    assert config.lfs is not None
    assert config.lfs.sha256 == hashlib.sha256(b'{"model_type": "llama"}').hexdigest()
    assert info.card_data is not None
    assert info.card_data["license"] == "apache-2.0"
    assert HfApi(hub.address).model_info(SAFETENSORS, revision=info.sha).sha == info.sha
    tree = list(HfApi(hub.address).list_repo_tree(SAFETENSORS, "extra", recursive=True))
    assert [each.path for each in tree] == ["extra/note.txt"]


def test_models_are_listed_page_by_page_and_found_by_their_words(hub: Served) -> None:
    api = HfApi(hub.address)
    everything = [GGUF, "Vendor/Small", VENDOR, SAFETENSORS]
    assert sorted(each.id for each in api.list_models()) == sorted(everything)
    hub.asked.clear()
    assert sorted(each.id for each in api.list_models(limit=None)) == sorted(everything)
    names: list[str] = []
    path = "/api/models?limit=1"
    while path:
        status, headers, body = raw(hub, path, Host=hub.address.removeprefix("http://"))
        assert status == 200
        names += [each["id"] for each in json.loads(body)]
        link = headers.get("link", "")
        path = link.partition("<")[2].partition(">")[0].removeprefix(hub.address)
    assert names == sorted(everything, key=str.casefold)
    assert [each.id for each in api.list_models(search="vendor gguf")] == [VENDOR]
    assert [each.id for each in api.list_models(author="changeover", search="check")] == [SAFETENSORS]
    assert raw(hub, "/api/models?limit=none")[0] == 400


def test_a_download_that_is_cut_goes_on_where_it_was(
    hub: Served, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # the client keeps whole pieces of this size
    hub.cut_after = 1 << 20
    found = fetch(GGUF, "small.Q4_K_M.gguf")
    ranges = [headers["range"] for method, _, headers in hub.asked if method == "GET" and "range" in headers]
    assert len(ranges) == 1
    first = int(ranges[0].removeprefix("bytes=").rstrip("-"))
    assert 0 < first < found.stat().st_size
    assert hashlib.sha256(found.read_bytes()).hexdigest() == found.resolve().name


def test_what_is_not_here_is_named_as_the_hubs_client_expects(hub: Served, fetch: Callable[..., Path]) -> None:
    with pytest.raises(RepositoryNotFoundError):
        fetch("changeover/absent", "absent.Q4_K_M.gguf")
    with pytest.raises(RepositoryNotFoundError):
        HfApi(hub.address).model_info("nobody/nothing")
    with pytest.raises(RevisionNotFoundError):
        fetch(GGUF, "small.Q4_K_M.gguf", revision="v9")
    with pytest.raises(EntryNotFoundError, match=r"small\.Q4_K_M\.gguf"):
        fetch(GGUF, "config.json")


def test_parts_of_a_file_come_by_range_and_what_is_known_is_not_sent_again(hub: Served, tmp_path: Path) -> None:
    path = f"/{SAFETENSORS}/resolve/main/model.safetensors"
    content = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()
    status, headers, body = raw(hub, path, "HEAD")
    tag = headers["etag"]
    assert (status, body, int(headers["content-length"])) == (200, b"", len(content))
    assert tag == headers["x-linked-etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-linked-size"] == str(len(content))
    assert len(headers["x-repo-commit"]) == 40
    assert 'filename="model.safetensors"' in headers["content-disposition"]

    status, headers, body = raw(hub, path, Range="bytes=4-9")
    assert (status, body, headers["content-range"]) == (206, content[4:10], f"bytes 4-9/{len(content)}")
    status, _, body = raw(hub, path, Range="bytes=-3")
    assert (status, body) == (206, content[-3:])
    status, headers, _ = raw(hub, path, Range=f"bytes={len(content)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(content)}")
    status, headers, body = raw(hub, path, If_None_Match=tag)
    assert (status, body, headers["etag"]) == (304, b"", tag)
    assert raw(hub, path, Range="bytes=0-0", If_Range=tag)[0] == 206
    status, _, body = raw(hub, path, Range="bytes=0-0", If_Range='"another"')
    assert (status, body) == (200, content)


@pytest.mark.parametrize(
    "path",
    [
        f"/{SAFETENSORS}/resolve/main/../../../etc/passwd",
        f"/{SAFETENSORS}/resolve/main/%2e%2e/%2e%2e/secret",
        f"/{SAFETENSORS}/resolve/main//etc/passwd",
        f"/{SAFETENSORS}/resolve/main/extra/../config.json",
        f"/{SAFETENSORS}/resolve/../main/config.json",
        "/../../etc/passwd",
        f"/{SAFETENSORS}/resolve/main/verified.json",
    ],
)
def test_only_files_that_an_artifact_names_are_served(hub: Served, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("canary")
    status, _, body = raw(hub, path)
    assert status == 404
    assert b"canary" not in body


def test_a_file_that_somebody_touched_is_not_served_any_more(hub: Served, cache: Path) -> None:
    path = f"/{GGUF}/resolve/Q8_0/small.Q8_0.gguf"
    assert raw(hub, path, "HEAD")[0] == 200
    [file] = [each for each in cache.rglob("model.gguf") if each.stat().st_size < 1 << 20]
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert raw(hub, path, "HEAD")[0] == 404


def test_a_file_that_shrinks_under_way_cuts_the_connection(
    repositories: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = repositories.find(SAFETENSORS)
    assert repository is not None
    file = repository.main.files["model.safetensors"]
    grown = replace(file, size_bytes=file.size_bytes + 10)  # as if it had been so long when it was looked at
    longer = replace(repository, commits=[replace(repository.main, files={file.name: grown})])
    monkeypatch.setattr(repositories, "find", lambda name: longer)
    with serving(lambda: repositories) as hub, pytest.raises((http.client.IncompleteRead, ConnectionError)):
        raw(hub, f"/{SAFETENSORS}/resolve/main/model.safetensors")


def test_nothing_is_written_through_the_routes(hub: Served) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, headers, _ = raw(hub, f"/api/models/{GGUF}", method, Content_Length="0")
        assert status == 405, headers


@pytest.mark.parametrize("policy", [Policy(refused_vendors=("Test",), on_unknown_licence="allow")])
def test_a_model_that_the_policy_refuses_is_neither_served_nor_listed(hub: Served, fetch: Callable[..., Path]) -> None:
    with pytest.raises(GatedRepoError, match=r"`small` is not served: .*Test"):
        fetch(GGUF, "small.Q4_K_M.gguf")
    assert raw(hub, f"/{GGUF}/resolve/main/small.Q4_K_M.gguf")[0] == 403
    assert [each.id for each in HfApi(hub.address).list_models()] == [SAFETENSORS]


def test_without_a_key_of_the_installation_nobody_loads_anything(repositories: Repositories, tmp_path: Path) -> None:
    installation = open_written(write_project(tmp_path / "p"))
    clock = SystemClock()
    with installation.store.write() as connection:
        secrets = {
            role: issue_key(connection, name=role, role=role, now=clock.now()) for role in ("application", "viewer")
        }
    door = Doorkeeper(installation.store, clock)
    door.reload()
    with serving(lambda: repositories, door) as hub:
        assert raw(hub, "/api/models")[0] == 401
        assert raw(hub, "/nothing")[0] == 401, "who is not let in learns nothing of what there is"
        assert raw(hub, "/api/models", Authorization="Bearer co-guess")[0] == 401
        assert raw(hub, "/api/models", Authorization=f"Bearer {secrets['viewer']}")[0] == 403
        api = HfApi(hub.address, token=secrets["application"])
        assert api.whoami()["name"] == "application"
        found = api.hf_hub_download(GGUF, "small.Q8_0.gguf", revision="Q8_0", cache_dir=tmp_path / "client")
        assert Path(found).is_file()
        with pytest.raises(HfHubHTTPError, match="No API key"):
            HfApi(hub.address, token=False).model_info(GGUF)
        with installation.store.write() as connection:
            revoke_key(connection, "application", clock.now())
        door.reload()
        with pytest.raises(HfHubHTTPError, match="revoked"):
            api.model_info(GGUF)
    installation.store.close()


def test_a_range_is_for_who_asks_for_the_file_and_not_for_its_head(hub: Served) -> None:
    path = f"/{GGUF}/resolve/main/small.Q4_K_M.gguf"
    status, headers, _ = raw(hub, path, "HEAD", Range="bytes=5-9")
    assert (status, "content-range" in headers) == (200, False)
    assert int(headers["content-length"]) == int(headers["x-linked-size"])
    assert raw(hub, path, "HEAD", Range="bytes=99999999999-")[0] == 200


def test_a_query_without_end_is_refused_and_is_no_failure_of_ours(hub: Served) -> None:
    status, _, body = raw(hub, "/api/models?" + "&".join(f"a{number}=1" for number in range(60)))
    assert status == 400
    assert "fields" in json.loads(body)["error"]


def test_what_was_pulled_and_pinned_meanwhile_is_served(tmp_path: Path, cache: Path) -> None:
    project = open_project(write_project(tmp_path / "p"))
    followed = ServedLibrary(LibraryFiles(project), SystemClock())
    before = followed.current
    (project.cards / PULLED).mkdir(parents=True)
    (project.cards / PULLED / "one.toml").write_text("# pinned\n")
    followed.look()
    assert followed.current is not before


def test_cards_and_policy_are_followed_and_a_broken_one_changes_nothing(tmp_path: Path, cache: Path) -> None:
    project = open_project(write_project(tmp_path / "p"))
    followed = ServedLibrary(LibraryFiles(project), SystemClock())
    before = followed.current
    followed.look()
    assert followed.current is before
    project.policy.write_text("monthly_users = 3\n")
    followed.look()
    after = followed.current
    assert after is not before
    project.policy.write_text("monthly_users = 'many'\n")
    followed.look()
    assert followed.current is after


def test_the_command_serves_behind_keys_and_an_open_door_stays_on_this_machine(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p")
    installation = open_written(project)
    with installation.store.write() as connection:
        key = issue_key(connection, name="engines", role="application", now=installation.clock.now())
    installation.store.close()
    refused = end_of(begin(project, "library", "serve", "--open", "--host", "0.0.0.0")).refused(2)
    assert "--open" in refused
    process = begin(project, "library", "serve", "--port", "0", "--json")
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        hub = Served(said["address"])
        assert said["open"] is False
        assert raw(hub, "/api/models")[0] == 401
        assert json.loads(raw(hub, "/api/models", Authorization=f"Bearer {key}")[2]) is not None
    finally:
        process.send_signal(signal.SIGINT)
        ended = end_of(process)
    assert ended.status == 0, ended


def test_outside_a_project_only_an_open_door_serves(tmp_path: Path) -> None:
    assert "changeover.toml" in end_of(begin(tmp_path, "library", "serve")).refused(2)
    environment = {**os.environ, "CHANGEOVER_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        (*COMMAND, "library", "serve", "--open", "--port", "0", "--json"),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        assert json.loads(raw(Served(address), "/api/models")[2]) == []
    finally:
        process.send_signal(signal.SIGTERM)
        end_of(process)
