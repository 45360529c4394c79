"""The web app: a JSON API over the same calls as the command line, and the pages."""
