"""The conformance suite: whether what an engine is said to do is so. It checks how an engine speaks, never how wise it is."""

from changeover.serving.conformance.catalogue import PROBES, Probe
from changeover.serving.conformance.outcome import Finding, Result
from changeover.serving.conformance.suite import look, look_at, profile_options, verdicts
from changeover.serving.conformance.talk import Adapter, Subject

__all__ = [
    "PROBES",
    "Adapter",
    "Finding",
    "Probe",
    "Result",
    "Subject",
    "look",
    "look_at",
    "profile_options",
    "verdicts",
]
