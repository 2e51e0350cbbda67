"""What the screens know: runs, users, rankings, progress."""
