"""The server of llama.cpp that the `xllamacpp` wheel carries, behind the options of `llama-server`.

    pip install -c constraints.txt '.[test]'
    python -m benchmarks.llama_wheel -m base.gguf --lora expert-0.gguf,expert-1.gguf --port 8080

The same C++ server with the same HTTP interface as the program `llama-server`, inside a Python process: what
a machine without a compiler can install in seconds. It runs until it is ended.
"""

from __future__ import annotations

import argparse
import threading
from typing import Any


def parsed() -> argparse.Namespace:
    """The options, named and meant as those of llama-server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-m", dest="model", required=True)
    parser.add_argument("--lora", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-c", dest="context", type=int, default=4096)
    parser.add_argument("-np", dest="parallel", type=int, default=1)
    parser.add_argument("-t", dest="threads", type=int, default=1)
    parser.add_argument("--cache-ram", type=int, default=0)
    parser.add_argument("--no-repack", action="store_true")
    parser.add_argument("-ctk", dest="keys", choices=("f16", "f32"), default="f16")
    parser.add_argument("-ctv", dest="values", choices=("f16", "f32"), default="f16")
    parser.add_argument("-fa", dest="flash", choices=("on", "off", "auto"), default="auto")
    return parser.parse_args()


def parameters(options: argparse.Namespace) -> Any:
    """The same in llama.cpp's own structure."""
    import xllamacpp

    kinds = {"f16": xllamacpp.ggml_type.GGML_TYPE_F16, "f32": xllamacpp.ggml_type.GGML_TYPE_F32}
    flash = xllamacpp.llama_flash_attn_type
    found = xllamacpp.CommonParams()
    found.model.path = options.model
    paths = [path for path in options.lora.split(",") if path]
    found.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in paths]
    found.hostnames, found.port = [options.host], options.port
    found.n_ctx, found.n_parallel, found.cache_ram_mib = options.context, options.parallel, options.cache_ram
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = options.threads
    found.no_extra_bufts = options.no_repack
    found.cache_type_k, found.cache_type_v = kinds[options.keys], kinds[options.values]
    found.flash_attn_type = {
        "on": flash.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": flash.LLAMA_FLASH_ATTN_TYPE_DISABLED,
        "auto": flash.LLAMA_FLASH_ATTN_TYPE_AUTO,
    }[options.flash]
    return found


def main() -> None:
    import xllamacpp

    server = xllamacpp.Server(parameters(parsed()))
    print(f"listening on {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
