"""The OpenAI-compatible door: authenticate → resolve → admit → choose → dispatch → relay → record, one file each."""
