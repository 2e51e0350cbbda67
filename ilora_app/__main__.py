"""Lets `python -m ilora_app` do what `ilora-app` does."""

from ilora_app.cli import main

if __name__ == "__main__":
    main()
