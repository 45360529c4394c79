"""The routes of the app, one file for each thing that they are about; `server.app` names them."""

__all__: list[str] = []
