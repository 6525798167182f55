"""Every family on tiny random models: against transformers, and the core against the interpreter.

A family is a module of this folder, named after its file in pyruntime/arch/, with `CASES`: name -> `Case` (case.py). A case
says what a GGUF file of the family holds (metadata, shapes of tensors, by their standard names) and how the same model is
made in transformers. `test_families.py` runs without torch; `test_transformers.py` (marker `reference`) needs it.

To add one, start from qwen2.py (dense) or, if tensors are fused or stacked, phi3.py and llama.py.
"""
