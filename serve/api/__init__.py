"""The doors of the gateway: HTTP in the form that OpenAI's clients speak, keys and limits, explain, history."""
