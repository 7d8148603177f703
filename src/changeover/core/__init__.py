"""Words every room uses: errors, clock, ids, digests, settings. No I/O but reading the settings."""
