"""The OpenAPI document of the door: what it reads, what it promises, and nothing of what it only passes on."""

from changeover.gateway.openapi.document import document

__all__ = ["document"]
