"""The terminal interface: pick a user, see the gate think, watch the ranking move."""
