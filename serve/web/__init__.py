"""The chat page: Gradio mounted into the gateway. `page.mount` is its one door."""

import os

# Gradio reports to its makers unless this is set before its modules are imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# It also tables its last ten thousand events after each one, for a monitoring page that is closed here.
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "100"
