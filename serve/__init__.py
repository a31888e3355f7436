"""The gateway, the launcher of the model server, and the chat page."""
