"""Make a directory of safetensors in BF16 of a GGUF file. Run as `python gguf_to_safetensors.py SOURCE TARGET`.

Configuration, generation settings, tokenizer and chat template come along. Says on standard output what it does, one JSON
object a line; whoever reads it no longer is its end.
"""

# pyright: basic, reportMissingImports=false
# - it runs in an engine's environment, and what it imports is installed there only

import json
import os
import sys
from pathlib import Path

import gguf
import safetensors
import torch
import transformers


def main(source: str, target: str) -> None:
    """Read, copy the weights into a model that can be saved, write.

    A model that was read from GGUF refuses to be saved: it counts as quantised. One made of its configuration does not.
    """
    transformers.logging.set_verbosity_error()
    directory, file = os.path.split(source)
    say(step="read and dequantise", total=None)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, gguf_file=file, dtype=torch.bfloat16)
    configuration = model.config
    if hasattr(configuration, "quantization_config"):
        del configuration.quantization_config
    tokenizer = tokenizer_of(source)
    plain = copied(model, configuration)
    if plain.generation_config.eos_token_id is None:
        plain.generation_config.eos_token_id = tokenizer.eos_token_id
    say(step="write", total=sum(each.numel() * each.element_size() for each in plain.parameters()))
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)
    say(versions={each.__name__: each.__version__ for each in (transformers, torch, safetensors)})


def copied(model: transformers.PreTrainedModel, configuration: transformers.PreTrainedConfig) -> torch.nn.Module:
    """The same weights in a model that knows of no GGUF file."""
    plain = transformers.AutoModelForCausalLM.from_config(configuration, dtype=torch.bfloat16)
    left = plain.load_state_dict(model.state_dict(), strict=False, assign=True)
    plain.tie_weights()
    tied = set(getattr(plain, "_tied_weights_keys", None) or ())
    absent = [key for key in left.missing_keys if not (configuration.tie_word_embeddings and key in tied)]
    if absent or left.unexpected_keys:
        sys.exit(f"the weights do not fit the class {type(plain).__name__}: {[*absent, *left.unexpected_keys][:3]}")
    return plain


def tokenizer_of(source: str) -> transformers.PreTrainedTokenizerBase:
    """The file's tokenizer, with its chat template where it was not taken over."""
    path = Path(source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    if not tokenizer.chat_template:
        field = gguf.GGUFReader(source).fields.get("tokenizer.chat_template")
        tokenizer.chat_template = None if field is None else field.contents()
    return tokenizer


def say(**what: object) -> None:
    """One line for who started this."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
