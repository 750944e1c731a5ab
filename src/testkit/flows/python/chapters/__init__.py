"""The chapters of the flow, one topic each. Every one has `play(world)`."""
