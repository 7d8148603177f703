"""What is read of the Hub, against a hub on this machine: signals, paging, ranges, refusals, faults, and the token's ways."""

import hashlib
import json
import logging
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
from huggingface_hub.utils import get_session
from tests.support.fake_hub import Discussion, FakeHub, Fault, fake_hub

from changeover.core.errors import ConfigError, SourceError
from changeover.core.settings import SourceSettings
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.facts import FactSource
from changeover.library.sources import hub as hub_source
from changeover.library.sources import known, network
from changeover.library.sources.matching import Names
from changeover.library.sources.reading import Reading, observations

TODAY = date(2026, 11, 30)
TOKEN = "hf_canary_4b1f77c09ad2e6"
ONE = "acme/one-1b"


def safetensors(**tensors: tuple[str, list[int]]) -> bytes:
    """A file of weights whose header says this, and whose weights are zeros."""
    header: dict[str, Any] = {}
    end = 0
    for name, (kind, shape) in tensors.items():
        size = {"BF16": 2, "F32": 4, "U8": 1}[kind]
        for each in shape:
            size *= each
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


FILES = {
    "config.json": b"{}",
    "LICENSE": b"You may.\n",
    "model.safetensors": safetensors(table=("BF16", [1000, 1000]), norm=("BF16", [1000])),
}


def card(id: str = "one-1b", repository: str = ONE) -> Card:
    source = FactSource(facts=("everything",), at="here", grade="vendor", checked=TODAY)
    return Card(id=id, display_name=id, family="one", vendor="Acme", repositories=(repository,), sources=(source,))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with fake_hub() as hub:
        hub.page_size = 20
        one = hub.add(
            ONE,
            FILES,
            at="2026-10-01T09:00:00.000Z",
            downloads=1_234,
            downloadsAllTime=99_000,
            likes=42,
            cardData={
                "license": "other",
                "license_name": "acme-1",
                "language": ["en", "ja"],
                "base_model": "acme/base-1b",
            },
            config={
                "architectures": ["OneForCausalLM"],
                "model_type": "one",
                "auto_map": {"AutoModel": "modeling.One"},
            },
            baseModels={"relation": "finetune", "models": [{"_id": "0", "id": "acme/base-1b"}]},
            tags=["custom_code"],
        )
        one.discussions = [
            Discussion(
                "why",
                "2026-09-01T00:00:00.000Z",
                "closed",
                [("asker", "2026-09-01T01:00:00.000Z"), ("owner", "2026-09-01T04:00:00.000Z")],
            ),
            Discussion("how", "2026-09-02T00:00:00.000Z", "open", [("other", "2026-09-02T10:00:00.000Z")]),
            Discussion("nobody", "2026-09-03T00:00:00.000Z", "open"),
            Discussion("a change", "2026-09-04T00:00:00.000Z", "open", is_pull_request=True),
        ]
        for relation, count in {"finetune": 45, "adapter": 20, "merge": 3, "quantized": 21}.items():
            hub.derive(ONE, relation, count)
        yield hub


def settings(hub: FakeHub, **more: Any) -> SourceSettings:
    return SourceSettings(online=True, hub_endpoint=hub.address, timeout_s=5, **more)


AT_ONCE = network.Bounds(sleep=lambda _: None)


def read(hub: FakeHub, *cards: Card, bounds: network.Bounds = AT_ONCE, **more: Any) -> Reading:
    return hub_source.read(cards or (card(),), settings(hub, **more), TODAY, bounds=bounds)


def facts(reading: Reading, id: str = "one-1b") -> dict[str, Any]:
    found = observations(reading, Names(Catalogue({})), datetime(2026, 11, 30, tzinfo=UTC))
    return {each.fact: each.value for each in found if each.card == id}


def test_signals_are_counted_over_every_page(hub: FakeHub) -> None:
    found = facts(read(hub))
    assert {name: value for name, value in found.items() if name.startswith("signals.")} == {
        "signals.downloads_30d": 1_234,
        "signals.downloads_all_time": 99_000,
        "signals.likes": 42,
        "signals.finetunes": 45,
        "signals.adapters": 20,
        "signals.merges": 3,
        "signals.quantised": 21,
        "signals.discussions_open": 2,
        "signals.discussions_closed": 1,
        "signals.first_reply_hours": 7.0,
        "signals.last_commit": "2026-10-01",
    }
    assert len(hub.asked(r"/api/models\?.*finetune")) == 3, "45 derivatives on pages of 20"


def test_metadata_and_files_give_facts(hub: FakeHub) -> None:
    found = facts(read(hub))
    assert found["licence.id"] == "acme-1"
    assert found["languages"] == ["en", "ja"]
    assert found["lineage.base"] == "acme/base-1b"
    assert found["gated"] is False
    assert found["architecture.transformers_class"] == "OneForCausalLM"
    assert found["architecture.remote_code"] is True
    assert found["architecture.pickle"] is False


def test_parameters_are_counted_in_the_header_and_the_weights_stay_there(hub: FakeHub) -> None:
    assert facts(read(hub))["parameters_b"] == 0.001
    [asked] = hub.asked("/large/")
    assert asked.headers["range"] == "bytes=0-100000"
    assert asked.sent < len(FILES["model.safetensors"]) / 10


def test_packed_numbers_are_not_taken_for_parameters(hub: FakeHub) -> None:
    hub.repositories[ONE].commit({**FILES, "model.safetensors": safetensors(packed=("U8", [100, 100]))})
    assert "parameters_b" not in facts(read(hub))


def test_weights_that_come_only_as_pickle_are_told(hub: FakeHub) -> None:
    hub.repositories[ONE].commit({"config.json": b"{}", "pytorch_model.bin": b"weights"})
    assert facts(read(hub))["architecture.pickle"] is True


def test_the_licences_text_is_pinned_to_a_commit(hub: FakeHub) -> None:
    reading = read(hub)
    [text] = reading.texts
    assert text.sha256 == hashlib.sha256(b"You may.\n").hexdigest()
    assert text.source == f"{ONE}@{hub.repositories[ONE].head}/LICENSE"
    assert facts(reading)["licence.text_sha256"] == text.sha256
    hub.repositories[ONE].commit({**FILES, "LICENSE": b"You may not.\n"})
    assert read(hub).texts[0].sha256 != text.sha256
    assert read(hub).digest != reading.digest


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_is_passing_is_asked_for_again(hub: FakeHub, status: int) -> None:
    hub.fail("GET /api/models/", Fault(status=status), times=2)
    hub.fail("finetune", Fault(drop=True))
    hub.fail("LICENSE", Fault(cut_after=3))
    assert facts(read(hub))["signals.likes"] == 42


def test_a_hub_that_asks_to_wait_is_given_that_time_and_no_more_than_five_minutes(hub: FakeHub) -> None:
    waits: list[float] = []
    bounds = network.Bounds(sleep=waits.append)
    hub.fail("GET /api/models/acme/one-1b", Fault(status=429, headers={"Retry-After": "7"}))
    assert facts(read(hub, bounds=bounds))["signals.likes"] == 42
    assert waits == [7.0]
    hub.fail("GET /api/models/acme/one-1b", Fault(status=429, headers={"RateLimit": '"api";r=0;t=55'}))
    read(hub, bounds=bounds)
    assert waits.pop() == 55.0
    hub.fail("GET /api/models/acme/one-1b", Fault(status=429, headers={"Retry-After": "200"}), times=2)
    hub.fail("GET /api/models/acme/one-1b", Fault(status=503))
    read(hub, bounds=bounds)
    assert [waits.pop(), waits.pop(), waits.pop()] == [2.0, 200.0, 200.0]
    hub.fail("GET /api/models/acme/one-1b", Fault(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(SourceError, match="answers 429 and asks to wait 3600 s"):
        read(hub, bounds=bounds)
    assert waits == [7.0]


FOREVER = {"times": 1_000}


@pytest.mark.parametrize(
    ("pattern", "fault", "said"),
    [
        ("/api/models/acme", Fault(status=503), "it answers 503, 4 times"),
        ("/api/models/acme", Fault(drop=True), "Server disconnected"),
        ("/api/models/acme", Fault(cut_after=20), "peer closed connection"),
        ("/api/models/acme", Fault(status=200, body=b"<html>hello</html>"), "no answer of a hub"),
        ("/api/models/acme", Fault(status=200, body=b"[]"), "no answer of a hub"),
        ("/api/models/acme", Fault(status=200, body=b'{"id": "acme/one-1b"}'), "`sha` is no text"),
        ("/api/models/acme/one-1b\\?", Fault(status=200, body=b'{"id": "x", "sha": "abc", "likes": "many"}'), "`likes` is no count"),
        ("/api/models/acme/one-1b\\?", Fault(status=200, body=b'{"id": "x", "sha": "abc", "downloads": -1}'), "`downloads` is no count"),
        ("finetune", Fault(status=200, body=b'{"error": "no"}'), "no answer of a hub"),
        ("discussions", Fault(status=200, body=b"{}"), "no answer of a hub"),
        ("LICENSE", Fault(status=418), "answers 418 for `LICENSE`"),
        ("large", Fault(status=418), "answers 418"),
        ("GET /api/models/acme", Fault(status=200, body=b"{}", headers={"Content-Encoding": "gzip"}), "compresses"),
    ],
)  # fmt: skip
def test_a_hub_that_cannot_be_used_is_refused_whole(hub: FakeHub, pattern: str, fault: Fault, said: str) -> None:
    hub.fail(pattern, fault, **FOREVER)
    with pytest.raises(SourceError, match=said) as refused:
        read(hub)
    assert "Nothing was written" in refused.value.message or "answers 418" in refused.value.message
    assert "\n" not in refused.value.message


def test_a_silent_hub_is_given_up_after_its_time(hub: FakeHub) -> None:
    hub.fail("/api/models/acme", Fault(stall_s=0.5), **FOREVER)
    impatient = SourceSettings(hub_endpoint=hub.address, timeout_s=0.1)
    with pytest.raises(SourceError, match="timed out, 4 times"):
        hub_source.read((card(),), impatient, TODAY, bounds=AT_ONCE)


def test_paging_that_does_not_end_is_ended(hub: FakeHub) -> None:
    again = Fault(headers={"Link": f'<{hub.address}/api/models?filter=base_model:finetune:{ONE}>; rel="next"'})
    hub.fail("finetune", again, **FOREVER)
    with pytest.raises(SourceError, match="there is no end after 30 requests"):
        read(hub, bounds=network.Bounds(most_requests=30))


def test_more_derivatives_than_are_counted_is_said(hub: FakeHub) -> None:
    reading = read(hub, bounds=network.Bounds(most_listed=40))
    assert facts(reading)["signals.finetunes"] == 40
    assert reading.notes == (f"`{ONE}`: `signals.finetunes` is 40 or more",)
    assert len(hub.asked(r"/api/models\?.*finetune")) == 2, "the last page is not asked for"


def test_an_answer_that_does_not_end_is_cut(hub: FakeHub) -> None:
    hub.ignore_ranges = True
    with pytest.raises(SourceError, match="answers with more than 150000 bytes"):
        read(hub, bounds=network.Bounds(most_bytes=150_000))


def test_an_answer_that_drips_is_given_up_though_it_is_never_silent(hub: FakeHub) -> None:
    hub.fail("/api/models/acme", Fault(drip_s=0.02), **FOREVER)
    with pytest.raises(SourceError, match=r"its answer is not whole after 0\.3 s"):
        read(hub, bounds=network.Bounds(most_seconds=0.3))


def test_a_hostile_header_of_weights_is_left_out_and_named(hub: FakeHub) -> None:
    for bad in (struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 4) + b"nope", b"\x01"):
        hub.repositories[ONE].commit({**FILES, "model.safetensors": bad})
        reading = read(hub)
        assert "parameters_b" not in facts(reading)
        assert f"`{ONE}`: a safetensors header cannot be read" in reading.notes[0]


def test_a_repository_that_is_not_there_is_named_and_the_others_are_read(hub: FakeHub) -> None:
    reading = read(hub, card(), card("gone-1b", "acme/gone-1b"))
    assert reading.notes == ("`gone-1b`: the hub shows no repository `acme/gone-1b` (it answers 401)",)
    assert facts(reading)["signals.likes"] == 42


def test_a_hub_that_shows_nothing_at_all_is_refused(hub: FakeHub) -> None:
    with pytest.raises(
        SourceError, match=r"shows none of 1 repositories.*Check `sources\.hub_endpoint`, and the token"
    ):
        read(hub, card("gone-1b", "acme/gone-1b"))


def test_of_a_gated_repository_the_facts_are_read_and_its_files_are_not(hub: FakeHub) -> None:
    hub.repositories[ONE].gated = True
    reading = read(hub)
    assert facts(reading)["gated"] is True
    assert reading.texts == ()
    assert "parameters_b" not in facts(reading)


def test_discussions_that_are_turned_off_are_no_fault(hub: FakeHub) -> None:
    hub.fail("discussions", Fault(status=403), **FOREVER)
    reading = read(hub)
    assert facts(reading)["signals.likes"] == 42
    assert "signals.discussions_open" not in facts(reading)
    assert reading.notes == (f"`{ONE}`: its discussions are turned off",)


def test_the_token_opens_what_is_secret_and_goes_to_nobody_else(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OUR_TOKEN", TOKEN)
    hub.token, hub.repositories[ONE].secret = TOKEN, True
    reading = read(hub, hub_token_variable="OUR_TOKEN")
    assert facts(reading)["parameters_b"] == 0.001
    here = [request for request in hub.requests if not request.elsewhere]
    assert {request.headers.get("authorization") for request in here} == {f"Bearer {TOKEN}"}
    assert [request.headers.get("authorization") for request in hub.requests if request.elsewhere] == [None]
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(reading)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, body=TOKEN.encode()),
        Fault(status=401, body=TOKEN.encode(), headers={"X-Error-Message": f"bad token {TOKEN}"}),
        Fault(status=400, body=TOKEN.encode(), headers={"X-Error-Message": f"bad token {TOKEN}"}),
        Fault(status=200, body=json.dumps({TOKEN: TOKEN, "id": TOKEN, "sha": 1, "gated": TOKEN}).encode()),
        Fault(status=200, body=json.dumps({"id": "x", "sha": "a", "lastModified": TOKEN}).encode()),
        Fault(status=302, headers={"Location": f"http://localhost:9/{TOKEN}"}),
        Fault(status=302, headers={"Location": f"//{TOKEN}:9"}),
    ],
)
def test_no_error_shows_the_token_though_the_hub_says_it(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fail("/api/models/acme", fault, **FOREVER)
    with pytest.raises(SourceError) as refused:
        read(hub)
    assert TOKEN not in refused.value.message
    assert TOKEN not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("changeover")
    )


def test_the_token_that_a_login_left_on_this_machine_is_not_used(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    read(hub, hub_token_variable="ANOTHER_TOKEN")
    assert not [request for request in hub.requests if "authorization" in request.headers]


def test_nobody_is_told_what_is_installed_here(hub: FakeHub) -> None:
    read(hub)
    agents = {request.headers["user-agent"] for request in hub.requests if "/api/" in request.path}
    assert all(agent.startswith("changeover/") and "torch" not in agent and "agent/" not in agent for agent in agents)


def test_offline_the_hub_is_refused_with_what_to_do(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = known.Asked(settings=SourceSettings(hub_endpoint=hub.address), today=TODAY, cards=(card(),))
    with pytest.raises(ConfigError, match=r"`sources\.online` is false. Add `--online`, set it to true"):
        known.read(known.source_named("hub"), asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    online = known.Asked(settings=settings(hub), today=TODAY, cards=(card(),))
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE forbids it"):
        known.read(known.source_named("hub"), online)
    assert hub.requests == []


def test_afterwards_the_client_of_the_hub_is_the_usual_one_again(hub: FakeHub) -> None:
    read(hub)
    assert get_session().get(f"{hub.address}/api/models/{ONE}").status_code == 200


def test_a_list_is_fetched_from_an_address(hub: FakeHub) -> None:
    hub.add("lists/models", {"api.json": b"{}"})
    url = f"{hub.address}/lists/models/resolve/main/api.json"
    assert network.download(url, "models.dev", settings(hub), AT_ONCE) == b"{}"
    with pytest.raises(SourceError, match=r"models\.dev cannot be used: it answers 404"):
        network.download(url + "x", "models.dev", settings(hub), AT_ONCE)
    hub.fail("api.json", Fault(cut_after=1), **FOREVER)
    with pytest.raises(SourceError, match="peer closed connection"):
        network.download(url, "models.dev", settings(hub), AT_ONCE)
