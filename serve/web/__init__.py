"""The chat page: Gradio mounted into the gateway. `page.mount` is its one door."""
