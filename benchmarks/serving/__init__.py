"""Serving: an engine through the gateway, beside the same engine asked directly, and beside llama.cpp without any of ours."""
