"""`affectgpt chat`: a conversation at the terminal, or one turn a line from a pipe.

`command` opens everything, `loop` reads lines and keeps Ctrl-C, `session` takes turns, `talk` is the conversation so
far, `clips` brings a clip into a turn; `displays` show, `speaking` speaks, `saving` writes, `consent` asks first.
"""

from affectgpt.cli.chat.command import chat

__all__ = ["chat"]
