"""The hub's own routes, answered here: whatever loads from the Hugging Face Hub loads from this library by `HF_ENDPOINT`.

`repositories` says what there is, `address` what was asked for, `ranges` which part of it, `hub` answers.
"""
