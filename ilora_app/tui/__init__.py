"""The terminal interface: a user's history, the weights of the experts, and the ranking, live."""
