"""affectgpt: from a clip, a voice, a photograph or a conversation to a grounded account of what a person seems to feel."""
