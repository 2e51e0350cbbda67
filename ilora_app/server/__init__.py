"""The small HTTP server of `ilora-app serve`, for demos and for trying things out."""
