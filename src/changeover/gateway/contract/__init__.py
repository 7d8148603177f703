"""One contract, whichever model answers: what families do differently is data in a bundle's profile, and is evened out here.

Pure functions on parsed JSON. `prepare` makes a request fit; `reader` gives who makes an answer fit.
"""

from changeover.gateway.contract.prepare import prepare
from changeover.gateway.contract.reader import Reader, reader
from changeover.gateway.contract.usage import estimate_tokens, estimated_usage

__all__ = ["Reader", "estimate_tokens", "estimated_usage", "prepare", "reader"]
