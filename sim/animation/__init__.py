"""A picture that explains: one stream of events on its way to a subscriber, by each mechanism.

`storyboard` runs the models and keeps what they move; `shapes` lays it out; `page` writes a web page that
plays it, and `figures` draws it still, or as a GIF.
"""
