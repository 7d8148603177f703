"""Make a GGUF file whose matrices are all Q8_0 of one whose are not. Run as `python gguf_to_q8_0.py SOURCE TARGET`.

Everything that the source says of itself is kept, tokenizer and chat template included. Says on standard output what it
does, one JSON object a line; whoever reads it no longer is its end.
"""

# pyright: basic, reportMissingImports=false
# - it runs in an engine's environment, and what it imports is installed there only

import json
import sys

import gguf
import numpy
from gguf.quants import dequantize, quantize

BLOCK = 32
"""Weights that share a scale: a row has to be a multiple of it."""
KEPT = {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.Q8_0}


def main(source: str, target: str) -> None:
    """Copy what is said, then each tensor, and never more than one of them in memory."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture, endianess=reader.endianess)
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        shape = [int(each) for each in reversed(tensor.shape)]
        kind = kind_of(tensor)
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor_info(
            tensor.name, shape, numpy.dtype("float32"), int(numpy.prod(shape)) // elements * size, raw_dtype=kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    say(step="quantise", total=sum(int(tensor.n_bytes) for tensor in reader.tensors))
    done = 0
    for tensor in reader.tensors:
        writer.write_tensor_data(data_of(tensor))
        done += int(tensor.n_bytes)
        say(done=done)
    writer.close()
    say(versions={"gguf": getattr(gguf, "__version__", None), "numpy": numpy.__version__})


def copy_metadata(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    """Everything but what the writer says by itself, and the type that the file is mostly of."""
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        if field.name == "general.file_type":
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
            continue
        kind = field.types[0]
        items = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, items)


def kind_of(tensor: gguf.ReaderTensor) -> gguf.GGMLQuantizationType:
    """What a tensor becomes: vectors and what is not coarser stay, rows that have no whole blocks are F16."""
    if tensor.tensor_type in KEPT:
        return tensor.tensor_type
    if len(tensor.shape) < 2:
        return gguf.GGMLQuantizationType.F32
    whole = int(tensor.shape[0]) % BLOCK == 0
    return gguf.GGMLQuantizationType.Q8_0 if whole else gguf.GGMLQuantizationType.F16


def data_of(tensor: gguf.ReaderTensor) -> numpy.ndarray:
    """A tensor's bytes in what it becomes."""
    kind = kind_of(tensor)
    if kind == tensor.tensor_type:
        return numpy.ascontiguousarray(tensor.data)
    plain = dequantize(tensor.data, tensor.tensor_type)
    return plain.astype(numpy.float32) if kind == gguf.GGMLQuantizationType.F32 else quantize(plain, kind)


def say(**what: object) -> None:
    """One line for who started this."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
