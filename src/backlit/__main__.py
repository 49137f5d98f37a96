"""`python -m backlit` is the command `backlit`."""

from backlit.cli.main import app_main

if __name__ == "__main__":
    app_main()
