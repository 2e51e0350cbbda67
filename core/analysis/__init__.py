"""What an experiment shows beyond its ranking: negative transfer, experts, and who gains."""
