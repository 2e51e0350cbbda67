"""Results on disk, and the tables that may be made of them."""
