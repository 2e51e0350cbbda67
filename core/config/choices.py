"""What settings that are words choose from, each with what is said of it where that is not plain."""

from __future__ import annotations

QUANTIZATIONS = ("nf4", "int8", "none")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
OBJECTIVES = ("listwise", "language-model")
PROTOCOLS = ("rank", "generate", "constrained")
POOLS = ("20", "catalogue")
SPLITS = ("paper", "leave-one-out", "temporal")
GATES = {
    "softmax": "the paper's linear gate",
    "mlp": "with a hidden layer",
    "top-k": "only the heaviest experts take part",
    "noisy": "with noise in training",
    "resnet": "as in the paper's code",
    "uniform": "a control: plain LoRA",
    "random-fixed": "a control: drawn once, never trained",
    "dataset": "a control: an expert for each of several datasets",
}
"""Kinds of gates, each made in `core.ilora.gate`, and what is said of them."""
CONTROL_GATES = tuple(kind for kind, about in GATES.items() if about.startswith("a control"))
"""Gates that say nothing of the method when they are ahead."""
ITEM_TEXTS = ("title", "title+year", "title+genres", "title+year+genres")
GATE_SCOPES = ("shared", "per-layer", "per-module")
GATE_INPUTS = ("sequence", "random", "items", "tokens")
NEGATIVES = ("random", "hard")
HARD_AMONG = 100  # of an encoder's best items, from which hard negatives are drawn
ENCODERS = {
    "sasrec": "core.encoders.sasrec:SASRec",
    "esasrec": "core.encoders.esasrec:ESASRec",
    "gru4rec": "core.encoders.gru4rec:GRU4Rec",
    "caser": "core.encoders.caser:Caser",
}
"""`EncoderConfig.kind` -> the module that reads histories; it is also the method of that name."""
