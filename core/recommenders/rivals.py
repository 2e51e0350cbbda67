"""TALLRec and LLaRA: what plain LoRA was before the gate, as methods of their own."""

from __future__ import annotations

from core.recommenders.llm import AdapterRecommender


class Tallrec(AdapterRecommender):
    """LoRA trained to write the next title after a prompt of text alone (TALLRec, arXiv 2305.00447)."""

    name = "tallrec"


class Llara(AdapterRecommender):
    """LoRA with item vectors in the prompt, learnt from text-only to hybrid (LLaRA, arXiv 2312.02445)."""

    name = "llara"
