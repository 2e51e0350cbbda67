"""From a dataset's card to ranking samples."""
