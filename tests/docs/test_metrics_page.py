"""The page of metrics has every metric of a gateway that has answered, with its labels, and nothing else."""

from __future__ import annotations

import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from tests.support.pages import ROOT
from tests.support.processes import Up

from changeover.app.local import operator_key

ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.+?) \| (.+) \|$", re.MULTILINE)
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()


def test_every_metric_is_documented_with_its_labels(tools_up: Up) -> None:
    tools_up.ask("headline.answer", stream=False)
    with tools_up.opened() as installation:
        key = operator_key(installation.project.state)
    request = urllib.request.Request(f"{tools_up.address}/metrics", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in ROW.findall(PAGE)
    }
    found = {family.name + ("_total" if family.type == "counter" else ""): family for family in families}
    assert len(found) > 25
    assert found.keys() == documented.keys()
    for name, family in found.items():
        kind, labels, meaning = documented[name]
        assert (family.type, family.documentation) == (kind, meaning), name
        assert {label for sample in family.samples for label in sample.labels} - {"le"} <= labels, name
