"""The chat page: Gradio mounted into the gateway. `page.mount` is its one door."""

import os

# Gradio reports to its makers unless this is set before its modules are imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
