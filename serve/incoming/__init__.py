"""What clients send: sniffed, bounded while it streams, kept under names of our own; and what may be fetched."""
