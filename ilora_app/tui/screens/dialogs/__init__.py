"""Small screens that ask, explain or let something be chosen."""
