"""Teachers that are ready before the student starts: what they know, and the labels they give.

A transition is named by the event that begins it, a flat index into `Interactions.items`; the next
event is its target. All of them are train events.
"""
