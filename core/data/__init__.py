"""Cards -> interactions -> sequences -> splits -> samples with candidates, one stage per file."""
