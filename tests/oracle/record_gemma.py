#!/usr/bin/env python3
"""Records what record_logprobs.py does, of the Gemma that lies beside the given model.

    python tests/oracle/record_gemma.py models/ANY.gguf > tests/oracle/recorded/gemma.json
"""
import pathlib
import sys

import record_logprobs

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    record_logprobs.print_record(pathlib.Path(sys.argv[1]).with_name("gemma-3-270m-q4_k_m.gguf"), "gemma")
