"""What the command line prints: Rich tables, bars and summaries."""
