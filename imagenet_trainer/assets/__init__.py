"""Images and class names that come with the package; LICENSES.md says from where."""
