"""The language model: loading, prompts, and scoring or writing answers with it."""
