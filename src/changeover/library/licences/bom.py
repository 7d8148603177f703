"""The bill of materials of models: CycloneDX 1.6 with machine-learning models, by cyclonedx-python-lib (the extra `bom`)."""

# pyright: reportCallIssue=false, reportArgumentType=false
# cyclonedx-python-lib decorates its classes in a way that hides the parameters of their constructors.

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType, Pedigree
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation import ValidationError
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema.validators import Draft7Validator
from rfc3986_validator import validate_rfc3986  # pyright: ignore[reportUnknownVariableType] - it has no types

from changeover import __version__
from changeover.core.errors import ChangeoverError
from changeover.library.artifacts import Artifact, HubSource, MirrorSource
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.ancestry import ancestors
from changeover.library.licences.terms import LicenceTerms

HUBS: Final = {"huggingface": "https://huggingface.co", "modelscope": "https://www.modelscope.cn/models"}


def bill_of_materials(cards: Sequence[Card], catalogue: Catalogue, *, at: datetime) -> str:
    """Write models as JSON: supplier, licences, digests of artifacts, what they were made from, where they are.

    The same cards at the same moment give the same text.

    Raises:
        ChangeoverError: What was written is not valid CycloneDX, which is a mistake of a card's.
    """
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, " ".join((at.isoformat(), *(card.id for card in cards)))),
        components=[_component(card, catalogue) for card in cards],
        metadata=BomMetaData(timestamp=at, tools=ToolRepository(components=[_changeover()])),
    )
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    # The library has no model cards: it leaves their place in the format empty.
    described = {card.id: _model_card(card) for card in cards}
    for component in document.get("components", []):
        if model_card := described[component["bom-ref"]]:
            component["modelCard"] = model_card
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if (wrong := check(text)) is not None:
        raise ChangeoverError(f"The bill of materials is not valid: {wrong}. Correct the card that it is about.")
    return text


def check(text: str) -> str | None:
    """What is wrong with a bill of materials by the schema of CycloneDX 1.6; None: nothing."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return str(found.data.message) if isinstance(found, ValidationError) else None


# jsonschema would take rfc3987-syntax for this, whose parsers cost every process that imports jsonschema a second.
@Draft7Validator.FORMAT_CHECKER.checks("iri-reference")
def _is_iri_reference(value: object) -> bool:
    """Whether it is an address once what is not ASCII is percent-encoded, as RFC 3987, section 3.1, makes one of the other."""
    if not isinstance(value, str):
        return True
    encoded = re.sub(r"[^\x00-\x7f]+", lambda found: quote(found[0]), value)
    return validate_rfc3986(encoded, rule="URI_reference") is not None


def _changeover() -> Component:
    return Component(type=ComponentType.APPLICATION, name="changeover", version=__version__)


def _component(card: Card, catalogue: Catalogue) -> Component:
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=card.id,
        name=card.display_name,
        version=_revision(card),
        supplier=OrganizationalEntity(name=card.vendor),
        licenses=_licences(card, catalogue),
        external_references=_references(card),
        components=[file for artifact in card.artifacts for file in _files(card, artifact)],
        pedigree=_pedigree(card, catalogue),
        properties=_properties(card),
    )


def _revision(card: Card) -> str | None:
    """The commit of its repository that its weights are of."""
    sources = (source for artifact in card.artifacts for source in artifact.sources)
    return next((source.revision for source in sources if isinstance(source, HubSource)), None)


def _licences(card: Card, catalogue: Catalogue) -> list[DisjunctiveLicense]:
    if card.licence is None:
        return []
    named = dict.fromkeys((card.licence.id, *card.licence.also))
    return [
        _licence(one, catalogue.licence(one), card.licence.url if one == card.licence.id else None) for one in named
    ]


def _licence(name: str, terms: LicenceTerms | None, url: str | None) -> DisjunctiveLicense:
    address = url or (None if terms is None else terms.url)
    where = None if address is None else XsUri(address)
    if terms is not None and terms.spdx:
        return DisjunctiveLicense(id=terms.id, url=where)
    return DisjunctiveLicense(name=f"LicenseRef-{name if terms is None else terms.id}", url=where)


def _references(card: Card) -> list[ExternalReference]:
    kind = ExternalReferenceType
    addresses = [
        *((kind.MODEL_CARD, f"{HUBS['huggingface']}/{repository}") for repository in card.repositories),
        *((kind.DISTRIBUTION, f"{HUBS['modelscope']}/{repository}") for repository in card.modelscope),
        *((kind.DISTRIBUTION, address) for artifact in card.artifacts for address in _places(artifact)),
    ]
    return [ExternalReference(type=each, url=XsUri(address)) for each, address in dict.fromkeys(addresses)]


def _places(artifact: Artifact) -> Iterable[str]:
    for source in artifact.sources:
        if isinstance(source, MirrorSource):
            yield source.url
        elif isinstance(source, HubSource):
            yield f"{HUBS[source.hub]}/{source.repository}/tree/{source.revision}"


def _files(card: Card, artifact: Artifact) -> Iterable[Component]:
    """The files of an artifact, each with its digest."""
    form = f"{card.id} {artifact.format} {artifact.quantisation}"
    files = [(f"{form}: {file.path}", file.sha256) for file in artifact.files] or [(form, artifact.sha256)]
    for name, sha256 in files:
        yield Component(
            type=ComponentType.FILE,
            name=name,
            bom_ref=f"{name}#{sha256[:16]}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        )


def _pedigree(card: Card, catalogue: Catalogue) -> Pedigree | None:
    found: dict[str, list[LicenceTerms | None]] = {}
    for ancestor in ancestors(card, catalogue):
        found.setdefault(ancestor.name, []).append(ancestor.terms)
    for name in filter(None, (card.lineage.derived_from, card.lineage.base)):
        found.setdefault(name, [])
    if not found:
        return None
    made = [
        Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            name=name,
            bom_ref=f"{card.id} from {name}",
            licenses=[_licence(terms.id, terms, None) for terms in known if terms is not None],
        )
        for name, known in found.items()
    ]
    return Pedigree(ancestors=made, notes=card.lineage.note or card.lineage.derivation)


def _properties(card: Card) -> list[Property]:
    licence = card.licence
    values = {
        "changeover:weights": card.weights,
        "changeover:released": card.released_on,
        "changeover:country": card.country,
        "changeover:licence-text-sha256": None if licence is None else licence.text_sha256,
        "changeover:checked": card.checked.isoformat(),
    }
    return [Property(name=name, value=value) for name, value in values.items() if value is not None]


def _model_card(card: Card) -> dict[str, Any]:
    """What the format's own model card has a place for."""
    parameters = {
        "architectureFamily": card.architecture.model_type,
        "modelArchitecture": card.architecture.transformers_class,
        "inputs": [{"format": each} for each in card.modalities_in],
        "outputs": [{"format": each} for each in card.modalities_out],
    }
    described = {name: value for name, value in parameters.items() if value}
    uses = {"considerations": {"useCases": list(card.scenarios)}} if card.scenarios else {}
    return {**({"modelParameters": described} if described else {}), **uses}
