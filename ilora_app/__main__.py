"""Lets `python -m ilora_app` do what `ilora-app` does."""

from ilora_app.starting import main

if __name__ == "__main__":
    main()
