"""What strangers send: nothing that lies in it runs, and nothing in it brings the program down."""
