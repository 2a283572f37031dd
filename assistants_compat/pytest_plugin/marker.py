"""The name of the plugin's marker, for every module of the room."""

MARKER = "assistants_compat"
