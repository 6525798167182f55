"""Names of a plan's values, after the tensors that make them: what `Session.capture` and `Plan.dump` call them.

blk.3.attn_norm          the output of that norm; of `attn_q` the product, with its bias
blk.3.attn_q.rope        what a weightless operation makes of a value
blk.3.attn_out           attention, before attn_output
blk.3.attn_output.add    a sum, by what was added to the residual stream
blk.3.ffn_act            activation(gate) * up; of a mixture blk.3.ffn_exps_act
blk.3.out                what layer 3 passes on
logits
"""

from __future__ import annotations

import re

_LAYER = re.compile(r"blk\.(\d+)\.")
_BY_OPERATION = {
    "attention": "attn_out",
    "latent_attention": "attn_out",
    "gated_ffn": "ffn_act",
    "gated": "ffn_act",
    "route": "ffn_routes",
    "experts_gated": "ffn_exps_act",
    "combine": "ffn_exps",
}


class Names:
    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self._of: dict[int, str] = {}
        self._layer = ""  # that of the last weight: "blk.3."

    def add(self, op: str, inputs: tuple[int, ...], outputs: tuple[int, ...], weights: tuple[str, ...]) -> None:
        """Names the outputs of a step."""
        for name in weights[:1]:
            found = _LAYER.match(name)
            self._layer = found.group() if found else ""
        if op == "quantize":
            return
        for i, output in enumerate(outputs):
            self._set(output, self._name(op, inputs, weights, i))

    def finish(self, logits: int) -> None:
        """Names the results of the layers and of the model."""
        last: dict[str, int] = {}
        for value, name in self._of.items():  # in the order of the steps
            found = _LAYER.match(name)
            if found is not None:
                last[found.group()] = value
        self.ids |= {f"{layer}out": value for layer, value in last.items()} | {"logits": logits}

    def _name(self, op: str, inputs: tuple[int, ...], weights: tuple[str, ...], index: int) -> str:
        if op == "gather_outputs":
            return "outputs"
        if op in _BY_OPERATION:
            return self._layer + _BY_OPERATION[op]
        if weights:
            made = weights[index].removesuffix(".weight")
            return f"{made}.add" if op == "linear" and len(inputs) == 2 else made
        if not inputs:
            return op
        return f"{self._of.get(inputs[1 if op == 'add' else 0], op)}.{op}"

    def _set(self, value: int, name: str) -> None:
        unique, n = name, 1
        while unique in self.ids:
            n += 1
            unique = f"{name}.{n}"
        self.ids[unique] = value
        self._of[value] = unique
