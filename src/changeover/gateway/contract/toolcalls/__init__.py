"""Tool calls that models write as text: one dialect for each way, read into one shape."""

from changeover.gateway.contract.toolcalls.dialects import DIALECTS, Dialect, Handler
from changeover.gateway.contract.toolcalls.tools import Tools

__all__ = ["DIALECTS", "Dialect", "Handler", "Tools"]
