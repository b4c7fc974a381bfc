"""Reports: one self-contained HTML file about one or several run folders. `page` makes it."""
