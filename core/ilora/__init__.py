"""Instance-wise LoRA itself: the gate, and the low-rank adapter whose experts it weighs (paper §3)."""
