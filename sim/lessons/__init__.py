"""What the notebooks call: figures for class, and the one widget there is, which has a static twin.

A notebook asks, shows and explains; models, theory and plotting live in modules that are tested.
"""
