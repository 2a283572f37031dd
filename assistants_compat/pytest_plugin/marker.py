"""The names of the plugin's marker and of the fixture that switches the library off, for every module of the room."""

MARKER = "assistants_compat"
OFF_FIXTURE = "assistants_compat_off"
